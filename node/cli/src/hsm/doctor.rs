//! `bixi hsm doctor`: a node's key device looked at closely.

use std::path::PathBuf;

use bixi_runtime::doctor::device::{self, DeviceReport, SAMPLES};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Samples between two lines of progress.
const PROGRESS_SAMPLES: usize = 10;

/// Look closely at a node's key device: who it is, whether it computes right, and its random bit generator.
///
/// Draws samples of 10^6 bits from the device's generator and puts each through the fifteen tests of GM/T 0005-2021. A sound generator
/// passes each with 99 of 100 samples, and chance leaves some of 27 items short of what the standard asks for in many runs: a warning. What
/// chance does less than once in a million runs is BAD.
///
/// Opens the device in this process with its PIN, so that a wrong PIN counts as one, also while a node or its broker uses it. The TLS key
/// signs a known digest and the key encryption key derives known inputs; no audit trail tells of it. A sample takes some 125 kB of the device
/// and a twentieth of a second of this machine.
///
/// Exit status: 0 nothing is bad; 1 something is, or the device does not answer; 77 the key device refused the PIN; 78 a file of the
/// operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Samples to draw; the standard takes 1000.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(i64::from(*SAMPLES.start())..=i64::from(*SAMPLES.end())))]
    samples: u16,
    /// Print one JSON object.
    ///
    /// {"ok", "device", "checks": [{"check", "verdict", "detail"}], "random": {"samples", "bits", "needed",
    /// "items": [{"test", "detail", "passed", "uniformity", "verdict"}]}}
    #[arg(long)]
    json: bool,
    /// Tell on standard error how many samples are done.
    #[arg(long)]
    progress: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let mut told = |done: usize| {
        if args.progress && (done.is_multiple_of(PROGRESS_SAMPLES) || done == usize::from(args.samples)) {
            console::say(&format!("random bit generator: {done} of {} samples", args.samples));
        }
    };
    let report = device::examine(&settings, args.samples, &mut told)
        .map_err(|error| run::refusal("the key device was not looked at", &error))?;
    console::result(&if args.json { report.to_json().to_string() } else { text(&report) })?;
    if report.is_well() { Ok(()) } else { Err(Failure::new(Status::Fault, "something is bad; see above")) }
}

fn text(report: &DeviceReport) -> String {
    let checks = report.checks.iter();
    let checks: Vec<[String; 3]> =
        checks.map(|check| [check.verdict.word().to_owned(), check.name.to_owned(), check.detail.clone()]).collect();
    let titles = ["test", "parameter", "passed", "uniformity", ""].map(str::to_owned);
    let items = report.items.iter().map(|item| {
        [
            item.test.to_owned(),
            item.detail.clone(),
            format!("{} of {}", item.passed, report.samples),
            format!("{:.4}", item.uniformity),
            item.verdict.word().to_owned(),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(titles).chain(items).collect();
    format!(
        "{}\n\nrandom bit generator: {} samples of 10^6 bits, {} must pass\n{}",
        console::table(&checks),
        report.samples,
        report.needed,
        console::table(&rows)
    )
}
