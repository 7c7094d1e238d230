//! Batches that a value names and that are not here: asked for until they come or their height is over.
//!
//! The one who should hold them is asked first, then everybody else in turn: with a quorum of prevotes at least one honest node holds
//! what it voted for. What a single proposer can have us hold is bounded; what a quorum has decided is always taken.

use std::collections::{BTreeMap, HashMap};

use bixi_types::consensus::Value;
use bixi_types::limits::BATCH_BYTES_TARGET;
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};

use crate::batches::{BatchStore, Need, Standing};
use crate::exchange::Exchange;
use crate::links::{Channel, Links};

/// Pause before somebody else is asked.
const RETRY_MS: u64 = 250;
/// The same for what consensus does not wait for yet: a large answer may take its time.
const AHEAD_RETRY_MS: u64 = 2_000;

/// Who waits for the batches of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Consensus: a value under vote.
    Vote,
    /// Consensus: a value that was decided.
    Decision,
    /// Nobody yet: a decided value that consensus will come to.
    Ahead,
}

struct Wanted {
    value: Value,
    holder: NodeId,
    purpose: Purpose,
    /// How many were asked.
    asked: usize,
    retry_ms: u64,
}

/// A value whose batches are no longer missing.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) id: H256,
    pub(super) value: Value,
    pub(super) purpose: Purpose,
    /// All batches are here; else one is invalid.
    pub(super) is_complete: bool,
}

/// Values whose batches are not all here, by value id.
#[derive(Default)]
pub(super) struct Fetches {
    wanted: BTreeMap<H256, Wanted>,
    /// The batches asked for may have changed.
    is_changed: bool,
}

impl Fetches {
    /// When somebody is to be asked again.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.wanted.values().map(|wanted| wanted.retry_ms).min()
    }

    /// Values fetched before consensus waits for them, and the most that their batches may bring.
    pub(super) fn ahead(&self) -> (usize, usize) {
        let ahead = self.wanted.values().filter(|wanted| wanted.purpose == Purpose::Ahead);
        ahead.fold((0, 0), |(values, bytes), wanted| {
            (values + 1, bytes + wanted.value.batches.len() * BATCH_BYTES_TARGET)
        })
    }

    /// Begins to fetch for a value, or learns of another holder or of a better reason. What is on its way is not asked for twice.
    pub(super) fn begin(&mut self, id: H256, value: &Value, holder: NodeId, purpose: Purpose, now_ms: u64) {
        let known = self.wanted.get(&id);
        if purpose == Purpose::Ahead && known.is_some() {
            return;
        }
        // A quorum's decision stays one, whoever proposes it late.
        let purpose = match known.map(|known| known.purpose) {
            Some(Purpose::Decision | Purpose::Ahead) => Purpose::Decision,
            _ => purpose,
        };
        let under_way = known.filter(|known| known.purpose == Purpose::Ahead && known.asked > 0);
        let (asked, retry_ms) = match under_way {
            Some(known) => (known.asked, known.retry_ms.min(now_ms + RETRY_MS)),
            None => (0, now_ms),
        };
        self.wanted.insert(id, Wanted { value: value.clone(), holder, purpose, asked, retry_ms });
        self.is_changed = true;
    }

    /// Gives up what is over; returns what is no longer missing.
    pub(super) fn settle(&mut self, decided: u64, batches: &BatchStore) -> Vec<Settled> {
        let mut settled = Vec::new();
        let before = self.wanted.len();
        self.wanted.retain(|id, wanted| {
            if wanted.value.height <= decided {
                return false;
            }
            let is_complete = match batches.standing(&wanted.value.batches) {
                Standing::Missing(_) => return true,
                standing => standing == Standing::Complete,
            };
            let (id, value, purpose) = (*id, wanted.value.clone(), wanted.purpose);
            settled.push(Settled { id, value, purpose, is_complete });
            false
        });
        self.is_changed |= self.wanted.len() != before;
        self.tell_wanted(batches);
        settled
    }

    /// What is asked for is taken over the quotas of those who send it.
    pub(super) fn tell_wanted(&mut self, batches: &BatchStore) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let mut needs = HashMap::new();
        for wanted in self.wanted.values() {
            let need = match wanted.purpose {
                Purpose::Vote => Need::Proposed(wanted.holder),
                Purpose::Decision | Purpose::Ahead => Need::Decided(wanted.value.height),
            };
            for digest in &wanted.value.batches {
                let known = needs.entry(*digest).or_insert(need);
                if let Need::Decided(_) = need {
                    *known = need;
                }
            }
        }
        batches.want(needs);
    }

    /// Asks for everything whose turn has come, and for nothing that would not be taken.
    pub(super) fn ask(&mut self, now_ms: u64, us: NodeId, batches: &BatchStore, links: &dyn Links) {
        for (id, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| wanted.retry_ms <= now_ms) {
            wanted.retry_ms = now_ms + if wanted.purpose == Purpose::Ahead { AHEAD_RETRY_MS } else { RETRY_MS };
            if wanted.purpose == Purpose::Vote && !batches.has_room_for(wanted.holder) {
                tracing::debug!(value = %id, proposer = %wanted.holder, "its undecided values take enough room");
                continue;
            }
            let Standing::Missing(digests) = batches.standing(&wanted.value.batches) else { continue };
            let Some(peer) = wanted.next_peer(us, links).filter(|_| !digests.is_empty()) else { continue };
            wanted.asked += 1;
            tracing::debug!(value = %id, missing = digests.len(), %peer, attempt = wanted.asked, "asking for batches");
            let request = Exchange::Want { height: wanted.value.height, digests };
            links.send_on(Channel::Bulk, Destination::Node(peer), request.encode());
        }
    }
}

impl Wanted {
    fn next_peer(&self, us: NodeId, links: &dyn Links) -> Option<NodeId> {
        let peers = links.peers();
        if self.asked == 0 && self.holder != us && peers.contains(&self.holder) {
            return Some(self.holder);
        }
        let others: Vec<&NodeId> = peers.iter().filter(|peer| **peer != us).collect();
        others.get(self.asked % others.len().max(1)).map(|peer| **peer)
    }
}
