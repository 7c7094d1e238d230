//! `bixi db verify`: everything on disk, read and computed again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bixi_runtime::lifecycle::verification::{self, Report, Stage, Wish};
use bixi_runtime::process::raise_descriptor_limit;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Read everything on disk and compute again what can be: is this node's data whole?
///
/// Every page and frame of every sealed file authenticates; every height of the ledger has its parent, the roots of its header, the
/// signatures of its validators and what was decided; the index leads everywhere and nowhere else; the state sums up to what the head's
/// header says; the ordering log says nothing else. What is wrong is told, all of it, with what to do. Offline: the node and its broker are
/// stopped, and the key device is opened with the PIN. Writes nothing, so that what is damaged stays as evidence.
///
/// An end of a log that a crash tore and nobody relied on is told apart and is no damage.
///
/// A ledger that was sealed from plaintext and not found to be whole by `bixi db seal` yet is read like any other, and told; no node starts on it
/// before that command has done so.
///
/// While a node runs it reads its files slowly by itself: see `bixi db scrub`.
///
/// Exit status: 0 everything is whole; 65 something is not, see what is printed; 1 nothing could be read; 77 the key device refused the PIN; 78 a
/// file of the operator's, or the vault, cannot be used, or the ledger is not sealed.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Only whether every file authenticates: no signature is checked and no root computed.
    #[arg(long)]
    files_only: bool,
    /// Threads that read; one for each core unless said.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: Option<u64>,
    /// Most MiB read in a second while files are read, for a disk that others use; what follows reads the ledger as fast as it can.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    rate_mib: Option<u64>,
    /// Print one JSON object.
    ///
    /// {"whole", "files", "bytes", "ciphers": [{"cipher", "epoch", "files"}], "height", "hash", "decided",
    /// "torn": [{"file", "offset", "bytes"}], "left", "waiting", "fetched_anew", "unverified", "found",
    /// "findings": [{"part", "place", "reason", "do"}]}; height and hash are null without a ledger and with --files-only, decided without a decision
    /// in the ordering log, waiting without a snapshot that the next start takes over; unverified is true while `bixi db seal`
    /// is not done with the ledger; found counts all that is wrong, findings lists a thousand at most
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    raise_descriptor_limit()?;
    let wish = Wish {
        files_only: args.files_only,
        threads: args.threads.map(|threads| threads as usize),
        bytes_per_second: args.rate_mib.map(|mib| mib << 20),
    };
    let mut progress = Progress::new("verify")?;
    let verified = verification::verify(&settings, wish, &mut |stage, done, total| progress.tell(stage, done, total));
    progress.end();
    let report = verified.map_err(|error| run::refusal("nothing was verified", &error))?;
    console::result(&if args.json { report.to_json().to_string() } else { console::table(&rows_of(&report)) })?;
    expect_whole(&report)
}

/// The verdict as the command's status.
pub(super) fn expect_whole(report: &Report) -> Result<(), Failure> {
    match report.is_whole() {
        true => Ok(()),
        false => Err(Failure::new(
            Status::Damaged,
            format!(
                "not whole: {} found; see above, and start no node on these files before they are put right",
                report.found
            ),
        )),
    }
}

/// A bar on a terminal, else a line now and then.
pub(super) struct Progress {
    command: &'static str,
    bar: ProgressBar,
    of_bytes: ProgressStyle,
    /// Of what has an end that is known, and of what has none.
    measured: ProgressStyle,
    counted: ProgressStyle,
    counted_bytes: ProgressStyle,
    told: Instant,
}

/// How often a line is said where there is no terminal.
const TOLD: Duration = Duration::from_secs(10);

impl Progress {
    pub(super) fn new(command: &'static str) -> Result<Self, Failure> {
        let measured = "{msg} [{bar:24}] {pos}/{len}, {eta} left";
        let of_bytes = "{msg} [{bar:24}] {bytes}/{total_bytes}, {eta} left";
        let of_bytes = ProgressStyle::with_template(of_bytes)?.progress_chars("#>-");
        let measured = ProgressStyle::with_template(measured)?.progress_chars("#>-");
        let counted = ProgressStyle::with_template("{msg} {spinner} {pos}")?;
        let counted_bytes = ProgressStyle::with_template("{msg} {spinner} {bytes}")?;
        Ok(Self { command, bar: ProgressBar::new(0), of_bytes, measured, counted, counted_bytes, told: Instant::now() })
    }

