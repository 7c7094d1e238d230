//! Validators in memory: a virtual clock, a hostile network, disks that forget and signers that fail, all from one seed.
//!
//! Every node runs the real [`crate::Core`]; the simulator is its host and performs the effects with seeded delays. A run
//! has a stormy part with faults and a calm part without; an observer outside checks after every effect:
//!
//! - agreement: one value and one certified header per height;
//! - validity: a value builds on its parent, its time moves on, its batches are durable at a quorum before it is decided;
//! - no validator says two different things in one place, and nothing before its log is durable;
//! - what the log holds is never signed again, and replaying a log twice gives the same effects;
//! - liveness: in the calm part every live node reaches the target height in bounded time.
//!
//! `BIXI_SIM_SEEDS` (count) and `BIXI_SIM_FIRST` (first seed) choose the campaign. A failing seed is run again with a trace.

mod babbler;
mod host;
mod observer;
mod plan;
mod random;
mod tests;
mod trace;
mod world;

pub(crate) use plan::{CrashAt, Plan};
pub(crate) use random::Random;
pub(crate) use world::{Outcome, World};

/// A deliberate fault in our own code, to show that the simulator would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Signatures leave before the log is durable.
    SkipFlush,
    /// A statement goes to the signer before what it follows from is durable.
    SignBeforeFlush,
    /// The guard lets everything through.
    SkipGuard,
    /// A value is voted for before its batches are durable.
    PrevoteWithoutBatches,
    /// A value may be older than its parent.
    AcceptLowerTimestamp,
}
