//! TLS handshakes this node answers: a server signs before it knows its caller (RFC 8446 4.4.3), so anybody can cause such a signature,
//! or such a failure while the device is away.
//!
//! Written one by one they would let a stranger fill the audit trail and its disk's queue; so the trail has the first and then one
//! entry a minute with the number of those in between. The entry is made by the next handshake, or by whoever asks whether one is due;
//! what is left is told of when the node stops in order. A node that is killed loses the count of a minute at most. Every caller that is
//! let in has an entry of its own, for the opening of its session.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two entries.
const PERIOD: Duration = Duration::from_secs(60);

/// Handshakes since the last entry.
#[derive(Default)]
pub(super) struct Answered(Mutex<Since>);

#[derive(Default)]
struct Since {
    entry: Option<Instant>,
    untold: Untold,
}

/// Handshakes that no entry tells of yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    signed: u64,
    failed: u64,
    last_failure: Option<String>,
}

impl Untold {
    /// One handshake: signed, or why not.
    pub(super) fn one(failure: Option<String>) -> Self {
        Self { signed: u64::from(failure.is_none()), failed: u64::from(failure.is_some()), last_failure: failure }
    }

    /// With `later` ones.
    fn and(self, later: Self) -> Self {
        Self {
            signed: self.signed + later.signed,
            failed: self.failed + later.failed,
            last_failure: later.last_failure.or(self.last_failure),
        }
    }
}

/// As an entry tells of them, after what the entry itself is about.
impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} more TLS handshakes answered", self.signed)?;
        if let Some(reason) = &self.last_failure {
            write!(f, " and {} more not signed", self.failed)?;
            write!(f, " since the last entry, the last of them for: {reason}")
        } else {
            f.write_str(" since the last entry")
        }
    }
}

impl Since {
    fn is_due(&self, now: Instant) -> bool {
        self.entry.is_none_or(|at| now.saturating_duration_since(at) >= PERIOD)
    }

    fn tell(&mut self, now: Instant) -> Untold {
        self.entry = Some(now);
        std::mem::take(&mut self.untold)
    }
}

impl Answered {
    /// One more: what its entry tells besides, when one is due.
    pub(super) fn one_more(&self, failure: Option<String>, now: Instant) -> Option<Untold> {
        let mut since = self.lock();
        if since.is_due(now) {
            return Some(since.tell(now));
        }
        since.untold = std::mem::take(&mut since.untold).and(Untold::one(failure));
        None
    }

    /// What was counted, when the last entry is so old that one is due: whoever asks writes it.
    pub(super) fn due(&self, now: Instant) -> Option<Untold> {
        let mut since = self.lock();
        (since.is_due(now) && since.untold != Untold::default()).then(|| since.tell(now))
    }

    /// All that was counted: whoever takes it writes an entry.
    pub(super) fn take(&self) -> Untold {
        std::mem::take(&mut self.lock().untold)
    }

    /// The entry that should have told of them was not written: the next one does, and it is due at once.
    pub(super) fn give_back(&self, untold: Untold) {
        let mut since = self.lock();
        let later = std::mem::take(&mut since.untold);
        *since = Since { entry: None, untold: untold.and(later) };
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(signed: u64) -> Untold {
        Untold { signed, ..Untold::default() }
    }

    #[test]
    fn a_flood_makes_an_entry_a_minute_with_its_number() {
        let (answered, begin) = (Answered::default(), Instant::now());
        let at = |second| begin + Duration::from_secs(second);
        let entries: Vec<u64> =
            (0..600).filter_map(|second| answered.one_more(None, at(second))).map(|untold| untold.signed).collect();
        assert_eq!(entries, [0, 59, 59, 59, 59, 59, 59, 59, 59, 59]);
        assert_eq!(answered.one_more(None, at(6_000)), Some(signed(59)));
    }

    #[test]
    fn a_flood_that_ends_is_due_when_its_minute_is_over_and_once() {
        let (answered, begin) = (Answered::default(), Instant::now());
        let at = |second| begin + Duration::from_secs(second);
        assert_eq!(answered.due(at(0)), None, "nothing was counted");
        let entries = (0..900).filter(|_| answered.one_more(None, at(1)).is_some()).count();
        assert_eq!((entries, answered.due(at(60))), (1, None));
        assert_eq!(answered.due(at(61)), Some(signed(899)));
        assert_eq!(answered.due(at(1_000)), None);
        // What was told by time begins a minute as well.
        assert_eq!(answered.one_more(None, at(62)), None);
        assert_eq!(answered.one_more(None, at(121)), Some(signed(1)));
    }

    #[test]
    fn what_an_entry_failed_to_tell_is_told_by_the_next() {
        let (answered, now) = (Answered::default(), Instant::now());
        let told: Vec<_> = (0..4).map(|_| answered.one_more(None, now)).collect();
        assert_eq!(told, [Some(signed(0)), None, None, None]);
        let taken = answered.take();
        assert_eq!((&taken, answered.take()), (&signed(3), signed(0)));
        answered.give_back(taken);
        assert_eq!(answered.due(now), Some(signed(3)));
        assert_eq!((answered.one_more(None, now), answered.take()), (None, signed(1)));
    }

    #[test]
    fn failures_are_counted_apart_and_the_last_reason_is_told() {
        let (answered, now) = (Answered::default(), Instant::now());
        assert_eq!(answered.one_more(Some("pulled".into()), now), Some(signed(0)), "the first has its entry");
        for failure in [Some("pulled"), None, Some("locked"), None, None] {
            assert_eq!(answered.one_more(failure.map(str::to_owned), now), None);
        }
        let untold = answered.due(now + PERIOD).expect("a minute is over");
        assert_eq!(untold, Untold { signed: 3, failed: 2, last_failure: Some("locked".into()) });
        let words =
            "3 more TLS handshakes answered and 2 more not signed since the last entry, the last of them for: locked";
        assert_eq!(untold.to_string(), words);
        assert_eq!(signed(3).to_string(), "3 more TLS handshakes answered since the last entry");
        answered.give_back(untold);
        assert_eq!(answered.one_more(None, now).and_then(|untold| untold.last_failure), Some("locked".into()));
    }
}
