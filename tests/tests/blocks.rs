//! A long queue becomes large blocks, and every validator accepts every one of them: with transactions waiting by the thousand in the
//! pools of a chain that is held, no proposal may be refused once it goes on.
//!
//! `BIXI_BLOCKS_TRANSACTIONS` sets how many wait (10,000 in the ordinary run).

#![allow(clippy::print_stdout, reason = "the totals are the test's report")]

use std::path::Path;
use std::time::{Duration, Instant};

use bixi_tests::chain::{Chain, start, wait_equal};
use bixi_tests::node::RunningNode;
use bixi_tests::rpc::Connection;
use bixi_tests::setting;
use bixi_tests::settings::set;
use bixi_tests::wallet::Wallet;
use bixi_types::CryptoSuite;
use bixi_types::status::Status;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Two of four: the others have no quorum without them.
const HELD: usize = 2;
const SENDERS_EACH: usize = 2;
/// Calls of one request; the node's bound on a connection's pending transactions is raised to it.
const BATCH_CALLS: usize = 1_000;
/// Longer than any vote or proposal takes on a machine that does anything at all: a round is lost only by a refusal.
const ROUND_TIMEOUT_MS: u64 = 120_000;
const DRAIN_DEADLINE: Duration = Duration::from_secs(900);

#[test]
fn every_block_of_a_long_queue_is_accepted_by_all() {
    let count = setting("BIXI_BLOCKS_TRANSACTIONS", 10_000) as usize;
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    chain.configs.iter().for_each(|config| make_room(config, count));
    let nodes = start(&chain.configs);
    let height = wait_equal(&nodes.iter().collect::<Vec<_>>(), "before the queue");

    nodes[..HELD].iter().for_each(|node| node.signal(Signal::STOP));
    let began = Instant::now();
    let hashes = fill(&nodes[HELD..], count, height + 900);
    let waiting: i64 = nodes[HELD..].iter().map(waiting).sum();
    println!("{waiting} transactions wait after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(waiting, count as i64, "in the pools of the nodes that run");
    assert_eq!(nodes[HELD].height(), height, "two of four commit nothing");

    nodes[..HELD].iter().for_each(|node| node.signal(Signal::CONT));
    let began = Instant::now();
    drain(&nodes, count as i64);
    println!("committed after {:.1} s", began.elapsed().as_secs_f64());
    let all: Vec<&RunningNode> = nodes.iter().collect();
    let head = wait_equal(&all, "after the queue");
    judge(&nodes, &hashes, height, head);
}

/// Raises every bound of a node that a queue of `count` would meet.
fn make_room(config: &Path, count: usize) {
    let text = |number: u64| number.to_string();
    // The pool takes an eighth of the memory; a waiting transaction takes a kilobyte at most.
    set(config, "", "memory_mb_max", &text(384 + count as u64 / 64));
    set(config, "rpc", "batch_calls_max", &text(BATCH_CALLS as u64));
    // Nobody waits for a receipt while the chain is held.
    set(config, "rpc", "receipt_timeout_ms", "100");
    for key in ["transactions_max", "account_transactions_max", "connection_pending_max"] {
        set(config, "txpool", key, &text(count as u64 + BATCH_CALLS as u64));
    }
    for key in ["propose_timeout_ms", "vote_timeout_ms"] {
        set(config, "consensus", key, &text(ROUND_TIMEOUT_MS));
    }
    // Every round that begins is a line.
    let filter = "\"info,arc_malachitebft_core_consensus=warn,bixi_runtime::driver=debug\"";
    set(config, "log", "filter", filter);
}

/// Puts `count` transactions into the pools of these nodes; returns their hashes.
fn fill(nodes: &[RunningNode], count: usize, block_limit: i64) -> Vec<String> {
    let senders = nodes.len() * SENDERS_EACH;
    std::thread::scope(|scope| {
        let sending: Vec<_> = (0..senders)
            .map(|sender| {
                let share = count / senders + usize::from(sender < count % senders);
                let node = &nodes[sender % nodes.len()];
                scope.spawn(move || send(node, sender, share, block_limit))
            })
            .collect();
        sending.into_iter().flat_map(|sender| sender.join().expect("all are taken")).collect()
    })
}

fn send(node: &RunningNode, sender: usize, count: usize, block_limit: i64) -> Vec<String> {
    let (mut wallet, mut connection) = (Wallet::new(sender as u64), node.connect().expect("a running node"));
    let mut hashes = Vec::with_capacity(count);
    while hashes.len() < count {
        let calls = BATCH_CALLS.min(count - hashes.len());
        let batch: Vec<Value> = (0..calls)
            .map(|_| {
                let transaction = wallet.user_add(&format!("user-{sender}-{}", hashes.len()), 1, block_limit);
                hashes.push(transaction.hash(CryptoSuite::Sm).to_string());
                let params = json!(["group0", "", format!("0x{}", hex::encode(transaction.encode())), false]);
                json!({"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params})
            })
            .collect();
        for answer in ask(&mut connection, &batch) {
            let code = answer["error"]["code"].as_i64();
            assert_eq!(code, Some(Status::TransactionPoolTimeout.code().into()), "{answer}");
        }
    }
    hashes
}

fn ask(connection: &mut Connection, batch: &[Value]) -> Vec<Value> {
    let (_, answers) = connection.post(Value::from(batch).to_string().as_bytes()).expect("a running node");
    serde_json::from_slice(&answers).expect("a batch is answered by a batch")
}

fn waiting(node: &RunningNode) -> i64 {
    let waiting = node.call("getPendingTxSize", json!(["group0", ""])).expect("an answer");
    waiting.as_i64().expect("a number")
}

fn committed(node: &RunningNode) -> (i64, i64) {
    let counts = node.call("getTotalTransactionCount", json!(["group0", ""])).expect("counts");
    let number = |name: &str| counts[name].as_i64().unwrap_or_else(|| panic!("{name} of {counts}"));
    (number("transactionCount"), number("failedTransactionCount"))
}

/// Waits until every node has committed `count` transactions, as long as it commits any.
fn drain(nodes: &[RunningNode], count: i64) {
    let began = Instant::now();
    loop {
        let counts: Vec<_> = nodes.iter().map(committed).collect();
        if counts.iter().all(|(all, _)| *all == count) {
            assert!(counts.iter().all(|(_, failed)| *failed == 0), "{counts:?}");
            return;
        }
        assert!(began.elapsed() < DRAIN_DEADLINE, "committed: {counts:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every transaction has its receipt, every block one state root on all nodes, and no round was lost after the first height, whose
/// proposer may have been held.
fn judge(nodes: &[RunningNode], hashes: &[String], height: i64, head: i64) {
    let mut connection = nodes[0].connect().expect("a running node");
    for hashes in hashes.chunks(BATCH_CALLS) {
        let call = |hash| json!({"jsonrpc": "2.0", "id": 1, "method": "getTransactionReceipt", "params": ["group0", "", hash, false]});
        let batch: Vec<Value> = hashes.iter().map(call).collect();
        for answer in ask(&mut connection, &batch) {
            assert_eq!(answer["result"]["status"], 0, "{answer}");
        }
    }
    let mut largest = 0;
    for number in height + 1..=head {
        let params = json!(["group0", "", number, false, true]);
        let block = connection.call("getBlockByNumber", params).expect("a block");
        largest = largest.max(block["transactions"].as_array().expect("transactions").len());
        for node in &nodes[1..] {
            let header = node.call("getBlockByNumber", json!(["group0", "", number, true])).expect("a header");
            for root in ["stateRoot", "receiptsRoot", "txsRoot", "hash"] {
                assert_eq!(header[root], block[root], "{root} of block {number}");
            }
        }
    }
    println!("{} transactions in {} blocks, the largest of {largest}", hashes.len(), head - height);
    for node in nodes {
        let said = node.said();
        let began = said.lines().filter(|line| line.contains("round started"));
        let lost: Vec<&str> = began.filter(|line| is_lost(line, height + 1)).collect();
        assert!(lost.is_empty(), "rounds above the first: {lost:?}");
        assert!(said.contains("round started"), "the log names the rounds");
        let faults: Vec<&str> = said.lines().filter(|line| line.contains("breaks the protocol")).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

/// A round above the first of a height above `held`.
fn is_lost(line: &str, held: i64) -> bool {
    let number = |name: &str| {
        let value = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}")).1;
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().expect("digits")
    };
    number(" height=") > held && number(" round=") > 0
}
