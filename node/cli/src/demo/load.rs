//! The load: a contract of ours and a system contract, many senders, many connections, every receipt looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bixi_types::abi::{self, Argument};
use bixi_types::{Address, EvmHash, H256};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::demo::progress::Progress;
use crate::demo::wallet::{Action, Chain, Signed, Wallet};

/// Ids of the demonstration's chain.
pub(crate) const CHAIN_ID: &str = "chain0";
pub(crate) const GROUP_ID: &str = "group0";
/// The hash that its contracts see.
pub(crate) const EVM_HASH: EvmHash = EvmHash::Keccak256;
const LEDGER_CONTRACT: &str = include_str!("../../../../tests/fixtures/contracts/Ledger.json");
const DAG_TRANSFER: Address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x0c]);
/// Connections over all nodes, at least one to each; every one with one batch under way.
const CONNECTIONS: usize = 16;
/// Calls in one JSON-RPC batch.
const BATCH_CALLS: u64 = 32;
const WALLETS: usize = 16;
const USERS: usize = 32;
/// Transactions of the preparation: one deployment, one mint per wallet, one account per user.
pub(crate) const SETUP_TRANSACTIONS: u64 = (1 + WALLETS + USERS) as u64;
const START_BALANCE: u128 = 1_000_000_000;
/// Latencies above this are counted as this, microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// Reasons of failures that are kept; the others are like them.
const FAILURES_KEPT: usize = 20;

/// What the load did.
pub(crate) struct Outcome {
    /// Receipts with status 0.
    pub(crate) committed: u64,
    /// From the first transfer to the last receipt.
    pub(crate) elapsed: Duration,
    /// Transactions within `elapsed`.
    pub(crate) timed: u64,
    /// Sent to receipt, microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// Transactions that were refused or failed.
    pub(crate) failed: u64,
    /// Some of their reasons, at most [`FAILURES_KEPT`].
    pub(crate) failures: Vec<String>,
    /// Committed transactions: one of the system contract, one of the EVM.
    pub(crate) samples: Vec<H256>,
}

/// Call data for the demonstration's chain, whose contracts are those of the stock solc.
fn call(signature: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    abi::call(EVM_HASH, signature, arguments)
}

/// Everything the senders share.
struct Field {
    chain: Chain,
    wallets: Vec<Wallet>,
    users: Vec<String>,
    ledger: Address,
    marker: String,
}

/// Sends `transactions` in all, spread over `nodes`, at least [`SETUP_TRANSACTIONS`] + 1. `marker` is written into names, inputs and extra data.
pub(crate) async fn run(
    nodes: &[SocketAddr],
    marker: &str,
    transactions: u64,
    progress: Progress,
) -> anyhow::Result<Outcome> {
    let mut client = Client::connect(nodes[0]).await?;
    let height = client.call("getBlockNumber", json!([GROUP_ID, ""])).await?.as_u64().context("getBlockNumber")?;
    let chain = Chain::new(CHAIN_ID, GROUP_ID, height);
    let wallets = (0..WALLETS).map(|_| Wallet::generate()).collect::<Result<Vec<_>, _>>()?;
    let users: Vec<String> = (0..USERS).map(|index| format!("{marker}{index}")).collect();
    let ledger = deploy(&mut client, &chain, &wallets[0], marker).await?;
    let field = Field { chain, wallets, users, ledger, marker: marker.to_owned() };
    let setup = field.setup()?;
    let receipts = send(&mut client, &field.chain, &setup).await?;
    for receipt in receipts {
        receipt?;
    }
    progress.advance(SETUP_TRANSACTIONS);
    drive(nodes, Arc::new(field), transactions - SETUP_TRANSACTIONS, progress).await
}

async fn deploy(client: &mut Client, chain: &Chain, wallet: &Wallet, marker: &str) -> anyhow::Result<Address> {
    let contract: Value = serde_json::from_str(LEDGER_CONTRACT).context("the contract's fixture")?;
    let code = contract["bytecode"].as_str().context("the fixture has no bytecode")?;
    let action = Action {
        to: None,
        input: hex::decode(code.trim_start_matches("0x"))?,
        abi: contract["abi"].to_string(),
        extra_data: marker.to_owned(),
    };
    let receipts = send(client, chain, &[wallet.sign(chain, action)?]).await?;
    let receipt = receipts.into_iter().next().context("no receipt")?.context("deploying the contract")?;
    Ok(receipt["contractAddress"].as_str().context("the receipt names no contract")?.parse()?)
}

impl Field {
    /// Accounts of DagTransfer and balances of the contract.
    fn setup(&self) -> anyhow::Result<Vec<Signed>> {
        let adds = self
            .users
            .iter()
            .map(|user| call("userAdd(string,uint256)", &[Argument::Text(user), Argument::Number(START_BALANCE)]));
        let adds = adds.map(|input| Action { to: Some(DAG_TRANSFER), input, ..Action::default() });
        let mints = self.wallets.iter().map(|wallet| {
            let arguments = [Argument::Account(wallet.address().0), Argument::Number(START_BALANCE)];
            Action { to: Some(self.ledger), input: call("mint(address,uint256)", &arguments), ..Action::default() }
        });
        adds.chain(mints).map(|action| self.wallets[0].sign(&self.chain, action)).collect()
    }

