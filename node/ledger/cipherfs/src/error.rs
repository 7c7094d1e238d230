//! What can go wrong below RocksDB.

use std::io;
use std::path::{Path, PathBuf};

use bixi_sealed::SealedError;

/// Why a file operation failed. RocksDB sees an I/O error with this text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CipherFsError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content does not authenticate, the key is not the one it was sealed with, or the system refused. Names the file.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// A file that was synced before it got its name ends in the middle.
    #[error(
        "{path}: the file ends in a damaged frame at offset {offset}; it was whole when it was written: restore it from a backup"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Where the damage begins in the sealed file.
        offset: u64,
    },
    /// A file that was closed before it got its name lacks its end.
    #[error("{path}: the end of the file is missing; it was whole when it was written: restore it from a backup")]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// The directory holds a database that was not written by this file system.
    #[error("{path} is not sealed: this is a plaintext or foreign database; it must be migrated before it can be used")]
    NotSealed {
        /// The file looked at.
        path: PathBuf,
    },
    /// A log of another name.
    #[error("{path} was written as {title}: one log cannot stand in for another; restore the file that was here")]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What its first frame says.
        title: String,
    },
    /// The directory holds a database without the file that says where it begins.
    #[error(
        "{path} is missing, but {witness} beside it holds data: RocksDB would begin an empty database and delete the old one; \
         restore {path} or the whole directory from a backup, or move the directory away and resynchronise from peers"
    )]
    LostCurrent {
        /// Where CURRENT was.
        path: PathBuf,
        /// A file that exists only while CURRENT does.
        witness: String,
    },
    /// The operation does not exist for sealed files.
    #[error("{path}: {what} is not supported on sealed files")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The operation.
        what: &'static str,
    },
    /// Another process has the database open.
    #[error("{path} is locked: another process has this database open")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file was closed, or an earlier write to it failed.
    #[error("{path}: the file is closed")]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// RocksDB's environment could not be made.
    #[error("out of memory while making the RocksDB environment")]
    OutOfMemory,
}

impl CipherFsError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Sealed(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// Names the file of a system error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Names the file of a codec error.
    pub(crate) fn sealed(path: &Path) -> impl FnOnce(SealedError) -> Self {
        let path = path.to_owned();
        move |source| Self::Sealed(source.at(path))
    }
}
