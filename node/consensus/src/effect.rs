//! What the room asks the host to do. Effects are performed in order; the README says how.

use bixi_types::consensus::{CheckpointVote, CommitCertificate, SignatureBytes, Value};
use bixi_types::ports::{Destination, Statement};
use bixi_types::{H256, NodeId};

use crate::log::LogEntry;
use crate::message::{CheckpointCertificate, Message};
use crate::params::Mode;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the ordering log. Not yet durable.
    Append(LogEntry),
    /// Make everything appended so far durable, then feed [`crate::Input::LogFlushed`]. A failure halts the node.
    Flush {
        /// Id to answer with.
        id: u64,
    },
    /// Have the statement signed (guard first), verify the signature, then feed [`crate::Input::Signed`].
    Sign {
        /// Id to answer with.
        id: u64,
        /// The statement.
        statement: Statement,
    },
    /// Send to peers. What it must wait for has already happened.
    Send {
        /// To whom.
        to: Destination,
        /// The message.
        message: Message,
    },
    /// We propose: choose batches and feed [`crate::Input::ValueBuilt`], at once if there are none.
    BuildValue {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Monotonic time after which the round goes on without us.
        deadline_ms: u64,
    },
    /// Fetch what is missing, check every batch, fsync them, then feed [`crate::Input::BatchesDurable`] or
    /// [`crate::Input::BatchesInvalid`].
    EnsureBatches {
        /// Value id to answer with.
        id: H256,
        /// The value.
        value: Value,
        /// A peer that should hold the batches: of a proposed value the last one who proposed it, ourselves when we built it.
        from: NodeId,
        /// Whether a quorum has decided the value; else it is what one proposer says.
        is_decided: bool,
    },
    /// The order is final: execute. Heights come in order, once each after a start.
    Decide {
        /// Height.
        height: u64,
        /// The value.
        value: Value,
        /// Its proof.
        certificate: CommitCertificate,
    },
    /// The result is final: commit to the ledger, then feed [`crate::Input::LedgerCommitted`]. Heights come in order.
    CheckpointCertified {
        /// Height.
        height: u64,
        /// Hash of the header.
        header_hash: H256,
        /// Index in the validator set and signature, by index.
        signatures: Vec<(u32, SignatureBytes)>,
    },
    /// Send [`Message::Decided`] and [`Message::Certified`] of a committed height from the ledger.
    Serve {
        /// To whom.
        to: NodeId,
        /// The height.
        height: u64,
    },
    /// Log entries at and below this height are no longer needed.
    Forget {
        /// The height.
        height: u64,
    },
    /// A round began; for people and metrics.
    RoundStarted {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Its proposer.
        proposer: NodeId,
    },
    /// The node votes or follows from now on; for people and metrics.
    ModeChanged(Mode),
    /// Somebody misbehaved or disagrees; keep it.
    Evidence(Evidence),
    /// Stop loudly and keep the evidence. Nothing more comes.
    Halt(HaltReason),
}

/// Something to keep for the operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A validator signed two different things in one place.
    Equivocation {
        /// The validator.
        node: NodeId,
        /// What it signed.
        messages: Vec<Message>,
    },
    /// A validator told us two headers of one height. Its signatures do not cover the height: proof for us, who know the
    /// session it said so in, not for others.
    CheckpointEquivocation {
        /// Its votes.
        votes: Box<[CheckpointVote; 2]>,
    },
    /// A validator's result differs from ours.
    Divergence {
        /// Its vote.
        vote: CheckpointVote,
        /// Our header's hash.
        ours: H256,
        /// With this vote those for other headers weigh more than a third: an honest validator is among them. Once for a height.
        is_grave: bool,
    },
    /// The signer refused our checkpoint vote for good: our key signed another header of this height, or a later height (an
    /// old copy of the disk), or does not sign for this chain. The others certify the height without us; alone, an operator must act.
    CheckpointRefused {
        /// The height.
        height: u64,
        /// What we executed now.
        header_hash: H256,
        /// The signer's words.
        detail: String,
    },
}

/// Why the node must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HaltReason {
    /// A quorum signed another result than ours.
    #[error("height {height}: we executed {ours}, a quorum signed {}", theirs.header_hash)]
    Diverged {
        /// Height.
        height: u64,
        /// Our header's hash.
        ours: H256,
        /// The quorum's.
        theirs: Box<CheckpointCertificate>,
    },
    /// Executing again gave another header than the one we signed.
    #[error("height {height}: we signed {signed} and now executed {executed}; run `bixi db replay --height {height}`")]
    NotDeterministic {
        /// Height.
        height: u64,
        /// What we signed.
        signed: H256,
        /// What we executed now.
        executed: H256,
    },
    /// The guard holds another statement of ours, and no other validator can take the chain past it.
    #[error(
        "height {height}: the key has signed something else here ({detail}), and it is the only validator: the ordering log \
         lost its tail, or the key is used elsewhere; stop the other node or restore the newer disk"
    )]
    SignedBefore {
        /// Height.
        height: u64,
        /// The guard's words.
        detail: String,
    },
    /// The ordering engine failed even without signing.
    #[error("height {height}: ordering failed: {detail}")]
    EngineFault {
        /// Height.
        height: u64,
        /// Its words.
        detail: String,
    },
}
