//! A guard whose lock is held before there is a key to read it with: whoever is kept away, by another process or by a file that is not
//! there, is so before a PIN is sent for that key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_platform::io::{Lock, Storage};
use bixi_sealed::KeyRing;
use bixi_types::H256;

use super::journal::{self, Journal};
use super::{Guard, GuardError};

/// The right to open the guard at a path; nobody else has it until this is dropped.
pub struct Reserved {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reserved({})", self.path.display())
    }
}

impl Guard {
    /// Takes the lock of the guard at `path`, and nothing of what is in it.
    ///
    /// # Errors
    /// [`GuardError::Missing`], [`GuardError::Linked`], [`GuardError::InUse`]; the disk's.
    pub fn reserve(storage: Arc<dyn Storage>, path: impl AsRef<Path>) -> Result<Reserved, GuardError> {
        let path = path.as_ref().to_owned();
        let lock = journal::reserve(&*storage, &path)?;
        match storage.exists(&path) {
            Ok(true) => Ok(Reserved { storage, path, lock }),
            Ok(false) => Err(GuardError::Missing { path }),
            Err(error) => Err(journal::failed(&path, "look", &error)),
        }
    }

    /// Opens a guard that was reserved, as [`Guard::open`] does.
    ///
    /// # Errors
    /// As [`Guard::open`].
    pub fn open_reserved(reserved: Reserved, ring: KeyRing, chain: H256) -> Result<Self, GuardError> {
        let Reserved { storage, path, lock } = reserved;
        let (lanes, journal) = Journal::open(storage, &path, ring, chain, lock)?;
        Ok(Self::new(&path, lanes, journal))
    }
}

#[cfg(test)]
mod tests {
    use bixi_platform::io::PreadStorage;
    use bixi_platform::secret::Secret;
    use bixi_sealed::AtRest;

    use super::*;

    #[test]
    fn a_guard_that_is_not_there_or_not_free_is_told_without_its_key() {
        let place = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(PreadStorage::new());
        let (path, chain) = (place.path().join("guard"), H256([7; 32]));
        let missing = Guard::reserve(Arc::clone(&storage), &path).unwrap_err();
        assert!(matches!(missing, GuardError::Missing { .. }), "{missing}");
        let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap();
        drop(Guard::create(Arc::clone(&storage), &path, ring.clone(), chain).unwrap());
        let reserved = Guard::reserve(Arc::clone(&storage), &path).unwrap();
        let held = Guard::reserve(Arc::clone(&storage), &path).unwrap_err();
        assert!(matches!(held, GuardError::InUse { .. }), "{held}");
        let open = Guard::open_reserved(reserved, ring, chain).unwrap();
        assert!(matches!(Guard::reserve(storage, &path), Err(GuardError::InUse { .. })), "{open:?} has the same lock");
    }
}
