//! One line per event an officer must see: a damaged file, a spent PIN attempt. Nothing secret is ever passed here.

use std::io::Write as _;
use std::path::PathBuf;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, which systemd hands to the journal.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
    /// Nowhere.
    Silent,
}

impl Target {
    /// Write one line. A log that cannot be written never fails the operation it describes.
    pub(crate) fn line(&self, message: std::fmt::Arguments<'_>) {
        let text = format!("bixi-token[{}]: {message}\n", std::process::id());
        let _ = match self {
            Target::Stderr => std::io::stderr().write_all(text.as_bytes()),
            Target::File(path) => std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
            Target::Silent => Ok(()),
        };
    }
}
