//! `bixi hsm ceremony`: steps that two officers confirm, and the record of them.

mod control;
mod record;
mod stage;

use std::path::{Path, PathBuf};

use bixi_config::{CeremonyPlan, CeremonyStep};
use bixi_runtime::transcript::{TRANSCRIPT_BYTES_MAX, Transcript, Writer};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::console;
use crate::failure::{Failure, Status};
use control::Control;
use record::{Record, Rendered};
use stage::Stage;

/// Longest plan.
const PLAN_BYTES_MAX: u64 = 64 * 1024;

/// A ceremony of several officers, and its transcript.
#[derive(Debug, Subcommand)]
pub(crate) enum CeremonyCommand {
    Run(RunArgs),
    Verify(VerifyArgs),
}

/// Hold a ceremony: each step of the plan is confirmed by two officers, done, and written down.
///
/// Every officer chooses a passphrase at the beginning and confirms steps with it. That shows, to those in the room, that the same
/// two people agreed; it proves nothing afterwards. What does is the transcript: its entries are chained by SM3, and its fingerprint,
/// printed at the end, is written down and signed by hand.
///
/// The plan (TOML): title, threshold, steps, of keys, seal, escrow, check, recover and slots, and a table officer with a name for each.
/// A rehearsal does the same on a token that it makes and throws away.
///
/// Exit status: 0 held; 1 a step failed, which the transcript tells, too; 2 the command line is wrong; 78 a file of the operator's cannot
/// be used.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plan.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The node's directory, which holds its bixi.toml.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run", conflicts_with = "dry_run")]
    dir: Option<PathBuf>,
    /// Where the transcript goes; there must be no file.
    #[arg(long, value_name = "FILE")]
    transcript: PathBuf,
    /// Have each officer's page of the escrow sealed under a passphrase of his own.
    #[arg(long)]
    passphrases: bool,
    /// Write the pages to files in this directory, instead of showing them on the terminal.
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    out: Option<PathBuf>,
    /// Rehearse it on a throw-away token of the shipped module.
    #[arg(long)]
    dry_run: bool,
    /// PKCS#11 module of a rehearsal [default: the shipped one].
    #[arg(long, value_name = "PATH", conflicts_with = "dir")]
    module: Option<PathBuf>,
    /// For a rehearsal without people: the officers' passphrases are the files 1, 2, ... in this directory, mode 0400.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    confirm_from: Option<PathBuf>,
}

/// Follow the chain of a transcript, print it, and compare its fingerprint with the one that was written down.
///
/// Exit status: 0 it holds; 1 it does not, or the ceremony was cut off before its end.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The transcript.
    #[arg(value_name = "TRANSCRIPT")]
    transcript: PathBuf,
    /// The fingerprint on paper; spaces do not matter.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Print one JSON object.
    ///
    /// {"fingerprint", "compared", "entries"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &CeremonyCommand) -> Result<(), Failure> {
    match command {
        CeremonyCommand::Run(args) => hold(args),
        CeremonyCommand::Verify(args) => verify(args),
    }
}

fn hold(args: &RunArgs) -> Result<(), Failure> {
    let (plan, text) = read_plan(&args.plan)?;
    bixi_runtime::process::harden()?;
    let stage = Stage::set(args, &plan)?;
    if args.transcript.exists() {
        return Err(unmade(&args.transcript, &rustix::io::Errno::EXIST.into()));
    }
    // Before anything is written: without officers there was no ceremony.
    let mut control = Control::register(&plan.officers, args.confirm_from.as_deref())
        .map_err(|error| Failure::new(Status::Fault, error))?;
    let writer = Writer::create(&args.transcript).map_err(|error| unmade(&args.transcript, &error))?;
    let mut record = Record::begin(writer, &plan, &text, &stage)?;
    let held = plan.steps.iter().try_for_each(|step| take(*step, &stage, &mut control, &mut record));
    let head = record.end(held.is_ok())?;
    let text = read_transcript(&args.transcript)?;
    let transcript = Transcript::parse(&text)?;
    assert_eq!(transcript.head, head, "what was written is what is read");
    console::result(&Rendered { transcript: &transcript }.for_signatures(&plan.officers))?;
    held
}

