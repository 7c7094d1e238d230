//! The harness of the benches: contenders run in turns, so that a busy moment of the machine hits all of them alike, and the
//! shortest run of each counts. Figures of two different invocations are not comparable; the ratios of one are.
//!
//! A row is named `room::module::operation/backend=… bytes=…`. The first contender of a race is ours, the others are peers.
#![forbid(unsafe_code)]

mod machine;
mod measure;
mod meter;
mod options;
mod report;
mod sheet;

pub use machine::describe as machine;
pub use measure::{Case, Contender};
pub use meter::Meter;
pub use options::Options;
pub use sheet::Sheet;

use measure::Budget;
use std::io;

/// Where cycles come from when nobody counts them.
const ESTIMATE: &str =
    "time x clock of the core, from a chain of dependent additions timed in turn with the contenders";

/// One invocation: what was asked for and what was measured so far.
#[derive(Debug)]
pub struct Bench {
    options: Options,
    report: report::Report,
    meter: Box<dyn Meter>,
    started: bool,
}

impl Bench {
    /// Reads the command line. Ends the process, with its usage, on an argument it does not know.
    ///
    /// `kernels` says which implementation serves which operation.
    pub fn from_args(kernels: &[(&str, &str)]) -> Self {
        let options = Options::from_args_or_exit();
        let report = report::Report::new(machine::describe(kernels), options.json);
        Self { options, report, meter: Box::new(meter::Wall::new()), started: false }
    }

    /// Measures with `meter` instead of the wall's clock.
    #[must_use]
    pub fn measured_with(mut self, meter: impl Meter + 'static) -> Self {
        self.meter = Box::new(meter);
        self
    }

    /// Adds to what is told of the machine before the first row.
    ///
    /// # Panics
    /// After the first row.
    pub fn note(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        assert!(!self.started, "the head of the table is printed already");
        self.report.note(name, value.into());
    }

    /// Whether `name` was asked for.
    pub fn wants(&self, case: &Case) -> bool {
        self.options.wants(&case.name())
    }

    /// Measures the contenders of one case against each other.
    ///
    /// # Panics
    /// Without a contender.
    pub fn race(&mut self, case: &Case, contenders: &mut [Contender<'_>]) {
        assert!(!contenders.is_empty(), "{}: nobody runs", case.name());
        if !self.wants(case) {
            return;
        }
        self.start();
        let budget = if self.options.quick { Budget::QUICK } else { Budget::FULL };
        let timings = measure::race(contenders, budget, &mut *self.meter);
        ended(self.report.add(case, timings));
    }

    /// Prints what remains to be printed.
    pub fn finish(mut self) {
        self.start();
        ended(self.report.finish());
    }

    /// Prints the machine, once.
    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            let cycles = if self.meter.cycles().is_some() { "counted" } else { ESTIMATE };
            self.report.note("time", self.meter.describe().into());
            self.report.note("cycles", cycles.into());
            ended(self.report.start());
        }
    }
}

/// A reader that went away (`| head`) ends the process quietly.
fn ended(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}
