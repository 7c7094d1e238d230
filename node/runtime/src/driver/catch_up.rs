//! Fetching many heights ahead of consensus, for a node that is far behind.
//!
//! ```text
//! heads of peers ─▶ look ─ WantHeights ─▶ peers ─ Heights ─▶ signatures (message-checks) ─▶ kept, by height
//!                                                                                              │
//!                      consensus ◀─ decision and certificate, in order, as far as validators are known
//!                      batch store ◀─ batches of the next values, asked of all peers in turn ──┘
//! ```
//!
//! Peers are asked side by side, each for one range at a time. Nothing fetched is believed: consensus judges each height by the
//! validators it knows when the height's turn comes. Whoever answers what no honest node would is charged; who is slow, or has not what
//! it told of, rests and others are asked. Heights, bytes, requests and batches ahead are bounded. A restart begins at the ledger's head.

use std::collections::BTreeMap;

use bixi_consensus::{Message, certificate};
use bixi_types::NodeId;
use bixi_types::consensus::{ValidatorSet, Value};
use bixi_types::limits::HEIGHTS_BYTES_MAX;

use crate::exchange::{HeightRange, Heights, Proven};

/// Up to so many heights consensus fetches what it misses by itself.
const FOLLOW_HEIGHTS_MAX: u64 = 16;
/// Heights asked for in one request.
const RANGE_HEIGHTS: u64 = 64;
/// Heights kept above the ledger's head.
const AHEAD_HEIGHTS_MAX: u64 = 1_024;
/// Bytes of proofs kept and asked for; the range that is needed next is asked for whatever there is.
const AHEAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A peer that has not answered by then is passed over.
const ANSWER_MS: u64 = 5_000;
/// How long a peer that did not deliver is not asked.
const REST_MS: u64 = 10_000;
/// Without a new height in the ledger for so long, consensus' own requests go out, and what is kept is given to it again.
const STALL_MS: u64 = 2_000;
/// New heights in the ledger after which there may be room for more.
const LOOK_HEIGHTS: u64 = 16;
/// A peer that sent nothing of the next height for so long does not hold it.
const BARREN_MS: u64 = 60_000;
/// How often the log tells how far a long catching up has come.
const TOLD_MS: u64 = 5_000;

struct Request {
    range: HeightRange,
    deadline_ms: u64,
    /// The answer is here and its signatures are being checked.
    is_answered: bool,
}

struct Kept {
    from: NodeId,
    proven: Proven,
}

/// Heights fetched ahead, and what is under way.
#[derive(Default)]
pub(super) struct CatchUp {
    kept: BTreeMap<u64, Kept>,
    kept_bytes: usize,
    /// One for each peer.
    requests: BTreeMap<NodeId, Request>,
    /// Peers that are not asked before a time.
    resting: BTreeMap<NodeId, u64>,
    /// Peers that were asked for the next height and sent nothing, and since when.
    barren: BTreeMap<NodeId, u64>,
    look_ms: Option<u64>,
    /// Height of the ledger, and since when.
    reached: (u64, u64),
    /// When consensus was last given again what is kept, because the ledger stood still.
    refed_ms: u64,
    /// The highest head that a peer told.
    target: u64,
    /// Last height given to consensus.
    fed: u64,
    /// Last height whose batches are fetched or here.
    begun: u64,
    told: (u64, u64),
}

