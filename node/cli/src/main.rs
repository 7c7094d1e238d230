//! `bixi`: a permissioned-ledger node, its ceremonies, its doctor, its figures and its demonstration.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod chain;
mod client;
mod console;
mod db;
mod demo;
mod doctor;
mod failure;
mod hsm;
mod logging;
mod run;
mod scratch;
mod signals;
mod status;
mod token;
mod version;

use std::io::{self, Write as _};
use std::process::ExitCode;

use bixi_accel::{cpu, selftest};
use bixi_runtime::process;
use clap::Parser as _;

use crate::args::{Bixi, Command};
use crate::failure::{Failure, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Bixi::parse().command;
    if command.may_send_pin()
        && let Err(error) = signals::end_between_pins()
    {
        return end(Failure::from(error).report());
    }
    let done = prepare(&command).and_then(|()| match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Chain(command) => chain::run(&command),
        Command::Status(args) => status::run(&args),
        Command::Hsm(command) => hsm::run(&command),
        Command::Db(command) => db::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(command) => bench::run(&command),
        Command::Version(args) => version::run(&args),
    });
    end(match done {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    })
}

/// Chooses the processor's kernels and where their tables are, and has those that handle keys prove themselves first. What serves, examines
/// or measures them does it again in its own words.
fn prepare(command: &Command) -> Result<(), Failure> {
    cpu::configure_from_env().map_err(|error| Failure::new(Status::Usage, error))?;
    process::use_huge_pages();
    if matches!(command, Command::Chain(_) | Command::Hsm(_) | Command::Db(_)) {
        selftest::run()?;
    }
    Ok(())
}

/// The end of this process. Where a call hangs in a library, the library's destructors, which may wait for it, are not run.
fn end(status: u8) -> ExitCode {
    if process::is_left_behind() {
        let _ = io::stdout().flush();
        signal_hook::low_level::exit(status.into());
    }
    ExitCode::from(status)
}
