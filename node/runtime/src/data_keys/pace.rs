//! How fast files are sealed anew: an even rate, so that a disk and processors that others use are never taken whole.

use std::time::{Duration, Instant};

/// Shorter pauses are saved up: the system ends none so soon.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What else is looked at now and then in a long pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// When the next bytes may be sealed.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Instant,
}

impl Pace {
    pub(crate) fn begin() -> Self {
        Self { due: Instant::now() }
    }

    /// Waits as long as `bytes` take at the rate of `bytes_per_second`, or until `is_ended`. What was slower than the rate is not made
    /// up for.
    pub(crate) fn after(&mut self, bytes: u64, bytes_per_second: Option<u64>, is_ended: impl Fn() -> bool) {
        let Some(rate) = bytes_per_second else { return };
        let now = Instant::now();
        self.due = self.due.max(now) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        if self.due.saturating_duration_since(now) < PAUSE_MIN {
            return;
        }
        while !is_ended() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(PAUSE_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_pieces_take_as_long_as_one_and_an_end_is_heeded() {
        for pieces in [1, 1_000] {
            let (mut pace, began) = (Pace::begin(), Instant::now());
            (0..pieces).for_each(|_| pace.after(200_000 / pieces, Some(1_000_000), || false));
            assert!(began.elapsed() >= Duration::from_millis(190), "{pieces}: {:?}", began.elapsed());
        }
        let began = Instant::now();
        Pace::begin().after(u64::from(u32::MAX), Some(1), || true);
        Pace::begin().after(u64::MAX, None, || false);
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
