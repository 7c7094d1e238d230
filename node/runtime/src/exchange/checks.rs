//! Signature checks of what peers sent, off the consensus thread: many messages in one batch, and the transactions of batches.

use std::sync::Arc;

use bixi_consensus::{Message, SignatureCheck};
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::Ledger;
use bixi_types::batch::Batch;
use bixi_types::ports::{Check, Verifier as _};
use bixi_types::transaction::ChainIdentity;
use bixi_types::{CryptoSuite, H256, NodeId};
use crossbeam_channel::{Receiver, Sender};

use super::door::Offences;
use super::heights::Heights;
use super::proven::Proven;
use super::quota::Ticket;
use crate::batches::{BatchStore, Origin, VerifiedBatch};
use crate::event::{Arrived, Event};

/// Messages checked in one go at most.
const MESSAGES_AT_ONCE: usize = 64;

/// What the thread of messages is told.
pub(crate) enum MessageCheck {
    /// A message whose signatures are to be checked, then fed.
    Message(Arrived<Box<Message>>, Vec<SignatureCheck>),
    /// The validators from now on: their keys get tables.
    Pin(Vec<NodeId>),
}

/// Checks consensus messages.
pub(crate) struct MessageChecks {
    pub verifier: SmVerifier,
    pub offences: Arc<Offences>,
    pub events: Sender<Event>,
}

impl MessageChecks {
    /// Runs until the consensus thread is gone.
    pub(crate) fn run(&self, jobs: &Receiver<MessageCheck>) {
        let mut pinned = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut messages = Vec::new();
            for job in std::iter::once(first).chain(jobs.try_iter().take(MESSAGES_AT_ONCE - 1)) {
                match job {
                    MessageCheck::Message(arrived, checks) => messages.push((arrived, checks)),
                    MessageCheck::Pin(validators) => {
                        self.verifier.pin(&validators, &pinned);
                        pinned = validators;
                    }
                }
            }
            let verdicts = verdicts(&self.verifier, messages.iter().map(|(_, checks)| checks.as_slice()));
            for ((arrived, _), valid) in messages.into_iter().zip(verdicts) {
                if valid {
                    let _ = self.events.send(Event::Checked(arrived));
                } else {
                    self.offences.charge(arrived.from, "a consensus message with a signature that does not hold");
                }
            }
        }
    }
}

/// Whether all signatures of each message hold; all messages in one batch.
fn verdicts<'a>(verifier: &SmVerifier, messages: impl Iterator<Item = &'a [SignatureCheck]>) -> Vec<bool> {
    let messages: Vec<&[SignatureCheck]> = messages.collect();
    let checks: Vec<Check<'_>> = messages
        .iter()
        .flat_map(|checks| checks.iter())
        .map(|check| Check { node: &check.node, message: &check.bytes, signature: &check.signature })
        .collect();
    let verdicts = verifier.verify(&checks);
    let mut rest = verdicts.as_slice();
    let own = |checks: &&[SignatureCheck]| {
        let (own, others) = rest.split_at(checks.len());
        rest = others;
        own.iter().all(|verdict| *verdict)
    };
    messages.iter().map(own).collect()
}

/// Checks heights fetched ahead of consensus, on a thread of their own: an answer holds up to [`HEIGHTS_MAX`] heights with two quorums of
/// signatures each, and votes do not wait behind it.
///
/// [`HEIGHTS_MAX`]: bixi_types::limits::HEIGHTS_MAX
pub(crate) struct HeightChecks {
    pub suite: CryptoSuite,
    /// Genesis hash.
    pub chain: H256,
    /// With the tables that the thread of messages pins.
    pub verifier: SmVerifier,
    pub offences: Arc<Offences>,
    pub events: Sender<Event>,
}

impl HeightChecks {
    /// Runs until the consensus thread is gone.
    pub(crate) fn run(&self, answers: &Receiver<Arrived<Heights>>) {
        while let Ok(arrived) = answers.recv() {
            let from = arrived.from;
            let proven = arrived.map(|heights| {
                self.check(heights).unwrap_or_else(|reason| {
                    self.offences.charge(from, reason);
                    Vec::new()
                })
            });
            let _ = self.events.send(Event::Proven(proven));
        }
    }

    /// All signatures of an answer in one batch. One that does not hold, or parts that do not belong together, spoil the whole: its
    /// sender had them checked before it kept them.
    fn check(&self, heights: Heights) -> Result<Vec<Proven>, String> {
        let heights = heights.read(self.suite)?;
        let checks: Vec<_> = heights.iter().map(|height| height.checks(self.chain)).collect();
        let is_valid = verdicts(&self.verifier, checks.iter().map(Vec::as_slice)).into_iter().all(|valid| valid);
        if is_valid { Ok(heights) } else { Err("a height with a signature that does not hold".to_owned()) }
    }
}

/// A batch whose transactions are to be checked.
pub(crate) struct BatchCheck {
    pub from: NodeId,
    pub digest: H256,
    pub encoding: Vec<u8>,
    pub _ticket: Ticket,
}

/// What the thread of batches is told.
pub(crate) enum BatchJob {
    Check(BatchCheck),
    /// The node stops.
    Stop,
}

/// Checks the batches of peers.
pub(crate) struct BatchChecks {
    pub suite: CryptoSuite,
    pub chain: ChainIdentity,
    pub batches: Arc<BatchStore>,
    pub ledger: Arc<Ledger>,
    pub offences: Arc<Offences>,
    pub events: Sender<Event>,
}

impl BatchChecks {
    /// Runs until told to stop.
    pub(crate) fn run(&self, jobs: &Receiver<BatchJob>) {
        while let Ok(BatchJob::Check(BatchCheck { from, digest, encoding, _ticket })) = jobs.recv() {
            match self.check(&encoding) {
                Ok(batch) => self.keep(batch, from),
                Err(reason) => {
                    self.batches.refuse(digest, true);
                    self.batches.traffic().refused(encoding.len());
                    self.offences.charge(from, format!("batch {digest}: {reason}"));
                }
            }
            let _ = self.events.send(Event::Work);
        }
    }

    fn check(&self, encoding: &[u8]) -> Result<VerifiedBatch, String> {
        let batch = Batch::decode(encoding).map_err(|error| error.to_string())?;
        VerifiedBatch::check(self.suite, &self.chain, &batch).map_err(|error| error.to_string())
    }

    /// One of which nothing can stand any more is kept only when a value names it.
    fn keep(&self, batch: VerifiedBatch, from: NodeId) {
        if self.batches.is_wanted(&batch.digest) {
            return self.batches.add(batch, Origin::Peer(from));
        }
        match batch.is_spent(self.ledger.as_ref(), self.ledger.height() + 1) {
            Ok(true) => self.batches.refuse(batch.digest, false),
            Ok(false) => self.batches.add(batch, Origin::Peer(from)),
            Err(error) => {
                tracing::error!(%error, "a batch was not taken: the ledger cannot be read");
                self.batches.refuse(batch.digest, false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
