//! A full disk fails the write, loudly; what was acknowledged before is there when there is room again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bixi_platform::io::PreadStorage;
use bixi_platform::io::faulty::{Faults, FaultyStorage};

use crate::driver::*;

/// Writes until the disk is full and returns what was acknowledged.
fn write_until_full(dir: &Path, room_bytes: u64) -> (Rows, String) {
    let faults = Faults::none();
    let storage = Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone()));
    let db = try_open(dir, &files_on(storage)).expect("open");
    let mut acknowledged = Rows::new();
    for i in 0..10_000u32 {
        if i == 20 {
            faults.full_after(room_bytes);
        }
        let (key, value) = (i.to_be_bytes().to_vec(), vec![i as u8; 300]);
        if let Err(error) = put_synced(&db, &[(&key, &value), (&[&key[..], b"twin"].concat(), &value)]) {
            return (acknowledged, error);
        }
        acknowledged.insert(key.clone(), value.clone());
        acknowledged.insert([&key[..], b"twin"].concat(), value);
    }
    panic!("the disk never filled up");
}

#[test]
fn a_full_disk_fails_the_write_and_loses_nothing() {
    for room_bytes in [0, 1, 17, 100, 331, 5_000, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let (acknowledged, error) = write_until_full(dir.path(), room_bytes);
        assert!(error.to_lowercase().contains("space"), "{room_bytes} bytes of room: {error}");
        let db = open(dir.path());
        assert_eq!(read_all(&db).unwrap(), acknowledged, "{room_bytes} bytes of room");
        put_synced(&db, &[(b"after", b"1")]).unwrap();
    }
}

#[test]
fn a_full_disk_during_a_flush_loses_nothing() {
    for room_bytes in [0, 1_000, 3_000, 5_000] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let storage = Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone()));
        let db = try_open(dir.path(), &files_on(storage)).expect("open");
        for i in 0..100u32 {
            put_synced(&db, &[(&i.to_be_bytes(), &i.to_le_bytes().repeat(50))]).unwrap();
        }
        let rows = read_all(&db).unwrap();
        faults.full_after(room_bytes);
        assert!(db.flush().is_err(), "{room_bytes} bytes of room were enough");
        drop(db);
        assert_eq!(read_all(&open(dir.path())).unwrap(), rows);
    }
}

fn row(i: u32) -> (Vec<u8>, Vec<u8>) {
    (i.to_be_bytes().to_vec(), i.to_le_bytes().repeat(100))
}

/// Acknowledged rows are all there; of the others each is whole or absent.
fn check(dir: &Path, acknowledged: &Rows) {
    let found = read_all(&open(dir)).unwrap();
    for (key, value) in acknowledged {
        assert_eq!(found.get(key), Some(value), "an acknowledged row is gone: {key:?}");
    }
    for (key, value) in &found {
        let i = u32::from_be_bytes(key[..].try_into().unwrap());
        assert_eq!((key, value), (&row(i).0, &row(i).1), "half a row");
    }
}

/// When there is room again RocksDB may resume by itself, behind a log that ends in the middle of a record, or keep refusing.
/// Whatever it acknowledges from then on must survive.
#[test]
fn what_is_acknowledged_after_space_was_freed_survives() {
    for (room_bytes, extension) in [(700, "log"), (0, "log"), (5_000, "sst"), (0, "sst")] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let storage = Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone()));
        let db = try_open(dir.path(), &files_on(storage)).expect("open");
        let mut acknowledged = Rows::new();
        let mut put = |i: u32| {
            let (key, value) = row(i);
            put_synced(&db, &[(&key, &value)]).map(|()| acknowledged.insert(key, value)).map(|_| ())
        };
        (0..20).try_for_each(&mut put).unwrap();
        faults.full_after_for(room_bytes, extension);
        let failed = match extension {
            "log" => (20..200).try_for_each(&mut put),
            _ => db.flush().map_err(|error| error.to_string()),
        };
        let error = failed.expect_err("the disk never filled up");
        assert!(error.to_lowercase().contains("space"), "{room_bytes} bytes for {extension}: {error}");
        faults.heal();
        for i in 1_000..1_100 {
            if let Err(refused) = put(i) {
                let says_why = refused.contains("space") || refused.contains("an earlier write failed");
                assert!(says_why, "{room_bytes} bytes for {extension}: {refused}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        drop(db);
        check(dir.path(), &acknowledged);
    }
}
