//! Where frames of peers come in: decoded, bounded for each peer, handed on. Runs on the network's threads and never blocks.

use std::collections::HashMap;
use std::sync::Arc;

use bixi_consensus::Message;
use bixi_rpc::Head;
use bixi_types::batch::Batch;
use bixi_types::limits::{ANSWER_BYTES_MAX, BATCH_BYTES_MAX, HEIGHTS_BYTES_MAX};
use bixi_types::{CryptoSuite, NodeId};
use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::Exchange;
use super::checks::{BatchCheck, BatchJob};
use super::heights::Heights;
use super::quota::Quota;
use super::serve::{Asked, ServeJob};
use crate::batches::{Admit, BatchStore};
use crate::event::{Arrived, Event};
use crate::links::Channel;
use crate::snapshot::{self, JoinEvent, SnapshotJob};

/// Consensus messages and heads of one peer between the door and the core. A peer that serves sixteen heights at once stays far below.
const MESSAGES_MAX: usize = 256;
/// Bytes of one peer's batches between the door and the store: a whole answer to one of our requests.
const UNVERIFIED_BYTES_MAX: usize = ANSWER_BYTES_MAX + BATCH_BYTES_MAX;
/// Bytes of one peer's heights between the door and the consensus thread: the answers to two requests.
const HEIGHTS_WAITING_BYTES_MAX: usize = 2 * HEIGHTS_BYTES_MAX;
/// Bytes of one peer's pieces, parts and headers between the door and the thread that joins: the answers to what it asks for at once.
const JOIN_BYTES_MAX: usize = 3 * snapshot::Message::BYTES_MAX;
/// Requests of one peer about snapshots that wait for their answer.
const SNAPSHOT_REQUESTS_MAX: usize = 8;
/// Requests of one peer that wait for their answer.
const REQUESTS_MAX: usize = 16;

/// What peers did that no honest node does, found out after their frame was taken; told to the network with their next frame.
#[derive(Debug, Default)]
pub(crate) struct Offences(Mutex<HashMap<NodeId, String>>);

impl Offences {
    /// The first one counts.
    pub(crate) fn charge(&self, peer: NodeId, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::warn!(%peer, reason, "a peer breaks the protocol");
        self.0.lock().entry(peer).or_insert(reason);
    }

    pub(super) fn take(&self, peer: &NodeId) -> Option<String> {
        self.0.lock().remove(peer)
    }
}

/// The door.
pub(crate) struct Door {
    suite: CryptoSuite,
    batches: Arc<BatchStore>,
    offences: Arc<Offences>,
    lines: Lines,
    messages: Arc<Quota>,
    unverified: Arc<Quota>,
    heights: Arc<Quota>,
    requests: Arc<Quota>,
    snapshot_requests: Arc<Quota>,
    joining: Arc<Quota>,
}

/// Where what comes in goes to: the consensus thread, the checks of batches, who answers, who gives and fetches snapshots.
pub(super) struct Lines {
    pub events: Sender<Event>,
    pub checks: Sender<BatchJob>,
    pub serve: Sender<ServeJob>,
    pub snapshots: Sender<SnapshotJob>,
    pub joins: Sender<JoinEvent>,
}

impl Door {
    pub(super) fn new(suite: CryptoSuite, batches: Arc<BatchStore>, offences: Arc<Offences>, lines: Lines) -> Self {
        let [messages, unverified, heights, requests, snapshot_requests, joining] = [
            MESSAGES_MAX,
            UNVERIFIED_BYTES_MAX,
            HEIGHTS_WAITING_BYTES_MAX,
            REQUESTS_MAX,
            SNAPSHOT_REQUESTS_MAX,
            JOIN_BYTES_MAX,
        ]
        .map(Quota::new);
        Self { suite, batches, offences, lines, messages, unverified, heights, requests, snapshot_requests, joining }
    }

