//! The file system as RocksDB takes it.

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::Storage;
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

    /// Makes the database directory, for the owner only, and makes its name durable: RocksDB's bindings do neither.
    ///
    /// # Errors
    /// The system's.
    pub fn create_dir(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.create_dir(dir, true)?;
        match self.fs.absolute(dir)?.parent() {
            Some(parent) => self.fs.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Refuses a directory that RocksDB could only refuse with a riddle: a plaintext or foreign database, a wrong or missing
    /// key, a damaged CURRENT. An empty or missing directory passes.
    ///
    /// # Errors
    /// [`CipherFsError::NotSealed`], or what reading CURRENT says.
    pub fn check(&self, dir: &Path) -> Result<(), CipherFsError> {
        self.fs.check_database(dir)
    }
}
