//! A sharded, bounded cache of state rows at the committed height. Absence is cached too.
//!
//! Invariant: a cached row equals the committed row, or a layer above it hides it. A reader takes a [`Ticket`] before it reads
//! the engine; a commit that touches the row's shard in between makes the ticket void, so an old value never overwrites a new
//! one. Eviction is second chance: a row read since its last turn goes round once more.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

/// A row's value; `None` is absent.
pub(crate) type Row = Option<Arc<[u8]>>;

const SHARDS: usize = 64;
/// Map entry, queue entry and two allocations, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 160;

struct Entry {
    row: Row,
    read: bool,
}

#[derive(Default)]
struct Shard {
    rows: HashMap<Arc<[u8]>, Entry>,
    turns: VecDeque<Arc<[u8]>>,
    bytes: usize,
    version: u64,
}

/// What a look-up says.
pub(crate) enum Lookup {
    /// Cached.
    Hit(Row),
    /// Read the engine, then [`StateCache::fill`] with this.
    Miss(Ticket),
}

/// Permission to fill one row, void after the next commit to its shard.
pub(crate) struct Ticket(u64);

/// The cache.
pub(crate) struct StateCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
    hasher: RandomState,
}

impl StateCache {
    /// Holds at most `bytes_max`, bookkeeping included.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / SHARDS,
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    pub(crate) fn lookup(&self, key: &[u8]) -> Lookup {
        let mut shard = self.shard(key).lock();
        match shard.rows.get_mut(key) {
            Some(entry) => {
                entry.read = true;
                Lookup::Hit(entry.row.clone())
            }
            None => Lookup::Miss(Ticket(shard.version)),
        }
    }

    pub(crate) fn fill(&self, key: &[u8], row: Row, ticket: Ticket) {
        let mut shard = self.shard(key).lock();
        if shard.version == ticket.0 {
            shard.insert(key, row, self.shard_bytes_max);
        }
    }

    /// Takes over a committed row.
    pub(crate) fn commit(&self, key: &[u8], row: Row) {
        let mut shard = self.shard(key).lock();
        shard.version += 1;
        shard.insert(key, row, self.shard_bytes_max);
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}

fn cost_bytes(key: &[u8], row: &Row) -> usize {
    ENTRY_OVERHEAD_BYTES + key.len() + row.as_ref().map_or(0, |value| value.len())
}

impl Shard {
    fn insert(&mut self, key: &[u8], row: Row, bytes_max: usize) {
        let cost = cost_bytes(key, &row);
        if let Some(entry) = self.rows.get_mut(key) {
            self.bytes = self.bytes - cost_bytes(key, &entry.row) + cost;
            entry.row = row;
        } else if cost <= bytes_max {
            let key: Arc<[u8]> = key.into();
            self.turns.push_back(Arc::clone(&key));
            self.rows.insert(key, Entry { row, read: false });
            self.bytes += cost;
        }
        while self.bytes > bytes_max {
            self.evict_one();
        }
    }

    fn evict_one(&mut self) {
        let key = self.turns.pop_front().expect("bytes are counted for queued rows only");
        let entry = self.rows.get_mut(&key).expect("every queued row is in the map");
        if std::mem::take(&mut entry.read) {
            self.turns.push_back(key);
            return;
        }
        self.bytes -= cost_bytes(&key, &entry.row);
        self.rows.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: &[u8]) -> Row {
        Some(bytes.into())
    }

    fn miss(cache: &StateCache, key: &[u8]) -> Ticket {
        match cache.lookup(key) {
            Lookup::Miss(ticket) => ticket,
            Lookup::Hit(_) => panic!("{key:?} is cached"),
        }
    }

    fn hit(cache: &StateCache, key: &[u8]) -> Row {
        match cache.lookup(key) {
            Lookup::Hit(row) => row,
            Lookup::Miss(_) => panic!("{key:?} is not cached"),
        }
    }

    #[test]
    fn absence_is_cached() {
        let cache = StateCache::new(1 << 20);
        cache.fill(b"k", None, miss(&cache, b"k"));
        assert_eq!(hit(&cache, b"k"), None);
    }

    #[test]
    fn an_old_read_never_overwrites_a_commit() {
        let cache = StateCache::new(1 << 20);
        let ticket = miss(&cache, b"k");
        cache.commit(b"k", row(b"new"));
        cache.fill(b"k", row(b"old"), ticket);
        assert_eq!(hit(&cache, b"k"), row(b"new"));
    }

    #[test]
    fn memory_stays_within_its_bound() {
        let bound = SHARDS * 4096;
        let cache = StateCache::new(bound);
        for i in 0..10_000u32 {
            cache.commit(&i.to_be_bytes(), row(&[7; 100]));
            assert!(cache.bytes() <= bound);
        }
        assert!(cache.bytes() > bound / 2, "the cache is used");
        cache.commit(b"huge", row(&[0; 8192]));
        miss(&cache, b"huge");
        cache.commit(b"grows", row(&[0; 10]));
        cache.commit(b"grows", row(&[0; 8192]));
        assert!(cache.bytes() <= bound);
        miss(&cache, b"grows");
    }

    #[test]
    fn a_row_in_use_outlives_rows_that_are_not() {
        let cache = StateCache::new(SHARDS * 2048);
        cache.commit(b"hot", row(b"1"));
        for i in 0..5_000u32 {
            hit(&cache, b"hot");
            cache.commit(&i.to_be_bytes(), row(&[0; 16]));
        }
        hit(&cache, b"hot");
    }
}
