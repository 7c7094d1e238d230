//! `bixi bench`: what this machine does, by the operations that `benches` measures against other libraries.

mod accelerator;
mod machine;
mod measure;

use std::time::Duration;

use bixi_accel::workload::{self, Inputs, Workload};
use bixi_accel::{cpu, selftest};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::bench::machine::Machine;
use crate::bench::measure::Timing;
use crate::console;
use crate::demo::wallet::SystemRandom;
use crate::failure::Failure;

/// Measure what this machine does.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Crypto(CryptoArgs),
    Accelerator(accelerator::AcceleratorArgs),
}

/// Measure SM2, SM3 and SM4 on one core.
///
/// The kernels are those a node would use; BIXI_CPU=portable|sse|avx2|gfni|avx512|best names the highest instruction set to try. They pass
/// their self-tests first. Figures are of each operation's shortest run; what makes them doubtful is said on standard error.
///
/// Exit status: 0 measured; 1 a kernel failed its self-test, or standard output could not be written; 2 BIXI_CPU is not known.
#[derive(Debug, Args)]
pub(crate) struct CryptoArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Take 3 seconds: enough for a look.
    #[arg(long)]
    quick: bool,
    /// Seconds to take, about; 20 without it.
    #[arg(long, value_name = "N", conflicts_with = "quick", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
}

const SECONDS: u64 = 20;
const SECONDS_QUICK: u64 = 3;

pub(crate) fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Crypto(args) => crypto(args),
        BenchCommand::Accelerator(args) => accelerator::run(args),
    }
}

fn crypto(args: &CryptoArgs) -> Result<(), Failure> {
    selftest::run()?;
    let seconds = args.seconds.unwrap_or(if args.quick { SECONDS_QUICK } else { SECONDS });
    let before = Machine::look();
    let inputs = Inputs::new(SystemRandom)?;
    let mut workloads = workload::all(&inputs);
    console::say(&format!("bench: {} operations in about {seconds} s", workloads.len()));
    let each = Duration::from_secs(seconds) / workloads.len() as u32;
    let rows: Vec<Row> = workloads.iter_mut().map(|workload| Row::measure(workload, each)).collect();
    let warnings = before.warnings();
    warnings.iter().for_each(|warning| console::say(&format!("bench: warning: {warning}")));
    let shown = if args.json { to_json(&before, &warnings, &rows).to_string() } else { to_text(&before, &rows) };
    Ok(console::result(&shown)?)
}

/// One operation and its figures.
struct Row {
    operation: &'static str,
    kernel: &'static str,
    parameters: Vec<(&'static str, String)>,
    bytes: Option<usize>,
    timing: Timing,
}

impl Row {
    fn measure(workload: &mut Workload<'_>, budget: Duration) -> Self {
        Self {
            operation: workload.operation,
            kernel: workload.kernel,
            parameters: workload.parameters.clone(),
            bytes: workload.bytes,
            timing: Timing::of(workload, budget),
        }
    }

    fn unit(&self) -> &'static str {
        if self.bytes.is_some() { "MB/s" } else { "op/s" }
    }

    /// Megabytes (10^6) a second, or operations where none has bytes.
    fn rate(&self) -> f64 {
        self.bytes.map_or(1e9, |bytes| bytes as f64 * 1e3) / self.timing.shortest_ns
    }

    fn to_json(&self) -> Value {
        let parameters: Map<String, Value> =
            self.parameters.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        json!({
            "operation": self.operation,
            "kernel": self.kernel,
            "parameters": parameters,
            "bytes": self.bytes,
            "rate": self.rate(),
            "unit": self.unit(),
            "ns_per_op": self.timing.shortest_ns,
            "median_ns_per_op": self.timing.median_ns,
        })
    }

    fn cells(&self) -> [String; 6] {
        let parameters: Vec<_> = self.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [
            self.operation.to_owned(),
            self.kernel.to_owned(),
            self.bytes.map_or_else(String::new, |bytes| format!("{bytes:>5} B")),
            format!("{:>9.0} {}", self.rate(), self.unit()),
            format!("{:>10.3} us", self.timing.shortest_ns / 1e3),
            parameters.join(" "),
        ]
    }
}

fn to_text(machine: &Machine, rows: &[Row]) -> String {
    let head = ["operation", "kernel", "size", "one core", "each", "with"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let kernels: Vec<_> =
        cpu::selected().iter().map(|selected| format!("{} {}", selected.operation, selected.kernel)).collect();
    format!("{}\nkernels: {}\n\n{}", machine.line(), kernels.join(", "), console::table(&cells))
}

fn to_json(machine: &Machine, warnings: &[String], rows: &[Row]) -> Value {
    let kernels: Map<String, Value> =
        cpu::selected().iter().map(|selected| (selected.operation.to_owned(), selected.kernel.into())).collect();
    json!({
        "machine": machine.to_json(),
        "kernels": kernels,
        "warnings": warnings,
        "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
    })
}
