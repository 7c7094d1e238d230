//! `bixi hsm`: the key device of a node, in a process of its own and before it has a node.

mod attest;
mod bench;
mod ceremony;
mod doctor;
mod escrow;
mod generate;
mod guard;
mod init;
mod list;
mod officer;
mod pages;
mod probe;
mod recover;
mod rotate;
mod slots;
mod terminal;
mod verify_audit;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use bixi_runtime::broker::{self, End, Handed, Pace, Params, Statuses, Told};
use bixi_runtime::process::{Notifier, State, harden};
use bixi_runtime::{Settings, Sources};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::signals::{self, StopSignal};
use crate::{console, logging, run, token};

/// How long a broker leaves its device alone that did not answer to the PIN: no worker sends it before a person has acted.
const PIN_REST: Duration = Duration::from_secs(60);
/// The same with a file that became unusable while it ran: a worker may have to log in to see that it was put right.
const FILE_REST: Duration = Duration::from_secs(600);

/// What a service manager tells one process and no child of it.
const MANAGER_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The key device of a node.
#[derive(Debug, Subcommand)]
pub(crate) enum HsmCommand {
    Serve(ServeArgs),
    Probe(probe::ProbeArgs),
    List(list::ListArgs),
    Generate(generate::GenerateArgs),
    Attest(attest::AttestArgs),
    VerifyAudit(verify_audit::VerifyAuditArgs),
    #[command(subcommand)]
    Rotate(rotate::RotateCommand),
    Init(init::InitArgs),
    #[command(subcommand)]
    Guard(guard::GuardCommand),
    #[command(subcommand)]
    Officer(officer::OfficerCommand),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
    #[command(subcommand)]
    Escrow(escrow::EscrowCommand),
    Recover(recover::RecoverArgs),
    #[command(subcommand)]
    Ceremony(ceremony::CeremonyCommand),
    #[command(subcommand)]
    Slots(slots::SlotsCommand),
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Hold a node's key device in a process of its own, and sign for the node.
///
/// Listens at hsm.broker of the node file, or on the socket that the service manager opened. Reads the PIN once, and starts a worker that
/// loads the device's module and alone has sign-once guard and audit log. A worker that dies or whose device hangs is replaced at once,
/// ever more rarely if that happens again and again; the node waits meanwhile. Workers go by the node file and genesis as they were when
/// this command started. A PIN that the device refuses is never tried again; one to which it never answered is held back until a person
/// has acted, and the broker waits for that.
///
/// Runs until SIGINT or SIGTERM. While the device judges a PIN the end waits for the verdict, ten minutes at most (in a unit:
/// TimeoutStopSec); a second signal does not wait. Stop the node first: what it asks while it stops is answered, too. Log lines go to
/// standard error.
///
/// Exit status: 0 stopped when asked; 1 it could not start; 71 a worker does not end whatever is done, because its kernel waits for the
/// device; 77 the key device refused the PIN; 78 a file cannot be used, of the operator's, or guard, audit trail or vault; 79 the key device
/// failed its self-test. RestartPreventExitStatus of a unit names all of them but 1.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The only user whose processes are served [default: the user who starts it].
    #[arg(long, value_name = "NUMBER")]
    uid: Option<u32>,
    /// Print one JSON line on standard output each time a worker is ready.
    ///
    /// {"socket", "worker"}: where it is found, and its process
    #[arg(long)]
    ready_json: bool,
    /// Stop in order when the process PID, which must be the parent, is gone.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    stop_with: Option<i32>,
}

/// What `serve` starts; takes its sockets from it.
///
/// Exit status: as `serve`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
    #[arg(long, value_name = "NUMBER")]
    uid: u32,
    /// The descriptor of the broker's lock.
    #[arg(long, value_name = "NUMBER")]
    lock: i32,
}

impl HsmCommand {
    /// Whether it is one of the broker's processes, which answer signals by themselves.
    pub(crate) fn is_of_broker(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Worker(_))
    }
}

pub(crate) fn run(command: &HsmCommand) -> Result<(), Failure> {
    match command {
        HsmCommand::Serve(args) => serve(args),
        HsmCommand::Probe(args) => probe::run(args),
        HsmCommand::List(args) => list::run(args),
        HsmCommand::Generate(args) => generate::run(args),
        HsmCommand::Attest(args) => attest::run(args),
        HsmCommand::VerifyAudit(args) => verify_audit::run(args),
        HsmCommand::Rotate(command) => rotate::run(command),
        HsmCommand::Init(args) => init::run(args),
        HsmCommand::Guard(command) => guard::run(command),
        HsmCommand::Officer(command) => officer::run(command),
        HsmCommand::Doctor(args) => doctor::run(args),
        HsmCommand::Bench(args) => bench::run(args),
        HsmCommand::Worker(args) => work(args),
        HsmCommand::Escrow(command) => escrow::run(command),
        HsmCommand::Recover(args) => recover::run(args),
        HsmCommand::Ceremony(command) => ceremony::run(command),
        HsmCommand::Slots(command) => slots::run(command),
    }
}

