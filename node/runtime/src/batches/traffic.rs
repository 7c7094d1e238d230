//! What became of the batches of peers, counted since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::store::Admit;

/// How many, and how many bytes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// Batches between this node and its peers.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Taken to be checked.
    pub received: Tally,
    /// Of these, named by a value that waited for them.
    pub fetched: Tally,
    /// Sent to a peer that asked or was away.
    pub served: Tally,
    /// Not taken: held already.
    pub known: Tally,
    /// Not taken: their sender has too many waiting.
    pub over_quota: Tally,
    /// Not taken, or thrown away: they break a rule.
    pub invalid: Tally,
}

impl Traffic {
    /// Notes what was decided of an arrival.
    pub(super) fn arrived(&self, verdict: Admit, is_wanted: bool, bytes: usize) {
        match verdict {
            Admit::Verify if is_wanted => {
                self.received.add(bytes);
                self.fetched.add(bytes);
            }
            Admit::Verify => self.received.add(bytes),
            Admit::Known => self.known.add(bytes),
            Admit::OverQuota => self.over_quota.add(bytes),
            Admit::Invalid => self.invalid.add(bytes),
        }
    }

    /// One turned out to break a rule.
    pub(crate) fn refused(&self, bytes: usize) {
        self.invalid.add(bytes);
    }

    /// One was sent.
    pub(crate) fn sent(&self, bytes: usize) {
        self.served.add(bytes);
    }
}
