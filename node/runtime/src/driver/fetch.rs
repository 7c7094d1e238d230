//! Batches that a value names and that are not here: asked for until they come or their height is over.
//!
//! The one who should hold them is asked first, then everybody else in turn: with a quorum of prevotes at least one honest node holds
//! what it voted for.

use std::collections::{BTreeMap, HashSet};

use bixi_types::consensus::Value;
use bixi_types::ports::Destination;
use bixi_types::{H256, NodeId};

use crate::batches::BatchStore;
use crate::exchange::Exchange;
use crate::links::{Channel, Links};

/// Pause before somebody else is asked.
const RETRY_MS: u64 = 250;

struct Wanted {
    value: Value,
    holder: NodeId,
    /// How many were asked.
    asked: usize,
    retry_ms: u64,
}

/// How far the batches of a value are.
pub(super) enum Progress {
    Complete,
    Invalid,
    Missing,
}

/// Values whose batches are not all here, by value id.
#[derive(Default)]
pub(super) struct Fetches(BTreeMap<H256, Wanted>);

impl Fetches {
    /// When somebody is to be asked again.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.0.values().map(|wanted| wanted.retry_ms).min()
    }

    /// Begins to fetch for a value, or learns of another holder.
    pub(super) fn begin(&mut self, id: H256, value: &Value, holder: NodeId, now_ms: u64) {
        self.0.insert(id, Wanted { value: value.clone(), holder, asked: 0, retry_ms: now_ms });
    }

    /// Gives up what is over; returns what is no longer missing, to be made durable or called invalid.
    pub(super) fn settle(&mut self, decided: u64, batches: &BatchStore) -> Vec<(H256, Value, Progress)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.retain(|_, wanted| wanted.value.height > decided);
        let mut settled = Vec::new();
        self.0.retain(|id, wanted| {
            let progress = progress_of(&wanted.value, batches);
            let is_open = matches!(progress, Progress::Missing);
            if !is_open {
                settled.push((*id, wanted.value.clone(), progress));
            }
            is_open
        });
        self.tell_wanted(batches);
        settled
    }

    /// What is asked for is taken over any quota.
    pub(super) fn tell_wanted(&self, batches: &BatchStore) {
        let digests: HashSet<H256> = self.0.values().flat_map(|wanted| wanted.value.batches.iter().copied()).collect();
        batches.want(digests);
    }

    /// Asks for everything whose turn has come.
    pub(super) fn ask(&mut self, now_ms: u64, us: NodeId, batches: &BatchStore, links: &dyn Links) {
        for (id, wanted) in self.0.iter_mut().filter(|(_, wanted)| wanted.retry_ms <= now_ms) {
            wanted.retry_ms = now_ms + RETRY_MS;
            let (digests, _) = batches.missing(&wanted.value.batches);
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

/// How far the batches of `value` are.
pub(super) fn progress_of(value: &Value, batches: &BatchStore) -> Progress {
    let (_, is_invalid) = batches.missing(&value.batches);
    if is_invalid {
        return Progress::Invalid;
    }
    match batches.of_value(&value.batches) {
        Ok(_) => Progress::Complete,
        Err(_) => Progress::Missing,
    }
}
