//! `bixi demo`: a chain is made, run, loaded, verified from outside and reported.
//!
//! The node is a process of its own; this one is its client, holds none of its keys and believes nothing it can check.

mod abi;
mod at_rest;
mod client;
mod load;
mod node;
mod progress;
mod report;
mod verify;
pub(crate) mod wallet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bixi_runtime::chain::{KeyRecord, NodeDirectory, NodeKeys, Preparation};
use bixi_types::EvmHash;
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::chain::{Suite, available, make};
use crate::demo::client::Client;
use crate::demo::node::{NodeProcess, Started};
use crate::demo::progress::Progress;
use crate::demo::report::Report;
use crate::failure::{Failure, Status};
use crate::signals::StopSignal;
use crate::{console, token};

/// How long a Ctrl-C may take from the step it ended to us.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(100);

/// Make a chain, run it, load it, verify it from outside and report.
///
/// Makes a chain with keys in a software token, starts `bixi run` on it, sends SM2-signed transactions through JSON-RPC,
/// verifies the result from outside and prints a report. Runs until Ctrl-C unless told to exit; a second Ctrl-C does not wait
/// for the node's orderly stop. Progress goes to standard error: a bar on a terminal, else plain lines.
///
/// Exit status: 0 every check held; 1 one did not, or the demonstration could not be held; 2 not in this release;
/// 130 interrupted before the report.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Validators. This release runs one.
    #[arg(long, default_value_t = 1)]
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
    if let Err(failure) = make(&wish, &mut go_on) {
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
        nodes: args.nodes,
        suite: args.suite.crypto(),
        chain_id: load::CHAIN_ID.into(),
        group_id: load::GROUP_ID.into(),
        evm_hash: EvmHash::Keccak256,
        rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        module,
    }
}

/// From the made chain to the report and the end of the node. What a signal breaks off is dropped, and takes its processes and
/// copies with it.
async fn show(args: &DemoArgs, directory: &Path, stop: &mut StopSignal) -> Result<(), Failure> {
    let home = NodeDirectory::new(directory.join("node0"));
    let log = directory.join("node0.log");
    let running = unless_interrupted(bring_up(&home, &log), stop).await;
    let (mut node, keys) = running.ok_or_else(interrupted)??;
    console::say(&format!("demo: the node is ready at http://{}", node.rpc));
    let examined = unless_interrupted(examine(args, directory, &home, &node, keys), stop).await;
    let Some(report) = examined else {
        end(node, stop).await?;
        return Err(interrupted());
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let epitaph = node.epitaph(&log).await;
            let error = epitaph.into_iter().fold(error, anyhow::Error::context);
            return Err(error.context(format!("the node's log is {}", log.display())).into());
        }
    };
    console::result(&if args.json { report.to_json().to_string() } else { report.to_text() })?;
    if !args.exit {
        console::say(&format!("demo: the node runs on at http://{}; Ctrl-C stops it", node.rpc));
        tokio::select! {
            () = stop.wait() => {}
            ended = node.ended() => ended?,
        }
    }
    end(node, stop).await?;
    if report.holds() {
        Ok(())
    } else {
        Err(Failure::new(Status::Fault, "a check of the demonstration failed; see the report"))
    }
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

/// Stops the node in order; another signal kills it.
async fn end(node: NodeProcess, stop: &mut StopSignal) -> Result<(), Failure> {
    console::say("demo: stopping the node in order; another Ctrl-C kills it");
    tokio::select! {
        stopped = node.stop() => Ok(stopped?),
        () = stop.wait() => Err(Failure::new(Status::Interrupted, "interrupted again; the node was killed")),
    }
}

/// The running node, and its keys as the device described them before.
async fn bring_up(home: &NodeDirectory, log: &Path) -> anyhow::Result<(NodeProcess, Vec<(String, KeyRecord)>)> {
    let keys = described_keys(home).await?;
    console::say("demo: starting the node");
    Ok((started(home, log).await?, keys))
}

/// The keys as the device describes them, asked by `bixi doctor` in a process of its own before the node takes the token.
async fn described_keys(home: &NodeDirectory) -> anyhow::Result<Vec<(String, KeyRecord)>> {
    let mut doctor = Command::new(std::env::current_exe()?);
    doctor.args(["doctor", "--json", "--config"]).arg(home.config()).process_group(0).kill_on_drop(true);
    let asked = doctor.output().await.context("cannot start `bixi doctor`")?;
    let report: Value = serde_json::from_slice(&asked.stdout)
        .with_context(|| format!("`bixi doctor` said: {}", String::from_utf8_lossy(&asked.stderr)))?;
    let keys = report["keys"].as_array().filter(|keys| !keys.is_empty());
    let keys = keys.with_context(|| format!("`bixi doctor` lists no keys; it found {}", report["checks"]))?;
    Ok(keys.iter().map(|key| ("node0".to_owned(), KeyRecord::from_json(key))).collect())
}

async fn started(home: &NodeDirectory, log: &Path) -> anyhow::Result<NodeProcess> {
    let spinner = progress::spinner("waiting for the node");
    let node = match node::start(&home.config(), log).await? {
        Started::Ready(node) => *node,
        Started::Refused(words) => anyhow::bail!("the node did not start: {words}; its log is {}", log.display()),
    };
    node.wait_healthy().await?;
    spinner.finish_and_clear();
    Ok(node)
}

/// Loads the node, then checks everything that can be checked from outside.
async fn examine(
    args: &DemoArgs,
    directory: &Path,
    home: &NodeDirectory,
    node: &NodeProcess,
    keys: Vec<(String, KeyRecord)>,
) -> anyhow::Result<Report> {
    let marker = at_rest::fresh_marker()?;
    console::say(&format!("demo: sending {} SM2-signed transactions", args.txs));
    let outcome = load::run(node, &marker, args.txs, Progress::new(args.txs)?).await?;
    console::say("demo: verifying from outside");
    let mut client = Client::connect(node.rpc).await?;
    let validators = verify::validators(&[NodeKeys::read(home)?.node_id()?]);
    let height = client.call("getBlockNumber", json!([load::GROUP_ID, ""])).await?;
    let height = height.as_u64().context("getBlockNumber is no number")?;
    let head = verify::header(&mut client, height).await?;
    let quorum_verified = verify::quorum(&head, &validators) && verify::is_linked(&mut client, &head).await?;
    let mut proof_verified = !outcome.samples.is_empty();
    for sample in &outcome.samples {
        proof_verified &= verify::proof(&mut client, sample, &validators).await?;
    }
    let heads = verify::heads(&[node.rpc], height).await?;
    console::say("demo: looking at the disk");
    let at_rest = at_rest::check(home.path(), directory, &marker).await?;
    let quantile_ms = |quantile| outcome.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Report {
        suite: "sm",
        nodes: args.nodes,
        txs: args.txs,
        committed: outcome.committed,
        tps: outcome.timed as f64 / outcome.elapsed.as_secs_f64(),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        height,
        heads_equal: heads.hashes_equal,
        state_roots_equal: heads.state_roots_equal,
        quorum_verified,
        proof_verified,
        at_rest,
        keys,
        placement: node.ready["placement"].clone(),
        placement_mode: node.ready["placement_mode"].as_str().unwrap_or_default().to_owned(),
        rpc: vec![format!("http://{}", node.rpc)],
        failed: outcome.failed,
        failures: outcome.failures,
    })
}
