//! What an exchange costs a chain of four: the time of its blocks while a node seals its ledger anew, against its quiet time.
//! `.ci/campaign-rotation` runs it; the gate runs a small one, whose figures are printed and not judged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bixi_tests::chain::{Chain, start, wait_equal};
use bixi_tests::load::Load;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::{Seeded, Wallet};
use bixi_tests::{exposition, setting};
use serde_json::{Value, json};

use super::{rotate, said, told};

/// Data of one transaction that fills the ledger.
const FILL_BYTES: usize = 100 * 1024;
/// Clients of each node that fill it.
const FILLERS: u64 = 4;

#[test]
fn four_validators_make_blocks_while_one_seals_its_ledger_anew() {
    let seen = run(4, 10, 1);
    let blocks = [0, 1].map(|window| seen["blocks"][window].as_u64().unwrap_or(0));
    assert!(blocks.iter().all(|blocks| *blocks > 0) && seen["sealed_bytes"].as_u64() > Some(0), "{seen}");
}

#[test]
#[ignore = "takes long: .ci/campaign-rotation"]
fn rotation_beside_blocks() {
    let seen = run(
        setting("BIXI_ROTATION_MIB", 500),
        setting("BIXI_ROTATION_QUIET_S", 240),
        setting("BIXI_ROTATION_NODES", 1),
    );
    let is_good = seen["p99_ratio"].as_f64().is_some_and(|ratio| ratio <= 1.2) && seen["failed_rounds"][1] == 0;
    assert!(is_good, "p99 within 1.2 of quiet and no round failed are wanted: {seen}");
}

/// Exchanges the keys of so many nodes at once.
fn run(mib: u64, quiet_s: u64, rotated: u64) -> Value {
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let nodes = start(&chain.configs);
    fill(&nodes, mib);
    let bytes = ledger_bytes(&chain);
    let mut load = Load::default();
    for (index, node) in nodes.iter().enumerate() {
        load.point(index, Some(node.rpc));
    }
    // The first blocks after the filling are not of a quiet chain.
    std::thread::sleep(Duration::from_secs(quiet_s.min(20)));
    let (from, failed_before) = (nodes[0].height(), failed_rounds(&nodes));
    std::thread::sleep(Duration::from_secs(quiet_s));
    let (begin, failed_quiet) = (nodes[0].height(), failed_rounds(&nodes));
    let began = Instant::now();
    let rate = std::env::var("BIXI_ROTATION_RATE_MIB").ok();
    let arguments: Vec<&str> = rate.iter().flat_map(|rate| ["--rate-mib", rate.as_str()]).collect();
    let done: Vec<Value> = std::thread::scope(|scope| {
        let configs = chain.configs.iter().take(rotated as usize);
        let running: Vec<_> = configs.map(|config| scope.spawn(|| rotate(config, &arguments))).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap());
        ended.map(|ran| serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{}", said(&ran)))).collect()
    });
    let rotation_s = began.elapsed().as_secs_f64();
    let (end, failed_during) = (nodes[0].height(), failed_rounds(&nodes));
    load.end();
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "after the exchange");
    assert!(done.iter().all(|done| told(done) == "2 [] [1] []"), "{done:?}");
    for node in &nodes {
        load.promises().check(node, "after the exchange");
    }
    let (quiet, during) = (Intervals::read(&nodes[0], from, begin), Intervals::read(&nodes[0], begin, end));
    let seen = json!({
        "ledger_bytes": bytes,
        "sealed_bytes": done.iter().filter_map(|done| done["bytes"].as_u64()).sum::<u64>(),
        "rotation_s": rotation_s,
        "blocks": [quiet.0.len(), during.0.len()],
        "p50_ms": [quiet.percentile(50), during.percentile(50)],
        "p99_ms": [quiet.percentile(99), during.percentile(99)],
        "longest_ms": [quiet.percentile(100), during.percentile(100)],
        "longest_during_ms_after_ms": during.longest(5),
        "p99_ratio": during.percentile(99) as f64 / quiet.percentile(99).max(1) as f64,
        "failed_rounds": [failed_quiet - failed_before, failed_during - failed_quiet],
    });
    println!("{seen}");
    seen
}

/// Transactions that nobody receives, with random data, until a ledger has so many MiB of it.
fn fill(nodes: &[RunningNode], mib: u64) {
    let (wanted, is_full) = (mib << 20, AtomicBool::new(false));
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (index, node) in nodes.iter().enumerate() {
            for filler in 0..FILLERS {
                let (is_full, sent) = (&is_full, &sent);
                scope.spawn(move || {
                    let seed = 100 + 10 * index as u64 + filler;
                    let (mut wallet, mut random) = (Wallet::new(seed), Seeded(seed));
                    let mut connection = node.connect().unwrap();
                    while !is_full.load(Ordering::Relaxed) {
                        let transaction = wallet.call_data(0x7fff, random.bytes(FILL_BYTES), node.height() + 900);
                        // A pool that is full says so; another transaction is sent then.
                        if connection.submit(&transaction.encode()).is_err() {
                            connection = node.connect().unwrap();
                            continue;
                        }
                        let all = sent.fetch_add(FILL_BYTES as u64, Ordering::Relaxed);
                        is_full.fetch_or(all >= wanted, Ordering::Relaxed);
                    }
                });
            }
        }
    });
}

fn ledger_bytes(chain: &Chain) -> u64 {
    let ledger = chain.configs[0].with_file_name("data").join("ledger");
    let files = bixi_tests::disk::files(&ledger).unwrap();
    files.iter().filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
}

/// Rounds that decided nothing, on all nodes.
fn failed_rounds(nodes: &[RunningNode]) -> u64 {
    let of = |node: &RunningNode| {
        let (_, page) = node.connect().unwrap().get("/metrics").unwrap();
        let samples = exposition::read(&String::from_utf8(page).unwrap()).unwrap();
        samples["bixi_consensus_failed_rounds_total"] as u64
    };
    nodes.iter().map(of).sum()
}

/// Milliseconds between blocks, ascending, each with the milliseconds from the first block to its own, by their headers.
struct Intervals(Vec<(i64, i64)>);

impl Intervals {
    fn read(node: &RunningNode, from: i64, to: i64) -> Self {
        let mut connection = node.connect().unwrap();
        let mut time_of = |height: i64| {
            let block = connection.call("getBlockByNumber", json!(["group0", "", height, true, true])).unwrap();
            block["timestamp"].as_i64().expect("a time")
        };
        let times: BTreeSet<i64> = (from..=to).map(&mut time_of).collect();
        let times: Vec<i64> = times.into_iter().collect();
        let mut between: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0], pair[1] - times[0])).collect();
        between.sort_unstable();
        Self(between)
    }

    fn percentile(&self, percent: usize) -> i64 {
        self.0.get((self.0.len() * percent).div_ceil(100).saturating_sub(1)).map_or(0, |(between, _)| *between)
    }

    fn longest(&self, count: usize) -> &[(i64, i64)] {
        &self.0[self.0.len().saturating_sub(count)..]
    }
}
