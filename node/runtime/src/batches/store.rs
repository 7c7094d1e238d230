//! The batches at hand, by digest.
//!
//! Invariants: a batch in a value of the running height, or decided and not in the ledger, is never dropped; undecided batches of one
//! peer take at most [`PEER_BATCHES_BYTES_MAX`] and are at most [`PEER_BATCHES_MAX`]; those that came because a proposer named them take
//! at most [`VALUE_BYTES_MAX`] for it, [`NAMED_BATCHES_BYTES_MAX`] for all, and one batch more.
//!
//! [`VALUE_BYTES_MAX`]: bixi_types::limits::VALUE_BYTES_MAX

mod book;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bixi_execution::order;
use bixi_types::limits::{BATCH_HELD_MS, BATCH_RETRY_MS, PEER_BATCHES_BYTES_MAX, PEER_BATCHES_MAX, VALUE_BATCHES_MAX};
use bixi_types::state::{History, StateError};
use bixi_types::{H256, NodeId};
use parking_lot::Mutex;

use super::VerifiedBatch;
use super::choice::{Choice, LOOKED_AT_MAX};
use super::traffic::Traffic;
use book::{Held, Inner, Load};

/// Digests of invalid batches remembered: enough for every value that one height may look at.
const INVALID_MAX: usize = 4 * VALUE_BATCHES_MAX;

/// Where a batch came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// Built here: its transactions are in our pool.
    Own,
    /// Received.
    Peer(NodeId),
    /// Asked for because an undecided value of this proposer named it. It goes soon when the value lost.
    Named(NodeId),
    /// Asked for because a decided value named it, or read from the ordering log.
    Chain,
}

/// Why a batch is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// An undecided value of this proposer names it.
    Proposed(NodeId),
    /// The value decided at this height names it.
    Decided(u64),
}

/// How far the batches of a value are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All are here.
    Complete,
    /// One was found to be invalid.
    Invalid,
    /// These are neither here nor being verified; none when the rest is being verified.
    Missing(Vec<H256>),
}

/// What becomes of a batch that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Its transactions are to be verified now.
    Verify,
    /// It is here, or about to be.
    Known,
    /// Its sender has enough undecided batches here.
    OverQuota,
    /// Its transactions were found to be invalid before.
    Invalid,
}

/// Batches by digest. Shared by reference; one lock, held for map operations only.
#[derive(Default)]
pub(crate) struct BatchStore {
    inner: Mutex<Inner>,
    traffic: Traffic,
}

impl BatchStore {
    /// Judges an encoded batch by its digest before its transactions are looked at. After [`Admit::Verify`] comes [`Self::add`] or
    /// [`Self::refuse`].
    pub(crate) fn admit(&self, digest: H256, from: NodeId, bytes: usize) -> Admit {
        let verdict = self.judge(digest, from, bytes);
        self.traffic.arrived(verdict, self.is_wanted(&digest), bytes);
        verdict
    }

