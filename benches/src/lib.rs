//! The harness of the benches: contenders run in turns, so that a busy moment of the machine hits all of them alike, and the
//! shortest run of each counts. Figures of two different invocations are not comparable; the ratios of one are.
//!
//! A row is named `room::module::operation/backend=… bytes=…`. The first contender of a race is ours, the others are peers.
#![forbid(unsafe_code)]

mod machine;
mod measure;
mod options;
mod report;

pub use measure::{Case, Contender};
pub use options::Options;

use measure::{Budget, Timing};
use std::io;

/// One invocation: what was asked for and what was measured so far.
#[derive(Debug)]
pub struct Bench {
    options: Options,
    report: report::Report,
}

impl Bench {
    /// Reads the command line, prints the machine. Ends the process, with its usage, on an argument it does not know.
    ///
    /// `kernels` says which implementation serves which operation.
    pub fn from_args(kernels: &[(&str, &str)]) -> Self {
        let options = Options::from_args_or_exit();
        let report = report::Report::new(machine::describe(kernels), options.json);
        let mut bench = Self { options, report };
        ended(bench.report.start());
        bench
    }

    /// Whether `name` was asked for.
    pub fn wants(&self, case: &Case) -> bool {
        self.options.filters.is_empty() || self.options.filters.iter().any(|filter| case.name().contains(filter))
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
        let budget = if self.options.quick { Budget::QUICK } else { Budget::FULL };
        let timings: Vec<(String, Timing)> = measure::race(contenders, budget);
        ended(self.report.add(case, &timings));
    }

    /// Prints what remains to be printed.
    pub fn finish(self) {
        ended(self.report.finish());
    }
}

/// A reader that went away (`| head`) ends the process quietly.
fn ended(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}
