//! `bixi run`: one node, from its files to its orderly stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bixi_config::{Log, P2p};
use bixi_runtime::process::{self, Notifier, State};
use bixi_runtime::{Fault, LaunchError, Node, Reloaded, Settings, launch, launch_on, lifecycle};
use clap::Args;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::logging::Filter;
use crate::signals::{self, ReloadSignal, StopSignal};
use crate::{console, logging, token};

/// How often the node is looked at, and the service manager told that it is alive.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// How long starting again on a snapshot may take before the service manager is left to think that it hangs: it copies what the node
/// committed since the snapshot was complete, and executes what is decided.
const RENEWAL_MAX: Duration = Duration::from_secs(1_800);

/// Run a node until SIGINT or SIGTERM.
///
/// The first signal stops the node in order; a second one ends it on the spot, which loses nothing that a client was told.
/// A signal during the start ends it on the spot, too. Log lines go to standard error.
///
/// SIGHUP reads the node file and the files it names again, and takes p2p.ca, p2p.crl, p2p.certificate, p2p.peers, p2p.allow,
/// p2p.deny and log.filter from them, all or nothing; the log says what has changed, or what is wrong and where. When standard
/// input is a terminal, SIGHUP says that the terminal has closed and stops the node instead; under nohup it does nothing.
///
/// Where hsm.broker is set, `bixi hsm serve` holds the key device; the start waits for it as long as it says what it waits for itself, and
/// a minute while it says nothing.
///
/// Exit status: 0 stopped when asked; 1 the node could not start or had to stop; 75 the key device did not answer to the PIN;
/// 77 it refused the PIN; 78 a file cannot be used, of configuration, or guard, audit trail or vault, or the ledger is not sealed and
/// verified; 79 the key device failed its self-test.
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

/// What comes before a command opens the key device: the node file, the token's variable, the log as a person wants it, hardening.
pub(crate) fn enter_with_device(config: &Path) -> Result<Settings, Failure> {
    let settings = Settings::load(config).map_err(Failure::configuration)?;
    bind_device(&settings)?;
    begin(&logging::for_person(&settings.config.log))?;
    Ok(settings)
}

/// The same for a command that asks the node instead while it runs, and binds the device when it does not.
pub(crate) fn enter_with_node(config: &Path) -> Result<Settings, Failure> {
    let settings = Settings::load(config).map_err(Failure::configuration)?;
    begin(&logging::for_person(&settings.config.log))?;
    Ok(settings)
}

/// The same for a command that asks the broker instead while it runs.
pub(crate) fn enter_to_ask(config: &Path) -> Result<Settings, Failure> {
    let settings = Settings::load(config).map_err(Failure::configuration)?;
    if !lifecycle::is_held_by_broker(&settings) {
        bind_device(&settings)?;
    }
    begin(&logging::for_person(&settings.config.log))?;
    Ok(settings)
}

/// The same for a service with a device, whose log is that of the node file.
pub(crate) fn serve_with_device(settings: &Settings) -> Result<Filter, Failure> {
    bind_device(settings)?;
    begin(&settings.config.log)
}

/// The same for a node, which opens no device when it has a broker.
fn enter(config: &Path) -> Result<(Settings, Filter), Failure> {
    let settings = Settings::load(config).map_err(Failure::configuration)?;
    let filter = match settings.broker() {
        None => serve_with_device(&settings),
        Some(_) => begin(&settings.config.log),
    }?;
    Ok((settings, filter))
}

pub(crate) fn bind_device(settings: &Settings) -> Result<(), Failure> {
    token::bind_for(settings)?;
    token::expect_module(&settings.path(&settings.config.hsm.module))
}

