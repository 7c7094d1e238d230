//! Crashes between and inside the steps of a block.
//!
//! The kill loop runs this binary again as a child; `BIXI_CRASH_ROUNDS` sets the number of kills.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const DIR: &str = "BIXI_CRASH_DIR";

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

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Block n sets `height` and one row of its own; the state of any height is known from it.
fn rows_of(number: u64) -> WriteSet {
    writes(&[&format!("height={number}"), &format!("row-{number}={number}")])
}

#[test]
#[ignore = "runs as the child of the kill loop"]
fn commit_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let ledger = Ledger::open(params(Path::new(&dir))).unwrap();
    if ledger.genesis().is_none() {
        initialise(&ledger, "chain0", &rows_of(0));
    }
    let mut out = std::io::stdout();
    loop {
        let number = ledger.height() + 1;
        grow(&ledger, &rows_of(number)).unwrap();
        writeln!(out, "committed {number}").and_then(|()| out.flush()).unwrap();
    }
}

fn run_and_kill(dir: &Path, alive: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "ledger::tests::crash::commit_until_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("child");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let listener = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter_map(|line| line.split_once("committed ")?.1.parse::<u64>().ok()).last()
    });
    std::thread::sleep(alive);
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    listener.join().expect("listener")
}

#[test]
fn no_committed_block_is_lost_by_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = 0;
    for round in 0..number("BIXI_CRASH_ROUNDS", 4) {
        let alive_ms = 100 + round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 300;
        committed = run_and_kill(dir.path(), Duration::from_millis(alive_ms)).unwrap_or(committed);
        let ledger = Ledger::open(params(dir.path())).unwrap();
        let found = ledger.height();
        assert!((committed..=committed + 1).contains(&found), "round {round}: {committed} committed, {found} found");
        if found > 0 {
            assert_eq!(read(&ledger, "height"), Some(found.to_string()));
            assert_eq!(read(&ledger, &format!("row-{found}")), Some(found.to_string()));
            assert_eq!(read(&ledger, &format!("row-{}", found + 1)), None);
        }
        committed = found;
    }
    assert!(committed > 0, "the child never got to commit");
}
