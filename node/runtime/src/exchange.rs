//! What passes between this node and its peers, apart from what consensus itself decides to say.
//!
//! ```text
//! peers ─▶ door ─ consensus message ─▶ consensus thread (checks) ─▶ message-checks ─▶ Input::Message
//!            ├── batch ─────────────▶ batch-checks ─▶ batch store ─▶ Work
//!            ├── snapshot, headers ─▶ snapshot-join, snapshot-serve
//!            ├── head, heights ─────▶ consensus thread (who is how far, catching up) ─▶ height-checks ─▶ Proven
//!            └── request ───────────▶ serve ─ store or ledger, peers in turn ─▶ peers
//! ```
//!
//! Nothing waits without a bound: each peer has its own for every queue, held by a [`quota::Ticket`] until its item is done. What breaks
//! a rule that honest nodes keep is charged to the peer that sent it; what is merely too much is dropped.

mod checks;
mod door;
mod heights;
mod proven;
mod quota;
mod recipe;
mod serve;
mod turns;

use std::sync::Arc;

use bixi_types::limits::{BATCH_BYTES_MAX, HEIGHTS_BYTES_MAX, MESSAGE_BYTES_MAX, VALUE_BATCHES_MAX};
use bixi_types::{CryptoSuite, H256};
use borsh::{BorshDeserialize, BorshSerialize};
use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::batches::BatchStore;
use crate::event::Event;
use crate::snapshot::{self, JoinEvent, SnapshotJob};

pub(crate) use checks::{BatchChecks, BatchJob, HeightChecks, MessageCheck, MessageChecks};
use door::Lines;
pub(crate) use door::{Door, Offences};
#[cfg(test)]
pub(crate) use heights::HeightProof;
pub(crate) use heights::{HeightRange, Heights};
pub(crate) use proven::{Proven, signatures_of};
#[cfg(test)]
pub(crate) use quota::Quota;
pub(crate) use quota::Ticket;
pub(crate) use recipe::Recipe;
pub(crate) use serve::{Asked, ServeJob, Server, tell_head};
pub(crate) use turns::Turns;

/// The door and the queues behind it, made before the threads that serve them. Their length is bounded by what the door lets each peer
/// hold.
pub(crate) struct Queues {
    pub door: Arc<Door>,
    pub offences: Arc<Offences>,
    pub batch_jobs: (Sender<BatchJob>, Receiver<BatchJob>),
    pub serve_jobs: (Sender<ServeJob>, Receiver<ServeJob>),
    pub snapshot_jobs: (Sender<SnapshotJob>, Receiver<SnapshotJob>),
    pub joins: (Sender<JoinEvent>, Receiver<JoinEvent>),
}

impl Queues {
    pub(crate) fn new(suite: CryptoSuite, batches: &Arc<BatchStore>, events: &Sender<Event>) -> Self {
        let (offences, batch_jobs, serve_jobs) = (Arc::new(Offences::default()), unbounded(), unbounded());
        let (snapshot_jobs, joins) = (unbounded(), unbounded());
        let lines = Lines {
            events: events.clone(),
            checks: batch_jobs.0.clone(),
            serve: serve_jobs.0.clone(),
            snapshots: snapshot_jobs.0.clone(),
            joins: joins.0.clone(),
        };
        let door = Arc::new(Door::new(suite, Arc::clone(batches), Arc::clone(&offences), lines));
        Self { door, offences, batch_jobs, serve_jobs, snapshot_jobs, joins }
    }
}

/// Tag and lengths around the bytes of what is carried.
const FRAMING_BYTES: usize = 16;
/// Longest message of the channel: one of a snapshot.
const BYTES_MAX: usize = snapshot::Message::BYTES_MAX + FRAMING_BYTES;
const _: () = assert!(
    BATCH_BYTES_MAX < snapshot::Message::BYTES_MAX && HEIGHTS_BYTES_MAX < snapshot::Message::BYTES_MAX,
    "everything else is shorter"
);
const _: () = assert!(BYTES_MAX <= MESSAGE_BYTES_MAX, "what nodes send fits a message between them");

/// A message of the bulk channel, in borsh.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Exchange {
    /// An encoded batch: news, or the answer to a request.
    Batch(Vec<u8>),
    /// Please send the batches of these digests, named by a value of this height.
    Want { height: u64, digests: Vec<H256> },
    /// Please send these committed heights.
    WantHeights(HeightRange),
    /// The answer.
    Heights(Heights),
    /// The sender's ledger reaches to here; told to everybody now and then, and to who connects.
    Head { number: u64, hash: H256 },
    /// About snapshots.
    Snapshot(snapshot::Message),
}

impl Exchange {
    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads exactly one message within the shared limits.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > BYTES_MAX {
            return Err(format!("bulk message of {} bytes; at most {BYTES_MAX} are sent", bytes.len()));
        }
        let message = Self::try_from_slice(bytes).map_err(|error| format!("malformed bulk message: {error}"))?;
        let bytes_max = message.bytes_max();
        if bytes.len() > bytes_max {
            return Err(format!("bulk message of {} bytes; at most {bytes_max} of its kind are sent", bytes.len()));
        }
        message.check_bounds()?;
        Ok(message)
    }

    /// Longest encoding of the same kind.
    fn bytes_max(&self) -> usize {
        let content = match self {
            Self::Heights(_) => HEIGHTS_BYTES_MAX,
            Self::Snapshot(_) => snapshot::Message::BYTES_MAX,
            _ => BATCH_BYTES_MAX,
        };
        content + FRAMING_BYTES
    }

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Batch(encoding) if encoding.len() > BATCH_BYTES_MAX => {
                Err(format!("a batch of {} bytes; at most {BATCH_BYTES_MAX} are sent", encoding.len()))
            }
            Self::Want { digests, .. } if !(1..=VALUE_BATCHES_MAX).contains(&digests.len()) => {
                Err(format!("request for {} batches; a value names 1 to {VALUE_BATCHES_MAX}", digests.len()))
            }
            Self::Batch(_) | Self::Want { .. } => Ok(()),
            Self::WantHeights(range) => range.check_bounds(),
            Self::Heights(heights) => heights.check_bounds(),
            Self::Head { number, .. } if i64::try_from(*number).is_err() => {
                Err(format!("a head at height {number}, which no header can name"))
            }
            Self::Head { .. } => Ok(()),
            Self::Snapshot(message) => message.check_bounds(),
        }
    }
}

#[cfg(test)]
mod tests;
