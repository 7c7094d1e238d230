//! `bixi demo`: a chain is made, run, loaded, verified from outside and reported.
//!
//! Every node is a process of its own; this one is their client, holds none of their keys and believes nothing it can check.

mod at_rest;
mod cluster;
mod load;
mod node;
mod progress;
mod report;
mod service;
mod verify;
pub(crate) mod wallet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bixi_config::HsmBackend;
use bixi_runtime::chain::{DeviceChoice, KeyRecord, Members, NodeDirectory, NodeKeys, Places, Preparation};
use clap::Args;
use tempfile::TempDir;

use crate::chain::{BROKER, Suite, available, make};
use crate::client::Client;
use crate::demo::cluster::Cluster;
use crate::demo::progress::Progress;
use crate::demo::report::Report;
use crate::failure::{Failure, Status};
use crate::signals::StopSignal;
use crate::{console, token};

/// How long a Ctrl-C may take from the step it ended to us.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(100);

/// Make a chain, run it, load it, verify it from outside and report.
///
/// Makes a chain with keys in software tokens, one for each node, starts `bixi hsm serve` and `bixi run` for every node, sends SM2-signed transactions to
/// all of them through JSON-RPC, compares their heads and state roots, verifies the result from outside and prints a report. Runs
/// until Ctrl-C unless told to exit; a second Ctrl-C does not wait for the nodes' orderly stop. Progress goes to standard error:
/// a bar on a terminal, else plain lines.
///
/// Exit status: 0 every check held; 1 one did not, or the demonstration could not be held; 2 not in this release;
/// 130 interrupted before the report.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Validators, each a process of its own; at most 31.
    #[arg(long, default_value_t = 4)]
    pub(crate) nodes: u32,
    /// Transactions to send, the preparation's among them; at least 100.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub(crate) txs: u64,
    /// Algorithms of the chain. This release runs sm.
    #[arg(long, value_enum, default_value_t = Suite::Sm)]
    pub(crate) suite: Suite,
    /// Where the chain goes and stays; must be absent or empty [default: a temporary directory, removed at the end unless
    /// the demonstration fails].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// End after the report instead of running until Ctrl-C.
    #[arg(long)]
    pub(crate) exit: bool,
    /// Print the report as one JSON object on standard output; nothing else goes there.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    available(&preparation(args, Path::new(""), PathBuf::new()))?;
    let module = token::module(None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("client").build()?;
    // Before the first file is made: a Ctrl-C must not leave PINs in a temporary directory.
    let mut stop = runtime.block_on(async { StopSignal::new() })?;
    let place = Place::new(args.dir.as_deref())?;
    let wish = preparation(args, place.path(), module);
    let mut go_on = || interrupted_within(&runtime, &mut stop, Duration::ZERO);
    if let Err(failure) = make(&wish, &wish.device.module, &mut go_on) {
        // Ctrl-C at a terminal ends the step, too, and that is what failed then.
        interrupted_within(&runtime, &mut stop, SIGNAL_PATIENCE)?;
        return Err(failure);
    }
    let shown = runtime.block_on(show(args, place.path(), &mut stop));
    if shown.as_ref().is_err_and(|failure| !failure.is_interruption()) {
        place.keep();
    }
    shown
}

/// Where the chain goes.
enum Place {
    Named(PathBuf),
    /// Removed when dropped.
    Temporary(TempDir),
}

