//! Parameters, and what the room tells about itself.

use bixi_types::{CryptoSuite, H256, NodeId};

use crate::engine::TimeoutKind;

/// Durations of the waits in a round; each grows with the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a proposal: base and growth per round, milliseconds.
    pub propose_ms: (u64, u64),
    /// For agreeing prevotes.
    pub prevote_ms: (u64, u64),
    /// For agreeing precommits.
    pub precommit_ms: (u64, u64),
    /// Before our votes are repeated.
    pub rebroadcast_ms: (u64, u64),
    /// No wait grows beyond this; one whose base is longer does not grow.
    pub max_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            propose_ms: (1_500, 500),
            prevote_ms: (500, 250),
            precommit_ms: (500, 250),
            rebroadcast_ms: (1_000, 250),
            max_ms: 30_000,
        }
    }
}

impl Timeouts {
    /// Duration of a wait in `round`, at least one millisecond.
    pub fn duration_ms(&self, kind: TimeoutKind, round: u32) -> u64 {
        let (base, growth) = match kind {
            TimeoutKind::Propose => self.propose_ms,
            TimeoutKind::Prevote => self.prevote_ms,
            TimeoutKind::Precommit => self.precommit_ms,
            TimeoutKind::Rebroadcast => self.rebroadcast_ms,
        };
        base.saturating_add(growth.saturating_mul(u64::from(round))).min(self.max_ms.max(base)).max(1)
    }
}

/// Parameters of one node's consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Our consensus public key.
    pub node: NodeId,
    /// Genesis hash.
    pub chain: H256,
    /// Algorithms of the chain.
    pub suite: CryptoSuite,
    /// How many decided heights may wait for the ledger (genesis).
    pub pipeline_depth: u64,
    /// Waits of a round.
    pub timeouts: Timeouts,
    /// How far a value's timestamp may be ahead of our clock.
    pub clock_drift_ms: u64,
    /// Pause before a failed signature is tried again.
    pub sign_retry_ms: u64,
    /// A signature that takes longer makes us a follower.
    pub sign_deadline_ms: u64,
    /// Pause between attempts of a follower whose device failed.
    pub sign_probe_ms: u64,
    /// Pause between repetitions of uncertified checkpoint votes and of unanswered mark requests.
    pub resend_ms: u64,
    /// Pause between two of our [`crate::Message::Status`].
    pub status_ms: u64,
}

impl Params {
    /// The usual waits.
    pub fn new(node: NodeId, chain: H256, suite: CryptoSuite, pipeline_depth: u64) -> Self {
        Self {
            node,
            chain,
            suite,
            pipeline_depth,
            timeouts: Timeouts::default(),
            clock_drift_ms: 2_000,
            sign_retry_ms: 100,
            sign_deadline_ms: 5_000,
            sign_probe_ms: 1_000,
            resend_ms: 500,
            status_ms: 1_000,
        }
    }
}

/// Why a node only follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The guard refused: something else was signed in this place. Until the next height.
    Conflict {
        /// Height of the conflict.
        height: u64,
    },
    /// The signer says that it does not sign such a statement: key, chain or configuration are not what this node was started
    /// with. Until the next height.
    Refused {
        /// Height of the refusal.
        height: u64,
        /// The signer's words.
        detail: String,
    },
    /// The signing device does not answer. Until it does.
    SignerUnavailable,
    /// The guard could not make its record durable. Until a restart.
    GuardStorage,
    /// A peer holds a message of ours that our own disk does not know (a restored copy). Until the chain has passed it.
    MarkAhead {
        /// Height to pass.
        until: u64,
    },
    /// After a start: others have decided heights this node does not know, and may have forgotten what it said at them. Until it
    /// has caught up.
    Behind {
        /// Height to pass.
        until: u64,
    },
    /// The ordering engine failed at this height. Until the next.
    EngineFault {
        /// The height.
        height: u64,
        /// What it said.
        detail: String,
    },
}

/// Whether the node votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// After a start: asking the others what they hold of ours.
    Abstaining,
    /// Voting, when it is a validator.
    Voting,
    /// Following only.
    Follower(Reason),
}

/// A snapshot for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Height being ordered or waited for.
    pub height: u64,
    /// Its round.
    pub round: u32,
    /// Whether the height has not been started.
    pub resting: bool,
    /// Whether we vote.
    pub mode: Mode,
    /// Last height decided.
    pub decided: u64,
    /// Last height certified.
    pub certified: u64,
    /// Last height committed to the ledger.
    pub committed: u64,
    /// Whether a signature is awaited.
    pub signing: bool,
    /// How long our clock must run before we accept any further value: the head's timestamp is that far above what the drift
    /// allows. Anything but 0 means that this clock is wrong, or that a quorum's clocks were.
    pub clock_behind_ms: u64,
}
