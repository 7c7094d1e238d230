//! Time of contenders that take turns.

use crate::meter::{Chain, Meter, Sample};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The parameter that throughput is of.
const BYTES: &str = "bytes";

/// What is measured: the name of a row and how to turn time into throughput.
#[derive(Clone, Debug)]
pub struct Case {
    operation: String,
    backend: String,
    /// `name=value`, in the order given.
    parameters: Vec<String>,
    bytes: Option<u64>,
}

impl Case {
    /// `operation` as `room::module::function`, `backend` as the implementation that serves it here.
    pub fn new(operation: &str, backend: &str) -> Self {
        Self { operation: operation.to_owned(), backend: backend.to_owned(), parameters: Vec::new(), bytes: None }
    }

    /// Bytes one operation works on: part of the name, and of the throughput.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes as u64);
        self.with(BYTES, bytes)
    }

    /// One more parameter of the name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.parameters.push(format!("{name}={value}"));
        self
    }

    /// `operation/backend=… parameters`.
    pub fn name(&self) -> String {
        let head = format!("{}/backend={}", self.operation, self.backend);
        self.parameters.iter().fold(head, |name, parameter| format!("{name} {parameter}"))
    }

    /// `operation` and every parameter but the bytes: with backend and bytes no other row has it.
    pub fn operation(&self) -> String {
        let others = self.parameters.iter().filter(|parameter| parameter.split('=').next() != Some(BYTES));
        others.fold(self.operation.clone(), |name, parameter| format!("{name} {parameter}"))
    }

    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    pub(crate) fn bytes_each(&self) -> Option<u64> {
        self.bytes
    }

    /// What [`Case::rate`] counts.
    pub(crate) fn unit(&self) -> &'static str {
        if self.bytes.is_some() { "MB/s" } else { "op/s" }
    }

    /// Megabytes (10^6) a second, or operations where none has bytes, when an operation takes `nanoseconds`.
    pub(crate) fn rate(&self, nanoseconds: f64) -> f64 {
        self.bytes.map_or(1e9, |bytes| bytes as f64 * 1e3) / nanoseconds
    }
}

/// How a contender counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The first of a race is ours, the others are peers.
    Racing,
    /// Measured and shown, but no peer to be better than.
    Beside,
}

/// One way to do the operation.
pub struct Contender<'a> {
    name: String,
    per_call: f64,
    standing: Standing,
    call: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// `call` does the operation once; what it returns is not optimised away.
    pub fn new<T>(name: impl Into<String>, call: impl FnMut() -> T + 'a) -> Self {
        Self::batch(name, 1, call)
    }

    /// `call` does the operation `per_call` times; less than one where it does a part.
    ///
    /// # Panics
    /// When `per_call` is not positive.
    pub fn batch<T>(name: impl Into<String>, per_call: impl Into<f64>, mut call: impl FnMut() -> T + 'a) -> Self {
        let (name, per_call) = (name.into(), per_call.into());
        assert!(per_call > 0.0, "{name} does nothing");
        Self { name, per_call, standing: Standing::Racing, call: Box::new(move || drop(black_box(call()))) }
    }

    /// Shown for orientation: another algorithm, or a peer not held to the same instruction set.
    #[must_use]
    pub fn beside(mut self) -> Self {
        self.standing = Standing::Beside;
        self
    }

    /// What an operation takes, over `calls` calls.
    fn run(&mut self, calls: u32, meter: &mut dyn Meter) -> Sample {
        let operations = f64::from(calls) * self.per_call;
        let Sample { nanoseconds, cycles } = Sample::of(meter, || (0..calls).for_each(|_| (self.call)()));
        Sample { nanoseconds: nanoseconds / operations, cycles: cycles.map(|cycles| cycles / operations) }
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
        Self { run: Duration::from_micros(500), runs_max: 400, runs_min: 15, total: Duration::from_millis(400) };
    pub(crate) const QUICK: Self =
        Self { run: Duration::from_micros(300), runs_max: 60, runs_min: 9, total: Duration::from_millis(25) };

    /// Calls that fill one run when a call takes `nanoseconds`.
    fn calls(&self, nanoseconds: f64) -> u32 {
        (self.run.as_secs_f64() * 1e9 / nanoseconds.max(1.0)).clamp(1.0, 1e6) as u32
    }
}

/// What the runs of one contender say, an operation each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    /// Nanoseconds of the shortest run.
    pub(crate) min: f64,
    pub(crate) median: f64,
    /// Cycles of the run that had the fewest.
    pub(crate) cycles: f64,
    pub(crate) runs: usize,
}

