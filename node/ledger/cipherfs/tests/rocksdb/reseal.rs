//! A database is sealed anew under another epoch while it is used, and wherever that ends it is whole.
//!
//! `BIXI_RESEAL_SEEDS` sets the number of seeds of the losses of power.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bixi_cipherfs::CipherFs;
use bixi_platform::io::faulty::{Faults, FaultyStorage};
use bixi_platform::io::memory::{Crash, MemoryDisk};
use bixi_platform::io::{PreadStorage, Storage};
use bixi_platform::secret::Secret;
use bixi_sealed::KeyRing;
use rocksdb::{DB, WriteBatch};

use crate::driver::*;

fn rotate(ring: &KeyRing, epoch: u32) {
    ring.rotate(epoch, Secret::from_slice(&[epoch as u8 + 100; 32])).unwrap();
}

fn value(i: u32, version: u32) -> Vec<u8> {
    let mut state = (u64::from(i) << 32 | u64::from(version)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(100 + (i as usize * 37) % 900).collect()
}

fn put(db: &DB, numbers: std::ops::Range<u32>, version: u32) {
    let mut batch = WriteBatch::default();
    for i in numbers {
        batch.put(i.to_be_bytes(), value(i, version));
    }
    db.write(batch).unwrap();
}

/// A database of so many tables with 500 rows each, under epoch 1.
fn filled(tables: u32) -> (tempfile::TempDir, KeyRing, CipherFs, DB) {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(1);
    let files = CipherFs::new(Arc::new(PreadStorage), ring.clone());
    let db = try_open(dir.path(), &files).unwrap();
    for table in 0..tables {
        put(&db, table * 500..(table + 1) * 500, 0);
        db.flush().unwrap();
    }
    (dir, ring, files, db)
}

/// The epochs that files of a database need.
fn epochs(dir: &Path) -> BTreeSet<u32> {
    let mut epochs = BTreeSet::new();
    bixi_sealed::reseal::headers(&PreadStorage, dir, |_, header, _| _ = epochs.insert(header.epoch)).unwrap();
    epochs
}

fn nobody_ends_it(files: &CipherFs, dir: &Path) {
    assert!(files.reseal(dir, &mut |_| ControlFlow::Continue(())).unwrap());
}

/// Whether the files that the process has open are those that have names.
fn removed_files_still_open(dir: &Path) -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let open = open.map(|path| path.to_string_lossy().into_owned());
    open.filter(|path| path.starts_with(&*dir.to_string_lossy()) && path.ends_with(" (deleted)")).collect()
}

#[test]
fn a_database_at_work_moves_to_the_new_epoch_and_needs_no_older_one() {
    let (dir, ring, files, db) = filled(8);
    assert_eq!(epochs(dir.path()), BTreeSet::from([1]));
    rotate(&ring, 2);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Writes, flushes and compactions go on; versions only rise.
            for version in 1.. {
                put(&db, 1000..1500, version);
                db.flush().unwrap();
                if version % 4 == 0 {
                    db.compact_range(None::<&[u8]>, None::<&[u8]>);
                }
                if ends.load(Ordering::Acquire) && version >= 8 {
                    break;
                }
            }
        });
        scope.spawn(|| {
            while !ends.load(Ordering::Acquire) {
                for i in (0..4000u32).filter(|i| !(1000..1500).contains(i)).step_by(13) {
                    assert_eq!(db.get(i.to_be_bytes()).unwrap(), Some(value(i, 0)));
                }
            }
        });
        let mut told = 0;
        let finished = files.reseal(dir.path(), &mut |done| {
            told += 1;
            assert!(done.bytes_total > 0);
            ControlFlow::Continue(())
        });
        ends.store(true, Ordering::Release);
        assert!(finished.unwrap());
        assert!(told > 3, "{told}");
    });
    assert_eq!(epochs(dir.path()), BTreeSet::from([2]));
    assert_eq!(removed_files_still_open(dir.path()), Vec::<String>::new());
    ring.retire(1).unwrap();
    let rows = read_all(&db).unwrap();
    assert_eq!(rows.len(), 4000);
    put(&db, 4000..4100, 0);
    drop(db);
    // Log and MANIFEST went on behind their copies.
    let db = try_open(dir.path(), &files).unwrap();
    assert_eq!(read_all(&db).unwrap().len(), 4100);
    assert!(all_files(dir.path()).iter().all(|path| path.extension().is_none_or(|name| name != "resealed")));
}

