//! The disk is full: the node stops with its reason, and nothing acknowledged is lost.

use std::path::Path;
use std::time::Duration;

use bixi_tests::disk::SmallDisk;
use bixi_tests::node::{Ended, RunningNode, make_chain};
use bixi_tests::promises::Promises;
use bixi_tests::setting;
use bixi_tests::wallet::{Seeded, Wallet};

use crate::load;

/// Room for a chain and some load.
const DISK_BYTES: u64 = 96 << 20;

/// The small disk, or `None` where it cannot be mounted: then says so, loudly.
fn small_disk(test: &str) -> Option<SmallDisk> {
    match SmallDisk::mount(DISK_BYTES) {
        Ok(disk) => Some(disk),
        Err(reason) => {
            println!("SKIPPED {test}: a disk that can be filled needs the right to mount: {reason}");
            None
        }
    }
}

/// What happened, and where.
#[track_caller]
fn assert_says_full(ended: &Ended, disk: &Path, context: &str) {
    assert_eq!(ended.status.code(), Some(1), "{context}: {}", ended.said);
    // One line says it: the node's own, or that of the token it runs on.
    let place = disk.to_string_lossy();
    let says = |line: &str| line.contains("No space left on device") && line.contains(&*place);
    assert!(ended.said.lines().any(says), "{context}: {}", ended.said);
}

#[test]
fn a_full_disk_under_load_stops_the_node_and_loses_nothing() {
    let Some(disk) = small_disk("a_full_disk_under_load_stops_the_node_and_loses_nothing") else { return };
    let (rounds, seed) = (setting("BIXI_DISK_ROUNDS", 2), setting("BIXI_DISK_SEED", 1));
    println!("seed {seed}, {rounds} rounds");
    let config = make_chain(disk.path());
    let (mut random, promises) = (Seeded(seed), Promises::default());
    for round in 0..rounds {
        let room = [0, random.below(4 << 10), random.below(64 << 10), random.below(1 << 20)][random.below(4) as usize];
        let context = format!("seed {seed}, round {round}, {room} bytes left");
        let node = RunningNode::start(&config);
        promises.check(&node, &context);
        load::beside(&node, &promises, seed * 1_000 + round, || {
            std::thread::sleep(Duration::from_millis(200 + random.below(400)));
            disk.fill(room);
            // Long enough for a megabyte of blocks; a node that has stopped ends its clients before.
            std::thread::sleep(Duration::from_millis(100));
            disk.fill(0);
            std::thread::sleep(Duration::from_millis(300));
        });
        let ended = node.wait_end();
        assert_says_full(&ended, disk.path(), &context);
        assert!(ended.last_words().contains(&*disk.path().to_string_lossy()), "where: {}", ended.last_words());
        assert!(ended.last_words().contains("free space"), "what to do: {}", ended.last_words());
        // Its logs gave back the room that they had reserved.
        disk.fill(0);
        let refused = RunningNode::try_start(&config).err().expect("a full disk is refused");
        assert_says_full(&refused, disk.path(), &context);
        disk.empty();
    }
    let node = RunningNode::start(&config);
    promises.check(&node, &format!("seed {seed}, at the end"));
    println!("{} acknowledged in {} blocks, {rounds} full disks, 0 lost", promises.count(), promises.heights());
}

/// Every start writes: the PIN's attempt, the guard, the ledger. Whichever of these finds no room, nothing is spoilt, and the
/// device is not asked so often that its PIN locks.
#[test]
fn starts_on_a_full_disk_are_refused_and_spoil_nothing() {
    let Some(disk) = small_disk("starts_on_a_full_disk_are_refused_and_spoil_nothing") else { return };
    let config = make_chain(disk.path());
    let promises = Promises::default();
    let node = RunningNode::start(&config);
    load::beside(&node, &promises, 77, || std::thread::sleep(Duration::from_millis(300)));
    assert_eq!(node.stop().status.code(), Some(0));
    let mut refused = 0;
    for room in [0, 4, 8, 12, 16, 24, 32, 64, 128].map(|kib: u64| kib << 10) {
        disk.fill(room);
        match RunningNode::try_start(&config) {
            Ok(node) => promises.check(&node, &format!("{room} bytes left")),
            Err(ended) => {
                refused += 1;
                assert_says_full(&ended, disk.path(), &format!("a start with {room} bytes left"));
            }
        }
        disk.empty();
    }
    assert!(refused > 5, "{refused} starts were refused: more than a PIN has attempts");
    let node = RunningNode::start(&config);
    promises.check(&node, "after the refused starts");
    let transaction = Wallet::new(5).user_add("afterwards", 1, 900);
    assert_eq!(node.connect().unwrap().submit(&transaction.encode()).unwrap()["status"], 0);
}
