//! The ordering algorithm behind a trait: one height at a time, driven by inputs, answered in outputs.
//!
//! An engine neither checks signatures nor knows clocks, disks or peers. It is fed verified messages only.

use bixi_types::NodeId;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, SignedProposal, SignedVote, ValidatorSet, Value};
use bixi_types::ports::Statement;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::log::LogEntry;
use crate::message::{Message, PolkaCertificate, RoundCertificate};

mod tendermint;

pub use tendermint::Tendermint;

/// Which wait of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum TimeoutKind {
    /// For a proposal.
    Propose,
    /// For agreeing prevotes, once a quorum voted.
    Prevote,
    /// For agreeing precommits, once a quorum voted.
    Precommit,
    /// Before our last votes are repeated.
    Rebroadcast,
}

/// Our verdict on a proposed value. Valid means: every rule holds and all its batches are durable here.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Verdict {
    /// The value.
    pub value: Value,
    /// Round it was proposed in.
    pub round: u32,
    /// Its proof-of-lock round.
    pub pol_round: Option<u32>,
    /// Who proposed it.
    pub proposer: NodeId,
    /// Whether it may be voted for.
    pub valid: bool,
}

/// What an engine needs to work on a height.
#[derive(Debug, Clone)]
pub struct HeightStart<'a> {
    /// The height.
    pub height: u64,
    /// Its validators.
    pub validators: &'a ValidatorSet,
    /// Whether we may sign. Without it the engine only follows.
    pub enabled: bool,
    /// What the log already holds of this height. Our own messages in it are repeated, never signed again.
    pub log: &'a [LogEntry],
}

/// What an engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineInput {
    /// A verified proposal; its value still needs a verdict.
    Proposal(SignedProposal),
    /// A verified vote.
    Vote(SignedVote),
    /// A polka certificate whose signatures are verified.
    Polka(PolkaCertificate),
    /// A round certificate whose signatures are verified.
    Round(RoundCertificate),
    /// A timeout elapsed.
    Timeout {
        /// Its round.
        round: u32,
        /// Which.
        kind: TimeoutKind,
    },
    /// The value we propose in `round`.
    Propose {
        /// Round it was asked for.
        round: u32,
        /// The value.
        value: Value,
    },
    /// Our verdict on a proposed value.
    Verdict(Verdict),
    /// Answer to [`EngineOutput::Sign`].
    Signature(SignatureBytes),
}

/// What an engine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineOutput {
    /// A round began.
    RoundStarted {
        /// The round.
        round: u32,
        /// Its proposer.
        proposer: NodeId,
    },
    /// Remember this before anything that follows is said.
    Append(LogEntry),
    /// Sign this; the engine waits for [`EngineInput::Signature`] and queues what else it is told.
    Sign(Statement),
    /// Say this to all validators, once everything appended so far is durable.
    Publish(Message),
    /// Call back after the duration of `kind` in `round`.
    ScheduleTimeout {
        /// Round.
        round: u32,
        /// Which.
        kind: TimeoutKind,
    },
    /// Forget that timeout.
    CancelTimeout {
        /// Round.
        round: u32,
        /// Which.
        kind: TimeoutKind,
    },
    /// Forget all timeouts.
    CancelTimeouts,
    /// We are the proposer of `round`: answer with [`EngineInput::Propose`].
    GetValue {
        /// The round.
        round: u32,
    },
    /// The height is decided.
    Decided(CommitCertificate),
    /// A validator signed two different things.
    Equivocation(NodeId, Vec<Message>),
    /// The engine cannot go on at this height: the reason, for people.
    Failed(String),
}

/// An ordering algorithm.
pub trait OrderingEngine: Send {
    /// Begins or restarts a height from its log. Whatever was going on is dropped; messages queued for the same height stay.
    fn start(&mut self, start: HeightStart<'_>) -> Vec<EngineOutput>;

    /// Feeds one input.
    fn handle(&mut self, input: EngineInput) -> Vec<EngineOutput>;

    /// Whether a signature is awaited.
    fn awaits_signature(&self) -> bool;
}
