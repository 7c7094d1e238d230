//! Validators in memory: a virtual clock, a hostile network, disks that forget, signers that fail, clocks that are wrong,
//! validators that exist twice and validators that lie, all from one seed.
//!
//! Every node runs the real [`crate::Core`]; the simulator is its host and performs the effects with seeded delays. A run
//! has a stormy part with faults and a calm part without; an observer outside checks after every effect:
//!
//! - agreement: one value and one certified header per height, each with a proof that anybody can verify;
//! - validity: a value builds on its parent, its time moves on and is bounded by the clocks that are well, its batches are
//!   durable at a quorum before it is decided;
//! - no validator that is well says two different things in one place, nothing before its log is durable, and none is accused;
//! - what the log holds is never signed again, and replaying a log twice gives the same effects;
//! - liveness: in the calm part every live node reaches the target height in bounded time.
//!
//! [`Kind`] names the plans; the README says how to run the long campaign and one seed again.

mod guard;
mod liar;
mod machine;
mod observer;
mod plan;
mod random;
mod tests;
mod totals;
mod trace;
mod twins;
mod world;

pub(crate) use plan::{CrashAt, Kind, Plan};
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
    /// Signatures of messages are not verified.
    AcceptUnverified,
    /// The host calls batches durable that no flush will write.
    SkipBatchFlush,
    /// A message under our own key that we do not know, told by peers, makes us think nothing of it.
    IgnoreOwnTraces,
}
