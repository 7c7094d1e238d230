//! Answers peers: committed heights and batches, from memory or from the ledger. A thread of its own, because it reads the disk.

use std::sync::Arc;

use bixi_consensus::{CheckpointCertificate, Message};
use bixi_ledger::{Ledger, LedgerError};
use bixi_types::consensus::{CommitCertificate, Value};
use bixi_types::limits::ANSWER_BYTES_MAX;
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};
use crossbeam_channel::Receiver;

use super::heights::HeightRange;
use super::proven::signatures_of;
use super::quota::Ticket;
use super::turns::Turns;
use super::{Exchange, Recipe};
use crate::batches::BatchStore;
use crate::links::{Channel, Links};

/// What a peer asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The decision and the certified header of a committed height; consensus limits how often.
    Height(u64),
    /// Committed heights in a row.
    Heights(HeightRange),
    /// Batches that a value of this height names.
    Batches { height: u64, digests: Vec<H256> },
    /// Our head and our own undecided batches: it was away.
    Greeting,
}

/// What the thread is told.
pub(crate) enum ServeJob {
    Answer {
        to: NodeId,
        asked: Asked,
        /// Its place among what the peer may have waiting; none for what consensus decides to send.
        _ticket: Option<Ticket>,
    },
    /// The node stops.
    Stop,
}

/// What answers are made of.
pub(crate) struct Server {
    pub ledger: Arc<Ledger>,
    pub batches: Arc<BatchStore>,
    pub links: Arc<dyn Links>,
}

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    /// Runs until told to stop. Peers are answered in turn, by bytes.
    pub(crate) fn run(&self, jobs: &Receiver<ServeJob>) {
        let mut turns = Turns::new();
        loop {
            let waits = turns.is_empty().then(|| jobs.recv());
            for job in waits.into_iter().flatten().chain(jobs.try_iter()) {
                match job {
                    ServeJob::Answer { to, asked, _ticket } => turns.push(to, (asked, _ticket)),
                    ServeJob::Stop => return,
                }
            }
            // Nothing in the queue after a wait: those who could ask are gone.
            let Some((to, (asked, _ticket))) = turns.next() else { return };
            let sent_bytes = self.answer(to, asked).unwrap_or_else(|error| {
                match error.downcast_ref::<LedgerError>() {
                    Some(LedgerError::NoHistory { .. }) => tracing::debug!(%error, peer = %to, "cannot be served"),
                    _ => tracing::error!(%error, "a peer's request could not be answered from the ledger"),
                }
                0
            });
            turns.given(to, sent_bytes);
        }
    }

    /// Returns how many bytes were sent.
    fn answer(&self, to: NodeId, asked: Asked) -> Result<usize, Failure> {
        match asked {
            Asked::Height(height) => self.serve_height(to, height),
            Asked::Heights(range) => {
                let answer = Exchange::Heights(range.answer(&self.ledger)?).encode();
                let sent_bytes = answer.len();
                self.links.send_on(Channel::Bulk, Destination::Node(to), answer);
                Ok(sent_bytes)
            }
            Asked::Batches { height, digests } => self.serve_batches(to, height, &digests),
            Asked::Greeting => {
                tell_head(&self.ledger, self.links.as_ref(), Destination::Node(to));
                let own = self.batches.own_waiting();
                self.send_batches(to, own.iter().map(|batch| Ok(Some(batch.encode()))))
            }
        }
    }

    fn serve_height(&self, to: NodeId, height: u64) -> Result<usize, Failure> {
        let (Some(block), Some(header_hash)) = (self.ledger.outline(height)?, self.ledger.hash_of(height)?) else {
            return Ok(0);
        };
        let value: Value = borsh::from_slice(&block.value)?;
        let certificate: CommitCertificate = borsh::from_slice(&block.certificate)?;
        let certified = CheckpointCertificate { height, header_hash, signatures: signatures_of(&block.header)? };
        let mut sent_bytes = 0;
        for message in [Message::Decided { value, certificate }, Message::Certified(certified)] {
            let payload = message.encode();
            sent_bytes += payload.len();
            self.links.send_on(Channel::Consensus, Destination::Node(to), payload);
        }
        Ok(sent_bytes)
    }

    /// From memory, or made again from the transactions they stood in: only those of the batches sent are read.
    fn serve_batches(&self, to: NodeId, height: u64, digests: &[H256]) -> Result<usize, Failure> {
        let mut committed = None;
        let found = digests.iter().map(|digest| {
            if let Some(held) = self.batches.get(digest) {
                return Ok(Some(held.encode()));
            }
            if committed.is_none() {
                committed = Some(Committed::read(&self.ledger, height)?);
            }
            committed.as_ref().and_then(Option::as_ref).map_or(Ok(None), |block| block.batch(digest))
        });
        self.send_batches(to, found)
    }

    /// Sends until the answer is long enough or the peer takes no more.
    fn send_batches(
        &self,
        to: NodeId,
        encodings: impl Iterator<Item = Result<Option<Vec<u8>>, Failure>>,
    ) -> Result<usize, Failure> {
        let mut sent_bytes = 0;
        for encoding in encodings {
            let Some(encoding) = encoding? else { continue };
            let bytes = encoding.len();
            sent_bytes += bytes;
            let taken = self.links.send_on(Channel::Bulk, Destination::Node(to), Exchange::Batch(encoding).encode());
            if taken > 0 {
                self.batches.traffic().sent(bytes);
            }
            if taken == 0 || sent_bytes >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(sent_bytes)
    }
}

/// Tells how far the ledger reaches.
pub(crate) fn tell_head(ledger: &Ledger, links: &dyn Links, to: Destination) {
    if let Some((number, hash)) = ledger.head() {
        links.send_on(Channel::Bulk, to, Exchange::Head { number, hash }.encode());
    }
}

/// A committed block as the source of its batches.
struct Committed<'a> {
    ledger: &'a Ledger,
    height: u64,
    digests: Vec<H256>,
    recipe: Recipe,
}

impl<'a> Committed<'a> {
    fn read(ledger: &'a Ledger, height: u64) -> Result<Option<Self>, Failure> {
        let Some(block) = ledger.outline(height)? else { return Ok(None) };
        let value: Value = borsh::from_slice(&block.value)?;
        let recipe = block.batches.as_deref().ok_or("the block was committed by a release that had no network")?;
        Ok(Some(Self { ledger, height, digests: value.batches, recipe: Recipe::decode(recipe)? }))
    }

    fn batch(&self, digest: &H256) -> Result<Option<Vec<u8>>, Failure> {
        let Some(place) = self.digests.iter().position(|named| named == digest) else { return Ok(None) };
        let batch = self.recipe.batch(place, |index| self.ledger.transaction_at(self.height, index))?;
        Ok(batch.map(|batch| batch.encode()))
    }
}
