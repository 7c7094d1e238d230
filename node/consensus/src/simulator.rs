//! Validators in memory: a virtual clock, a hostile network, disks that forget and signers that fail, all from one seed.

/// A deliberate fault in our own code, to show that the simulator would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Signatures leave before the log is durable.
    SkipFlush,
    /// The guard lets everything through.
    SkipGuard,
    /// A value is voted for before its batches are durable.
    PrevoteWithoutBatches,
    /// A value may be older than its parent.
    AcceptLowerTimestamp,
}
