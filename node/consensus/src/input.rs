//! What the host tells the room.

use bixi_types::consensus::{SignatureBytes, ValidatorSet};
use bixi_types::header::BlockHeader;
use bixi_types::ports::SignError;
use bixi_types::{H256, NodeId};

use crate::log::LogEntry;
use crate::message::{Mark, Message};

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Never goes back; timers use it. Milliseconds from any origin.
    pub monotonic_ms: u64,
    /// Wall clock, milliseconds since the Unix epoch; timestamps use it.
    pub unix_ms: u64,
}

/// What a height is ordered and executed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeightRules {
    /// The validators of the height.
    pub validators: ValidatorSet,
    /// Rules its value must name.
    pub protocol_version: u32,
}

/// The last ordered value the next one builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its height; 0 is genesis.
    pub height: u64,
    /// Its value id; at genesis the genesis hash.
    pub id: H256,
    /// Its timestamp.
    pub timestamp_ms: u64,
}

/// What the node knows when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The ledger's head.
    pub committed: Head,
    /// Rules of the heights `committed + 1 ..= committed + pipeline_depth + 1`, in order.
    pub rules: Vec<HeightRules>,
    /// The ordering log in the order it was written; entries at or below the committed height are ignored.
    pub log: Vec<LogEntry>,
    /// The highest place in which the guard saw our key sign although neither log nor ledger holds what that rests on: the disk is
    /// an old copy, or lost its tail. We follow until the chain has passed it. `None` when the disk remembers everything.
    pub signed: Option<Mark>,
}

/// One thing that happened.
#[expect(clippy::large_enum_variant, reason = "moved once, from the host to the core")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// First input, once.
    Start(Box<Start>),
    /// Nothing but time: fed when [`crate::Core::deadline_ms`] is reached.
    Tick,
    /// A message whose [`crate::Core::checks`] all hold.
    Message {
        /// The authenticated peer that sent it (not always the signer).
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// Whether batches wait that are in no decided value and in no value that was built or made durable for the running
    /// height. An idle chain rests.
    WorkPending(bool),
    /// Answer to [`crate::Effect::BuildValue`]; an empty list is a legal, empty value.
    ValueBuilt {
        /// Height asked for.
        height: u64,
        /// Round asked for.
        round: u32,
        /// Digests of batches, in order.
        batches: Vec<H256>,
    },
    /// Every batch of this value is fsynced in our ordering log.
    BatchesDurable {
        /// Value id.
        value: H256,
    },
    /// A batch of this value breaks a rule of batches (pure function of bytes and genesis).
    BatchesInvalid {
        /// Value id.
        value: H256,
    },
    /// Answer to [`crate::Effect::Sign`].
    Signed {
        /// Its id.
        id: u64,
        /// The signature, already verified in software, or why there is none.
        result: Result<SignatureBytes, SignError>,
    },
    /// Everything appended before [`crate::Effect::Flush`] `id` is durable.
    LogFlushed {
        /// Its id.
        id: u64,
    },
    /// A decided height was executed.
    Executed {
        /// The height.
        height: u64,
        /// The header, without signatures.
        header: Box<BlockHeader>,
        /// Its hash.
        header_hash: H256,
    },
    /// The ledger holds a certified height durably.
    LedgerCommitted {
        /// The height; heights come in order.
        height: u64,
        /// Rules of `height + pipeline_depth + 1`, which follow from its state.
        rules: HeightRules,
    },
}