    /// Takes one frame. An error says what the peer did wrong, now or before.
    pub(crate) fn received(&self, from: NodeId, channel: Channel, payload: &[u8]) -> Result<(), String> {
        if let Some(offence) = self.offences.take(&from) {
            return Err(offence);
        }
        match channel {
            Channel::Consensus => self.take_message(from, payload),
            Channel::Bulk => match Exchange::decode(payload)? {
                Exchange::Batch(encoding) => self.take_batch(from, encoding),
                Exchange::Want { height, digests } => self.ask(from, Asked::Batches { height, digests }),
                Exchange::WantHeights(range) => self.ask(from, Asked::Heights(range)),
                Exchange::Head { number, hash } => {
                    if let Some(_ticket) = self.messages.take(from, 1) {
                        let what = Head { number, hash };
                        let _ = self.lines.events.send(Event::Head(Arrived { from, what, _ticket }));
                    }
                    Ok(())
                }
                Exchange::Heights(what) => {
                    self.take_heights(from, what, payload.len());
                    Ok(())
                }
                Exchange::Snapshot(message) => {
                    self.take_snapshot(from, message, payload.len());
                    Ok(())
                }
            },
        }
    }

    /// Proofs with decisions were asked for by consensus, headers alone by who fetches a snapshot, and nothing by either.
    fn take_heights(&self, from: NodeId, what: Heights, payload_bytes: usize) {
        let is_of = |with_decision: bool| what.proofs.iter().all(|proof| proof.decision.is_some() == with_decision);
        if is_of(false)
            && let Some(_ticket) = self.joining.take(from, payload_bytes)
        {
            let _ = self.lines.joins.send(JoinEvent::Heights(Arrived { from, what: what.clone(), _ticket }));
        }
        if is_of(true)
            && let Some(_ticket) = self.heights.take(from, payload_bytes)
        {
            let _ = self.lines.events.send(Event::Heights(Arrived { from, what, _ticket }));
        }
    }

    fn take_snapshot(&self, from: NodeId, what: snapshot::Message, payload_bytes: usize) {
        if let snapshot::Message::Want(wanted) = what {
            if let Some(_ticket) = self.snapshot_requests.take(from, 1) {
                let _ = self.lines.snapshots.send(SnapshotJob::Answer { to: from, wanted, _ticket });
            }
        } else if let Some(_ticket) = self.joining.take(from, payload_bytes) {
            let _ = self.lines.joins.send(JoinEvent::Snapshot(Arrived { from, what, _ticket }));
        }
    }

    /// Hands on what a peer asks for; too much of it is not answered.
    fn ask(&self, to: NodeId, asked: Asked) -> Result<(), String> {
        if let Some(ticket) = self.requests.take(to, 1) {
            let _ = self.lines.serve.send(ServeJob::Answer { to, asked, _ticket: Some(ticket) });
        }
        Ok(())
    }

    fn take_message(&self, from: NodeId, payload: &[u8]) -> Result<(), String> {
        let what = Box::new(Message::decode(payload).map_err(|error| error.to_string())?);
        if let Some(_ticket) = self.messages.take(from, 1) {
            let _ = self.lines.events.send(Event::Peer(Arrived { from, what, _ticket }));
        }
        Ok(())
    }

    fn take_batch(&self, from: NodeId, encoding: Vec<u8>) -> Result<(), String> {
        let Some(ticket) = self.unverified.take(from, encoding.len()) else { return Ok(()) };
        let digest = Batch::digest_of_encoding(self.suite, &encoding);
        match self.batches.admit(digest, from, encoding.len()) {
            Admit::Verify => {
                let _ = self.lines.checks.send(BatchJob::Check(BatchCheck { from, digest, encoding, _ticket: ticket }));
                Ok(())
            }
            Admit::Invalid => Err(format!("batch {digest} is invalid")),
            Admit::Known => Ok(()),
            Admit::OverQuota => {
                tracing::debug!(peer = %from, %digest, "a batch over its sender's quota was not taken");
                Ok(())
            }
        }
    }

    /// A session with a peer began: it gets what it may have missed.
    pub(crate) fn connected(&self, node: NodeId) {
        tracing::info!(peer = %node, "connected");
        let _ = self.ask(node, Asked::Greeting);
    }

    /// The last session with a peer ended.
    pub(crate) fn disconnected(&self, node: NodeId) {
        tracing::info!(peer = %node, "disconnected");
        self.offences.take(&node);
    }
}
