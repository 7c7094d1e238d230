//! Power is lost at any write, sync or rename; unsynced writes are kept, lost or torn as a seed decides.
//!
//! `BIXI_POWER_SEEDS` sets the number of seeds, `BIXI_POWER_FIRST` the first.

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::Storage;
use bixi_platform::io::faulty::{Faults, FaultyStorage};
use bixi_platform::io::memory::{Crash, MemoryDisk};
use rocksdb::DB;

use crate::driver::*;
use crate::kill::number;

/// Losses of power one after the other, on one disk.
const LIVES: u64 = 3;

fn row(i: u32) -> (Vec<u8>, Vec<u8>) {
    (i.to_be_bytes().to_vec(), vec![i as u8; 30 + (i as usize * 37) % 500])
}

/// Opens and writes until the power goes; returns how many rows are acknowledged.
fn work(dir: &Path, storage: Arc<dyn Storage>, from: u32) -> u32 {
    let Ok(db) = try_open(dir, &files_on(storage)) else { return from };
    for i in from..from + 40 {
        let (key, value) = row(i);
        if put_synced(&db, &[(&key, &value)]).is_err() {
            return i;
        }
        if i % 13 == 12 && db.flush().is_err() {
            return i + 1;
        }
    }
    from + 40
}

fn count(db: &DB) -> u32 {
    let rows = read_all(db).expect("every row is readable");
    for (i, found) in (0u32..).zip(&rows) {
        let (key, value) = row(i);
        assert_eq!((found.0, found.1), (&key, &value), "row {i} of {}", rows.len());
    }
    rows.len() as u32
}

/// Returns how many rows are there in the end.
fn lose_power(seed: u64) -> u32 {
    // RocksDB's bindings make the directory on the real disk too.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let disk = MemoryDisk::new();
    disk.create_dir_all(dir).unwrap();
    let mut acknowledged = 0;
    for life in 0..LIVES {
        let faults = Faults::none();
        faults.dead_from(1 + (seed + life).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 260);
        let storage = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults));
        acknowledged = work(dir, storage, acknowledged);
        disk.crash(Crash::Torn { seed: seed * LIVES + life });
        let found = match try_open(dir, &files_on(Arc::new(disk.clone()))) {
            Ok(db) => count(&db),
            Err(error) => panic!("seed {seed} life {life}: {acknowledged} acknowledged, and then: {error}"),
        };
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "seed {seed} life {life}: {acknowledged} acknowledged, {found} found"
        );
        acknowledged = found;
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let (seeds, first) = (number("BIXI_POWER_SEEDS", 12), number("BIXI_POWER_FIRST", 1));
    let rows: u64 = (first..first + seeds).map(|seed| u64::from(lose_power(seed))).sum();
    println!("{} losses of power from seed {first}, {rows} rows acknowledged, 0 lost", LIVES * seeds);
}
