//! A node's settings as its rooms want them: paths resolved, files read, keys' references made.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_config::{IoBackend, NodeConfig, Pin};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::{self, Backend, Storage};
use bixi_platform::threads::Spawner;
use bixi_types::genesis::Genesis;
use borsh::{BorshDeserialize, BorshSerialize};

/// Why a node's files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{}: {source}{}", path.display(), remedy(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// A file is no configuration file.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes; is it the right file?", .0.display())]
    TooLarge(PathBuf),
    /// A file is not UTF-8.
    #[error("{}:{line}: not UTF-8; save the file in that encoding", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not.
        line: usize,
    },
    /// A file says something that cannot be.
    #[error("{0}")]
    Config(#[from] bixi_config::ConfigErrors),
    /// The configured system calls are not to be had.
    #[error("storage.io is not to be had here: {0}; use \"auto\" or \"pread\"")]
    Io(String),
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => {
            "; name the node file with --config; `bixi chain new` makes one, and the genesis beside it"
        }
        ErrorKind::PermissionDenied => "; run this as the user to whom the node's directory belongs",
        _ => "",
    }
}

/// What settings are made of, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sources {
    node: String,
    genesis: String,
}

impl Sources {
    /// Reads a node file and the genesis it names.
    ///
    /// # Errors
    /// When one cannot be read, or the node file names none.
    pub fn read(file: &Path) -> Result<Self, SettingsError> {
        let node = read(file)?;
        let genesis = base(file)?.join(&NodeConfig::parse(file, &node)?.genesis);
        Ok(Self { genesis: read(&genesis)?, node })
    }
}

/// Where relative paths of a node file start. Absolute, because a module's path without a slash would be looked for among the system's
/// libraries.
fn base(file: &Path) -> Result<PathBuf, SettingsError> {
    let absolute = std::path::absolute(file);
    let absolute = absolute.map_err(|source| SettingsError::Read { path: file.to_owned(), source })?;
    Ok(absolute.parent().map(Path::to_owned).unwrap_or_default())
}

/// One node's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node file, as read.
    pub config: NodeConfig,
    /// The chain.
    pub genesis: Genesis,
    /// Where relative paths start: the absolute directory of the node file as it was named. A link to it is not followed.
    pub base: PathBuf,
}

/// A file written by a person is far smaller; a device or a disk image named by mistake must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

fn read(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(SettingsError::TooLarge(path.to_owned()));
    }
    String::from_utf8(text).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        SettingsError::NotText { path: path.to_owned(), line }
    })
}

impl Settings {
    /// Reads a node file and the genesis it names.
    pub fn load(file: &Path) -> Result<Self, SettingsError> {
        Self::parse(file, &Sources::read(file)?)
    }

    /// The settings of a node file at `file` that was read before.
    ///
    /// # Errors
    /// When a text says something that cannot be.
    pub fn parse(file: &Path, sources: &Sources) -> Result<Self, SettingsError> {
        let config = NodeConfig::parse(file, &sources.node)?;
        let base = base(file)?;
        let genesis = bixi_config::parse_genesis(&base.join(&config.genesis), &sources.genesis)?;
        Ok(Self { config, genesis, base })
    }

    /// A path of the file, resolved.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// A path below the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path(&self.config.data_dir).join(name)
    }

    /// The broker's socket; `None` when this process holds the key device itself.
    pub fn broker(&self) -> Option<PathBuf> {
        let socket = &self.config.hsm.broker;
        (!socket.as_os_str().is_empty()).then(|| self.path(socket))
    }

    /// Where the PIN comes from.
    pub fn pin(&self) -> PinSource {
        source(&self.config.hsm.pin, &self.base, &format!("PIN of token {:?}", self.config.hsm.token))
    }

    /// The configured way to files.
    pub fn storage(&self, spawner: &Spawner) -> Result<Arc<dyn Storage>, SettingsError> {
        let backend = match self.config.storage.io {
            IoBackend::Auto => Backend::Auto,
            IoBackend::Pread => Backend::Pread,
            IoBackend::Uring => Backend::Uring,
            IoBackend::TokioUring => Backend::TokioUring,
        };
        let selection = io::select(backend, spawner);
        tracing::info!(backend = selection.storage.backend(), "storage");
        match selection.fell_back {
            // Asked for by name and not to be had: the operator must know, not find out from a benchmark.
            Some(reason) if backend != Backend::Auto => Err(SettingsError::Io(reason)),
            _ => Ok(selection.storage),
        }
    }
}

/// Where a secret comes from; relative paths start at `base`, and `prompt` is what a terminal shows.
fn source(pin: &Pin, base: &Path, prompt: &str) -> PinSource {
    match pin {
        Pin::File(path) => PinSource::File(base.join(path)),
        Pin::Fd(number) => PinSource::Fd(*number),
        Pin::Prompt => PinSource::Prompt { text: prompt.to_owned() },
        Pin::Credential(name) => PinSource::SystemdCredential(name.clone()),
    }
}

/// The same for a source that a command line names. What else stands there is not repeated: it may be the secret itself.
pub(crate) fn source_of(text: &str, base: &Path, prompt: &str) -> Result<PinSource, &'static str> {
    let pin = Pin::parse(text).ok_or(
        "a PIN or passphrase is never given on the command line: name its source, \"file:PATH\", \"fd:NUMBER\", \"credential:NAME\" or \
         \"prompt\"",
    )?;
    Ok(source(&pin, base, prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_configuration_file_is_refused_and_not_swallowed() {
        let endless = Settings::load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("is it the right file?"), "{endless}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bixi.toml");
        std::fs::write(&file, b"name = \"a\"\n# \xff\n").unwrap();
        let latin = Settings::load(&file).unwrap_err().to_string();
        assert!(latin.contains("bixi.toml:2: not UTF-8"), "{latin}");
    }

    #[test]
    fn relative_paths_start_at_the_directory_of_the_named_file() {
        let directory = tempfile::tempdir().unwrap();
        let (real, linked) = (directory.path().join("real"), directory.path().join("linked"));
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&linked).unwrap();
        std::fs::write(real.join("bixi.toml"), "genesis = \"absent.toml\"\n").unwrap();
        std::os::unix::fs::symlink(real.join("bixi.toml"), linked.join("bixi.toml")).unwrap();
        let error = Settings::load(&linked.join("bixi.toml")).unwrap_err().to_string();
        assert!(error.contains("linked/absent.toml"), "{error}");
    }
}
