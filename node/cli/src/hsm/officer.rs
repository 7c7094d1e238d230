//! `bixi hsm officer`: an officer's own key, on a machine of his own.

use std::path::PathBuf;

use bixi_runtime::lifecycle::officers::{self, Statement};
use bixi_runtime::process;
use clap::{Args, Subcommand};

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
}

pub(crate) fn run(command: &OfficerCommand) -> Result<(), Failure> {
    process::harden()?;
    let fault = |error| Failure::new(Status::Fault, error);
    match command {
        OfficerCommand::New(args) => {
            let public_key = officers::make(&args.out, &args.passphrase).map_err(fault)?;
            Ok(console::result(&public_key.to_hex())?)
        }
        OfficerCommand::Sign(args) => {
            let statement = Statement::read(&args.statement).map_err(fault)?;
            let rows = statement.rows().into_iter().map(|(name, text)| [name.to_owned(), text]);
            console::result(&console::table(&rows.collect::<Vec<_>>()))?;
            let (Some(key), Some(out)) = (&args.key, &args.out) else { return Ok(()) };
            let officer = statement.approve(key, &args.passphrase, out).map_err(fault)?;
            console::say(&format!("approved by {} in {}", officer.to_hex(), out.display()));
            Ok(())
        }
    }
}