    /// What passed between this node and its peers.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn judge(&self, digest: H256, from: NodeId, bytes: usize) -> Admit {
        let mut inner = self.inner.lock();
        if inner.held.contains_key(&digest) || inner.verifying.contains(&digest) {
            return Admit::Known;
        }
        if inner.invalid.contains(&digest) {
            return Admit::Invalid;
        }
        let load = inner.load(Origin::Peer(from));
        let fits_peer = load.bytes + bytes <= PEER_BATCHES_BYTES_MAX && load.batches < PEER_BATCHES_MAX;
        let fits = match inner.wanted.get(&digest) {
            None => fits_peer,
            Some(Need::Proposed(proposer)) => fits_peer || inner.has_room_for(*proposer),
            Some(Need::Decided(_)) => true,
        };
        if !fits {
            return Admit::OverQuota;
        }
        inner.verifying.insert(digest);
        Admit::Verify
    }

    /// Keeps a verified batch; nothing happens when it is here.
    pub(crate) fn add(&self, batch: VerifiedBatch, origin: Origin) {
        self.keep(batch, origin, 0);
    }

    /// Keeps a batch that the ordering log holds for `height`.
    pub(crate) fn restore(&self, batch: VerifiedBatch, height: u64) {
        self.keep(batch, Origin::Chain, height);
    }

    fn keep(&self, batch: VerifiedBatch, origin: Origin, logged: u64) {
        let mut inner = self.inner.lock();
        let digest = batch.digest;
        inner.verifying.remove(&digest);
        if let Some(held) = inner.held.get_mut(&digest) {
            held.logged = held.logged.max(logged);
            return;
        }
        let need = inner.wanted.get(&digest).copied().filter(|_| origin != Origin::Own);
        let origin = match need {
            Some(Need::Proposed(proposer)) if inner.has_room_for(proposer) => Origin::Named(proposer),
            None | Some(Need::Proposed(_)) => origin,
            Some(Need::Decided(_)) => Origin::Chain,
        };
        let (bytes, order) = (batch.encoded_bytes(), inner.next_order);
        inner.next_order += 1;
        inner.held.insert(digest, Held { batch, bytes, origin, since: Instant::now(), order, logged, decided: None });
        inner.begin_waiting(digest);
        if let Some(Need::Decided(height)) = need {
            inner.stop_waiting(&digest, height);
        }
    }

    /// The batch that was to be verified is not kept: it is invalid, or nothing in it is new.
    pub(crate) fn refuse(&self, digest: H256, is_invalid: bool) {
        let mut inner = self.inner.lock();
        inner.verifying.remove(&digest);
        if is_invalid {
            inner.invalid.push_back(digest);
            if inner.invalid.len() > INVALID_MAX {
                inner.invalid.pop_front();
            }
        }
    }

    /// The batches of a value, in order; `Err` names the first one missing.
    pub(crate) fn of_value(&self, digests: &[H256]) -> Result<Vec<VerifiedBatch>, H256> {
        let inner = self.inner.lock();
        digests.iter().map(|digest| inner.held.get(digest).map(|entry| entry.batch.clone()).ok_or(*digest)).collect()
    }

    /// One batch.
    pub(crate) fn get(&self, digest: &H256) -> Option<VerifiedBatch> {
        self.inner.lock().held.get(digest).map(|held| held.batch.clone())
    }

    /// Our own undecided batches, oldest first.
    pub(crate) fn own_waiting(&self) -> Vec<VerifiedBatch> {
        let inner = self.inner.lock();
        let waiting = inner.waiting.values().map(|digest| &inner.held[digest]);
        waiting.filter(|held| held.origin == Origin::Own).map(|held| held.batch.clone()).collect()
    }

    /// Own undecided batches: how many, and their bytes.
    pub(crate) fn own_load(&self) -> (usize, usize) {
        let Load { batches, bytes } = self.inner.lock().load(Origin::Own);
        (batches, bytes)
    }

    /// Transactions in undecided batches.
    pub(crate) fn waiting_transactions(&self) -> usize {
        self.inner.lock().waiting_transactions
    }

    /// Whether a batch waits that stands in no value of `height` or above.
    pub(crate) fn is_pending(&self, height: u64) -> bool {
        let inner = self.inner.lock();
        inner.waiting.values().any(|digest| inner.held[digest].logged < height)
    }

    /// Digests for a new value: of each origin in turn its oldest undecided batches, within the bounds of a value (counted and in bytes)
    /// and of a block, as [`Choice`] has them.
    pub(crate) fn propose(
        &self,
        tally: &mut order::Tally<'_>,
        transactions_max: usize,
    ) -> Result<Vec<H256>, StateError> {
        let queues = self.inner.lock().waiting_by_origin(LOOKED_AT_MAX);
        Choice::new(tally, transactions_max).among(queues)
    }

    /// Ties the batches of a value to its height; returns those the ordering log does not hold for it yet. When some are missing nothing
    /// is tied, and their digests come back.
    pub(crate) fn pin(&self, digests: &[H256], height: u64) -> Result<Vec<VerifiedBatch>, Vec<H256>> {
        let mut inner = self.inner.lock();
        let missing: Vec<H256> = digests.iter().filter(|digest| !inner.held.contains_key(digest)).copied().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let mut fresh = Vec::new();
        for digest in digests {
            let held = inner.held.get_mut(digest).expect("seen above");
            if held.logged < height {
                held.logged = height;
                fresh.push(held.batch.clone());
            }
        }
        Ok(fresh)
    }

    /// A value with these batches was decided.
    pub(crate) fn decided(&self, digests: &[H256], height: u64) {
        let mut inner = self.inner.lock();
        for digest in digests {
            inner.stop_waiting(digest, height);
        }
    }

    /// Drops the batches decided at `height` and below: they are in the ledger. One that somebody named again for a later height stays
    /// until that one is over.
    pub(crate) fn forget(&self, height: u64) {
        let mut inner = self.inner.lock();
        let Inner { held, decided_bytes, .. } = &mut *inner;
        held.retain(|_, held| {
            let keeps = held.decided.is_none_or(|decided| decided.max(held.logged) > height);
            if !keeps {
                *decided_bytes -= held.bytes;
            }
            keeps
        });
    }

    /// What the decided ones that are not in the ledger come to.
    pub(crate) fn decided_bytes(&self) -> usize {
        self.inner.lock().decided_bytes
    }

    /// Drops what waited too long and stands in no value of `height` or above. Returns our own: their transactions are to be batched
    /// again.
    pub(crate) fn expire(&self, now: Instant, height: u64) -> Vec<VerifiedBatch> {
        self.drop_own(|held| {
            let age_ms = if let Origin::Peer(_) = held.origin { BATCH_HELD_MS } else { BATCH_RETRY_MS };
            held.logged < height && now.saturating_duration_since(held.since) >= Duration::from_millis(age_ms)
        })
    }

    /// Drops undecided batches of which nothing can stand at `height` or above, unless they stand in a value of these heights. Returns our
    /// own: their clients are to be told.
    pub(crate) fn drop_spent(&self, history: &dyn History, height: u64) -> Result<Vec<VerifiedBatch>, StateError> {
        let waiting: Vec<VerifiedBatch> = {
            let inner = self.inner.lock();
            inner.waiting.values().map(|digest| inner.held[digest].batch.clone()).collect()
        };
        let mut spent = HashSet::new();
        for batch in waiting {
            if batch.is_spent(history, height)? {
                spent.insert(batch.digest);
            }
        }
        Ok(self.drop_own(|held| held.logged < height && spent.contains(&held.batch.digest)))
    }

    /// As [`Self::drop_waiting`], and returns our own.
    fn drop_own(&self, goes: impl Fn(&Held) -> bool) -> Vec<VerifiedBatch> {
        let gone = self.drop_waiting(goes).into_iter();
        gone.filter_map(|(origin, batch)| (origin == Origin::Own).then_some(batch)).collect()
    }

    /// Drops undecided batches, but none that a value waits for.
    fn drop_waiting(&self, goes: impl Fn(&Held) -> bool) -> Vec<(Origin, VerifiedBatch)> {
        let mut inner = self.inner.lock();
        let is_over = |digest: &&H256| !inner.wanted.contains_key(*digest) && goes(&inner.held[*digest]);
        let gone: Vec<H256> = inner.waiting.values().filter(is_over).copied().collect();
        for digest in &gone {
            inner.stop_waiting(digest, 0);
        }
        let gone: Vec<Held> = gone.iter().filter_map(|digest| inner.held.remove(digest)).collect();
        inner.decided_bytes -= gone.iter().map(|held| held.bytes).sum::<usize>();
        gone.into_iter().map(|held| (held.origin, held.batch)).collect()
    }

    /// From now on exactly these batches are taken over their senders' quotas: values need them.
    pub(crate) fn want(&self, wanted: HashMap<H256, Need>) {
        self.inner.lock().wanted = wanted;
    }

    /// Whether a value needs this batch.
    pub(crate) fn is_wanted(&self, digest: &H256) -> bool {
        self.inner.lock().wanted.contains_key(digest)
    }

    /// Whether one more batch is taken because an undecided value of this proposer names it.
    pub(crate) fn has_room_for(&self, proposer: NodeId) -> bool {
        self.inner.lock().has_room_for(proposer)
    }

    /// How far the batches of a value are.
    pub(crate) fn standing(&self, digests: &[H256]) -> Standing {
        let inner = self.inner.lock();
        let absent = || digests.iter().filter(|digest| !inner.held.contains_key(digest));
        if absent().next().is_none() {
            return Standing::Complete;
        }
        if absent().any(|digest| inner.invalid.contains(digest)) {
            return Standing::Invalid;
        }
        Standing::Missing(absent().filter(|digest| !inner.verifying.contains(digest)).copied().collect())
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().held.len()
    }
}

impl VerifiedBatch {
    /// Whether no transaction can stand at `height` or above, whatever comes: each is in the chain or ordered, or has expired.
    pub(crate) fn is_spent(&self, history: &dyn History, height: u64) -> Result<bool, StateError> {
        for transaction in self.transactions.iter() {
            let is_expired = order::is_expired(transaction.tx.block_limit, height);
            if !is_expired && !history.transaction_known(&transaction.hash)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
