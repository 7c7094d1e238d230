//! `token.conf`: where the token lives and how it behaves.
//!
//! Found at the path in `BIXI_TOKEN_CONF` (a path is not a secret), else `/etc/bixi/token.conf`, else defaults with the
//! store in `$XDG_DATA_HOME/bixi/token`. One `key = value` a line, `#` begins a comment, values may be quoted.

use std::path::{Path, PathBuf};

pub use crate::log::Target as LogTarget;
use crate::profile::{PROFILES, Profile};

/// Name of the environment variable that holds the path of the configuration file.
pub const CONFIG_PATH_VARIABLE: &str = "BIXI_TOKEN_CONF";
const CONFIG_PATH_SYSTEM: &str = "/etc/bixi/token.conf";
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

/// Settings of the module, each with its key in `token.conf`.
#[derive(Clone, Debug)]
pub struct Config {
    /// `directory`: the store; one sub-directory per slot.
    pub directory: PathBuf,
    /// `slots`: number of slots, 1..=64.
    pub slots: u32,
    /// `profile`: vendor numbers the token answers to.
    pub profile: &'static Profile,
    /// `sessions_max`: sessions open at once per slot, 1..=65536.
    pub sessions_max: u32,
    /// `pin_bytes_min`: shortest PIN accepted when one is set, 4..=64.
    pub pin_bytes_min: u32,
    /// `pin_attempts_max`: wrong PINs in a row before the PIN locks, 1..=100.
    pub pin_attempts_max: u8,
    /// `argon2_memory_kib`: memory of the PIN's key derivation, 8..=1048576.
    pub argon2_memory_kib: u32,
    /// `argon2_passes`: passes over that memory, 1..=64.
    pub argon2_passes: u32,
    /// `allow_import`: whether private and secret keys may be brought from outside onto the token.
    pub allow_import: bool,
    /// `allow_extractable`: whether keys on the token may be made readable at creation.
    pub allow_extractable: bool,
    /// `log`: `stderr`, `none` or a file's path.
    pub log: LogTarget,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: cannot be read: {source}; name a readable file in BIXI_TOKEN_CONF")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line could not be understood.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// No file and no home directory.
    #[error("no token.conf, and neither XDG_DATA_HOME nor HOME is set; name a file in BIXI_TOKEN_CONF")]
    Nowhere,
}

impl Config {
    /// The defaults, with the store in `directory`.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self {
            directory,
            slots: 1,
            profile: &PROFILES[0],
            sessions_max: 1024,
            pin_bytes_min: 6,
            pin_attempts_max: 5,
            argon2_memory_kib: 64 * 1024,
            argon2_passes: 3,
            allow_import: false,
            allow_extractable: false,
            log: LogTarget::Stderr,
        }
    }

    /// Find and read the configuration of this process.
    ///
    /// # Errors
    /// When the file named in the environment, or the system's, is unreadable or wrong.
    pub fn discover() -> Result<Self, ConfigError> {
        if let Some(path) = std::env::var_os(CONFIG_PATH_VARIABLE).filter(|path| !path.is_empty()) {
            return Self::read(Path::new(&path));
        }
        let system = Path::new(CONFIG_PATH_SYSTEM);
        if system.exists() {
            return Self::read(system);
        }
        Ok(Self::at(user_directory().ok_or(ConfigError::Nowhere)?))
    }

    /// Read one file.
    ///
    /// # Errors
    /// When it is unreadable, too long, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_string(&mut text))
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Parse the text of a file; `path` is for messages, and relative directories are taken from its parent.
    ///
    /// # Errors
    /// Names the line and what would be right.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut config = Self::at(user_directory().unwrap_or_default());
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |what: String| ConfigError::Line { path: path.into(), line: index + 1, what };
            let (key, value) = line.split_once('=').ok_or_else(|| at(format!("`{line}` is not `key = value`")))?;
            config.set(key.trim(), unquote(value.trim()), parent).map_err(at)?;
        }
        if config.directory.as_os_str().is_empty() {
            return Err(ConfigError::Nowhere);
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str, parent: &Path) -> Result<(), String> {
        match key {
            "directory" => self.directory = parent.join(value),
            "slots" => self.slots = number(key, value, 1, 64)?,
            "sessions_max" => self.sessions_max = number(key, value, 1, 65_536)?,
            "pin_bytes_min" => self.pin_bytes_min = number(key, value, 4, 64)?,
            "pin_attempts_max" => self.pin_attempts_max = number(key, value, 1, 100)? as u8,
            "argon2_memory_kib" => self.argon2_memory_kib = number(key, value, 8, 1 << 20)?,
            "argon2_passes" => self.argon2_passes = number(key, value, 1, 64)?,
            "allow_import" => self.allow_import = boolean(key, value)?,
            "allow_extractable" => self.allow_extractable = boolean(key, value)?,
            "profile" => self.profile = Profile::by_name(value).ok_or_else(|| unknown_profile(value))?,
            "log" => self.log = log_target(value, parent),
            _ => return Err(format!("unknown key `{key}`")),
        }
        Ok(())
    }
}

fn unknown_profile(value: &str) -> String {
    let names: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
    format!("unknown profile `{value}`; one of {}", names.join(", "))
}

fn log_target(value: &str, parent: &Path) -> LogTarget {
    match value {
        "stderr" => LogTarget::Stderr,
        "none" => LogTarget::Silent,
        path => LogTarget::File(parent.join(path)),
    }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

fn number(key: &str, value: &str, min: u32, max: u32) -> Result<u32, String> {
    value
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{key} = {value}: expected a number from {min} to {max}"))
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{key} = {value}: expected true or false"))
}

fn user_directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("bixi/token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key() {
        let text = "# a comment\n directory = \"store\"\nslots=2\nprofile = tass\nsessions_max = 8\npin_bytes_min = 4\n\
                    pin_attempts_max = 3\nargon2_memory_kib = 64\nargon2_passes = 1\nallow_import = true\n\
                    allow_extractable = true\nlog = none\n";
        let config = Config::parse(text, Path::new("/etc/x/token.conf")).unwrap();
        assert_eq!(config.directory, Path::new("/etc/x/store"));
        assert_eq!((config.slots, config.profile.name, config.sessions_max), (2, "tass", 8));
        assert_eq!((config.argon2_memory_kib, config.argon2_passes), (64, 1));
        assert!(config.allow_import && config.allow_extractable);
        assert_eq!(config.log, LogTarget::Silent);
    }

    #[test]
    fn names_the_line_and_the_remedy() {
        let refused = |text: &str| Config::parse(text, Path::new("/c")).unwrap_err().to_string();
        assert_eq!(refused("\nslots = 0"), "/c:2: slots = 0: expected a number from 1 to 64");
        assert_eq!(refused("pin = 1234"), "/c:1: unknown key `pin`");
        assert!(refused("profile = none").contains("one of bixi, tass, koal, luna, ibm-ep11"));
        assert!(refused("hello").contains("not `key = value`"));
    }
}
