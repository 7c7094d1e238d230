//! `bixi run`: one node, from its files to its orderly stop.

use std::path::PathBuf;
use std::time::Duration;

use bixi_runtime::process::{self, Notifier, State};
use bixi_runtime::{LaunchError, Node, Settings, launch};
use clap::Args;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::signals::{self, StopSignal};
use crate::{console, logging, token};

/// How often the node is looked at, and the service manager told that it is alive.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// Run a node until SIGINT, SIGTERM or SIGHUP.
///
/// The first signal stops the node in order; a second one ends it on the spot, which loses nothing that a client was told.
/// A signal during the start ends it on the spot, too. Log lines go to standard error.
///
/// Exit status: 0 stopped when asked; 1 the node could not start or had to stop; 77 the key device refused the PIN;
/// 78 a configuration file cannot be used.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Print one JSON line on standard output when ready.
    ///
    /// {"rpc", "placement_mode", "placement": [{"thread", "cores", "numa_node"}]}
    #[arg(long)]
    ready_json: bool,
    /// Stop in order when the process PID, which must be the parent, is gone.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    stop_with: Option<i32>,
}

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.config).map_err(Failure::configuration)?;
    if !settings.config.hsm.token_config.as_os_str().is_empty() {
        token::bind(&settings.path(&settings.config.hsm.token_config))?;
    }
    token::expect_module(&settings.path(&settings.config.hsm.module))?;
    logging::start(&settings.config.log)?;
    process::harden()?;
    process::raise_descriptor_limit()?;
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = waiting.block_on(async { StopSignal::new() })?;
    // A start can be broken off anywhere, and may wait long: for a PIN, for the device, for the log to be replayed.
    stop.end_at_once(true);
    if let Some(parent) = args.stop_with {
        signals::end_with(parent)?;
    }
    let node = launch(&settings).map_err(refusal)?;
    stop.end_at_once(false);
    let notifier = Notifier::from_env().unwrap_or_else(|error| {
        tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; the service manager will not hear from this node");
        Notifier::default()
    });
    if let Err(error) = notifier.notify(&[State::Ready, State::Status(&format!("JSON-RPC at {}", node.rpc_address()))])
    {
        tracing::warn!(%error, "the service manager was not told that the node is ready");
    }
    if args.ready_json
        && let Err(error) = console::result(&ready_line(&node))
    {
        node.stop();
        return Err(error.into());
    }
    waiting.block_on(watch(&node, &notifier, &mut stop));
    let _ = notifier.notify(&[State::Stopping]);
    match signals::end_with_nobody() {
        Ok(()) => stop.end_at_once(true),
        Err(error) => tracing::warn!(%error, "a second signal will wait for the orderly stop"),
    }
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
            () = stop.wait() => {
                tracing::info!("stopping in order; a second signal ends the node on the spot");
                return;
            }
            _ = tick.tick() => { let _ = notifier.notify(&[State::Watchdog]); }
        }
    }
}
