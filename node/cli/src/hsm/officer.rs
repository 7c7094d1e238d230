//! `bixi hsm officer`: an officer's own key, on a machine of his own.

use std::path::PathBuf;

use bixi_runtime::lifecycle::officers::{self, Statement};
use bixi_runtime::process;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::console;
use crate::failure::{Failure, Status};

/// Make an officer's key, or sign with it.
///
/// Exit status: 0 done; 1 not done, and why.
#[derive(Debug, Subcommand)]
pub(crate) enum OfficerCommand {
    New(NewArgs),
    Sign(SignArgs),
}

/// Make an officer's key in a new file, sealed by a passphrase of at least 12 characters. Prints its public half, for hsm.officers.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Where to write the sealed key; a new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the passphrase comes from: "prompt", "file:PATH" (mode 0400) or "fd:NUMBER".
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    passphrase: String,
    /// Print one JSON object.
    ///
    /// {"public_key", "file"}
    #[arg(long)]
    json: bool,
}

/// Read a statement and approve it with an officer's key. What is signed is shown first.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// What `bixi db replay --propose` wrote.
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// The officer's key; without it the statement is only shown.
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    /// Where to write the approval; a new file.
    #[arg(long, value_name = "FILE", requires = "key")]
    out: Option<PathBuf>,
    /// Where the passphrase comes from: "prompt", "file:PATH" (mode 0400) or "fd:NUMBER".
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    passphrase: String,
    /// Print one JSON object at the end; what is signed is shown on standard error before.
    ///
    /// {"statement": {"chain", "node", "override", "written_at_ms", "reason", "changes": [{"height", "old", "new"}], "sm3"}, "officer",
    /// "approval"}; the last two are null where the statement was only shown
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &OfficerCommand) -> Result<(), Failure> {
    process::harden()?;
    let fault = |error| Failure::new(Status::Fault, error);
    match command {
        OfficerCommand::New(args) => {
            let public_key = officers::make(&args.out, &args.passphrase).map_err(fault)?.to_hex();
            Ok(console::result(&if args.json {
                json!({"public_key": public_key, "file": args.out.display().to_string()}).to_string()
            } else {
                public_key
            })?)
        }
        OfficerCommand::Sign(args) => sign(args),
    }
}

fn sign(args: &SignArgs) -> Result<(), Failure> {
    let fault = |error| Failure::new(Status::Fault, error);
    let statement = Statement::read(&args.statement).map_err(fault)?;
    let rows = statement.rows().into_iter().map(|(name, text)| [name.to_owned(), text]);
    let shown = console::table(&rows.collect::<Vec<_>>());
    // Before the passphrase is asked for, wherever the result goes.
    if args.json {
        console::say(&shown);
    } else {
        console::result(&shown)?;
    }
    let (mut officer, mut approval) = (None, None);
    if let (Some(key), Some(out)) = (&args.key, &args.out) {
        let id = statement.approve(key, &args.passphrase, out).map_err(fault)?.to_hex();
        let file = out.display().to_string();
        console::say(&format!("approved by {id} in {file}"));
        (officer, approval) = (Some(id), Some(file));
    }
    if args.json {
        let value = json!({"statement": statement.to_json(), "officer": officer, "approval": approval});
        console::result(&value.to_string())?;
    }
    Ok(())
}
