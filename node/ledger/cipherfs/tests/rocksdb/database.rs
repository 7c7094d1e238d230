//! A database is usable, and its directory says nothing.

use std::os::unix::fs::MetadataExt as _;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, Options};

use crate::driver::*;

const KEY_MARKER: &str = "marker-account-0xdeadbeef";
const VALUE_MARKER: &str = "marker-balance-000100";

fn fill(db: &DB, from: u32, to: u32) -> Rows {
    let mut rows = Rows::new();
    for i in from..to {
        let key = format!("{KEY_MARKER}-{i:06}").into_bytes();
        let value = format!("{VALUE_MARKER}-{i}").repeat(1 + i as usize % 40).into_bytes();
        put_synced(db, &[(&key, &value)]).expect("put");
        rows.insert(key, value);
    }
    rows
}

#[test]
fn put_get_flush_compact_and_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = {
        let db = open(dir.path());
        let rows = fill(&db, 0, 300);
        db.flush().unwrap();
        assert_eq!(read_all(&db).unwrap(), rows, "from a table");
        rows
    };
    let db = open(dir.path());
    rows.extend(fill(&db, 300, 500));
    assert_eq!(read_all(&db).unwrap(), rows, "from a table and a log");
    drop(db);
    let db = open(dir.path());
    assert_eq!(read_all(&db).unwrap(), rows, "from a replayed log");
    db.flush().unwrap();
    db.compact_range(None::<&[u8]>, None::<&[u8]>);
    for (key, value) in &rows {
        assert_eq!(db.get(key).unwrap().as_ref(), Some(value));
        db.delete(key).unwrap();
    }
    db.flush().unwrap();
    db.compact_range(None::<&[u8]>, None::<&[u8]>);
    assert!(read_all(&db).unwrap().is_empty());
}

#[test]
fn a_log_has_room_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    put_synced(&db, &[(b"key", b"value")]).unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "log")).unwrap();
    let log = log.metadata().unwrap();
    assert!(log.len() < 4096, "the length stays");
    assert!(log.blocks() * 512 > 1 << 20, "{} blocks", log.blocks());
}

#[test]
fn a_large_table_is_read_at_random() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    // Incompressible values: the table has many pages.
    let value = |i: u32| -> Vec<u8> {
        let mut state = u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(1000)
        .collect()
    };
    for i in 0..2000u32 {
        db.put(i.to_be_bytes(), value(i)).unwrap();
    }
    db.flush().unwrap();
    for i in (0..2000u32).rev().step_by(7) {
        assert_eq!(db.get(i.to_be_bytes()).unwrap(), Some(value(i)));
    }
    let keys: Vec<_> = (0..2000u32).step_by(11).map(u32::to_be_bytes).collect();
    for (key, found) in keys.iter().zip(db.multi_get(&keys)) {
        assert_eq!(found.unwrap(), Some(value(u32::from_be_bytes(*key))));
    }
}

#[test]
fn no_marker_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(dir.path());
    fill(&db, 0, 200);
    db.flush().unwrap();
    fill(&db, 200, 400);
    db.create_cf("marker-family", &Options::default()).unwrap();
    let markers = [KEY_MARKER, VALUE_MARKER, "marker-family", "rocksdb", "leveldb", "MANIFEST-"];
    for path in all_files(dir.path()) {
        let content = std::fs::read(&path).unwrap();
        for marker in markers {
            assert!(!contains(&content, marker.as_bytes()), "{marker} in {}", path.display());
        }
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!name.starts_with("LOG"), "the info log is on disk: {name}");
        assert!(content.is_empty() == (name == "LOCK"), "{name} has {} bytes", content.len());
    }
}

#[test]
fn a_checkpoint_is_a_database_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut rows = fill(&db, 0, 50);
    db.flush().unwrap();
    rows.extend(fill(&db, 50, 60));
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("checkpoint");
    Checkpoint::new(&db).unwrap().create_checkpoint(&copy).unwrap();
    fill(&db, 60, 70);
    let copied = open(&copy);
    assert_eq!(read_all(&copied).unwrap(), rows);
    fill(&copied, 90, 95);
}

#[test]
fn a_failed_open_leaves_nothing_locked() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let error = try_open(dir.path(), &files()).expect_err("two owners");
    assert!(error.contains("LOCK") && error.contains("another process"), "{error}");
    drop(db);
    open(dir.path());
}

#[test]
fn the_options_file_is_read_through_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let files = files();
    let cache = rocksdb::Cache::new_lru_cache(1 << 20);
    let loaded = Options::load_latest(dir.path(), files.env().unwrap(), false, cache).unwrap();
    assert_eq!(loaded.1.len(), 1);
}
