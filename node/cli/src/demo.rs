//! `bixi demo`: a chain is made, run, loaded, verified from outside and reported.
//!
//! The node is a process of its own; this one is its client, holds none of its keys and believes nothing it can check.

mod abi;
mod at_rest;
mod client;
mod load;
mod node;
mod report;
mod verify;
mod wallet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use bixi_runtime::chain::{KeyRecord, NodeDirectory, NodeKeys, Preparation};
use bixi_types::EvmHash;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::chain::{Suite, make};
use crate::demo::client::Client;
use crate::demo::node::{NodeProcess, Started};
use crate::demo::report::Report;
use crate::failure::{Failure, Status};
use crate::run::StopSignal;
use crate::{console, token};

/// Makes a chain with keys in a software token, starts `bixi run` on it, sends SM2-signed transactions through JSON-RPC, verifies
/// the result from outside and prints a report. Runs until Ctrl-C unless told to exit. Exit status 0 only when every check holds.
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
    /// Where the chain goes and stays; must be absent or empty [default: a temporary directory, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// End after the report instead of running until Ctrl-C.
    #[arg(long)]
    pub(crate) exit: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let temporary = match args.dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("bixi-demo-").tempdir()?),
    };
    let directory = match (&args.dir, &temporary) {
        (Some(named), _) => named.clone(),
        (None, Some(made)) => made.path().to_owned(),
        (None, None) => unreachable!("without a name a directory was made"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("client").build()?;
    let mut stop = runtime.block_on(async { StopSignal::new() })?;
    make(&preparation(args, &directory)?)?;
    runtime.block_on(show(args, &directory, &mut stop))
}

fn preparation(args: &DemoArgs, directory: &Path) -> Result<Preparation, Failure> {
    Ok(Preparation {
        directory: directory.to_owned(),
        nodes: args.nodes,
        suite: args.suite.crypto(),
        chain_id: load::CHAIN_ID.into(),
        group_id: load::GROUP_ID.into(),
        evm_hash: EvmHash::Keccak256,
        rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        module: token::module(None)?,
    })
}

/// From the made chain to the report and the end of the node.
async fn show(args: &DemoArgs, directory: &Path, stop: &mut StopSignal) -> Result<(), Failure> {
    let home = NodeDirectory::new(directory.join("node0"));
    let keys = described_keys(&home)?;
    console::say("demo: starting the node");
    let mut node = started(&home, directory).await?;
    console::say(&format!("demo: the node is ready at http://{}", node.rpc));
    let examined = tokio::select! {
        report = examine(args, directory, &home, &node, keys) => Some(report),
        () = stop.wait() => None,
    };
    let Some(report) = examined else {
        node.stop().await?;
        return Err(Failure::new(Status::Interrupted, "interrupted before the report; the node was stopped in order"));
    };
    let report = report.with_context(|| format!("the node's log is {}", directory.join("node0.log").display()))?;
    console::result(&if args.json { report.to_json().to_string() } else { report.to_text() });
    if !args.exit {
        console::say(&format!("demo: the node runs on at http://{}; Ctrl-C stops it", node.rpc));
        tokio::select! {
            () = stop.wait() => {}
            ended = node.ended() => ended?,
        }
    }
    console::say("demo: stopping the node");
    node.stop().await?;
    if report.holds() {
        Ok(())
    } else {
        Err(Failure::new(Status::Fault, "a check of the demonstration failed; see the report"))
    }
}

/// The keys as the device describes them, asked by `bixi doctor` in a process of its own before the node takes the token.
fn described_keys(home: &NodeDirectory) -> anyhow::Result<Vec<(String, KeyRecord)>> {
    let asked =
        Command::new(std::env::current_exe()?).args(["doctor", "--json", "--config"]).arg(home.config()).output()?;
    let report: Value = serde_json::from_slice(&asked.stdout)
        .with_context(|| format!("`bixi doctor` said: {}", String::from_utf8_lossy(&asked.stderr)))?;
    let keys = report["keys"].as_array().context("`bixi doctor` lists no keys")?;
    Ok(keys.iter().map(|key| ("node0".to_owned(), KeyRecord::from_json(key))).collect())
}

async fn started(home: &NodeDirectory, directory: &Path) -> anyhow::Result<NodeProcess> {
    let spinner = ProgressBar::new_spinner().with_message("waiting for the node");
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let outcome = node::start(&home.config(), &directory.join("node0.log")).await?;
    let node = match outcome {
        Started::Ready(node) => *node,
        Started::Refused(words) => anyhow::bail!("the node did not start: {words}"),
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
    let outcome = load::run(node, &marker, args.txs, progress(args.txs)?).await?;
    console::say("demo: verifying from outside");
    let mut client = Client::connect(node.rpc).await?;
    let validators = verify::validators(&[NodeKeys::read(home)?.node_id()?]);
    let height = client.call("getBlockNumber", json!([load::GROUP_ID, ""])).await?;
    let height = height.as_u64().context("getBlockNumber is no number")?;
    let head = verify::header(&mut client, height).await?;
    let quorum_verified = verify::quorum(&head, &validators) && verify::is_linked(&mut client, &head).await?;
    let proof_verified = verify::proof(&mut client, &outcome.sample, &validators).await?;
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
        failures: outcome.failures,
    })
}

fn progress(transactions: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} transactions, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(transactions).with_style(style))
}
