//! An audit log whose lock is held before there is a key to read it with: whoever is kept away by another process is so before a PIN is
//! sent for that key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_platform::io::{Lock, Storage};
use bixi_sealed::KeyRing;

use super::log::FILE_BYTES_MAX;
use super::{AuditError, AuditLog};

/// The right to open the log of a directory; nobody else has it until this is dropped.
pub struct Reserved {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    pub(super) lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reserved({})", self.dir.display())
    }
}

impl AuditLog {
    /// Takes the lock of a directory's log; makes the directory when it is missing.
    ///
    /// # Errors
    /// [`AuditError::InUse`]; the disk's errors.
    pub fn reserve(storage: Arc<dyn Storage>, dir: impl AsRef<Path>) -> Result<Reserved, AuditError> {
        let dir = dir.as_ref().to_owned();
        make_dir(&*storage, &dir)?;
        let lock = lock(&*storage, &dir)?;
        Ok(Reserved { storage, dir, lock })
    }

    /// Opens a log that was reserved, as [`AuditLog::open`] does.
    ///
    /// # Errors
    /// As [`AuditLog::open`].
    pub fn open_reserved(reserved: Reserved, ring: KeyRing) -> Result<Self, AuditError> {
        Self::open_limited(reserved, ring, FILE_BYTES_MAX)
    }
}

fn make_dir(storage: &dyn Storage, dir: &Path) -> Result<(), AuditError> {
    let failed = |error: &std::io::Error| AuditError::storage(dir, "make the directory", error);
    if storage.exists(dir).map_err(|error| failed(&error))? {
        return Ok(());
    }
    storage.create_dir_all(dir).map_err(|error| failed(&error))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => storage.sync_dir(parent).map_err(|error| failed(&error)),
        None => Ok(()),
    }
}

fn lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>, AuditError> {
    storage.lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => AuditError::InUse { path: dir.to_owned() },
        _ => AuditError::storage(dir, "lock", &error),
    })
}
