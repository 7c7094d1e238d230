//! `kill -9` under load: nothing acknowledged is lost, nothing appears half.
//!
//! A child process (this test binary again) writes numbered batches of three rows and names each on its output once it is
//! synced. `BIXI_CRASH_ROUNDS` sets the number of kills, `BIXI_CRASH_SEED` the first seed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rocksdb::DB;

use crate::driver::*;

const DIR: &str = "BIXI_CRASH_DIR";
const ROUNDS: &str = "BIXI_CRASH_ROUNDS";
const SEED: &str = "BIXI_CRASH_SEED";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

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
    let Ok(dir) = std::env::var(DIR) else { return };
    let db = open(Path::new(&dir));
    let mut batch = batches(&db);
    let mut out = std::io::stdout();
    loop {
        let rows = rows_of(batch);
        let borrowed: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        put_synced(&db, &borrowed).expect("put");
        writeln!(out, "acknowledged {batch}").and_then(|()| out.flush()).expect("the parent listens");
        batch += 1;
        if batch.is_multiple_of(151) {
            db.flush().expect("flush");
        }
        if batch.is_multiple_of(601) {
            db.compact_range(None::<&[u8]>, None::<&[u8]>);
        }
    }
}

/// Runs the child for a while, kills it, and returns the number of batches it acknowledged in all, if any.
fn run_and_kill(dir: &Path, alive: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::write_until_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("child");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let listener = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter_map(|line| line.split_once("acknowledged ")?.1.parse::<u64>().ok()).last()
    });
    std::thread::sleep(alive);
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    listener.join().expect("listener").map(|last| last + 1)
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let (rounds, seed) = (number(ROUNDS, 5), number(SEED, 1));
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let alive_ms = 60 + (seed + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 300;
        acknowledged = run_and_kill(dir.path(), Duration::from_millis(alive_ms)).unwrap_or(acknowledged);
        let found = batches(&open(dir.path()));
        assert!(found >= acknowledged, "seed {seed} round {round}: {acknowledged} acknowledged, {found} found");
        assert!(found <= acknowledged + 1, "seed {seed} round {round}: {found} found, {acknowledged} acknowledged");
        acknowledged = found;
    }
    assert!(acknowledged > 0, "the child never got to write");
}
