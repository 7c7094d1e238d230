//! What an officer does with a key of his own, on whatever machine he trusts: makes it, reads a statement, signs it.

use std::path::Path;

use bixi_hsm::officer::Override;
use bixi_hsm::officer::key::{FILE_BYTES, OfficerKey};
use bixi_platform::credentials::PinSource;
use bixi_types::NodeId;
use serde_json::Value;

use super::guard::{override_json, override_rows, read_override};
use super::{read_bounded, write_new};
use crate::launch::Failure;
use crate::settings::source_of;

/// Makes an officer's key in a new file, sealed by a passphrase from `source` (as `hsm.pin` is written); returns its public half.
///
/// # Errors
/// A file that is there, a passphrase that is too short.
pub fn make(out: &Path, source: &str) -> Result<NodeId, Failure> {
    let key = OfficerKey::generate()?;
    let passphrase = passphrase(source, "new passphrase of the officer's key")?;
    write_new(out, 0o400, &key.seal(&passphrase.read()?)?)?;
    Ok(NodeId(key.public_key()))
}

/// A statement that was read, to be shown before it is signed.
#[derive(Debug)]
pub struct Statement(Override);

impl Statement {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        read_override(path).map(Self)
    }

    /// Name and text of what it says.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        override_rows(&self.0)
    }

    /// The same as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        override_json(&self.0)
    }

    /// Signs it with an officer's key; the approval goes to a new file. Returns the officer.
    ///
    /// # Errors
    /// A key file that cannot be opened, a file that is there.
    pub fn approve(&self, key: &Path, source: &str, out: &Path) -> Result<NodeId, Failure> {
        let file = read_bounded(key, FILE_BYTES)?;
        let passphrase = passphrase(source, &format!("passphrase of {}", key.display()))?.read()?;
        let opened = OfficerKey::open(&file, &passphrase).map_err(|error| format!("{}: {error}", key.display()))?;
        write_new(out, 0o644, &opened.approve(&self.0)?.encode())?;
        Ok(NodeId(opened.public_key()))
    }
}

fn passphrase(source: &str, prompt: &str) -> Result<PinSource, Failure> {
    Ok(source_of(source, Path::new(""), prompt)?)
}
