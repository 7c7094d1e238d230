//! Time of contenders that take turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is measured: the name of a row and how to turn time into throughput.
#[derive(Clone, Debug)]
pub struct Case {
    operation: String,
    backend: String,
    parameters: String,
    bytes: Option<u64>,
}

impl Case {
    /// `operation` as `room::module::function`, `backend` as the implementation that serves it here.
    pub fn new(operation: &str, backend: &str) -> Self {
        Self { operation: operation.to_owned(), backend: backend.to_owned(), parameters: String::new(), bytes: None }
    }

    /// Bytes one operation works on: part of the name, and of the throughput.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes as u64);
        self.with("bytes", bytes)
    }

    /// One more parameter of the name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.parameters.push_str(&format!(" {name}={value}"));
        self
    }

    /// `operation/backend=… parameters`.
    pub fn name(&self) -> String {
        format!("{}/backend={}{}", self.operation, self.backend, self.parameters)
    }

    /// Megabytes (10^6) a second when one operation takes `nanoseconds`.
    pub(crate) fn megabytes_per_second(&self, nanoseconds: f64) -> Option<f64> {
        self.bytes.map(|bytes| bytes as f64 * 1e3 / nanoseconds)
    }
}

/// One way to do the operation.
pub struct Contender<'a> {
    name: &'a str,
    per_call: u32,
    call: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// `call` does the operation once; what it returns is not optimised away.
    pub fn new<T>(name: &'a str, call: impl FnMut() -> T + 'a) -> Self {
        Self::batch(name, 1, call)
    }

    /// `call` does the operation `per_call` times.
    pub fn batch<T>(name: &'a str, per_call: u32, mut call: impl FnMut() -> T + 'a) -> Self {
        assert!(per_call > 0, "{name} does nothing");
        Self { name, per_call, call: Box::new(move || drop(black_box(call()))) }
    }

    /// Nanoseconds an operation, over `calls` calls.
    fn run(&mut self, calls: u32) -> f64 {
        let start = Instant::now();
        (0..calls).for_each(|_| (self.call)());
        start.elapsed().as_secs_f64() * 1e9 / (f64::from(calls) * f64::from(self.per_call))
    }
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("per_call", &self.per_call).finish()
    }
}

/// How long a contender runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// One timed run: short enough that most are not interrupted.
    run: Duration,
    /// Timed runs, unless `total` is spent.
    runs_max: usize,
    /// Fewer runs than this are no measurement.
    runs_min: usize,
    /// Time of one contender.
    total: Duration,
}

impl Budget {
    pub(crate) const FULL: Self =
        Self { run: Duration::from_micros(500), runs_max: 400, runs_min: 10, total: Duration::from_millis(400) };
    pub(crate) const QUICK: Self =
        Self { run: Duration::from_micros(300), runs_max: 40, runs_min: 3, total: Duration::from_millis(25) };

    /// Calls that fill one run when a call takes `nanoseconds`.
    fn calls(&self, nanoseconds: f64) -> u32 {
        (self.run.as_secs_f64() * 1e9 / nanoseconds.max(1.0)).clamp(1.0, 1e6) as u32
    }
}

/// Nanoseconds an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timing {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) runs: usize,
}

impl Timing {
    fn of(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        Self { min: runs[0], median: runs[runs.len() / 2], runs: runs.len() }
    }
}

struct Lane<'c, 'a> {
    contender: &'c mut Contender<'a>,
    calls: u32,
    spent: Duration,
    runs: Vec<f64>,
}

impl Lane<'_, '_> {
    fn is_done(&self, budget: &Budget) -> bool {
        let enough = self.runs.len() >= budget.runs_min;
        self.runs.len() >= budget.runs_max || enough && self.spent >= budget.total
    }

    fn turn(&mut self) {
        let start = Instant::now();
        self.runs.push(self.contender.run(self.calls));
        self.spent += start.elapsed();
    }
}

/// Warms every contender up, then lets them run in turns until each has had its budget.
pub(crate) fn race(contenders: &mut [Contender<'_>], budget: Budget) -> Vec<(String, Timing)> {
    let mut lanes: Vec<_> = contenders
        .iter_mut()
        .map(|contender| {
            let once = contender.run(1).min(contender.run(1)) * f64::from(contender.per_call);
            Lane { calls: budget.calls(once), contender, spent: Duration::ZERO, runs: Vec::new() }
        })
        .collect();
    while lanes.iter().any(|lane| !lane.is_done(&budget)) {
        lanes.iter_mut().filter(|lane| !lane.is_done(&budget)).for_each(Lane::turn);
    }
    lanes.into_iter().map(|lane| (lane.contender.name.to_owned(), Timing::of(lane.runs))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_throughput_follow_the_parameters() {
        let case = Case::new("accel::sm4::ctr", "gfni512").bytes(4096).with("keys", 2);
        assert_eq!(case.name(), "accel::sm4::ctr/backend=gfni512 bytes=4096 keys=2");
        assert_eq!(case.megabytes_per_second(4096.0), Some(1000.0));
        assert_eq!(Case::new("accel::sm2::sign", "portable").megabytes_per_second(1.0), None);
    }

    #[test]
    fn every_contender_runs_in_turns_and_is_counted_per_operation() {
        let calls = std::cell::RefCell::new(String::new());
        let budget = Budget { run: Duration::ZERO, runs_max: 3, runs_min: 3, total: Duration::ZERO };
        let timings = race(
            &mut [
                Contender::new("ours", || calls.borrow_mut().push('a')),
                Contender::batch("peer", 64, || calls.borrow_mut().push('b')),
            ],
            budget,
        );
        assert_eq!(*calls.borrow(), "aabbababab");
        assert_eq!(
            timings.iter().map(|(name, timing)| (name.as_str(), timing.runs)).collect::<Vec<_>>(),
            [("ours", 3), ("peer", 3)]
        );
    }

    #[test]
    fn the_shortest_run_and_the_median_are_kept() {
        assert_eq!(Timing::of(vec![3.0, 1.0, 2.0]), Timing { min: 1.0, median: 2.0, runs: 3 });
    }
}
