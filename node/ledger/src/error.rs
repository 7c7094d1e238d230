//! What can go wrong with the ledger, and what the caller can do.

use std::path::PathBuf;

use bixi_types::{CryptoSuite, H256};

use crate::engine::{CipherFsError, EngineError};

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request was wrong or came at the wrong time; the ledger is unharmed.
    Refuse,
    /// Storage failed or is damaged: stop the node, then reopen, restore or resynchronise.
    Halt,
}

/// An error of the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The storage engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The directory could not be opened.
    #[error("ledger in {dir}: {source}")]
    Open {
        /// The database directory.
        dir: PathBuf,
        /// Why.
        source: EngineError,
    },
    /// A plaintext database could not be sealed.
    #[error("{0}")]
    Sealing(#[source] CipherFsError),
    /// The database was written by another version of the format.
    #[error("the ledger has schema version {found}, this program reads version {supported}: {advice}")]
    Schema {
        /// On disk.
        found: u32,
        /// Understood here.
        supported: u32,
        /// What to do.
        advice: &'static str,
    },
    /// The database belongs to another chain.
    #[error(
        "the ledger belongs to the chain with genesis {found}, not {expected}: check the data directory and the genesis"
    )]
    OtherChain {
        /// On disk.
        found: H256,
        /// Configured.
        expected: H256,
    },
    /// The database belongs to a chain of another crypto suite.
    #[error(
        "the ledger belongs to a chain of suite {found:?}, not {expected:?}: check the data directory and the genesis"
    )]
    OtherSuite {
        /// On disk.
        found: CryptoSuite,
        /// Configured.
        expected: CryptoSuite,
    },
    /// No genesis block was written yet.
    #[error("the ledger is empty: write the genesis block first")]
    Uninitialised,
    /// A record is missing, unreadable or contradicts another one.
    #[error("the ledger is damaged: {0}; restore a backup or resynchronise from peers")]
    Damaged(String),
    /// The ledger began with a snapshot and does not hold what is asked for.
    #[error(
        "{what} of block {number} are not here: this node joined by a snapshot and holds them from block {first} on; ask a node that has the whole chain"
    )]
    NoHistory {
        /// Transactions or receipts.
        what: &'static str,
        /// The height asked for.
        number: u64,
        /// The first height that can be asked for.
        first: u64,
    },
    /// A block or a write set came out of order.
    #[error("height {found} came where {expected} was expected")]
    OutOfOrder {
        /// The next acceptable height.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A block does not fit what the ledger holds.
    #[error("block {number} cannot be committed: {reason}")]
    Unfit {
        /// Its height.
        number: u64,
        /// What does not fit.
        reason: String,
    },
    /// An earlier write failed; nothing is written any more.
    #[error("an earlier write to the ledger failed: restart the node")]
    Poisoned,
}

impl LedgerError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfOrder { .. } | Self::Unfit { .. } | Self::Uninitialised | Self::NoHistory { .. } => {
                ErrorKind::Refuse
            }
            _ => ErrorKind::Halt,
        }
    }
}

/// A damaged record, named.
pub(crate) fn damaged(what: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged(what.to_string())
}