    /// The transaction of that number: system contract and EVM in turn.
    fn transfer(&self, number: u64) -> anyhow::Result<Signed> {
        let number = number as usize;
        let wallet = &self.wallets[number % WALLETS];
        let action = if number.is_multiple_of(2) {
            let (from, to) = (&self.users[number / 2 % USERS], &self.users[(number / 2 + 7) % USERS]);
            let arguments = [Argument::Text(from), Argument::Text(to), Argument::Number(1)];
            Action {
                to: Some(DAG_TRANSFER),
                input: call("userTransfer(string,string,uint256)", &arguments),
                ..Action::default()
            }
        } else {
            let to = self.wallets[(number + 5) % WALLETS].address();
            let mut input = call("transfer(address,uint256)", &[Argument::Account(to.0), Argument::Number(1)]);
            // Solidity ignores bytes behind the arguments; here they are found again if anything lands on disk in the clear.
            input.extend(self.marker.as_bytes());
            Action { to: Some(self.ledger), input, extra_data: self.marker.clone(), ..Action::default() }
        };
        wallet.sign(&self.chain, action)
    }
}

/// Sends a batch; the receipts, or why there is none.
async fn send(client: &mut Client, chain: &Chain, signed: &[Signed]) -> anyhow::Result<Vec<anyhow::Result<Value>>> {
    let params = signed.iter().map(|transaction| json!([GROUP_ID, "", transaction.hex, false])).collect();
    let answers = client.batch("sendTransaction", params).await?;
    Ok(answers.into_iter().zip(signed).map(|(answer, sent)| accepted(chain, &sent.hash, answer?)).collect())
}

/// A receipt counts when it is of our transaction, and both it and the contract say that it worked.
fn accepted(chain: &Chain, hash: &H256, receipt: Value) -> anyhow::Result<Value> {
    if receipt["transactionHash"].as_str() != Some(&hash.to_string()) {
        bail!("a receipt of another transaction: {receipt}");
    }
    if receipt["status"] != json!(0) {
        bail!("status {}: {}", receipt["status"], receipt["message"]);
    }
    // DagTransfer reports a refusal as a code in a receipt that succeeded.
    let output = receipt["output"].as_str().unwrap_or_default();
    if receipt["to"].as_str() == Some(&DAG_TRANSFER.to_string())
        && output.trim_start_matches("0x").bytes().any(|digit| digit != b'0')
    {
        bail!("DagTransfer answered {output}");
    }
    chain.saw(receipt["blockNumber"].as_u64().unwrap_or(0));
    Ok(receipt)
}

/// What one connection did.
struct Share {
    committed: u64,
    latency_us: Histogram<u64>,
    failed: u64,
    failures: Vec<String>,
    /// The last one of the system contract, and of the EVM.
    last: [Option<H256>; 2],
}

async fn drive(nodes: &[SocketAddr], field: Arc<Field>, transfers: u64, progress: Progress) -> anyhow::Result<Outcome> {
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut connections = JoinSet::new();
    let count = CONNECTIONS.max(nodes.len());
    for node in nodes.iter().cycle().take(count) {
        let client = Client::connect(*node).await?;
        connections.spawn(connection(client, Arc::clone(&field), Arc::clone(&next), transfers, progress.clone()));
    }
    let mut outcome = Outcome {
        committed: SETUP_TRANSACTIONS,
        elapsed: Duration::ZERO,
        timed: transfers,
        latency_us: histogram()?,
        failed: 0,
        failures: Vec::new(),
        samples: Vec::new(),
    };
    let mut samples = [None, None];
    while let Some(share) = connections.join_next().await {
        let share = share??;
        outcome.committed += share.committed;
        outcome.latency_us.add(&share.latency_us)?;
        outcome.failed += share.failed;
        outcome.failures.extend(share.failures);
        samples = [share.last[0].or(samples[0]), share.last[1].or(samples[1])];
    }
    outcome.elapsed = began.elapsed();
    outcome.failures.truncate(FAILURES_KEPT);
    outcome.samples = samples.into_iter().flatten().collect();
    progress.finish();
    Ok(outcome)
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?)
}

async fn connection(
    mut client: Client,
    field: Arc<Field>,
    next: Arc<AtomicU64>,
    transfers: u64,
    progress: Progress,
) -> anyhow::Result<Share> {
    let mut share =
        Share { committed: 0, latency_us: histogram()?, failed: 0, failures: Vec::new(), last: [None, None] };
    loop {
        let first = next.fetch_add(BATCH_CALLS, Ordering::Relaxed);
        if first >= transfers {
            return Ok(share);
        }
        let numbers = first..(first + BATCH_CALLS).min(transfers);
        let signed = numbers.clone().map(|number| field.transfer(number)).collect::<Result<Vec<_>, _>>()?;
        let sent = Instant::now();
        let receipts = send(&mut client, &field.chain, &signed).await?;
        let latency_us = (sent.elapsed().as_micros() as u64).clamp(1, LATENCY_US_MAX);
        progress.advance(signed.len() as u64);
        for ((receipt, transaction), number) in receipts.into_iter().zip(&signed).zip(numbers) {
            match receipt {
                Ok(_) => {
                    share.committed += 1;
                    share.latency_us.record(latency_us)?;
                    share.last[number as usize % 2] = Some(transaction.hash);
                }
                Err(error) => {
                    share.failed += 1;
                    if share.failures.len() < FAILURES_KEPT {
                        share.failures.push(format!("{error:#}"));
                    }
                }
            }
        }
    }
}
