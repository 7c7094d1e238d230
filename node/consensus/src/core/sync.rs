//! Catching up: who is behind asks, who is ahead answers from memory or has the host answer from the ledger.
//!
//! A decision with a valid certificate is adopted as a whole; the signer is never asked for it.

use std::collections::BTreeMap;

use super::*;
use crate::certificate;

/// Committed heights whose decision is kept in memory for peers.
pub(super) const KEPT_HEIGHTS: u64 = 16;
/// Heights answered per request.
const HEIGHTS_PER_REQUEST: u64 = 8;
/// Pause between two requests without progress, and between two answers to the same question.
const PAUSE_MS: u64 = 200;

/// A decision received from a peer.
#[derive(Debug)]
struct Received {
    from: NodeId,
    value: Value,
    certificate: CommitCertificate,
    asked: bool,
    durable: bool,
}

/// What is going on between us and peers that are ahead or behind.
#[derive(Debug, Default)]
pub(super) struct Sync {
    received: BTreeMap<u64, Received>,
    requested: Option<(u64, u64, u64)>,
    helped: BTreeMap<NodeId, (u64, u64)>,
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
        if decided > self.head.height || certified > self.checkpoints.certified() {
            self.request_from(from);
        }
    }

    /// Asks a peer for what we miss, unless we just did and learnt nothing since.
    pub(super) fn request_from(&mut self, peer: NodeId) {
        let (decided, certified) = (self.head.height, self.checkpoints.certified());
        let now_ms = self.now.monotonic_ms;
        let waiting = self.sync.requested.is_some_and(|(at_ms, had_decided, had_certified)| {
            at_ms + PAUSE_MS > now_ms && (had_decided, had_certified) == (decided, certified)
        });
        if !waiting {
            self.sync.requested = Some((now_ms, decided, certified));
            self.send(peer, Message::Request { decided, certified });
        }
    }

    pub(super) fn receive_request(&mut self, from: NodeId, decided: u64, certified: u64) {
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
        let recently =
            self.sync.helped.get(&peer).is_some_and(|(helped, at_ms)| *helped == height && at_ms + PAUSE_MS > now_ms);
        if !recently {
            self.sync.helped.insert(peer, (height, now_ms));
        }
        !recently
    }

    fn serve(&mut self, to: NodeId, height: u64, decision: bool, certificate: bool) {
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

    /// Keeps a decision whose certificate holds, within the heights whose validators are known.
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
        let received = Received { from, value, certificate, asked: false, durable: false };
        self.sync.received.entry(height).or_insert(received);
    }

    /// Adopts the next decision once its batches are durable.
    pub(super) fn adopt_decided(&mut self) -> bool {
        let height = self.head.height + 1;
        let Some(received) = self.sync.received.get_mut(&height) else { return false };
        if received.value.parent != self.head.id {
            self.sync.received.remove(&height);
            return true;
        }
        if received.durable || received.value.batches.is_empty() {
            let Received { value, certificate, .. } = self.sync.received.remove(&height).expect("just seen");
            self.decide(value, certificate);
            return true;
        }
        if !received.asked {
            received.asked = true;
            let (id, value, from) = (received.certificate.value, received.value.clone(), received.from);
            self.out.push(Effect::EnsureBatches { id, value, from });
        }
        false
    }
}
