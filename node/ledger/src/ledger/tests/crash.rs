//! Crashes between and inside the steps of a block.
//!
//! The kill loop runs this binary again as a child.

#![allow(clippy::print_stdout, reason = "seeds and totals are what a campaign reports")]

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk, PreadStorage, Storage};

use super::*;
use crate::Params;
use kill::{dir_of_child, number, run_and_kill, say_durable, survive_kills};

#[path = "../../../cipherfs/tests/support/kill.rs"]
mod kill;

/// Losses of power one after the other, on one disk.
const LIVES: u64 = 3;

#[test]
fn a_crash_between_prepare_and_commit_leaves_the_parent() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(params(dir.path())).unwrap();
    initialise(&ledger, "chain0", &writes(&["a=0"]));
    grow(&ledger, &writes(&["a=1"])).unwrap();
    let before = ledger.prepare(2, &writes(&["a=2", "b=2"])).unwrap();
    drop(ledger);
    let ledger = Ledger::open(params(dir.path())).unwrap();
    assert_eq!((ledger.height(), read(&ledger, "a").as_deref(), read(&ledger, "b")), (1, Some("1"), None));
    let again = ledger.prepare(2, &writes(&["a=2", "b=2"])).unwrap();
    assert_eq!(again.state_root, before.state_root, "executing again gives the same block");
}

/// Block n sets `height` and one row of its own; the state of any height is known from it.
fn rows_of(number: u64) -> WriteSet {
    writes(&[&format!("height={number}"), &format!("row-{number}={number}")])
}

#[test]
#[ignore = "runs as the child of the kill loop"]
fn commit_until_killed() {
    let Some(dir) = dir_of_child() else { return };
    let ledger = Ledger::open(params(&dir)).unwrap();
    if ledger.genesis().is_none() {
        initialise(&ledger, "chain0", &rows_of(0));
    }
    loop {
        let number = ledger.height() + 1;
        grow(&ledger, &rows_of(number)).unwrap();
        say_durable(number);
    }
}

#[test]
fn no_committed_block_is_lost_by_kills() {
    survive_kills("blocks", |dir, seed| {
        let committed = run_and_kill("ledger::tests::crash::commit_until_killed", dir, 100, seed);
        let ledger = Ledger::open(params(dir)).unwrap();
        let found = ledger.height();
        if found > 0 {
            assert_eq!(read(&ledger, "height"), Some(found.to_string()));
            assert_eq!(read(&ledger, &format!("row-{found}")), Some(found.to_string()));
            assert_eq!(read(&ledger, &format!("row-{}", found + 1)), None);
        }
        (committed, found)
    });
}

#[test]
fn a_full_disk_in_the_middle_of_a_commit_leaves_the_parent() {
    for room_bytes in [0, 1, 100, 1_500, 2_500] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let storage = Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone()));
        let ledger = Ledger::open(params_on(dir.path(), storage)).unwrap();
        initialise(&ledger, "chain0", &rows_of(0));
        grow(&ledger, &rows_of(1)).unwrap();
        let prepared = ledger.prepare(2, &rows_of(2)).unwrap();
        let block = block_on(ledger.head_hash().unwrap(), prepared, vec![transaction(1, "1")]);
        faults.full_after(room_bytes);
        let error = ledger.commit(block.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Halt, "{room_bytes}: {error}");
        assert!(error.to_string().to_lowercase().contains("space"), "{error}");
        faults.heal();
        assert!(matches!(ledger.commit(block), Err(LedgerError::Poisoned)), "a failed ledger stays failed");
        drop(ledger);
        let ledger = Ledger::open(params(dir.path())).unwrap();
        assert_eq!((ledger.height(), read(&ledger, "height").as_deref()), (1, Some("1")), "{room_bytes}");
        grow_with(&ledger, &rows_of(2), vec![transaction(1, "1")]).unwrap();
    }
}

/// One MiB of memtables, so that RocksDB flushes and compacts while blocks are committed.
fn busy_params(dir: &Path, storage: Arc<dyn Storage>) -> Params {
    Params { write_buffer_mb: 1, ..params_on(dir, storage) }
}

