//! `kill -9` under load: nothing acknowledged is lost, nothing appears half.
//!
//! A child process (this test binary again) writes numbered batches of three rows and names each on its output once it is
//! synced.

use rocksdb::DB;

use crate::driver::*;
use crate::kill::{dir_of_child, run_and_kill, say_durable, survive_kills};

fn rows_of(batch: u64) -> [(Vec<u8>, Vec<u8>); 3] {
    [0u8, 1, 2].map(|part| {
        let key = [&batch.to_be_bytes()[..], &[part]].concat();
        (key, vec![batch as u8 ^ part; 20 + (batch % 700) as usize])
    })
}

/// Batches found, after checking that each is whole and that there is no gap.
fn batches(db: &DB) -> u64 {
    let rows = read_all(db).expect("every row is readable");
    assert_eq!(rows.len() % 3, 0, "half a batch is there");
    let count = rows.len() as u64 / 3;
    for batch in 0..count {
        for (key, value) in rows_of(batch) {
            assert_eq!(rows.get(&key), Some(&value), "batch {batch} of {count}");
        }
    }
    count
}

/// The child: writes until it is killed.
#[test]
#[ignore = "runs as the child of the kill loop"]
fn write_until_killed() {
    let Some(dir) = dir_of_child() else { return };
    let db = open(&dir);
    let mut batch = batches(&db);
    loop {
        let rows = rows_of(batch);
        let borrowed: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        put_synced(&db, &borrowed).expect("put");
        batch += 1;
        say_durable(batch);
        if batch.is_multiple_of(151) {
            db.flush().expect("flush");
        }
        if batch.is_multiple_of(601) {
            db.compact_range(None::<&[u8]>, None::<&[u8]>);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    survive_kills("batches", |dir, seed| {
        let acknowledged = run_and_kill("crash::write_until_killed", dir, 90, seed);
        (acknowledged, batches(&open(dir)))
    });
}
