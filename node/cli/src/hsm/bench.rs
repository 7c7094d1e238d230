//! `bixi hsm bench`: what a node's key device does in a second.

use std::path::PathBuf;
use std::time::Duration;

use bixi_runtime::lifecycle::bench::{self, Measured, Plan, Row, SigningKey};
use clap::Args;

use crate::failure::{Failure, Status};
use crate::scratch::Scratch;
use crate::{console, run};

/// Measure a stopped node's key device: answers a second and latencies, by number of callers and by what is asked.
///
/// The device by itself signs, derives and draws random bytes; behind the signing service, with guard and audit trail in a directory of their
/// own on the node's disk, it signs openings of sessions and, one after the other, votes of a chain that nobody has. All of it goes through
/// hsm.sessions_max sessions, as a node's requests do.
///
/// No statement of the node's chain is signed. The device makes a key for the measurement that cannot leave it and is destroyed afterwards.
/// Where a device makes no such key, as SDF and TPM, the TLS key signs a digest that stands for nothing, the report says so, and the
/// service is not measured. The key encryption key derives from an input that nothing else asks for. The audit trail tells of the
/// measurement.
///
/// Opens the device with its PIN, so that a wrong PIN counts as one. The node and its broker must not run: votes would wait.
///
/// Exit status: 0 measured; 1 something was not, or the node runs; 77 the key device refused the PIN; 78 a file of the operator's cannot be
/// used.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Numbers of callers at once.
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',', default_value = "1,4,16,64", value_parser = clap::value_parser!(u16).range(1..=1024))]
    callers: Vec<u16>,
    /// Seconds that each figure takes; there are four for each number of callers, and one.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Print one JSON object.
    ///
    /// {"device", "sessions_max", "key", "rows": [{"kind", "through", "callers", "rate", "p50_us", "p99_us", "error"}]}: key is "transient"
    /// or "tls", rate is answers a second
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let plan = Plan {
        callers: args.callers.iter().map(|callers| usize::from(*callers)).collect(),
        window: Duration::from_secs(args.seconds.into()),
    };
    // On the disk whose syncs a node waits for, and gone with this process.
    let place = Scratch::make("bench-", &settings.data(""))?;
    let mut told =
        |row: &Row| console::say(&format!("bench: {} through {}, {} callers", row.kind, row.through, row.callers));
    let measured = bench::measure(&settings, &plan, place.path(), &mut told)
        .map_err(|error| run::refusal("the key device was not measured", &error))?;
    console::result(&if args.json { measured.to_json().to_string() } else { text(&measured) })?;
    match measured.rows.iter().filter(|row| row.figures.is_err()).count() {
        0 => Ok(()),
        failed => Err(Failure::new(Status::Fault, format!("{failed} figures could not be taken; see above"))),
    }
}

fn text(measured: &Measured) -> String {
    let key = match measured.key {
        SigningKey::Transient => "a key made for this signed, and is destroyed",
        SigningKey::Tls => {
            "the TLS key signed a digest that stands for nothing: the device makes no key for a moment, so the service is not measured"
        }
    };
    let figure = |title: &str| format!("{title:>9}");
    let [rate, p50, p99] = ["a second", "p50 us", "p99 us"].map(figure);
    let titles = ["asked".to_owned(), "through".to_owned(), "callers".to_owned(), rate, p50, p99, String::new()];
    let rows: Vec<[String; 7]> = std::iter::once(titles).chain(measured.rows.iter().map(cells)).collect();
    format!("{}\n{key}\n\n{}", measured.device_line(), console::table(&rows))
}

fn cells(row: &Row) -> [String; 7] {
    let figures = row.figures.as_ref().ok();
    let number = |value: Option<f64>| value.map_or_else(|| format!("{:>9}", "-"), |value| format!("{value:>9.0}"));
    [
        row.kind.to_owned(),
        row.through.to_owned(),
        format!("{:>7}", row.callers),
        number(figures.map(|figures| figures.rate)),
        number(figures.map(|figures| figures.p50_us)),
        number(figures.map(|figures| figures.p99_us)),
        row.figures.as_ref().err().cloned().unwrap_or_default(),
    ]
}
