use std::sync::Arc;

use bixi_platform::io::{Meter, MeteredStorage, PreadStorage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};

use super::*;
use crate::engine::conformance;

mod one_moment;

const SMALL: Memory = Memory { cache_bytes: 4 << 20, write_buffer_bytes: 4 << 20 };

fn files(key: u8) -> CipherFs {
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[key; 32]))], 1).expect("one epoch");
    CipherFs::new(Arc::new(PreadStorage), ring)
}

#[test]
fn rocksdb_engine_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(&RocksEngine::open(dir.path(), &files(1), SMALL).unwrap());
}

#[test]
fn a_written_batch_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = RocksEngine::open(dir.path(), &files(1), SMALL).unwrap();
        let mut batch = Batch::default();
        for column in Column::ALL {
            batch.put(column, "k", column.name());
        }
        engine.write(batch).unwrap();
    }
    let engine = RocksEngine::open(dir.path(), &files(1), SMALL).unwrap();
    for column in Column::ALL {
        assert_eq!(engine.get(column, b"k").unwrap().as_deref(), Some(column.name().as_bytes()));
    }
    engine.compact().unwrap();
    assert_eq!(engine.get(Column::State, b"k").unwrap().as_deref(), Some(&b"state"[..]));
}

#[test]
fn a_table_is_on_its_way_to_the_disk_before_it_is_synced() {
    let (dir, meter) = (tempfile::tempdir().unwrap(), Meter::default());
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).expect("one epoch");
    let storage = MeteredStorage::new(Arc::new(PreadStorage), meter.clone());
    let memory = Memory { write_buffer_bytes: 64 << 20, ..SMALL };
    let engine = RocksEngine::open(dir.path(), &CipherFs::new(Arc::new(storage), ring), memory).unwrap();
    // Compressed, it is as long: 6 MiB in one table.
    let mut random = 1u64;
    let mut bytes = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    for row in 0..96u64 {
        let mut batch = Batch::default();
        batch.put(Column::State, row.to_be_bytes(), (0..64 << 10).map(|_| bytes()).collect::<Vec<_>>());
        engine.write(batch).unwrap();
    }
    assert_eq!(meter.counts().write_back_bytes, 0, "logs are synced by every write, and ask for nothing");
    engine.flush(Column::State).unwrap();
    let begun = meter.counts().write_back_bytes;
    assert!(((4 << 20)..=(6 << 20) + (128 << 10)).contains(&begun), "{begun}");
    engine.compact().unwrap();
    assert!(meter.counts().write_back_bytes >= begun + (4 << 20), "what a compaction writes, too");
    drop(engine);
    let engine = RocksEngine::open(dir.path(), &files(1), SMALL).unwrap();
    assert_eq!(engine.get(Column::State, &95u64.to_be_bytes()).unwrap().map(|value| value.len()), Some(64 << 10));
}

#[test]
fn who_only_reads_writes_nothing_and_needs_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let absent = RocksEngine::open_read_only(dir.path(), &files(1), SMALL);
    assert!(absent.is_err() && dir.path().read_dir().unwrap().next().is_none(), "nothing is made");
    let engine = RocksEngine::open(dir.path(), &files(1), SMALL).unwrap();
    let batch = |value: &str| {
        let mut batch = Batch::default();
        batch.put(Column::State, "k", value);
        batch
    };
    engine.write(batch("1")).unwrap();
    let files_there = || {
        let names = dir.path().read_dir().unwrap().map(|entry| entry.unwrap());
        names
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = files_there();
    let reader = RocksEngine::open_read_only(dir.path(), &files(1), SMALL).unwrap();
    assert_eq!(reader.get(Column::State, b"k").unwrap().as_deref(), Some(&b"1"[..]), "out of the write-ahead log");
    assert!(reader.write(batch("2")).is_err());
    drop(reader);
    assert_eq!(files_there(), before);
    engine.write(batch("3")).unwrap();
    assert_eq!(engine.get(Column::State, b"k").unwrap().as_deref(), Some(&b"3"[..]), "the writer goes on");
}

#[test]
fn who_only_reads_notices_a_column_that_no_ledger_has() {
    let dir = tempfile::tempdir().unwrap();
    drop(RocksEngine::open(dir.path(), &files(1), SMALL).unwrap());
    {
        let env = files(1).env().unwrap();
        let all = columns(SMALL).chain([ColumnFamilyDescriptor::new("extra", Options::default())]);
        drop(DB::open_cf_descriptors(&database_options(&env, SMALL), dir.path(), all).unwrap());
    }
    for open in [RocksEngine::open, RocksEngine::open_read_only, RocksEngine::open_to_verify] {
        let refused = open(dir.path(), &files(1), SMALL).err().expect("refused").to_string();
        assert!(refused.contains("extra"), "{refused}");
    }
}

#[test]
fn a_database_whose_first_opening_was_cut_off_is_not_whole_to_who_reads_and_is_completed_by_who_writes() {
    let dir = tempfile::tempdir().unwrap();
    let env = files(1).env().unwrap();
    drop(DB::open(&database_options(&env, SMALL), dir.path()).unwrap());
    let refused = RocksEngine::open_to_verify(dir.path(), &files(1), SMALL).err().expect("refused").to_string();
    assert!(refused.contains("no column family") && refused.contains("cut off"), "{refused}");
    drop(RocksEngine::open(dir.path(), &files(1), SMALL).unwrap());
    RocksEngine::open_to_verify(dir.path(), &files(1), SMALL).unwrap();
}

#[test]
fn another_key_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(RocksEngine::open(dir.path(), &files(1), SMALL).unwrap());
    let error = RocksEngine::open(dir.path(), &files(2), SMALL).err().expect("refused").to_string();
    assert!(error.contains("CURRENT") && error.contains("key"), "{error}");
}
