//! What reaches the consensus thread.

use bixi_consensus::Input;

/// One event for the consensus thread.
pub(crate) enum Event {
    /// An answer to an effect, or news from execution.
    Input(Box<Input>),
    /// Transactions entered the pool.
    Work,
    /// A thread cannot go on; the node must stop.
    Fault(Fault),
    /// Stop in order.
    Stop,
}

/// Why the node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A write that had to be durable failed.
    #[error("{what} could not be made durable: {detail}; free space or replace the disk, then start again")]
    Durability {
        /// What was written.
        what: &'static str,
        /// The error.
        detail: String,
    },
    /// Execution could not read the state or broke an invariant.
    #[error("block {height} could not be executed: {detail}")]
    Execution {
        /// The height.
        height: u64,
        /// The error.
        detail: String,
    },
    /// Consensus stopped itself and kept its evidence.
    #[error("consensus halted: {0}")]
    Consensus(String),
}
