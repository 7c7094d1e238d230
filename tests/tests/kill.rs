//! kill -9 under load: nothing acknowledged is lost, no height gets a second header, the chain goes on.
//!
//! `BIXI_KILL_ROUNDS` sets the number of kills (3 in the ordinary run), `BIXI_KILL_SEED` the seed.

#![allow(clippy::print_stdout, reason = "the seed and the totals are the test's report")]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::promises::Promises;
use bixi_tests::rpc::CallError;
use bixi_tests::setting;
use bixi_tests::wallet::{Seeded, Wallet};

const CLIENTS: u64 = 6;

#[test]
fn acknowledged_transactions_survive_kill_9_under_load() {
    let (rounds, seed) = (setting("BIXI_KILL_ROUNDS", 3), setting("BIXI_KILL_SEED", 1));
    println!("seed {seed}, {rounds} kills");
    let place = tempfile::tempdir().unwrap();
    survive(&make_chain(place.path()), rounds, seed);
}

fn survive(config: &Path, rounds: u64, seed: u64) {
    let mut random = Seeded(seed);
    let promises = Promises::default();
    for round in 0..rounds {
        let context = format!("seed {seed}, round {round}");
        let node = RunningNode::start(config);
        promises.check(&node, &context);
        let (height, before, never) = (node.height(), promises.count(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (node, promises, never) = (&node, &promises, &never);
                let seed = seed.wrapping_mul(1_000_003) + round * CLIENTS + client;
                scope.spawn(move || {
                    let end = promises.collect(node.rpc, seed, height, never);
                    assert!(matches!(end, Some(CallError::Gone(_))), "refused: {end:?}");
                });
            }
            promises.wait_beyond(before);
            std::thread::sleep(Duration::from_millis(random.below(700)));
            node.kill_now();
        });
    }
    let node = RunningNode::start(config);
    promises.check(&node, &format!("seed {seed}, after the last kill"));
    println!("{} acknowledged in {} blocks, {rounds} kills, 0 lost", promises.count(), promises.heights());
}

/// An old copy of ledger and ordering log under the newer guard: the key signed what the disk no longer knows.
#[test]
fn a_disk_that_fell_behind_its_guard_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let node = RunningNode::start(&config);
    let transaction = Wallet::new(9).user_add("somebody", 1, 100);
    node.connect().unwrap().submit(&transaction.encode()).expect("final");
    node.kill_now();
    drop(node);
    for gone in ["data/ledger", "data/ordering"] {
        std::fs::remove_dir_all(config.with_file_name(gone)).unwrap();
    }
    let ended = RunningNode::try_start(&config).err().expect("an old copy is refused");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    assert!(ended.last_words().contains("old copy"), "{}", ended.said);
}
