//! Answers peers: committed heights and batches, from memory or from the ledger. A thread of its own, because it reads the disk.

use std::sync::Arc;

use bixi_consensus::{CheckpointCertificate, Message};
use bixi_ledger::{Ledger, StoredBlock};
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::header::BlockHeader;
use bixi_types::limits::ANSWER_BYTES_MAX;
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::Receiver;

use super::quota::Ticket;
use super::{Exchange, Recipe};
use crate::batches::BatchStore;
use crate::links::{Channel, Links};

/// One thing to answer.
pub(crate) enum ServeJob {
    /// The decision and the certified header of a committed height; consensus limits how often.
    Height { to: NodeId, height: u64 },
    /// Batches that a value of this height names.
    Batches { to: NodeId, height: u64, digests: Vec<H256>, _ticket: Ticket },
    /// Our own undecided batches, to a peer that was away.
    Greet { to: NodeId, _ticket: Ticket },
    /// The node stops.
    Stop,
}

/// What answers are made of.
pub(crate) struct Server {
    pub ledger: Arc<Ledger>,
    pub batches: Arc<BatchStore>,
    pub links: Arc<dyn Links>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    /// Runs until told to stop.
    pub(crate) fn run(&self, jobs: &Receiver<ServeJob>) {
        while let Ok(job) = jobs.recv() {
            let answered = match job {
                ServeJob::Stop => return,
                ServeJob::Height { to, height } => self.serve_height(to, height),
                ServeJob::Batches { to, height, digests, _ticket } => self.serve_batches(to, height, &digests),
                ServeJob::Greet { to, _ticket } => {
                    self.send_batches(to, self.batches.own_waiting().iter().map(|batch| batch.encode()));
                    Ok(())
                }
            };
            if let Err(error) = answered {
                tracing::error!(%error, "a peer's request could not be answered from the ledger");
            }
        }
    }

    fn serve_height(&self, to: NodeId, height: u64) -> Result<(), Failure> {
        let (Some(block), Some(header_hash)) = (self.ledger.block(height)?, self.ledger.hash_of(height)?) else {
            return Ok(());
        };
        let value: Value = borsh::from_slice(&block.value)?;
        let certificate: CommitCertificate = borsh::from_slice(&block.certificate)?;
        let signatures = signatures_of(&block.header)?;
        let certified = CheckpointCertificate { height, header_hash, signatures };
        for message in [Message::Decided { value, certificate }, Message::Certified(certified)] {
            self.links.send_on(Channel::Consensus, Destination::Node(to), message.encode());
        }
        Ok(())
    }

    fn serve_batches(&self, to: NodeId, height: u64, digests: &[H256]) -> Result<(), Failure> {
        let held: Vec<Option<Vec<u8>>> =
            digests.iter().map(|digest| self.batches.get(digest).map(|batch| batch.encode())).collect();
        let absent = held.iter().any(Option::is_none);
        let block = if absent && height <= self.ledger.height() { self.ledger.block(height)? } else { None };
        let stored = block.as_ref().map(Committed::new).transpose()?;
        let found = held.into_iter().zip(digests);
        let found = found.filter_map(|(held, digest)| held.or_else(|| stored.as_ref()?.batch(digest)));
        self.send_batches(to, found);
        Ok(())
    }

    /// Sends until the answer is long enough or the peer takes no more.
    fn send_batches(&self, to: NodeId, encodings: impl Iterator<Item = Vec<u8>>) {
        let mut sent_bytes = 0;
        for encoding in encodings {
            sent_bytes += encoding.len();
            let taken = self.links.send_on(Channel::Bulk, Destination::Node(to), Exchange::Batch(encoding).encode());
            if taken == 0 || sent_bytes >= ANSWER_BYTES_MAX {
                return;
            }
        }
    }
}

/// A committed block as the source of its batches.
struct Committed<'a> {
    digests: Vec<H256>,
    recipe: Recipe,
    transactions: &'a [Vec<u8>],
}

impl<'a> Committed<'a> {
    fn new(block: &'a StoredBlock) -> Result<Self, Failure> {
        let value: Value = borsh::from_slice(&block.value)?;
        let recipe = block.batches.as_deref().ok_or("the block was committed by a release that had no network")?;
        Ok(Self { digests: value.batches, recipe: Recipe::decode(recipe)?, transactions: &block.transactions })
    }

    fn batch(&self, digest: &H256) -> Option<Vec<u8>> {
        let place = self.digests.iter().position(|named| named == digest)?;
        Some(self.recipe.batch(place, self.transactions)?.encode())
    }
}

/// Who signed a committed header.
fn signatures_of(header: &BlockHeader) -> Result<Vec<(NodeId, SignatureBytes)>, Failure> {
    let signed = header.signature_list.iter().map(|entry| {
        let place = usize::try_from(entry.sealer_index).ok();
        let node = place.and_then(|place| header.sealer_list.get(place))?;
        Some((*node, SignatureBytes(entry.signature.as_slice().try_into().ok()?)))
    });
    signed.collect::<Option<_>>().ok_or_else(|| format!("the signatures of block {} are damaged", header.number).into())
}