impl Place {
    fn new(named: Option<&Path>) -> anyhow::Result<Self> {
        Ok(match named {
            Some(path) => Self::Named(path.to_owned()),
            None => Self::Temporary(
                tempfile::Builder::new()
                    .prefix("bixi-demo-")
                    .tempdir()
                    .context("cannot make a temporary directory; name one with --dir, or another place with TMPDIR")?,
            ),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(made) => made.path(),
        }
    }

    /// Leaves what a failed demonstration made for whoever looks for the reason.
    fn keep(self) {
        if let Self::Temporary(made) = self {
            console::say(&format!("demo: kept for a look, remove it yourself: {}", made.keep().display()));
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(Status::Interrupted, "interrupted before the report")
}

fn interrupted_within(
    runtime: &tokio::runtime::Runtime,
    stop: &mut StopSignal,
    patience: Duration,
) -> Result<(), Failure> {
    if runtime.block_on(stop.came_within(patience)) { Err(interrupted()) } else { Ok(()) }
}

fn preparation(args: &DemoArgs, directory: &Path, module: PathBuf) -> Preparation {
    Preparation {
        directory: directory.to_owned(),
        places: Places {
            members: Members::Count(args.nodes as usize),
            // Both of the system's choice: other demonstrations may run beside this one.
            p2p_port: 0,
            rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        },
        suite: args.suite.crypto(),
        chain_id: load::CHAIN_ID.into(),
        group_id: load::GROUP_ID.into(),
        evm_hash: load::EVM_HASH,
        device: DeviceChoice { backend: HsmBackend::Pkcs11, module, broker: BROKER.into(), pin: None },
    }
}

/// From the made chain to the report and the end of the nodes. What a signal breaks off is dropped, and takes its processes and
/// copies with it.
async fn show(args: &DemoArgs, directory: &Path, stop: &mut StopSignal) -> Result<(), Failure> {
    console::say(&format!("demo: starting {}", nodes_in_words(args.nodes)));
    let running = unless_interrupted(Cluster::bring_up(directory), stop).await;
    let mut cluster = running.ok_or_else(interrupted)??;
    let (is, runs) = if args.nodes == 1 { ("is", "the node runs on") } else { ("are", "the nodes run on") };
    console::say(&format!("demo: {} {is} ready at {}", nodes_in_words(args.nodes), cluster.urls()));
    let examined = unless_interrupted(examine(args, directory, &cluster), stop).await;
    let Some(report) = examined else {
        end(cluster, stop).await?;
        return Err(interrupted());
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let epitaph = cluster.epitaph().await;
            let error = epitaph.into_iter().fold(error, anyhow::Error::context);
            return Err(error.context(format!("the nodes' logs are in {}", directory.display())).into());
        }
    };
    console::result(&if args.json { report.to_json().to_string() } else { report.to_text() })?;
    if !args.exit {
        console::say(&format!("demo: {runs} at {}; Ctrl-C stops the demonstration", cluster.urls()));
        tokio::select! {
            () = stop.wait() => {}
            ended = cluster.ended() => ended?,
        }
    }
    end(cluster, stop).await?;
    if report.holds() {
        Ok(())
    } else {
        Err(Failure::new(Status::Fault, "a check of the demonstration failed; see the report"))
    }
}

fn nodes_in_words(count: u32) -> String {
    if count == 1 { "the node".to_owned() } else { format!("{count} nodes") }
}

/// What `step` came to, unless a signal came first. A signal to our process group also ends a child that has not left the group
/// yet: a step that fails waits for the signal that may be its reason.
async fn unless_interrupted<T>(
    step: impl Future<Output = anyhow::Result<T>>,
    stop: &mut StopSignal,
) -> Option<anyhow::Result<T>> {
    let done = tokio::select! {
        done = step => done,
        () = stop.wait() => return None,
    };
    if done.is_err() && stop.came_within(SIGNAL_PATIENCE).await { None } else { Some(done) }
}

/// Stops the nodes in order; another signal kills them.
async fn end(cluster: Cluster, stop: &mut StopSignal) -> Result<(), Failure> {
    console::say("demo: stopping in order; another Ctrl-C kills");
    tokio::select! {
        stopped = cluster.stop() => Ok(stopped?),
        () = stop.wait() => Err(Failure::new(Status::Interrupted, "interrupted again; what still ran was killed")),
    }
}

/// Loads the nodes, then checks everything that can be checked from outside.
async fn examine(args: &DemoArgs, directory: &Path, cluster: &Cluster) -> anyhow::Result<Report> {
    let marker = at_rest::fresh_marker()?;
    console::say(&format!("demo: sending {} SM2-signed transactions", args.txs));
    let outcome = load::run(&cluster.rpc(), &marker, args.txs, Progress::new(args.txs)?).await?;
    let rss = cluster.0.iter().map(|member| member.node.rss_mib()).collect::<Result<_, _>>()?;
    console::say("demo: verifying from outside");
    let homes: Vec<NodeDirectory> = cluster.0.iter().map(|member| member.home.clone()).collect();
    let ids = homes.iter().map(|home| NodeKeys::read(home)?.node_id()).collect::<Result<Vec<_>, _>>()?;
    let validators = verify::validators(&ids);
    let mut clients = Vec::new();
    for rpc in cluster.rpc() {
        clients.push(Client::connect(rpc).await?);
    }
    let (height, heads) = verify::heads(&mut clients).await?;
    let mut quorum_verified = heads.quorums(&validators);
    let mut proof_verified = !outcome.samples.is_empty();
    for client in &mut clients {
        quorum_verified &= verify::is_linked(client, heads.first()).await?;
        for sample in &outcome.samples {
            proof_verified &= verify::proof(client, sample, &validators).await?;
        }
    }
    console::say("demo: looking at the disk");
    let at_rest = at_rest::check(&homes, directory, &marker).await?;
    let quantile_ms = |quantile| outcome.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
    let named = |member: &cluster::Member| (member.home.name(), member.node.service.ready["placement"].clone());
    let mode =
        |member: &cluster::Member| member.node.service.ready["placement_mode"].as_str().unwrap_or_default().to_owned();
    Ok(Report {
        suite: "sm",
        nodes: args.nodes,
        txs: args.txs,
        committed: outcome.committed,
        tps: outcome.timed as f64 / outcome.elapsed.as_secs_f64(),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        height,
        heads_equal: heads.hashes_equal(),
        state_roots_equal: heads.state_roots_equal(),
        quorum_verified,
        proof_verified,
        at_rest,
        keys: named_keys(cluster),
        placement: cluster.0.iter().map(named).collect(),
        placement_mode: cluster.0.first().map(mode).unwrap_or_default(),
        rss,
        rpc: cluster.rpc().iter().map(|rpc| format!("http://{rpc}")).collect(),
        failed: outcome.failed,
        failures: outcome.failures,
    })
}

fn named_keys(cluster: &Cluster) -> Vec<(String, KeyRecord)> {
    let of = |member: &cluster::Member| {
        let name = member.home.name();
        member.keys.clone().into_iter().map(move |key| (name.clone(), key))
    };
    cluster.0.iter().flat_map(of).collect()
}