struct Lane<'c, 'a> {
    contender: &'c mut Contender<'a>,
    calls: u32,
    spent: Duration,
    nanoseconds: Vec<f64>,
    cycles: Option<f64>,
}

impl<'c, 'a> Lane<'c, 'a> {
    /// Warms the contender up and finds how many calls fill a run.
    fn new(contender: &'c mut Contender<'a>, budget: &Budget, meter: &mut dyn Meter) -> Self {
        let once = contender.run(1, meter).nanoseconds.min(contender.run(1, meter).nanoseconds) * contender.per_call;
        Self { calls: budget.calls(once), contender, spent: Duration::ZERO, nanoseconds: Vec::new(), cycles: None }
    }

    fn is_done(&self, budget: &Budget) -> bool {
        let runs = self.nanoseconds.len();
        runs >= budget.runs_max || runs >= budget.runs_min && self.spent >= budget.total
    }

    fn turn(&mut self, meter: &mut dyn Meter) {
        let start = Instant::now();
        let sample = self.contender.run(self.calls, meter);
        self.nanoseconds.push(sample.nanoseconds);
        self.cycles = sample.cycles.map(|cycles| self.cycles.map_or(cycles, |fewest| fewest.min(cycles)));
        self.spent += start.elapsed();
    }

    /// `gigahertz` gives the cycles where nobody counted them.
    fn timing(self, gigahertz: f64) -> Timing {
        let runs = self.nanoseconds.len();
        let (min, median) = shortest_and_median(self.nanoseconds);
        Timing {
            name: self.contender.name.clone(),
            standing: self.contender.standing,
            min,
            median,
            cycles: self.cycles.unwrap_or(min * gigahertz),
            runs,
        }
    }
}

fn shortest_and_median(mut runs: Vec<f64>) -> (f64, f64) {
    runs.sort_by(f64::total_cmp);
    (runs[0], runs[runs.len() / 2])
}

/// Warms every contender up, then lets them run in turns until each has had its budget.
pub(crate) fn race(contenders: &mut [Contender<'_>], budget: Budget, meter: &mut dyn Meter) -> Vec<Timing> {
    let mut lanes: Vec<_> = contenders.iter_mut().map(|contender| Lane::new(contender, &budget, meter)).collect();
    let mut clock = Chain::new();
    clock.turn(meter);
    while lanes.iter().any(|lane| !lane.is_done(&budget)) {
        lanes.iter_mut().filter(|lane| !lane.is_done(&budget)).for_each(|lane| lane.turn(meter));
        clock.turn(meter);
    }
    lanes.into_iter().map(|lane| lane.timing(clock.gigahertz())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE_RUNS: Budget = Budget { run: Duration::ZERO, runs_max: 3, runs_min: 3, total: Duration::ZERO };

    #[test]
    fn names_and_throughput_follow_the_parameters() {
        let case = Case::new("accel::sm4::ctr", "gfni512").bytes(4096).with("keys", 2);
        assert_eq!(case.name(), "accel::sm4::ctr/backend=gfni512 bytes=4096 keys=2");
        assert_eq!((case.rate(4096.0), case.unit()), (1000.0, "MB/s"));
        let case = Case::new("accel::sm2::sign", "portable");
        assert_eq!((case.rate(1000.0), case.unit()), (1e6, "op/s"));
    }

    #[test]
    fn every_contender_runs_in_turns_and_is_counted_per_operation() {
        let calls = std::cell::RefCell::new(String::new());
        let timings = race(
            &mut [
                Contender::new("ours", || calls.borrow_mut().push('a')),
                Contender::batch("peer", 64, || calls.borrow_mut().push('b')).beside(),
            ],
            THREE_RUNS,
            &mut crate::meter::Wall::new(),
        );
        assert_eq!(*calls.borrow(), "aabbababab");
        let seen: Vec<_> = timings.iter().map(|timing| (timing.name.as_str(), timing.standing, timing.runs)).collect();
        assert_eq!(seen, [("ours", Standing::Racing, 3), ("peer", Standing::Beside, 3)]);
    }

    #[test]
    fn the_shortest_run_and_the_median_are_kept() {
        assert_eq!(shortest_and_median(vec![3.0, 1.0, 2.0]), (1.0, 2.0));
    }

    #[test]
    fn cycles_are_the_fewest_counted_or_time_at_the_clock_of_the_core() {
        for (counted, expected) in [(None, 6.0), (Some(7.0), 7.0)] {
            let contender = &mut Contender::new("ours", || ());
            let nanoseconds = vec![4.0, 2.0];
            let lane = Lane { contender, calls: 1, spent: Duration::ZERO, nanoseconds, cycles: counted };
            assert_eq!(lane.timing(3.0).cycles, expected);
        }
    }
}