    pub(super) fn tell(&mut self, stage: Stage, done: u64, total: Option<u64>) {
        let (name, unit) = match stage {
            Stage::Files => ("files", Unit::Bytes),
            Stage::Chain => ("heights", Unit::Pieces),
            Stage::Index => ("entries of the index", Unit::Pieces),
            Stage::State => ("rows of the state", Unit::Pieces),
        };
        self.tell_of(name, unit, done, total);
    }

    pub(super) fn tell_of(&mut self, name: &'static str, unit: Unit, done: u64, total: Option<u64>) {
        if self.bar.message() != name {
            let style = match (unit, total) {
                (Unit::Bytes, Some(_)) => &self.of_bytes,
                (Unit::Pieces, Some(_)) => &self.measured,
                (Unit::Bytes, None) => &self.counted_bytes,
                (Unit::Pieces, None) => &self.counted,
            };
            self.bar.set_style(style.clone());
            self.bar.set_message(name);
        }
        self.bar.set_length(total.unwrap_or(done));
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            let (shift, unit) = if unit == Unit::Bytes { (20, " MiB") } else { (0, "") };
            let of = total.map_or(String::new(), |total| format!(" of {}", total >> shift));
            console::say(&format!("{}: {name}, {}{of}{unit}", self.command, done >> shift));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Of what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Pieces,
}

/// What was found, for people.
pub(super) fn rows_of(report: &Report) -> Vec<[String; 2]> {
    let mut rows = vec![["files".to_owned(), format!("{}, {} KiB", report.files, report.bytes.div_ceil(1024))]];
    for ((cipher, epoch), files) in &report.ciphers {
        rows.push(["sealed".to_owned(), format!("{files} files with {cipher} under epoch {epoch}")]);
    }
    if let Some((number, hash)) = &report.head {
        rows.push(["ledger".to_owned(), format!("height {number}, {hash}")]);
    }
    if let Some(waiting) = &report.waiting {
        rows.push([
            "waits for the next start".to_owned(),
            format!("{}, which takes the ledger's place", waiting.display()),
        ]);
    }
    if report.is_fetched_anew {
        rows.push(["fetched anew".to_owned(), "heights before those of the ordering log; start the node".to_owned()]);
    }
    if report.is_unverified {
        let what = "from plaintext; no node starts on it before `bixi db seal` has found it to be whole";
        rows.push(["the ledger was sealed".to_owned(), what.to_owned()]);
    }
    if let Some(decided) = report.decided {
        rows.push(["decided".to_owned(), format!("up to height {decided}")]);
    }
    for torn in &report.torn {
        let what =
            format!("{}: {} bytes from {} on, which nobody relied on", torn.file.display(), torn.bytes, torn.offset);
        rows.push(["torn by a crash, no damage".to_owned(), what]);
    }
    for path in &report.left {
        rows.push(["left by a crash, no damage".to_owned(), path.display().to_string()]);
    }
    for finding in &report.findings {
        rows.push([format!("WRONG: {}", finding.part.word()), format!("{}: {}", finding.place, finding.reason)]);
    }
    let unlisted = report.found - report.findings.len() as u64;
    if unlisted > 0 {
        rows.push(["WRONG".to_owned(), format!("{unlisted} more")]);
    }
    let mut advised = Vec::new();
    for finding in &report.findings {
        if !advised.contains(&finding.advice) {
            advised.push(finding.advice);
            rows.push([format!("what to do: {}", finding.part.word()), finding.advice.to_owned()]);
        }
    }
    rows.push(["verdict".to_owned(), if report.is_whole() { "whole".to_owned() } else { "NOT WHOLE".to_owned() }]);
    rows
}
