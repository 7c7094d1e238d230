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
    #[error(
        "{path} is not sealed: this is a plaintext or foreign database. If this node ran before, its ledger was sealed, and somebody has put \
         another in its place: keep the directory as evidence and restore the ledger from a backup. Only a ledger that never was sealed is \
         sealed where it is: stop node and broker, `bixi db seal`"
    )]
    NotSealed {
        /// The file looked at.
        path: PathBuf,
    },
    /// A plaintext database whose sealing was broken off.
    #[error("{path}: this database is being sealed, and that was broken off: `bixi db seal` goes on with it")]
    HalfSealed {
        /// Its directory.
        path: PathBuf,
    },
    /// One that was sealed from plaintext, and what is in it may be anything.
    #[error(
        "{path}: this database was sealed from plaintext, and is not found to be whole yet: `bixi db seal` goes on with its verification \
         and says of all that it finds what to do; where that is about this database, keep the directory as evidence and restore the ledger \
         from a backup"
    )]
    Unverified {
        /// Its directory.
        path: PathBuf,
    },
    /// Whoever seals it has not written down what there is.
    #[error("{path}: no sealing of this database was begun; nothing was changed")]
    NotBegun {
        /// Its directory.
        path: PathBuf,
    },
    /// A directory that is neither a plaintext database nor one whose sealing was broken off.
    #[error(
        "{path}: {what}: this was not left by sealing; move the whole directory elsewhere, restore it from a copy, then seal that; nothing more was \
         changed"
    )]
    Mixture {
        /// The file that does not fit.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// Something in a plaintext database's directory that cannot be sealed with it.
    #[error(
        "{path}: {what}; move it out of the directory, or undo what made it, and give the command again; nothing more was changed"
    )]
    Foreign {
        /// What does not belong there.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// A sealed copy does not read as what it is of.
    #[error(
        "{path}: its sealed copy reads otherwise: disk or memory of this machine cannot be relied on; the file is as it was"
    )]
    Differs {
        /// The file.
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

    /// Names what does not fit into a database that is to be sealed.
    pub(crate) fn mixture(path: &Path, what: &'static str) -> Self {
        Self::Mixture { path: path.to_owned(), what }
    }

    /// Names what cannot be sealed with a database.
    pub(crate) fn foreign(path: &Path, what: &'static str) -> Self {
        Self::Foreign { path: path.to_owned(), what }
    }

    /// Names the file of a codec error.
    pub(crate) fn sealed(path: &Path) -> impl FnOnce(SealedError) -> Self {
        let path = path.to_owned();
        move |source| Self::Sealed(source.at(path))
    }
}
