//! How long to wait before an address is called again: exponential, with full jitter, so that nodes that lost each other at one
//! moment do not come back at one moment.

use std::time::Duration;

use bixi_platform::random::OsRandom;

pub(crate) struct Pause {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Pause {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The next pause: anything up to a bound that doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let mut bytes = [0; 8];
        // Without jitter nodes may meet; that is no reason not to call.
        let fraction = match OsRandom.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes) as f64 / u64::MAX as f64,
            Err(_) => 1.0,
        };
        self.bound().mul_f64(fraction)
    }

    fn bound(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        bound
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut pause = Pause::new(Duration::from_millis(100), Duration::from_secs(1));
        let bounds: Vec<u128> = (0..6).map(|_| pause.bound().as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1_000, 1_000]);
        for _ in 0..100 {
            assert!(pause.next() <= Duration::from_secs(1));
        }
        pause.reset();
        assert_eq!(pause.bound().as_millis(), 100);
    }
}
