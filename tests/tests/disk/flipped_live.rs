//! A byte of a table changes under a running node: reads of it are refused, none is wrong, and the node says so.

use std::fs;
use std::path::{Path, PathBuf};

use bixi_tests::disk::{files, flip};
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::promises::{Promises, Unreadable};
use bixi_tests::setting;
use bixi_tests::wallet::Seeded;

use crate::load;

/// Layout of a sealed table, `platform/sealed/FORMAT.md`.
const FIRST_PAGE: u64 = 4096;
const PAGE_BYTES: u64 = 16 << 10;

#[test]
fn a_byte_flipped_under_a_live_node_is_refused_and_reported() {
    let seed = setting("BIXI_DISK_SEED", 1);
    let (place, promises) = (tempfile::tempdir().unwrap(), Promises::default());
    let config = make_chain(place.path());
    let node = RunningNode::start(&config);
    // More than the blocks that a start reads to check the head.
    load::gather(&node, &promises, seed, 400);
    assert_eq!(node.stop().status.code(), Some(0));
    // The next start turns the write-ahead log into tables; nothing of them is read yet but their ends.
    let node = RunningNode::start(&config);
    assert_eq!(node.health().unwrap().0, 200);
    let mut random = Seeded(seed);
    for table in tables(&config) {
        // In the first page: what follows may be an index that the start has read already.
        let length = fs::metadata(&table).unwrap().len();
        let offset = FIRST_PAGE + random.below(PAGE_BYTES.min(length - FIRST_PAGE));
        println!("seed {seed}: {} byte {offset} of {length}", table.display());
        flip(&table, offset, 1 << random.below(8)).unwrap();
    }

    let Unreadable(unreadable) = promises.check_readable(&node, &format!("seed {seed}"));
    println!("{unreadable} answers refused, none wrong");
    assert!(unreadable > 0, "seed {seed}: nobody read the changed page");
    let said = node.said();
    assert!(said.lines().any(|line| line.contains("ERROR") && line.contains(".sst")), "not in the log: {said}");
    let (status, health) = node.health().unwrap();
    assert_eq!((status, health["failed_checks"][0]["component"].as_str()), (503, Some("ledger")), "{health}");
    assert!(health.to_string().contains(".sst"), "{health}");
}

fn tables(config: &Path) -> Vec<PathBuf> {
    let all = files(&config.with_file_name("data/ledger")).unwrap();
    let tables: Vec<_> = all.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "sst")).collect();
    assert!(!tables.is_empty(), "no tables");
    tables
}