#[test]
fn what_is_ended_is_gone_on_with() {
    let (dir, ring, files, db) = filled(4);
    rotate(&ring, 2);
    let mut attempts = 0;
    loop {
        let finished = files.reseal(dir.path(), &mut |done| {
            if done.files > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(read_all(&db).unwrap().len(), 2000);
        attempts += 1;
        if finished.unwrap() {
            break;
        }
        assert!(attempts < 40, "it does not get on");
        // What a crash would have left.
        std::fs::write(dir.path().join("000001.sst.resealed"), b"half").unwrap();
        files.check(dir.path()).unwrap();
    }
    assert!(attempts > 3, "{attempts}");
    assert_eq!(epochs(dir.path()), BTreeSet::from([2]));
    nobody_ends_it(&files, dir.path());
}

/// A database that is closed is moved as well, and its older epoch is not needed to open it.
#[test]
fn a_closed_database_moves_too() {
    let (dir, ring, files, db) = filled(1);
    put(&db, 500..600, 0);
    drop(db);
    rotate(&ring, 2);
    nobody_ends_it(&files, dir.path());
    ring.retire(1).unwrap();
    let db = try_open(dir.path(), &files).unwrap();
    assert_eq!(read_all(&db).unwrap().len(), 600);
}

/// Reseals with the fault that `arm` sets at the operation of that number, and writes on; then the power goes, and unsynced writes are
/// kept, lost or torn. True when the fault came after the end.
fn fail_at(number: u64, seed: u64, arm: fn(&Faults, u64)) -> bool {
    // RocksDB's bindings make the directory on the real disk too.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (disk, faults, ring) = (MemoryDisk::new(), Faults::none(), ring(1));
    disk.create_dir_all(dir).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults.clone()));
    let files = CipherFs::new(Arc::clone(&storage), ring.clone());
    let mut acknowledged = 40u32;
    let finished = {
        let db = try_open(dir, &files).unwrap();
        for i in 0..acknowledged {
            put_synced(&db, &[(&i.to_be_bytes(), &value(i, 0))]).unwrap();
            if i % 16 == 15 {
                db.flush().unwrap();
            }
        }
        rotate(&ring, 2);
        arm(&faults, faults.operations() + number);
        let finished = files.reseal(dir, &mut |_| ControlFlow::Continue(())).is_ok();
        // Acknowledged behind the copies, if anything is.
        while acknowledged < 44 && put_synced(&db, &[(&acknowledged.to_be_bytes(), &value(acknowledged, 0))]).is_ok() {
            acknowledged += 1;
        }
        finished
    };
    disk.crash(Crash::Torn { seed });
    let files = CipherFs::new(Arc::new(disk.clone()), ring.clone());
    let context = format!("operation {number}, seed {seed}, {acknowledged} acknowledged");
    let check = || {
        let db = try_open(dir, &files).unwrap_or_else(|error| panic!("{context}: {error}"));
        let rows = read_all(&db).unwrap_or_else(|error| panic!("{context}: {error}"));
        let (found, most) = (rows.len() as u32, acknowledged + 1);
        assert!((acknowledged..=most).contains(&found), "{context}: {found} found");
        for (i, (key, found)) in (0u32..).zip(&rows) {
            assert_eq!((key.as_slice(), found), (&i.to_be_bytes()[..], &value(i, 0)), "{context}");
        }
        db
    };
    let db = check();
    nobody_ends_it(&files, dir);
    drop(db);
    ring.retire(1).unwrap();
    drop(check());
    finished
}

fn fail_everywhere(arm: fn(&Faults, u64)) {
    let seeds = std::env::var("BIXI_RESEAL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for number in 1.. {
        let ended =
            (0..seeds).map(|seed| fail_at(number, seed * 7919 + number, arm)).filter(|finished| *finished).count();
        if ended as u64 == seeds {
            assert!(number > 30, "{number} operations are fewer than it takes");
            return;
        }
    }
}

#[test]
fn power_lost_anywhere_leaves_each_file_old_or_new() {
    fail_everywhere(Faults::dead_from);
}

/// A name that is not known to be durable takes no more writes: they would be gone with the power, though acknowledged.
#[test]
fn one_operation_that_fails_anywhere_loses_nothing_acknowledged() {
    fail_everywhere(Faults::fail_once_at);
}
