//! How fast files are sealed anew: an even rate, so that a disk and processors that others use are never taken whole, and beside others' work no
//! more than a share of the time: a piece that took long because they are busy is followed by a pause that is longer.

use std::time::{Duration, Instant};

/// Shorter pauses are saved up: the system ends none so soon.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What else is looked at now and then in a long pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Beside others' work a piece is followed by a pause of so many times its own length at least.
const PAUSES: u32 = 9;
/// And no longer than this: what held a piece up for minutes was no work of its own.
const SHARE_MAX: Duration = Duration::from_secs(10);

/// When the next bytes may be sealed.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Instant,
    /// When the piece was begun that is being worked on.
    begun: Instant,
    pauses: u32,
}

impl Pace {
    /// Of who has the machine to himself.
    pub(crate) fn begin() -> Self {
        Self { due: Instant::now(), begun: Instant::now(), pauses: 0 }
    }

    /// Of who works beside others.
    pub(crate) fn beside_others() -> Self {
        Self { pauses: PAUSES, ..Self::begin() }
    }

    /// Waits as long as `bytes` take at the rate of `bytes_per_second`, or until `is_ended`. What was slower than the rate is not made
    /// up for.
    pub(crate) fn after(&mut self, bytes: u64, bytes_per_second: Option<u64>, is_ended: impl Fn() -> bool) {
        let Some(rate) = bytes_per_second else { return };
        let now = Instant::now();
        let by_rate = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let by_share = (now.saturating_duration_since(self.begun) * self.pauses).min(SHARE_MAX);
        self.due = self.due.max(now) + by_rate.max(by_share);
        self.begun = now;
        if self.due.saturating_duration_since(now) < PAUSE_MIN {
            return;
        }
        while !is_ended() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(PAUSE_MAX));
        }
        self.begun = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_pieces_take_as_long_as_one_others_have_their_share_and_an_end_is_heeded() {
        for pieces in [1, 1_000] {
            let (mut pace, began) = (Pace::begin(), Instant::now());
            (0..pieces).for_each(|_| pace.after(200_000 / pieces, Some(1_000_000), || false));
            assert!(began.elapsed() >= Duration::from_millis(190), "{pieces}: {:?}", began.elapsed());
        }
        // Beside others: what was worked is a tenth of the time at most, whatever the rate would allow.
        let (mut pace, began) = (Pace::beside_others(), Instant::now());
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            pace.after(1, Some(u64::MAX), || false);
        }
        assert!(began.elapsed() >= Duration::from_millis(3 * 200), "{:?}", began.elapsed());
        let mut held_up = Pace { begun: Instant::now() - Duration::from_secs(600), ..Pace::beside_others() };
        let began = Instant::now();
        held_up.after(1, Some(u64::MAX), || began.elapsed() > Duration::from_secs(1));
        assert!(held_up.due - began < Duration::from_secs(60));
        let began = Instant::now();
        Pace::begin().after(u64::from(u32::MAX), Some(1), || true);
        Pace::begin().after(u64::MAX, None, || false);
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
