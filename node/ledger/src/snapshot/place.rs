//! Where a snapshot is put together, and how it takes the ledger's place.
//!
//! ```text
//! ledger.joining ── publish ──▶ ledger.joined ── adopt (at a start, before the ledger is opened) ──▶ ledger
//!                                                ledger ──▶ ledger.replaced ──▶ removed
//! ```
//! Every step is one rename, and [`adopt`] begins again wherever a crash left it: there is always one whole ledger.

use std::io;
use std::path::{Path, PathBuf};

use bixi_platform::io::Storage;
use bixi_platform::io::directory_of;

/// The directories around a ledger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The ledger.
    pub ledger: PathBuf,
    /// A snapshot that is being received.
    pub joining: PathBuf,
    /// A snapshot that was received and checked as a whole.
    pub joined: PathBuf,
    pub(super) replaced: PathBuf,
}

impl Places {
    /// Beside the ledger in `ledger`.
    pub fn around(ledger: &Path) -> Self {
        let beside = |ending: &str| {
            let mut name = ledger.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self {
            ledger: ledger.to_owned(),
            joining: beside(".joining"),
            joined: beside(".joined"),
            replaced: beside(".replaced"),
        }
    }
}

/// Removes a database directory, if it is there. Nobody may have it open.
///
/// # Errors
/// The system's; what is left can be removed again.
pub fn discard(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    if !storage.exists(dir)? {
        return Ok(());
    }
    for name in storage.list(dir)? {
        let path = dir.join(name);
        if storage.metadata(&path)?.is_dir { discard(storage, &path)? } else { storage.remove(&path)? }
    }
    storage.remove_dir(dir)?;
    storage.sync_dir(directory_of(dir))
}

/// Bytes of all files in a database directory; 0 when it is not there.
///
/// # Errors
/// The system's.
pub fn bytes_in(storage: &dyn Storage, dir: &Path) -> io::Result<u64> {
    if !storage.exists(dir)? {
        return Ok(0);
    }
    let mut bytes = 0;
    for name in storage.list(dir)? {
        let path = dir.join(name);
        bytes += match storage.metadata(&path) {
            Ok(found) if found.is_dir => bytes_in(storage, &path)?,
            Ok(found) => found.len,
            // The engine may remove a file meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

/// Gives a finished snapshot the name under which the next start takes it over. Nobody may have it open.
///
/// # Errors
/// The system's.
pub fn publish(storage: &dyn Storage, places: &Places) -> io::Result<()> {
    discard(storage, &places.joined)?;
    storage.rename(&places.joining, &places.joined)?;
    storage.sync_dir(directory_of(&places.joined))
}

/// Puts a published snapshot in the ledger's place, if there is one. Nobody may have either open.
///
/// # Errors
/// The system's; the next call goes on from there.
pub fn adopt(storage: &dyn Storage, places: &Places) -> io::Result<bool> {
    let is_there = storage.exists(&places.joined)?;
    if is_there {
        if storage.exists(&places.ledger)? {
            discard(storage, &places.replaced)?;
            storage.rename(&places.ledger, &places.replaced)?;
        }
        storage.rename(&places.joined, &places.ledger)?;
        storage.sync_dir(directory_of(&places.ledger))?;
    }
    discard(storage, &places.replaced)?;
    Ok(is_there)
}