fn begin(log: &Log) -> Result<Filter, Failure> {
    let filter = logging::start(log)?;
    process::harden()?;
    Ok(filter)
}

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let (mut settings, filter) = enter(&args.config)?;
    process::raise_descriptor_limit()?;
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut reload, mut stop) = waiting.block_on(async { ReloadSignal::beside_stop() })?;
    // A start can be broken off anywhere, and may wait long: for a PIN, for the device, for the log to be replayed.
    stop.end_at_once(true);
    if let Some(parent) = args.stop_with {
        signals::end_with(parent)?;
    }
    let mut node = launch(&settings).map_err(|error| refusal("the node did not start", &error))?;
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
    loop {
        let mut reloading = || {
            let _ = notifier.notify(&[State::Reloading]);
            reload_from(&args.config, &mut settings, &node, &filter);
            let _ = notifier.notify(&[State::Ready]);
        };
        match waiting.block_on(watch(&node, &notifier, &mut stop, &mut reload, &mut reloading)) {
            Watched::Signalled => break,
            Watched::Ended => node = alive(&notifier, || renew(node, &settings))?,
        }
    }
    let _ = notifier.notify(&[State::Stopping]);
    stop.heed_second();
    match node.stop() {
        None => Ok(()),
        Some(fault) => Err(Failure::new(Status::Fault, fault)),
    }
}

/// The failure of a command that opens the key device.
pub(crate) fn refusal(what: &str, error: &LaunchError) -> Failure {
    let status = match error {
        error if error.is_pin_refused() => Status::WrongPin,
        error if error.is_pin_unanswered() => Status::PinUnanswered,
        error if error.is_device_unsound() => Status::UnsoundDevice,
        error if error.is_forbidden() || error.is_misconfigured() || error.is_file_unusable() => Status::Configuration,
        _ => Status::Fault,
    };
    Failure::new(status, format!("{what}: {error}"))
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

/// Takes what has changed in the files. What is wrong with them changes nothing.
fn reload_from(file: &Path, settings: &mut Settings, node: &Node, filter: &Filter) {
    let reloaded = Settings::load(file).map_err(|error| error.to_string()).and_then(|newer| {
        logging::check(&newer.config.log.filter).map_err(|error| format!("{}: {error}", file.display()))?;
        filter.change(&newer.config.log.filter)?;
        let reloaded = node.reload(settings, &newer).map_err(|error| {
            let _ = filter.change(&settings.config.log.filter);
            error.to_string()
        })?;
        settings.config.p2p = P2p { listen: settings.config.p2p.listen, ..newer.config.p2p };
        settings.config.log.filter = newer.config.log.filter;
        Ok(reloaded)
    });
    match reloaded {
        Err(error) => tracing::error!(error, "not reloaded: everything stays as it was"),
        Ok(Reloaded { taken, waiting }) => {
            for change in &taken {
                tracing::info!(change, "reloaded");
            }
            for section in &waiting {
                tracing::warn!(section, "this change waits for the next start");
            }
            if taken.is_empty() && waiting.is_empty() {
                tracing::info!("reloaded: nothing has changed");
            }
        }
    }
}

/// Why a node is no longer watched.
enum Watched {
    /// It is to stop.
    Signalled,
    /// It stopped by itself.
    Ended,
}

/// Starts a node again that ended for a snapshot: its keys stay unlocked, and it listens where it did. Any other end is one.
fn renew(node: Node, settings: &Settings) -> Result<Node, Failure> {
    let ground = node.ground();
    match node.stop() {
        Some(Fault::Joined { .. }) => {
            launch_on(settings, ground).map_err(|error| refusal("the node did not start again", &error))
        }
        Some(fault) => Err(Failure::new(Status::Fault, fault)),
        None => Err(Failure::new(Status::Fault, "the node ended by itself and gave no reason")),
    }
}

/// Tells the service manager that the process is alive while it does something long, for as long as that may take.
fn alive<T>(notifier: &Notifier, work: impl FnOnce() -> T) -> T {
    let beat = || drop(notifier.notify(&[State::Watchdog]));
    process::beat_beside(WATCH_PERIOD, RENEWAL_MAX, beat, work)
}

/// Waits for a signal to stop, or for the node to stop by itself.
async fn watch(
    node: &Node,
    notifier: &Notifier,
    stop: &mut StopSignal,
    reload: &mut ReloadSignal,
    reloading: &mut dyn FnMut(),
) -> Watched {
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    while node.is_running() {
        tokio::select! {
            () = stop.wait() => {
                tracing::info!("stopping in order; a second signal ends the node on the spot");
                return Watched::Signalled;
            }
            () = reload.wait() => reloading(),
            _ = tick.tick() => { let _ = notifier.notify(&[State::Watchdog]); }
        }
    }
    Watched::Ended
}
