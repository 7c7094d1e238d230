//! What a direction of the wire does to a frame: a pure function of the condition, the seed's next numbers and the clock.

use std::time::{Duration, Instant};

use crate::wallet::Seeded;

/// How long a frame that loses its turn waits behind those after it.
const REORDER_DELAY: Duration = Duration::from_millis(10);
const PERMILLE: u64 = 1_000;

/// The state of one direction between two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Every frame takes so long.
    pub delay: Duration,
    /// And so much more or less, evenly.
    pub jitter: Duration,
    /// Of a thousand frames so many are lost.
    pub loss_permille: u64,
    /// Of a thousand frames so many arrive twice.
    pub duplicate_permille: u64,
    /// Of a thousand frames so many are overtaken.
    pub reorder_permille: u64,
    /// What passes in a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// Nothing passes.
    pub is_cut: bool,
}

impl Condition {
    /// No fault.
    pub const GOOD: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        bytes_per_second: 0,
        is_cut: false,
    };
    /// Nothing passes.
    pub const CUT: Self = Self { is_cut: true, ..Self::GOOD };

    /// When copies of a frame arrive: none, one or two. `free` is when the direction has sent what it took before, and is moved on.
    pub(super) fn arrivals(&self, bytes: usize, now: Instant, free: &mut Instant, random: &mut Seeded) -> Vec<Instant> {
        let mut happens = |permille: u64| permille > 0 && random.below(PERMILLE) < permille;
        if self.is_cut || happens(self.loss_permille) {
            return Vec::new();
        }
        let (is_late, is_twice) = (happens(self.reorder_permille), happens(self.duplicate_permille));
        let sent = (*free).max(now);
        *free = sent + self.time_to_send(bytes);
        let jitter_us = 2 * self.jitter.as_micros() as u64;
        let late = if is_late { REORDER_DELAY } else { Duration::ZERO };
        let arrival = |random: &mut Seeded| {
            let jitter = if jitter_us > 0 { random.below(jitter_us) } else { 0 };
            sent + self.time_to_send(bytes)
                + late
                + self.delay.saturating_sub(self.jitter)
                + Duration::from_micros(jitter)
        };
        (0..1 + u8::from(is_twice)).map(|_| arrival(random)).collect()
    }

    fn time_to_send(&self, bytes: usize) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(condition: Condition, frames: usize, bytes: usize) -> Vec<Vec<Duration>> {
        let (now, mut random) = (Instant::now(), Seeded(1));
        let mut free = now;
        let mut arrive = || condition.arrivals(bytes, now, &mut free, &mut random);
        (0..frames).map(|_| arrive().iter().map(|at| *at - now).collect()).collect()
    }

    #[test]
    fn a_good_wire_changes_nothing_and_a_cut_one_passes_nothing() {
        assert_eq!(arrivals(Condition::GOOD, 2, 1_500), vec![vec![Duration::ZERO]; 2]);
        assert_eq!(arrivals(Condition::CUT, 2, 1_500), vec![Vec::new(); 2]);
    }

    #[test]
    fn delay_stays_within_its_jitter() {
        let ms = Duration::from_millis;
        let slow = Condition { delay: ms(100), jitter: ms(50), ..Condition::GOOD };
        let at: Vec<Duration> = arrivals(slow, 1_000, 60).into_iter().flatten().collect();
        assert_eq!(at.len(), 1_000);
        assert!(at.iter().all(|at| (ms(50)..ms(150)).contains(at)));
        assert!(at.iter().any(|at| *at < ms(60)) && at.iter().any(|at| *at > ms(140)));
    }

    #[test]
    fn loss_and_duplicates_come_as_often_as_they_should() {
        let bad = Condition { loss_permille: 200, duplicate_permille: 100, ..Condition::GOOD };
        let copies: Vec<usize> = arrivals(bad, 10_000, 60).iter().map(Vec::len).collect();
        let share = |count: usize| copies.iter().filter(|copies| **copies == count).count();
        assert!((1_800..2_200).contains(&share(0)), "{} lost", share(0));
        assert!((650..950).contains(&share(2)), "{} doubled", share(2));
    }

    #[test]
    fn bandwidth_sends_one_after_the_other() {
        let narrow = Condition { bytes_per_second: 125_000, ..Condition::GOOD };
        let at: Vec<Duration> = arrivals(narrow, 3, 1_250).into_iter().flatten().collect();
        assert_eq!(at, [10, 20, 30].map(Duration::from_millis));
    }
}