impl CatchUp {
    /// When [`Self::look`] is due.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.look_ms
    }

    /// Something has changed that may be a reason to ask somebody.
    pub(super) fn wake(&mut self) {
        self.look_ms = Some(0);
    }

    /// The ledger reaches to `height`.
    pub(super) fn reached(&mut self, height: u64, now_ms: u64) {
        if height > self.reached.0 {
            self.barren.clear();
        }
        self.reached = (height, now_ms);
        if self.kept.is_empty() {
            return;
        }
        let above = self.kept.split_off(&(height + 1));
        self.kept_bytes = above.values().map(|kept| kept.proven.bytes).sum();
        self.kept = above;
        self.tell_progress(height, now_ms);
        if height.is_multiple_of(LOOK_HEIGHTS) {
            self.wake();
        }
    }

    fn tell_progress(&mut self, height: u64, now_ms: u64) {
        let (told_height, told_ms) = self.told;
        if now_ms < told_ms + TOLD_MS {
            return;
        }
        self.told = (height, now_ms);
        if told_height > 0 {
            let heights_per_s = (height - told_height) * 1_000 / (now_ms - told_ms);
            tracing::info!(height, to = self.target, ahead = self.kept.len(), heights_per_s, "catching up");
        }
    }

    /// Whom to ask for what. `peers` are those connected, with the heads they told: each is asked for no more, and the highest counts
    /// though nobody else may have told of it. One that has it is enough to catch up; one that has not rests.
    pub(super) fn look(&mut self, now_ms: u64, peers: &[(NodeId, u64)]) -> Vec<(NodeId, HeightRange)> {
        if self.look_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return Vec::new();
        }
        self.give_up_overdue(now_ms, peers);
        self.target = peers.iter().map(|(_, head)| *head).max().unwrap_or(0);
        let (height, since_ms) = self.reached;
        if !self.kept.is_empty() && now_ms >= since_ms.max(self.refed_ms) + STALL_MS {
            (self.fed, self.refed_ms) = (height, now_ms);
        }
        let is_behind = self.target > height + FOLLOW_HEIGHTS_MAX || !self.kept.is_empty();
        let asked = if is_behind { self.assign(now_ms, peers) } else { Vec::new() };
        let answers = self.requests.values().map(|request| request.deadline_ms);
        let rests = self.resting.values().copied().filter(|_| is_behind);
        let stall = Some(self.reached.1.max(self.refed_ms) + STALL_MS).filter(|_| !self.kept.is_empty());
        self.look_ms = answers.chain(rests).chain(stall).min();
        asked
    }

    fn give_up_overdue(&mut self, now_ms: u64, peers: &[(NodeId, u64)]) {
        self.resting.retain(|_, until_ms| *until_ms > now_ms);
        let is_there = |peer: &NodeId| peers.iter().any(|(known, _)| known == peer);
        let resting = &mut self.resting;
        self.requests.retain(|peer, request| {
            let is_open = request.deadline_ms > now_ms && is_there(peer);
            if !is_open {
                tracing::debug!(%peer, first = request.range.first, "did not send the heights asked for");
                resting.insert(*peer, now_ms + REST_MS);
            }
            is_open
        });
    }

    /// A range for each peer that has nothing to do.
    fn assign(&mut self, now_ms: u64, peers: &[(NodeId, u64)]) -> Vec<(NodeId, HeightRange)> {
        let mut asked = Vec::new();
        let mut from = self.reached.0 + 1;
        let idle = |this: &Self, peer: &NodeId| !this.requests.contains_key(peer) && !this.resting.contains_key(peer);
        for (peer, head) in peers {
            if !idle(self, peer) {
                continue;
            }
            let Some((first, last)) = self.next_gap(from) else { break };
            let is_next = first == self.reached.0 + 1;
            if !is_next && self.kept_bytes + self.requests.len() * HEIGHTS_BYTES_MAX >= AHEAD_BYTES_MAX {
                break;
            }
            let last = last.min(*head);
            if last < first {
                continue;
            }
            from = last + 1;
            let range = HeightRange { first, count: (last - first + 1) as u16, with_decisions: true };
            self.requests.insert(*peer, Request { range, deadline_ms: now_ms + ANSWER_MS, is_answered: false });
            asked.push((*peer, range));
        }
        asked
    }

    /// The next heights from `from` on that are neither kept nor asked for, as many as one request takes.
    fn next_gap(&self, from: u64) -> Option<(u64, u64)> {
        let end = self.target.min(self.reached.0 + AHEAD_HEIGHTS_MAX);
        let asked = |height: u64| {
            let ranges = self.requests.values().map(|request| request.range);
            ranges.into_iter().any(|range| (range.first..range.first + u64::from(range.count)).contains(&height))
        };
        let is_open = |height: &u64| !self.kept.contains_key(height) && !asked(*height);
        let first = (from..=end).find(is_open)?;
        let last = (first..=end).take(RANGE_HEIGHTS as usize).take_while(is_open).last()?;
        Some((first, last))
    }

    /// Whether an answer is one to what its sender was asked for; its signatures are to be checked then.
    pub(super) fn expects(&mut self, from: NodeId, answer: &Heights, now_ms: u64) -> bool {
        let Some(request) = self.requests.get_mut(&from) else { return false };
        let fits = request.range.first == answer.first && answer.proofs.len() <= usize::from(request.range.count);
        if !fits || request.is_answered {
            return false;
        }
        request.is_answered = true;
        request.deadline_ms = now_ms + ANSWER_MS;
        true
    }

    /// Heights whose signatures hold, in a row; none when the answer was good for nothing: its sender rests.
    pub(super) fn keep(&mut self, from: NodeId, heights: Vec<Proven>, now_ms: u64) {
        let Some(request) = self.requests.get(&from).filter(|request| request.is_answered) else { return };
        let is_next = request.range.first == self.reached.0 + 1;
        self.requests.remove(&from);
        self.wake();
        if heights.is_empty() {
            self.resting.insert(from, now_ms + REST_MS);
        }
        match (is_next, heights.is_empty()) {
            (true, true) => drop(self.barren.entry(from).or_insert(now_ms)),
            (true, false) => self.barren.clear(),
            (false, _) => {}
        }
        if self.kept.is_empty() {
            self.reached.1 = now_ms;
            (self.fed, self.begun) = (self.reached.0, self.reached.0);
        }
        for proven in heights.into_iter().filter(|proven| proven.value.height > self.reached.0) {
            self.kept_bytes += proven.bytes;
            self.kept.insert(proven.value.height, Kept { from, proven });
        }
    }

    /// The next height, if none of `peers` that told of it holds it.
    pub(super) fn nobody_holds(&self, now_ms: u64, peers: &[(NodeId, u64)]) -> Option<u64> {
        let height = self.reached.0;
        let is_barren = |peer: &NodeId| self.barren.get(peer).is_some_and(|since_ms| now_ms >= since_ms + BARREN_MS);
        let mut further = peers.iter().filter(|(_, head)| *head > height).peekable();
        further.peek()?;
        further.all(|(peer, _)| is_barren(peer)).then_some(height + 1)
    }

    /// The next height for consensus, at most `last`: who sent it, certificate, decision. The certificate comes first, so that consensus
    /// does not have signed what is certified.
    pub(super) fn feed_next(&mut self, last: u64) -> Option<(NodeId, [Message; 2])> {
        let height = self.fed.max(self.reached.0) + 1;
        let Kept { from, proven } = self.kept.get(&height).filter(|_| height <= last)?;
        self.fed = height;
        let (value, certificate) = (proven.value.clone(), proven.certificate.clone());
        Some((*from, [Message::Certified(proven.certified.clone()), Message::Decided { value, certificate }]))
    }

    /// The certificate of a height that consensus has executed: what only observers vouch for counts from then on.
    pub(super) fn certificate_of(&self, height: u64) -> Option<(NodeId, Message)> {
        let Kept { from, proven } = self.kept.get(&height)?;
        Some((*from, Message::Certified(proven.certified.clone())))
    }

    /// The next value whose batches may be fetched before consensus comes to it: one that a quorum of `validators`, the last that are
    /// known, has decided. Where they have changed, consensus comes first.
    pub(super) fn next_value(&mut self, decided: u64, validators: &ValidatorSet) -> Option<&Value> {
        let height = self.begun.max(self.fed).max(decided) + 1;
        let Kept { proven, .. } = self.kept.get(&height)?;
        certificate::quorum(validators, proven.certificate.signatures.iter().map(|(node, _)| node)).ok()?;
        self.begun = height;
        Some(&proven.value)
    }

    /// Consensus refused a height: nothing of its sender is given to it.
    pub(super) fn distrust(&mut self, peer: NodeId, now_ms: u64) {
        self.kept.retain(|_, kept| kept.from != peer);
        self.kept_bytes = self.kept.values().map(|kept| kept.proven.bytes).sum();
        (self.fed, self.begun) = (self.reached.0, self.reached.0);
        self.resting.insert(peer, now_ms + REST_MS);
        self.wake();
    }

    /// Whether what consensus asks for is on its way already.
    pub(super) fn is_delivering(&self, now_ms: u64) -> bool {
        self.kept.contains_key(&(self.reached.0 + 1)) && now_ms < self.reached.1 + STALL_MS
    }
}

#[cfg(test)]
mod tests;