/// As [`rows_of`], with enough bytes to fill memtables.
fn heavy_rows_of(number: u64) -> WriteSet {
    let mut rows = rows_of(number);
    let noise: Vec<u8> = (0..40_000u64).map(|i| (i.wrapping_mul(i ^ number) >> 3) as u8).collect();
    rows.insert(key(&format!("heavy-{}", number % 7)), Some(noise));
    rows
}

/// The tables find no room while the log does: the flush or the compaction behind the commits fails, at once or after a while.
#[test]
fn a_full_disk_under_background_work_stops_the_ledger_and_loses_nothing() {
    for room_bytes in [0, 500_000, 3_000_000, 6_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let storage = Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone()));
        let ledger = Ledger::open(busy_params(dir.path(), storage)).unwrap();
        initialise(&ledger, "chain0", &rows_of(0));
        faults.full_after_for(room_bytes, "sst");
        let error =
            (1..2_000).find_map(|number| grow(&ledger, &heavy_rows_of(number)).err()).expect("no commit failed");
        let committed = ledger.height();
        assert!(committed > 0, "{room_bytes}: the log had room");
        assert_eq!(error.kind(), ErrorKind::Halt, "{room_bytes}: {error}");
        assert!(error.to_string().to_lowercase().contains("space"), "{room_bytes}: {error}");
        ledger.discard_prepared(committed + 1);
        assert_eq!(read(&ledger, "height"), Some(committed.to_string()), "reads go on");
        faults.heal();
        let again = grow(&ledger, &rows_of(committed + 1)).unwrap_err();
        assert!(matches!(again, LedgerError::Poisoned), "a failed ledger stays failed: {again}");
        drop(ledger);
        let ledger = Ledger::open(busy_params(dir.path(), Arc::new(PreadStorage))).unwrap();
        assert_eq!(
            (ledger.height(), read(&ledger, "height")),
            (committed, Some(committed.to_string())),
            "{room_bytes}"
        );
        for number in committed + 1..committed + 60 {
            grow(&ledger, &heavy_rows_of(number)).unwrap();
        }
    }
}

/// Commits until the storage dies; returns the last height that was acknowledged.
fn commit_until_dead(dir: &Path, storage: Arc<dyn Storage>, from: u64) -> u64 {
    let Ok(ledger) = Ledger::open(params_on(dir, storage)) else { return from };
    if ledger.genesis().is_none() {
        let header = BlockHeader { state_root: ledger.genesis_state_root(&rows_of(0)), ..BlockHeader::default() };
        if ledger.initialise(&genesis("chain0"), &rows_of(0), &header).is_err() {
            return from;
        }
    }
    while ledger.height() < from + 20 && grow(&ledger, &rows_of(ledger.height() + 1)).is_ok() {}
    ledger.height()
}

/// The power goes at any write, sync or rename; unsynced changes are kept, lost or torn.
#[test]
fn no_committed_block_is_lost_with_the_power() {
    let (seeds, first) = (number("BIXI_POWER_SEEDS", 6), number("BIXI_POWER_FIRST", 1));
    let mut blocks = 0;
    for seed in first..first + seeds {
        // RocksDB's bindings make the directory on the real disk too.
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::new();
        disk.create_dir_all(dir.path()).unwrap();
        let mut committed = 0;
        for life in 0..LIVES {
            let faults = Faults::none();
            faults.dead_from(1 + (seed + life).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 220);
            committed =
                commit_until_dead(dir.path(), Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults)), committed);
            disk.crash(Crash::Torn { seed: LIVES * seed + life });
            let ledger = Ledger::open(params_on(dir.path(), Arc::new(disk.clone())))
                .unwrap_or_else(|error| panic!("seed {seed} life {life}: {committed} committed, and then: {error}"));
            let found = ledger.height();
            assert!(
                (committed..=committed + 1).contains(&found),
                "seed {seed} life {life}: {committed} committed, {found} found"
            );
            if ledger.genesis().is_some() {
                assert_eq!(read(&ledger, "height"), Some(found.to_string()), "seed {seed} life {life}");
            }
            committed = found;
        }
        blocks += committed;
    }
    println!("{} losses of power from seed {first}, {blocks} blocks acknowledged, 0 lost", LIVES * seeds);
}