/// A transcript is never written over.
fn unmade(path: &Path, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            "; a transcript stays as it is: `bixi hsm ceremony verify` shows how far that ceremony came. Name another file, and a plan of the \
             steps that are left"
        }
        _ => "",
    };
    Failure::new(Status::Fault, format!("transcript {}: {error}{advice}", path.display()))
}

/// One step: shown, confirmed by two, noted, done, noted.
fn take(step: CeremonyStep, stage: &Stage, control: &mut Control, record: &mut Record) -> Result<(), Failure> {
    let commands = stage.commands(step);
    console::say(&format!("ceremony: step {:?}", step.word()));
    commands.iter().for_each(|command| console::say(&format!("  bixi {}", command.join(" "))));
    let confirmed = control.confirm(step.word()).map_err(|error| Failure::new(Status::Fault, error))?;
    record.confirmed(step, &confirmed, &commands)?;
    match stage.perform(step, &commands) {
        Ok(results) => record.done(step, results).map_err(|error| unwritten(step, "was done", &error)),
        Err(failure) => match record.failed(step) {
            Ok(()) => Err(failure),
            Err(error) => {
                console::say(&format!("ceremony: {}", failure.message()));
                Err(unwritten(step, "failed, as told above,", &error))
            }
        },
    }
}

/// The transcript ends before what has happened.
fn unwritten(step: CeremonyStep, what: &str, error: &std::io::Error) -> Failure {
    let step = step.word();
    let text = format!(
        "step {step:?} {what} and the transcript could not be written: {error}. Write down by hand what this step printed, and hold the \
         rest of the plan with a transcript of its own"
    );
    Failure::new(Status::Fault, text)
}

fn read_plan(path: &Path) -> Result<(CeremonyPlan, String), Failure> {
    let text = read_text(path, PLAN_BYTES_MAX).map_err(Failure::configuration)?;
    let plan = CeremonyPlan::parse(path, &text).map_err(Failure::configuration)?;
    Ok((plan, text))
}

fn read_transcript(path: &Path) -> Result<String, Failure> {
    read_text(path, TRANSCRIPT_BYTES_MAX as u64).map_err(|error| Failure::new(Status::Fault, error))
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 <= bytes_max => Ok(text),
        Ok(_) => Err(format!("{} is longer than {bytes_max} bytes; is it the right file?", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let text = read_transcript(&args.transcript)?;
    let named = |error: String| Failure::new(Status::Fault, format!("{}: {error}", args.transcript.display()));
    let transcript = Transcript::parse(&text).map_err(|error| named(error.to_string()))?;
    let found = hex::encode(transcript.head);
    let told = args.fingerprint.as_ref().map(|told| told.replace(' ', "").to_ascii_lowercase());
    if told.as_ref().is_some_and(|told| *told != found) {
        let reason = "its fingerprint is another than the one that was written down: it is another ceremony's, or its end was changed";
        return Err(named(format!("{reason}; found {}", record::grouped(&transcript.head))));
    }
    let rendered = Rendered { transcript: &transcript };
    console::result(&if args.json {
        json!({"fingerprint": found, "compared": told.is_some(), "entries": rendered.entries()}).to_string()
    } else {
        rendered.text()
    })?;
    if told.is_none() {
        console::say("ceremony: the chain holds; compare the fingerprint with the one that was written down");
    }
    match rendered.entries().last() {
        Some(last) if last["entry"] == "end" => Ok(()),
        _ => Err(named(
            "it has no end: the ceremony was cut off, or the file. What its last entry confirms was perhaps done, and is not noted".to_owned(),
        )),
    }
}
