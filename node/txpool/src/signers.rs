//! Multiplication tables of frequent signers: a signature under a key with a table costs a quarter of one under a new key.
//!
//! A key earns its table by [`COMMITS_FOR_TABLE`] transactions in certified blocks, so that a flood of fresh keys, whose
//! transactions cost a place in a block each, gains none. Tables are built one at a time and at most one in [`BUILD_PERIOD`],
//! by whichever verifier thread has just ended a batch; memory is bounded by [`sm2::Registry`], where the key unused for the
//! longest time makes room. Counting is bounded, too, after Misra and Gries: with all counters taken, a newcomer takes
//! one from each, so that a key with more than its share of all transactions is never crowded out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bixi_accel::sm2;
use parking_lot::Mutex;

/// A table costs as much as about thirty verifications save.
const COMMITS_FOR_TABLE: u32 = 64;
/// Keys counted for each table there may be.
const COUNTED_PER_TABLE: usize = 4;
/// Two hundred tables a second at most: a few percent of one core.
const BUILD_PERIOD: Duration = Duration::from_millis(5);

/// The policy, and the tables.
pub(crate) struct Signers {
    tables: sm2::Registry,
    tables_max: usize,
    earning: Mutex<Earning>,
}

#[derive(Default)]
struct Earning {
    commits: HashMap<[u8; 64], u32>,
    /// Keys that earned a table and wait for it; each is counted still, which bounds them.
    due: VecDeque<[u8; 64]>,
    last_built: Option<Instant>,
}

impl Signers {
    /// Tables that take at most `bytes_max` of memory; none if that is less than one table.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let tables_max = bytes_max / sm2::Registry::BYTES_PER_KEY;
        Self { tables: sm2::Registry::new(tables_max), tables_max, earning: Mutex::default() }
    }

    /// The tables there are.
    pub(crate) fn tables(&self) -> &sm2::Registry {
        &self.tables
    }

    /// Counts the signers of a certified block's transactions, keys X ‖ Y.
    pub(crate) fn note_committed<'a>(&self, keys: impl Iterator<Item = &'a [u8; 64]>) {
        if self.tables_max == 0 {
            return;
        }
        let mut earning = self.earning.lock();
        for key in keys {
            if !self.tables.contains(key) {
                earning.count(key, self.tables_max * COUNTED_PER_TABLE);
            }
        }
    }

    /// Builds the next table if one is due and the last one is long enough ago.
    pub(crate) fn build_due(&self, now: Instant) {
        let Some(key) = self.earning.lock().take_due(now) else { return };
        // A key off the curve signed nothing; were it here all the same, it would be left without a table.
        if let Ok(key) = sm2::PublicKey::from_bytes(&key) {
            let _ = self.tables.register(&key);
        }
    }
}

impl Earning {
    fn count(&mut self, key: &[u8; 64], counted_max: usize) {
        if let Some(commits) = self.commits.get_mut(key) {
            *commits = commits.saturating_add(1);
            if *commits == COMMITS_FOR_TABLE {
                self.due.push_back(*key);
            }
            return;
        }
        if self.commits.len() < counted_max {
            self.commits.insert(*key, 1);
        } else {
            self.take_one_from_each();
        }
    }

    /// Who has earned a table keeps the claim. Claims aside, each call undoes as many counts as it looks at: the cost of a commit is
    /// constant on average.
    fn take_one_from_each(&mut self) {
        self.commits.retain(|_, commits| {
            if *commits < COMMITS_FOR_TABLE {
                *commits -= 1;
            }
            *commits > 0
        });
    }

    fn take_due(&mut self, now: Instant) -> Option<[u8; 64]> {
        if self.last_built.is_some_and(|built| now.saturating_duration_since(built) < BUILD_PERIOD) {
            return None;
        }
        let key = self.due.pop_front()?;
        self.commits.remove(&key);
        self.last_built = Some(now);
        Some(key)
    }
}

#[cfg(test)]
mod tests;
