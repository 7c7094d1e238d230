//! Time of one operation: many short runs, of which other work disturbs some.

use std::time::{Duration, Instant};

use bixi_accel::workload::Workload;

/// What one run should take: short, so that most are not interrupted.
const RUN: Duration = Duration::from_micros(500);
/// Fewer runs than this are no measurement.
const RUNS_MIN: usize = 9;

/// Nanoseconds an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timing {
    pub(super) shortest_ns: f64,
    pub(super) median_ns: f64,
}

impl Timing {
    /// Runs `workload` again and again for about `budget`.
    pub(super) fn of(workload: &mut Workload<'_>, budget: Duration) -> Self {
        let begun = Instant::now();
        let once = run(workload, 1).min(run(workload, 1)).max(Duration::from_nanos(1));
        let calls = (RUN.as_nanos() / once.as_nanos()).clamp(1, 100_000) as u32;
        let mut runs = Vec::new();
        while runs.len() < RUNS_MIN || begun.elapsed() < budget {
            let operations = f64::from(calls) * f64::from(workload.per_call);
            runs.push(run(workload, calls).as_secs_f64() * 1e9 / operations);
        }
        Self::from_runs(runs)
    }

    fn from_runs(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        Self { shortest_ns: runs[0], median_ns: runs[runs.len() / 2] }
    }
}

fn run(workload: &mut Workload<'_>, calls: u32) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| workload.call());
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_run_counts_and_the_median_stands_beside_it() {
        let timing = Timing::from_runs(vec![3.0, 1.0, 2.0]);
        assert_eq!(timing, Timing { shortest_ns: 1.0, median_ns: 2.0 });
    }
}
