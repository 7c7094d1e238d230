//! `bixi run`: one node, from its files to its orderly stop.

use std::path::PathBuf;
use std::time::Duration;

use bixi_runtime::process::{self, Notifier, State};
use bixi_runtime::{LaunchError, Node, Settings, launch};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Status};
use crate::{console, logging, token};

/// How often the node is looked at, and the service manager told that it is alive.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// Exit status: 0 stopped when asked; 1 the node could not start or had to stop; 77 the key device refused the PIN;
/// 78 a configuration file cannot be used.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON line on standard output when ready: {rpc, placement_mode, placement: [{thread, cores, numa_node}]}.
    #[arg(long)]
    ready_json: bool,
}

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config).map_err(Failure::configuration)?;
    if !settings.config.hsm.token_config.as_os_str().is_empty() {
        token::bind(&settings.path(&settings.config.hsm.token_config))?;
    }
    logging::start(&settings.config.log)?;
    process::harden()?;
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = waiting.block_on(async { StopSignal::new() })?;
    let node = launch(&settings).map_err(refusal)?;
    let notifier = Notifier::from_env()?;
    notifier.notify(&[State::Ready, State::Status(&format!("JSON-RPC at {}", node.rpc_address()))])?;
    if args.ready_json {
        console::result(&ready_line(&node));
    }
    waiting.block_on(watch(&node, &notifier, &mut stop));
    let _ = notifier.notify(&[State::Stopping]);
    match node.stop() {
        None => Ok(()),
        Some(fault) => Err(Failure::new(Status::Fault, fault)),
    }
}

fn refusal(error: LaunchError) -> Failure {
    let status = if error.is_pin_refused() { Status::WrongPin } else { Status::Fault };
    Failure::new(status, format!("the node did not start: {error}"))
}

fn ready_line(node: &Node) -> String {
    let placement: Vec<_> = node
        .threads()
        .into_iter()
        .map(|thread| json!({"thread": thread.name, "cores": thread.cores, "numa_node": thread.numa_node}))
        .collect();
    json!({
        "rpc": format!("http://{}", node.rpc_address()),
        "placement_mode": node.placement_mode(),
        "placement": placement,
    })
    .to_string()
}

/// Waits for a signal, or for the node to stop by itself.
async fn watch(node: &Node, notifier: &Notifier, stop: &mut StopSignal) {
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    while node.is_running() {
        tokio::select! {
            () = stop.wait() => return,
            _ = tick.tick() => { let _ = notifier.notify(&[State::Watchdog]); }
        }
    }
}

/// SIGINT or SIGTERM, caught from the moment this exists.
pub(crate) struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
