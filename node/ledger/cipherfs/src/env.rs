//! The file system as RocksDB takes it.

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::{Storage, directory_of};
use bixi_sealed::KeyRing;
use rocksdb::Env;

use crate::error::CipherFsError;
use crate::ffi;
use crate::fs::SealedFs;

/// Sealed files for RocksDB.
#[derive(Clone)]
pub struct CipherFs {
    fs: Arc<SealedFs>,
}

impl CipherFs {
    /// Files on `storage`, sealed under `keys`.
    pub fn new(storage: Arc<dyn Storage>, keys: KeyRing) -> Self {
        Self { fs: Arc::new(SealedFs::new(storage, keys)) }
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

    /// Refuses a directory that RocksDB could only refuse with a riddle: a plaintext or foreign database, a wrong or missing
    /// key, a damaged CURRENT. One whose CURRENT is lost is refused too: RocksDB would overwrite it. An empty or missing
    /// directory passes.
    ///
    /// # Errors
    /// [`CipherFsError::NotSealed`], [`CipherFsError::LostCurrent`], or what reading CURRENT says.
    pub fn check(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.check_database(dir)
    }
}
