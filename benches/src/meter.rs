//! Time and cycles: of the wall's clock, or of whatever a bench brings.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

/// What a contender's runs are measured with.
pub trait Meter {
    /// What it measures, for the table's head.
    fn describe(&self) -> String;
    /// Nanoseconds so far.
    fn nanoseconds(&mut self) -> u64;
    /// Cycles of the core so far, if someone counts them.
    fn cycles(&mut self) -> Option<u64> {
        None
    }
}

/// Time as it passes: what other processes take counts as well.
#[derive(Debug)]
pub(crate) struct Wall(Instant);

impl Wall {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Meter for Wall {
    fn describe(&self) -> String {
        "wall".to_owned()
    }

    fn nanoseconds(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

impl fmt::Debug for dyn Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.describe()).finish()
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) nanoseconds: f64,
    pub(crate) cycles: Option<f64>,
}

impl Sample {
    /// Runs `work`.
    pub(crate) fn of(meter: &mut dyn Meter, work: impl FnOnce()) -> Self {
        let (cycles, start) = (meter.cycles(), meter.nanoseconds());
        work();
        let nanoseconds = (meter.nanoseconds() - start) as f64;
        let cycles = cycles.zip(meter.cycles()).map(|(before, after)| (after - before) as f64);
        Self { nanoseconds, cycles }
    }
}

/// The clock of the core: a chain in which every instruction waits for the one before, and each takes one cycle.
#[derive(Debug)]
pub(crate) struct Chain {
    nanoseconds: f64,
}

impl Chain {
    /// Links of the chain, an exclusive-or and an addition each; together about 10 us.
    const LINKS: u32 = 20_000;

    pub(crate) fn new() -> Self {
        Self { nanoseconds: f64::INFINITY }
    }

    /// One more run; the shortest counts.
    pub(crate) fn turn(&mut self, meter: &mut dyn Meter) {
        let sample = Sample::of(meter, || {
            black_box(chain(black_box(1), black_box(0x9e37_79b9_7f4a_7c15), Self::LINKS));
        });
        self.nanoseconds = self.nanoseconds.min(sample.nanoseconds);
    }

    /// Cycles a nanosecond.
    pub(crate) fn gigahertz(&self) -> f64 {
        f64::from(2 * Self::LINKS) / self.nanoseconds
    }
}

/// `links` times an exclusive-or and an addition of `step`, which is in a register: no identity folds the two.
#[inline(never)]
fn chain(mut value: u64, step: u64, links: u32) -> u64 {
    for _ in 0..links / 8 {
        value = (0..8).fold(value, |value, _| (value ^ step).wrapping_add(step));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten nanoseconds and seven cycles between readings.
    struct Steps(u64, u64);

    impl Meter for Steps {
        fn describe(&self) -> String {
            "steps".to_owned()
        }

        fn nanoseconds(&mut self) -> u64 {
            self.0 += 10;
            self.0
        }

        fn cycles(&mut self) -> Option<u64> {
            self.1 += 7;
            Some(self.1)
        }
    }

    #[test]
    fn a_meter_is_read_before_and_after() {
        let sample = Sample::of(&mut Steps(0, 0), || ());
        assert_eq!(sample, Sample { nanoseconds: 10.0, cycles: Some(7.0) });
        assert_eq!(Sample::of(&mut Wall::new(), || ()).cycles, None);
    }

    #[test]
    fn the_clock_of_the_core_is_links_over_time() {
        let mut chain = Chain::new();
        chain.turn(&mut Steps(0, 0));
        assert_eq!(chain.gigahertz(), 4_000.0);
    }
}
