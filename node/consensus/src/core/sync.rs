//! Catching up: who is behind asks, who is ahead answers from memory or has the host answer from the ledger.
//!
//! A decision with a valid certificate is adopted as a whole; the signer is never asked for it.
//!
//! Nobody can hold us back or make us work: each peer is asked and answered at a bounded rate of its own, so that a liar's
//! claims take no turn away from the others, and who delivers is asked for more at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::*;
use crate::certificate;

/// Committed heights whose decision is kept in memory for peers.
pub(super) const KEPT_HEIGHTS: u64 = 16;
/// Heights answered per request.
const HEIGHTS_PER_REQUEST: u64 = 8;
/// Pause between two requests to a peer while nobody delivers, and between two answers to the same question.
const PAUSE_MS: u64 = 200;
/// Pause between two requests to a peer while another one delivers.
const SPARE_PAUSE_MS: u64 = 1_000;
/// Pause between two answers to one peer, whatever it asks.
const ANSWER_PAUSE_MS: u64 = 10;
/// Peers remembered; beyond it the one not heard of for longest is forgotten.
const PEERS_MAX: usize = 1_024;

/// A decision received from a peer.
#[derive(Debug)]
struct Received {
    from: NodeId,
    value: Value,
    certificate: CommitCertificate,
    /// When the host was asked to fetch its batches.
    asked_ms: Option<u64>,
    durable: bool,
}

/// What passed between us and one peer.
#[derive(Debug, Default)]
struct Peer {
    heard_ms: u64,
    /// How far it says it is: decided and certified.
    told: (u64, u64),
    /// When it was asked last, and how far we were then.
    asked: Option<(u64, (u64, u64))>,
    /// When it was last answered a request, and a question for its mark.
    answered_ms: [Option<u64>; 2],
    /// What it was last helped with without asking, and when.
    helped: Option<(u64, u64)>,
}

/// What a peer may ask for, each at its own rate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// [`Message::Request`].
    Heights,
    /// [`Message::MarkRequest`].
    Mark,
}

/// What is going on between us and peers that are ahead or behind.
#[derive(Debug, Default)]
pub(super) struct Sync {
    received: BTreeMap<u64, Received>,
    peers: BTreeMap<NodeId, Peer>,
    /// Who delivered last, and when.
    source: Option<(NodeId, u64)>,
}

impl Sync {
    pub(super) fn decided(&mut self, height: u64) {
        self.received.retain(|kept, _| *kept > height);
    }

    pub(super) fn durable(&mut self, id: H256) {
        for received in self.received.values_mut().filter(|received| received.certificate.value == id) {
            received.durable = true;
        }
    }

    fn peer(&mut self, id: NodeId, now_ms: u64) -> &mut Peer {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&id) {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.heard_ms).map(|(id, _)| *id);
            oldest.and_then(|oldest| self.peers.remove(&oldest));
        }
        let peer = self.peers.entry(id).or_default();
        peer.heard_ms = now_ms;
        peer
    }

    /// Whether a question of `from` is answered now.
    pub(super) fn may_answer(&mut self, from: NodeId, question: Question, now_ms: u64) -> bool {
        let answered_ms = &mut self.peer(from, now_ms).answered_ms[question as usize];
        let free = answered_ms.is_none_or(|at_ms| at_ms + ANSWER_PAUSE_MS <= now_ms);
        if free {
            *answered_ms = Some(now_ms);
        }
        free
    }

    /// Whether `id` was decided by a quorum.
    pub(super) fn is_certified(&self, id: H256) -> bool {
        self.received.values().any(|received| received.certificate.value == id)
    }
}

impl Core {
    /// Whether everything about this height that `message` could tell us is known.
    pub(super) fn is_finished(&self, message: &Message, height: u64) -> bool {
        match message {
            Message::Checkpoint(_) | Message::Certified(_) => height <= self.checkpoints.certified(),
            _ => height <= self.head.height,
        }
    }

    pub(super) fn send_status(&mut self) {
        let status = Message::Status { decided: self.head.height, certified: self.checkpoints.certified() };
        self.broadcast(status);
        self.timers.set(Timer::Status, self.now.monotonic_ms + self.params.status_ms);
    }

    pub(super) fn receive_status(&mut self, from: NodeId, decided: u64, certified: u64) {
        self.sync.peer(from, self.now.monotonic_ms).told = (decided, certified);
        if decided > self.head.height || certified > self.checkpoints.certified() {
            self.request_from(from);
        }
    }

    /// Asks a peer for what we miss, unless we just did: the one who delivers as fast as we take it, the others now and then.
    pub(super) fn request_from(&mut self, peer: NodeId) {
        let had = (self.head.height, self.checkpoints.certified());
        let now_ms = self.now.monotonic_ms;
        let delivering = self.sync.source.filter(|(_, at_ms)| at_ms + PAUSE_MS > now_ms).map(|(source, _)| source);
        let asked = self.sync.peer(peer, now_ms).asked;
        let free = asked.is_none_or(|(at_ms, had_then)| match delivering {
            Some(source) if source == peer => had_then != had || at_ms + PAUSE_MS <= now_ms,
            Some(_) => at_ms + SPARE_PAUSE_MS <= now_ms,
            None => at_ms + PAUSE_MS <= now_ms,
        });
        if free {
            self.sync.peer(peer, now_ms).asked = Some((now_ms, had));
            let (decided, certified) = had;
            self.send(peer, Message::Request { decided, certified });
        }
    }