fn work(args: &WorkerArgs) -> Result<(), Failure> {
    // Before the PIN is here.
    harden()?;
    signals::leave_to_supervisor()?;
    let refusal = |error| run::refusal("no key device", &error);
    let handed = Handed::take(&args.config, args.lock).map_err(refusal)?;
    // The token's variable comes from the supervisor: a process that took its line cannot become another one.
    logging::start(&handed.settings.config.log)?;
    token::expect_module(&handed.settings.path(&handed.settings.config.hsm.module))?;
    broker::work(handed, args.uid).map_err(refusal)
}

fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let sources = Sources::read(&args.config).map_err(Failure::configuration)?;
    let settings = Settings::parse(&args.config, &sources).map_err(Failure::configuration)?;
    run::serve_with_device(&settings)?;
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = waiting.block_on(async { StopSignal::new() })?;
    // Reading the PIN may wait long for a person.
    stop.end_at_once(true);
    if let Some(parent) = args.stop_with {
        signals::end_with(parent)?;
    }
    let uid = args.uid.unwrap_or_else(broker::own_uid);
    let claimed = broker::claim(&settings).map_err(Failure::configuration)?;
    let (listener, _made) = broker::listen(&claimed, &settings, uid).map_err(Failure::configuration)?;
    let pin = broker::read_pin(&claimed, &settings).map_err(Failure::configuration)?;
    stop.end_at_once(false);
    let socket = settings.broker().unwrap_or_default();
    let (config, lock) = (args.config.clone(), claimed.shared_with_children()?);
    let params = Params {
        command: Box::new(move || Ok(worker(&config, uid, lock))),
        listener,
        pin,
        brief: broker::brief(&sources),
        statuses: Statuses {
            always_final: vec![Status::WrongPin as i32, Status::UnsoundDevice as i32],
            final_at_start: vec![Status::Configuration as i32],
            resting: vec![(Status::PinUnanswered as i32, PIN_REST), (Status::Configuration as i32, FILE_REST)],
        },
        pace: Pace::default(),
    };
    let mut herald = Herald { notifier: Notifier::from_env().unwrap_or_default(), socket, is_json: args.ready_json };
    let stopped = async {
        stop.wait().await;
        tracing::info!("stopping in order; a second signal ends the broker on the spot");
        stop.heed_second();
    };
    match waiting.block_on(broker::supervise(&params, |told| herald.tell(&told), stopped))? {
        End::Stopped => Ok(()),
        End::Stuck(process) => {
            let reason = format!(
                "the worker {process} was killed and does not go: the kernel waits for its device; no other worker may start beside it. \
                 Reset the device, or this machine"
            );
            Err(Failure::new(Status::StuckDevice, reason))
        }
        End::Final(status) => {
            let reason = "the worker ended for a reason that another one would meet, too; it is told above";
            let known = Status::UNTIL_A_PERSON_ACTS.into_iter().find(|known| *known as i32 == status);
            Err(Failure::new(known.unwrap_or(Status::Fault), reason))
        }
    }
}

fn worker(config: &Path, uid: u32, lock: i32) -> process::Command {
    // The program that runs, also when an upgrade has put another one in its place.
    let mut command = process::Command::new("/proc/self/exe");
    command.arg0("bixi").args(["hsm", "worker", "--config"]).arg(config).arg("--uid").arg(uid.to_string());
    command.arg("--lock").arg(lock.to_string());
    for name in MANAGER_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Tells log, service manager and standard output what becomes of the workers.
struct Herald {
    notifier: Notifier,
    socket: PathBuf,
    is_json: bool,
}

impl Herald {
    fn tell(&mut self, told: &Told) {
        match told {
            Told::Ready { process } => {
                let place = self.socket.display().to_string();
                tracing::info!(worker = process, socket = place, "the broker answers");
                let status = format!("worker {process} answers");
                let _ = self.notifier.notify(&[State::Ready, State::Status(&status)]);
                if self.is_json {
                    // Whoever started us and no longer listens is not waited for.
                    let _ = console::result(&json!({"socket": place, "worker": process}).to_string());
                }
            }
            Told::Lost { why, pause } => {
                let pause_ms = pause.as_millis() as u64;
                tracing::error!(%why, pause_ms, "the worker is gone; another one starts");
                let _ = self.notifier.notify(&[State::Status("no worker answers")]);
            }
        }
    }
}
