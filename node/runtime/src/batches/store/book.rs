//! What is held, which of it waits, and what that comes to for each origin: bookkeeping without a lock.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use bixi_types::limits::{NAMED_BATCHES_BYTES_MAX, VALUE_BYTES_MAX};
use bixi_types::{H256, NodeId};

use super::{Need, Origin};
use crate::batches::VerifiedBatch;

pub(super) struct Held {
    pub(super) batch: VerifiedBatch,
    pub(super) bytes: usize,
    pub(super) origin: Origin,
    pub(super) since: Instant,
    /// Place in the order of arrival.
    pub(super) order: u64,
    /// The highest height for which the ordering log holds it: it stands in a value of that height.
    pub(super) logged: u64,
    pub(super) decided: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) batches: usize,
    pub(super) bytes: usize,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) held: HashMap<H256, Held>,
    /// Order of arrival → digest, of the undecided ones.
    pub(super) waiting: BTreeMap<u64, H256>,
    pub(super) next_order: u64,
    /// What the undecided ones of an origin come to.
    pub(super) loads: HashMap<Origin, Load>,
    pub(super) waiting_transactions: usize,
    pub(super) decided_bytes: usize,
    pub(super) verifying: HashSet<H256>,
    pub(super) wanted: HashMap<H256, Need>,
    pub(super) invalid: VecDeque<H256>,
}

impl Inner {
    pub(super) fn load(&self, origin: Origin) -> Load {
        self.loads.get(&origin).copied().unwrap_or_default()
    }

    pub(super) fn has_room_for(&self, proposer: NodeId) -> bool {
        let named_bytes = |(origin, load): (&Origin, &Load)| if let Origin::Named(_) = origin { load.bytes } else { 0 };
        let all_bytes: usize = self.loads.iter().map(named_bytes).sum();
        self.load(Origin::Named(proposer)).bytes < VALUE_BYTES_MAX && all_bytes < NAMED_BATCHES_BYTES_MAX
    }

    /// The undecided ones, oldest first, a queue of at most `each_max` for each origin; the queue of the oldest batch first.
    pub(super) fn waiting_by_origin(&self, each_max: usize) -> Vec<VecDeque<VerifiedBatch>> {
        let (mut queues, mut places) = (Vec::<VecDeque<VerifiedBatch>>::new(), HashMap::new());
        for held in self.waiting.values().map(|digest| &self.held[digest]) {
            let place = *places.entry(held.origin).or_insert_with(|| {
                queues.push(VecDeque::new());
                queues.len() - 1
            });
            if queues[place].len() < each_max {
                queues[place].push_back(held.batch.clone());
            }
        }
        queues
    }

    pub(super) fn begin_waiting(&mut self, digest: H256) {
        let held = &self.held[&digest];
        self.waiting.insert(held.order, digest);
        self.waiting_transactions += held.batch.transactions.len();
        let load = self.loads.entry(held.origin).or_default();
        *load = Load { batches: load.batches + 1, bytes: load.bytes + held.bytes };
    }

    pub(super) fn stop_waiting(&mut self, digest: &H256, decided: u64) {
        let Some(held) = self.held.get_mut(digest) else { return };
        if let Some(before) = held.decided {
            held.decided = Some(before.max(decided));
            return;
        }
        held.decided = Some(decided);
        self.decided_bytes += held.bytes;
        self.waiting.remove(&held.order);
        self.waiting_transactions -= held.batch.transactions.len();
        if let Some(load) = self.loads.get_mut(&held.origin) {
            *load = Load { batches: load.batches - 1, bytes: load.bytes - held.bytes };
            if load.batches == 0 {
                self.loads.remove(&held.origin);
            }
        }
    }
}
