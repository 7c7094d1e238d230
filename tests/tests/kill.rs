//! kill -9 under load: nothing acknowledged is lost, no height gets a second header, the chain goes on.
//!
//! `BIXI_KILL_ROUNDS` sets the number of kills (3 in the ordinary run), `BIXI_KILL_SEED` the seed.

#![allow(clippy::print_stdout, reason = "the seed and the totals are the test's report")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bixi_tests::binary;
use bixi_tests::node::{Connection, RunningNode};
use bixi_tests::wallet::{Seeded, Wallet};
use bixi_types::CryptoSuite;
use serde_json::{Value, json};

const CLIENTS: u64 = 6;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What the clients were told: transaction hash → block number.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Sends until the node is gone.
fn send_until_killed(node: &RunningNode, seed: u64, names: &Arc<AtomicU64>, told: &Acknowledged, height: i64) {
    let Ok(mut connection) = Connection::open(node.rpc) else { return };
    let mut wallet = Wallet::new(seed);
    loop {
        let name = format!("user-{}", names.fetch_add(1, Ordering::Relaxed));
        let transaction = wallet.user_add(&name, 100, height + 500);
        let params = json!(["group0", "", format!("0x{}", hex::encode(transaction.encode())), false]);
        match connection.call("sendTransaction", params) {
            Ok(receipt) => {
                assert_eq!(receipt["status"], 0, "{receipt}");
                assert_eq!(receipt["transactionHash"], transaction.hash(CryptoSuite::Sm).to_string());
                let number = receipt["blockNumber"].as_u64().expect("a number");
                told.lock().unwrap().insert(transaction.hash(CryptoSuite::Sm).to_string(), number);
            }
            // The node was killed under the call. A refusal would be an object with a code.
            Err(error) => {
                assert!(!error.contains("\"code\""), "refused: {error}");
                return;
            }
        }
    }
}

fn block_hash(node: &RunningNode, number: u64) -> String {
    let hash = node.call("getBlockHashByNumber", json!(["group0", "", number])).expect("a block that was acknowledged");
    hash.as_str().expect("a hash").to_owned()
}

/// Everything ever acknowledged is there, in the block that was named, under the header hash first seen.
fn check(node: &RunningNode, told: &Acknowledged, headers: &mut BTreeMap<u64, String>, seed: u64) {
    for (hash, number) in told.lock().unwrap().iter() {
        let receipt = node.call("getTransactionReceipt", json!(["group0", "", hash, false]));
        let receipt: Value = receipt.unwrap_or_else(|error| panic!("seed {seed}: {hash} was acknowledged: {error}"));
        assert_eq!(receipt["blockNumber"].as_u64(), Some(*number), "seed {seed}: {hash}");
        let found = block_hash(node, *number);
        let first = headers.entry(*number).or_insert_with(|| found.clone());
        assert_eq!(*first, found, "seed {seed}: a second header at height {number}");
    }
}

#[test]
fn acknowledged_transactions_survive_kill_9_under_load() {
    let (rounds, seed) = (setting("BIXI_KILL_ROUNDS", 3), setting("BIXI_KILL_SEED", 1));
    println!("seed {seed}, {rounds} kills");
    let place = tempfile::tempdir().unwrap();
    let made = Command::new(binary("bixi"))
        .args(["chain", "new", "--rpc-port", "0", "--evm-hash", "keccak256", "--dir"])
        .arg(place.path().join("chain"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = place.path().join("chain/node0/bixi.toml");
    survive(&config, rounds, seed);
}

fn survive(config: &Path, rounds: u64, seed: u64) {
    let mut random = Seeded(seed);
    let (told, names): (Acknowledged, Arc<AtomicU64>) = Default::default();
    let mut headers = BTreeMap::new();
    for round in 0..rounds {
        let node = RunningNode::start(config);
        check(&node, &told, &mut headers, seed);
        let height = node.call("getBlockNumber", json!(["group0", ""])).unwrap().as_i64().unwrap();
        let before = told.lock().unwrap().len();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (node, names, told) = (&node, &names, &told);
                let seed = seed.wrapping_mul(1_000_003) + round * CLIENTS + client;
                scope.spawn(move || send_until_killed(node, seed, names, told, height));
            }
            std::thread::sleep(Duration::from_millis(300 + random.word() % 700));
            node.kill_now();
        });
        assert!(told.lock().unwrap().len() > before, "seed {seed}: round {round} had no load");
    }
    let node = RunningNode::start(config);
    check(&node, &told, &mut headers, seed);
    println!("{} acknowledged in {} blocks, {rounds} kills, 0 lost", told.lock().unwrap().len(), headers.len());
}

/// An old copy of ledger and ordering log under the newer guard: the key signed what the disk no longer knows.
#[test]
fn a_disk_that_fell_behind_its_guard_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let made = Command::new(binary("bixi"))
        .args(["chain", "new", "--rpc-port", "0", "--evm-hash", "keccak256", "--dir"])
        .arg(place.path().join("chain"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let node_directory = place.path().join("chain/node0");
    let config = node_directory.join("bixi.toml");
    let node = RunningNode::start(&config);
    let mut wallet = Wallet::new(9);
    let transaction = wallet.user_add("somebody", 1, 100);
    let params = json!(["group0", "", format!("0x{}", hex::encode(transaction.encode())), false]);
    node.call("sendTransaction", params).expect("final");
    node.kill_now();
    drop(node);
    for gone in ["data/ledger", "data/ordering"] {
        std::fs::remove_dir_all(node_directory.join(gone)).unwrap();
    }
    let refused = Command::new(binary("bixi")).args(["run", "--config"]).arg(&config).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("old copy"), "{words}");
}
