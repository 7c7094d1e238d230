//! TLS handshakes this node answers: a server signs before it knows its caller (RFC 8446 4.4.3), so anybody can cause such a signature.
//! Written one by one they would let a stranger fill the audit trail; so the trail has the first and then one entry a minute with the
//! number of those in between, and what is left is told of when the node stops in order. Every caller that is let in has an entry of its own, for the opening of its session.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two entries.
const PERIOD: Duration = Duration::from_secs(60);

/// Signatures since the last entry.
#[derive(Default)]
pub(super) struct Answered(Mutex<Since>);

#[derive(Default)]
struct Since {
    entry: Option<Instant>,
    more: u64,
}

impl Answered {
    /// One more signature: the number of those that no entry told of, when an entry is due.
    pub(super) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut since = self.lock();
        if since.entry.is_some_and(|at| now.saturating_duration_since(at) < PERIOD) {
            since.more += 1;
            return None;
        }
        let more = since.more;
        *since = Since { entry: Some(now), more: 0 };
        Some(more)
    }

    /// Those that no entry told of: whoever takes them writes an entry.
    pub(super) fn take(&self) -> u64 {
        std::mem::take(&mut self.lock().more)
    }

    /// The entry that should have told of so many was not written: the next signature makes one.
    pub(super) fn give_back(&self, more: u64) {
        let mut since = self.lock();
        *since = Since { entry: None, more: since.more + more };
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_an_entry_a_minute_with_its_number() {
        let (answered, begin) = (Answered::default(), Instant::now());
        let entries: Vec<u64> =
            (0..600).filter_map(|second| answered.one_more(begin + Duration::from_secs(second))).collect();
        assert_eq!(entries, [0, 59, 59, 59, 59, 59, 59, 59, 59, 59]);
        assert_eq!(answered.one_more(begin + Duration::from_secs(6_000)), Some(59));
    }

    #[test]
    fn what_an_entry_failed_to_tell_is_told_by_the_next() {
        let (answered, now) = (Answered::default(), Instant::now());
        let told: Vec<_> = (0..4).map(|_| answered.one_more(now)).collect();
        assert_eq!(told, [Some(0), None, None, None]);
        let taken = answered.take();
        assert_eq!((taken, answered.take()), (3, 0));
        answered.give_back(taken);
        assert_eq!(answered.one_more(now), Some(3));
        assert_eq!((answered.one_more(now), answered.take()), (None, 1));
    }
}
