//! The kill loop of cipherfs and ledger, included by both test binaries: a child, this binary again, works and says what is
//! durable, until SIGKILL. `BIXI_CRASH_ROUNDS` sets the number of kills, `BIXI_CRASH_SEED` the first seed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "BIXI_CRASH_DIR";
const SAYS: &str = "durable ";

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// In the child: where to work.
pub(crate) fn dir_of_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

/// In the child: tells the parent that everything up to `number` is durable.
pub(crate) fn say_durable(number: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "{SAYS}{number}").and_then(|()| out.flush()).expect("the parent listens");
}

/// Runs the ignored test `name` of this binary as a child in `dir`, kills it after a while that `seed` chooses, between
/// `alive_ms` and four times that, and returns the last number it said.
pub(crate) fn run_and_kill(name: &str, dir: &Path, alive_ms: u64, seed: u64) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("child");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let listener = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter_map(|line| line.split_once(SAYS)?.1.parse::<u64>().ok()).last()
    });
    std::thread::sleep(Duration::from_millis(alive_ms + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (3 * alive_ms)));
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    listener.join().expect("listener")
}

/// After so many kills a new directory is begun, so that looking at all of it stays short.
const KILLS_OF_A_DIRECTORY: u64 = 40;

/// Kills again and again: `kill(dir, seed)` returns the last number that the child acknowledged, if it came to that, and how many there
/// are afterwards. Nothing acknowledged may be missing, and at most the one under way may be there besides. Prints seed and totals.
pub(crate) fn survive_kills(what: &str, mut kill: impl FnMut(&Path, u64) -> (Option<u64>, u64)) {
    let (rounds, first) = (number("BIXI_CRASH_ROUNDS", 5), number("BIXI_CRASH_SEED", 1));
    let (mut dir, mut here, mut total) = (tempfile::tempdir().expect("a directory"), 0, 0);
    let (mut kills, mut idle) = (0, 0);
    // On a busy machine children may be killed before they get to write: those do not count.
    while kills < rounds {
        if kills > 0 && kills % KILLS_OF_A_DIRECTORY == 0 {
            (dir, here) = (tempfile::tempdir().expect("a directory"), 0);
            println!("{kills} of {rounds} kills, {total} {what}");
        }
        let seed = first + kills + idle;
        let (acknowledged, found) = kill(dir.path(), seed);
        let at_least = acknowledged.unwrap_or(here);
        assert!(
            (at_least..=at_least + 1).contains(&found),
            "seed {seed}, {kills} kills: {at_least} {what} acknowledged, {found} found in {}",
            dir.keep().display()
        );
        total += found - here;
        here = found;
        match acknowledged {
            Some(_) => kills += 1,
            None => idle += 1,
        }
        assert!(idle <= 50 * rounds, "{idle} children never got to write");
    }
    println!("{kills} kills from seed {first}, {total} {what} acknowledged, 0 lost, 0 half");
}
