//! Why execution could not go on. A transaction that fails is not an error: it gets a receipt.

use bixi_types::state::StateError;

/// Execution of a block or a call stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// The state could not be read. Halt: the block must be executed again on a healthy store, never skipped.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row of the state does not decode. Halt: the store is damaged or was written by a newer release.
    #[error("state row {table}/{key} does not decode: restore the node from a snapshot or from its peers")]
    Corrupt {
        /// Name of the table.
        table: &'static str,
        /// The row's key, hexadecimal.
        key: String,
    },
    /// The hash of a block that contracts may ask for is not there. Halt: answering zero would make this node's result another
    /// one than its peers'.
    #[error("hash of block {0} is unknown to the state view; the view must know every block below the one executed")]
    UnknownBlockHash(u64),
    /// The block was ordered under rules this release does not know. Halt and upgrade.
    #[error("block asks for protocol version {asked}, this release knows {known}: install a release that knows it")]
    UnsupportedProtocol {
        /// The block's version.
        asked: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The interpreter stopped in a way that no transaction may cause. Halt and report.
    #[error("EVM stopped unexpectedly: {0}")]
    Evm(String),
}