    /// All that one answer brings is in the ledger: asks the one who delivered it for more, without waiting for its status.
    pub(super) fn request_more(&mut self) {
        let Some((source, _)) = self.sync.source.filter(|_| self.committed == self.head.height) else { return };
        let Some(peer) = self.sync.peers.get(&source) else { return };
        let taken = peer.asked.map_or(0, |(_, (decided, certified))| self.head.height - decided.min(certified));
        let is_taken = taken >= HEIGHTS_PER_REQUEST.min(self.params.pipeline_depth + 1);
        if is_taken && peer.told.0 > self.head.height {
            self.request_from(source);
        }
    }

    pub(super) fn receive_request(&mut self, from: NodeId, decided: u64, certified: u64) {
        if !self.sync.may_answer(from, Question::Heights, self.now.monotonic_ms) {
            return;
        }
        let first = decided.min(certified).saturating_add(1);
        let last = self.head.height.min(first.saturating_add(HEIGHTS_PER_REQUEST - 1));
        for height in first..=last {
            self.serve(from, height, height > decided, height > certified);
        }
    }

    /// A message of a finished height shows that its sender misses the decision.
    pub(super) fn help(&mut self, peer: NodeId, height: u64) {
        if self.may_help(peer, height) {
            self.serve(peer, height, true, false);
        }
    }

    /// A checkpoint vote of a certified height shows that its sender misses the certificate.
    pub(super) fn help_certified(&mut self, peer: NodeId, height: u64) {
        if self.may_help(peer, height) {
            self.serve(peer, height, false, true);
        }
    }

    fn may_help(&mut self, peer: NodeId, height: u64) -> bool {
        let now_ms = self.now.monotonic_ms;
        let helped = &mut self.sync.peer(peer, now_ms).helped;
        let free = helped.is_none_or(|(known, at_ms)| {
            let pause_ms = if known == height { PAUSE_MS } else { ANSWER_PAUSE_MS };
            at_ms + pause_ms <= now_ms
        });
        if free {
            *helped = Some((height, now_ms));
        }
        free
    }

    fn serve(&mut self, to: NodeId, height: u64, decision: bool, certificate: bool) {
        // Genesis was never decided, whatever a peer says of height 0.
        if height == 0 {
            return;
        }
        let known = self.decisions.get(&height).cloned();
        let certified = self.checkpoints.certificate(height).cloned();
        let complete = (known.is_some() || !decision) && (certified.is_some() || !certificate);
        if !complete && height <= self.committed {
            return self.out.push(Effect::Serve { to, height });
        }
        if let Some(Decision { value, certificate }) = known.filter(|_| decision) {
            self.send(to, Message::Decided { value, certificate });
        }
        if let Some(certified) = certified.filter(|_| certificate) {
            self.send(to, Message::Certified(certified));
        }
    }

    /// Keeps a decision whose certificate holds, within the heights whose validators are known. When it comes again from
    /// somebody else while its batches are still missing, the host is asked to fetch them there.
    pub(super) fn receive_decided(&mut self, from: NodeId, value: Value, certificate: CommitCertificate) {
        let height = value.height;
        if height <= self.head.height {
            return;
        }
        let Some(rules) = self.rules.get(&height) else { return };
        let id = value.id(self.params.suite);
        if certificate::commit(&rules.validators, height, &id, &certificate).is_err() {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        match self.sync.received.entry(height) {
            Entry::Vacant(place) => {
                place.insert(Received { from, value, certificate, asked_ms: None, durable: false });
                self.sync.source = Some((from, now_ms));
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.from != from && known.asked_ms.is_some_and(|at_ms| at_ms + PAUSE_MS <= now_ms) {
                    (known.from, known.asked_ms) = (from, None);
                }
            }
        }
    }

    /// Adopts the next decision once its batches are durable. The host makes those of all decisions at hand durable together.
    pub(super) fn adopt_decided(&mut self) -> bool {
        self.ensure_received();
        let height = self.head.height + 1;
        let Some(received) = self.sync.received.get(&height) else { return false };
        if received.value.parent != self.head.id {
            self.sync.received.remove(&height);
            return true;
        }
        if received.durable || received.value.batches.is_empty() {
            let Received { value, certificate, .. } = self.sync.received.remove(&height).expect("just seen");
            self.decide(value, certificate);
            return true;
        }
        false
    }

    /// Has the host make durable what was not asked for yet, or is to be asked for elsewhere.
    fn ensure_received(&mut self) {
        let is_due = |received: &Received| {
            received.asked_ms.is_none() && !received.durable && !received.value.batches.is_empty()
        };
        for received in self.sync.received.values_mut().filter(|received| is_due(received)) {
            received.asked_ms = Some(self.now.monotonic_ms);
            let (id, value, from) = (received.certificate.value, received.value.clone(), received.from);
            self.out.push(Effect::EnsureBatches { id, value, from, is_decided: true });
        }
    }
}
