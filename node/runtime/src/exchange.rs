//! What passes between this node and its peers, apart from what consensus itself decides to say.
//!
//! ```text
//! peers ─▶ door ─ consensus message ─▶ consensus thread (checks) ─▶ message-checks ─▶ Input::Message
//!            ├── batch ─────────────▶ batch-checks ─▶ batch store ─▶ Work
//!            └── request ───────────▶ serve ─ store or ledger ─▶ peers
//! ```
//!
//! Nothing waits without a bound: each peer has its own for every queue, held by a [`quota::Ticket`] until its item is done. What breaks
//! a rule that honest nodes keep is charged to the peer that sent it; what is merely too much is dropped.

mod checks;
mod door;
mod quota;
mod recipe;
mod serve;

use std::sync::Arc;

use bixi_types::limits::{BATCH_BYTES_MAX, VALUE_BATCHES_MAX};
use bixi_types::{CryptoSuite, H256};
use borsh::{BorshDeserialize, BorshSerialize};
use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::batches::BatchStore;
use crate::event::Event;

pub(crate) use checks::{BatchChecks, BatchJob, MessageCheck, MessageChecks};
pub(crate) use door::{Door, Offences};
pub(crate) use quota::Ticket;
pub(crate) use recipe::Recipe;
pub(crate) use serve::{ServeJob, Server};

/// The door and the queues behind it, made before the threads that serve them. Their length is bounded by what the door lets each peer
/// hold.
pub(crate) struct Queues {
    pub door: Arc<Door>,
    pub offences: Arc<Offences>,
    pub batch_jobs: (Sender<BatchJob>, Receiver<BatchJob>),
    pub serve_jobs: (Sender<ServeJob>, Receiver<ServeJob>),
}

impl Queues {
    pub(crate) fn new(suite: CryptoSuite, batches: &Arc<BatchStore>, events: &Sender<Event>) -> Self {
        let (offences, batch_jobs, serve_jobs) = (Arc::new(Offences::default()), unbounded(), unbounded());
        let lines = (events.clone(), batch_jobs.0.clone(), serve_jobs.0.clone());
        let door = Arc::new(Door::new(suite, Arc::clone(batches), Arc::clone(&offences), lines));
        Self { door, offences, batch_jobs, serve_jobs }
    }
}

/// Tag and length before the bytes of a batch.
const FRAMING_BYTES: usize = 5;

/// A message of the bulk channel, in borsh.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Exchange {
    /// An encoded batch: news, or the answer to a request.
    Batch(Vec<u8>),
    /// Please send the batches of these digests, named by a value of this height.
    Want { height: u64, digests: Vec<H256> },
}

impl Exchange {
    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads exactly one message within the shared limits.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        const BYTES_MAX: usize = BATCH_BYTES_MAX + FRAMING_BYTES;
        if bytes.len() > BYTES_MAX {
            return Err(format!("bulk message of {} bytes; at most {BYTES_MAX} are sent", bytes.len()));
        }
        let message = Self::try_from_slice(bytes).map_err(|error| format!("malformed bulk message: {error}"))?;
        match &message {
            Self::Want { digests, .. } if !(1..=VALUE_BATCHES_MAX).contains(&digests.len()) => {
                Err(format!("request for {} batches; a value names 1 to {VALUE_BATCHES_MAX}", digests.len()))
            }
            _ => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_messages_come_back_within_their_bounds() {
        let want = |count| Exchange::Want { height: 7, digests: vec![H256([1; 32]); count] };
        for message in [Exchange::Batch(vec![9; BATCH_BYTES_MAX]), want(1), want(VALUE_BATCHES_MAX)] {
            assert_eq!(Exchange::decode(&message.encode()), Ok(message.clone()));
            let cut = message.encode();
            assert!(Exchange::decode(&cut[..cut.len() - 1]).is_err());
        }
        for refused in [Exchange::Batch(vec![9; BATCH_BYTES_MAX + 1]), want(0), want(VALUE_BATCHES_MAX + 1)] {
            assert!(Exchange::decode(&refused.encode()).is_err());
        }
        assert!(Exchange::decode(&[]).is_err());
        assert!(Exchange::decode(&[2, 0, 0, 0, 0]).is_err());
        // A length that lies costs no memory.
        assert!(Exchange::decode(&[0, 255, 255, 255, 255, 1]).is_err());
    }
}
