//! What can go wrong with a sealed file, and what to do about it.

use std::{io, path::PathBuf};

use crate::{Layout, Purpose};

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The system refused; the same call on a reopened file may succeed later.
    Retry,
    /// This file, or this use of it, is refused; others are not affected.
    Refuse,
    /// Data was altered or durability is unknown: stop and let an operator look.
    Halt,
}

/// An error of the codec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The file system refused.
    #[error("cannot {action} the sealed file: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file does not start with the magic.
    #[error("not a sealed file: it does not start with the magic; a plaintext or foreign file is never read as data")]
    NotSealed,
    /// A version, suite, layout or page size this build does not know.
    #[error("the file's {field} is {value}, which this build does not know; use the build that wrote it")]
    Unsupported {
        /// Header field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The header names another layout.
    #[error("the file has layout {found:?}, not {expected:?}")]
    WrongLayout {
        /// In the header.
        found: Layout,
        /// Asked for.
        expected: Layout,
    },
    /// The header names another purpose.
    #[error("the file was sealed as {found:?}, not as {expected:?}; files cannot stand in for each other")]
    WrongPurpose {
        /// In the header.
        found: Purpose,
        /// Asked for.
        expected: Purpose,
    },
    /// The key ring lacks the epoch.
    #[error("the file needs key epoch {epoch}, which is not in the key ring; open the vault that holds it")]
    MissingEpoch {
        /// Named by the segment.
        epoch: u32,
    },
    /// The keys are another process's.
    #[error("this process was forked from the one that unlocked the keys: it may neither open nor seal")]
    Forked,
    /// The header does not authenticate.
    #[error("the header is refused under key epoch {epoch}: another node's key, or the header was edited")]
    HeaderRefused {
        /// Named by the segment.
        epoch: u32,
    },
    /// Bytes that were acknowledged as durable do not authenticate.
    #[error(
        "tampered at byte {offset}: {what}; restore the newest copy of this file; a ledger can be fetched from the peers instead"
    )]
    Tampered {
        /// Offset in the file.
        offset: u64,
        /// Frame, page or segment, and why it is not a torn tail.
        what: &'static str,
    },
    /// A table without an authentic final page.
    #[error("incomplete at byte {offset}: the file was never finished, or was cut at a page boundary")]
    Incomplete {
        /// Offset in the file.
        offset: u64,
    },
    /// More than one file, or one body, may hold.
    #[error("{bytes} bytes are more than the {bytes_max} that fit")]
    TooLarge {
        /// Asked for.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A file to be made holds bytes.
    #[error("the file to create already holds {bytes} bytes; sealed files are made empty or reopened")]
    NotEmpty {
        /// Its length.
        bytes: u64,
    },
    /// An earlier write or sync failed.
    #[error("an earlier write failed, so nothing more is written to this file: reopen it")]
    Poisoned,
    /// The table was sealed as final.
    #[error("the file was sealed as final and takes no more data")]
    Finished,
    /// Any of these, with the file's name.
    #[error("{}: {source}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        #[source]
        source: Box<SealedError>,
    },
}

impl SealedError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Adds the file's name.
    #[must_use]
    pub fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::At { .. } => self,
            source => Self::At { path: path.into(), source: Box::new(source) },
        }
    }

    /// The error without the file's name.
    pub fn cause(&self) -> &Self {
        match self {
            Self::At { source, .. } => source.cause(),
            other => other,
        }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self.cause() {
            Self::Io { .. } => ErrorKind::Retry,
            Self::Tampered { .. } | Self::HeaderRefused { .. } | Self::Poisoned | Self::Forked => ErrorKind::Halt,
            _ => ErrorKind::Refuse,
        }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause(), Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl From<SealedError> for io::Error {
    /// Keeps the system's kind; anything else becomes `InvalidData`, so that callers see an I/O error, never an end of file.
    fn from(error: SealedError) -> Self {
        let kind = match error.cause() {
            SealedError::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
