//! The file system as RocksDB takes it.

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::{Storage, directory_of};
use bixi_sealed::KeyRing;
use bixi_sealed::pages::PageSize;
use rocksdb::Env;

use crate::error::CipherFsError;
use crate::ffi;
use crate::fs::SealedFs;
use crate::plain::SealingWatch;
use crate::reseal::Watch;

/// Sealed files for RocksDB.
#[derive(Clone)]
pub struct CipherFs {
    fs: Arc<SealedFs>,
}

impl CipherFs {
    /// Files on `storage`, sealed under `keys`.
    pub fn new(storage: Arc<dyn Storage>, keys: KeyRing) -> Self {
        Self::with_page_size(storage, keys, PageSize::default())
    }

    /// [`CipherFs::new`], with pages of another size in the tables that it makes. Tables are read whatever their pages.
    pub fn with_page_size(storage: Arc<dyn Storage>, keys: KeyRing, page: PageSize) -> Self {
        Self { fs: Arc::new(SealedFs::new(storage, keys, page)) }
    }

    /// An environment for `rocksdb::Options::set_env`.
    ///
    /// # Errors
    /// [`CipherFsError::OutOfMemory`].
    pub fn env(&self) -> Result<Env, CipherFsError> {
        ffi::new_env(Arc::clone(&self.fs))
    }

    /// Makes the database directory, for the owner only, and makes its name durable, also when another program made it:
    /// RocksDB's bindings do neither.
    ///
    /// # Errors
    /// The system's.
    pub fn create_dir(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.create_dir(dir, true)?;
        self.fs.sync_dir(directory_of(dir))
    }

    /// Seals every file of a database anew that is of an older epoch than the ring's current one, while RocksDB may work on it; true when
    /// nothing is left, false where `watch` ended it. May be repeated after any end, a crash included, and does what is left then.
    ///
    /// # Errors
    /// A file that does not authenticate, or the system's; what is done stays done.
    pub fn reseal(&self, dir: &Path, watch: Watch<'_>) -> Result<bool, CipherFsError> {
        self.fs.reseal(dir, watch)
    }

    /// Begins to seal a plaintext database that nobody has open: writes down its files, durably. From
    /// here on it is refused until [`Self::accept_sealed`]. False where `watch` ended it before.
    ///
    /// # Errors
    /// [`CipherFsError::Foreign`], or the system's; begun or not, which [`crate::plain_stage`] tells.
    pub fn begin_sealing(&self, dir: &Path, watch: SealingWatch<'_>) -> Result<bool, CipherFsError> {
        self.fs.begin_sealing(dir, watch)
    }

    /// Seals each file of a database by itself whose sealing was begun; true when all are, false where `watch` ended it. May be repeated
    /// after any end, a crash included, and does what is left then. Nobody may have the database open. A file's plaintext is removed, not
    /// overwritten: its blocks stay on the disk until something else is written there.
    ///
    /// # Errors
    /// [`CipherFsError::NotBegun`], [`CipherFsError::Mixture`], [`CipherFsError::Foreign`], [`CipherFsError::Differs`], or the system's; each
    /// file is as it was or sealed.
    pub fn seal_plain(&self, dir: &Path, watch: SealingWatch<'_>) -> Result<bool, CipherFsError> {
        self.fs.seal_plain(dir, watch)
    }

    /// Lets a database be opened that [`Self::seal_plain`] sealed, once somebody has verified what is in it.
    ///
    /// # Errors
    /// The system's; until it succeeds nobody opens it.
    pub fn accept_sealed(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.accept_sealed(dir)
    }

    /// Refuses a directory that RocksDB could only refuse with a riddle: a plaintext or foreign database, a wrong or missing
    /// key, a damaged CURRENT. One whose CURRENT is lost is refused too: RocksDB would overwrite it. An empty or missing
    /// directory passes.
    ///
    /// # Errors
    /// [`CipherFsError::NotSealed`], [`CipherFsError::HalfSealed`], [`CipherFsError::Unverified`], [`CipherFsError::LostCurrent`], or what
    /// reading CURRENT says.
    pub fn check(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.check_database(dir)
    }

    /// The same for who verifies it: one that was sealed from plaintext and is not verified yet passes.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_to_verify(&self, dir: &Path) -> Result<(), CipherFsError> {
        match self.fs.check_database(dir) {
            Err(CipherFsError::Unverified { .. }) => self.fs.check_files(dir),
            checked => checked,
        }
    }
}
