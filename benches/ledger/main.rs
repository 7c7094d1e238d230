//! What encryption at rest costs: the ledger's database sealed by `cipherfs`, beside the same database in plaintext and under RocksDB's own
//! counter-mode environment.
//!
//! All contenders are opened by the ledger's own engine with the same options and do the same work in turns. Rates count until RocksDB's
//! background work is done, because seals and tags of flushes and compactions are part of the price.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

mod backend;
mod commit;
mod data;
mod report;
mod stopwatch;
mod sync;
mod tables;
#[path = "../transfers.rs"]
mod transfers;

use std::time::Duration;

use bixi_benches::Options;

use backend::Backend;
use report::Report;

/// How much is measured.
#[derive(Clone, Copy)]
struct Budget {
    /// Rows of the databases that are written and read.
    rows: u64,
    /// Turns of each contender where a turn writes.
    rounds: usize,
    /// Turns of reading: short and many, because other programs disturb.
    reads: usize,
    /// One turn of looking up.
    turn: Duration,
    /// Synced writes of each contender.
    syncs: usize,
    /// Blocks in one turn.
    blocks: u64,
}

impl Budget {
    const QUICK: Self =
        Self { rows: 20_000, rounds: 2, reads: 9, turn: Duration::from_millis(10), syncs: 200, blocks: 6 };
    const FULL: Self =
        Self { rows: 400_000, rounds: 7, reads: 31, turn: Duration::from_millis(30), syncs: 20_000, blocks: 30 };
}

/// Page sizes of sealed tables, binary logarithms.
const PAGES: std::ops::RangeInclusive<u8> = 12..=16;

fn main() {
    bixi_accel::cpu::configure_from_env().expect("BIXI_CPU names a rung of this processor");
    let options = Options::from_args_or_exit();
    let budget = if options.quick { Budget::QUICK } else { Budget::FULL };
    // Beside the workspace: a temporary directory may be memory, where a sync costs nothing.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let mut report = Report::new(&options, place.path());
    let contenders = Backend::contenders();
    tables::measure(&mut report, "ledger::engine", &contenders, budget, place.path());
    sync::measure(&mut report, &contenders, budget, place.path());
    commit::measure(&mut report, &contenders, budget, place.path());
    // Decides a constant of the format, not a goal: only when asked for.
    if options.filters.iter().any(|filter| filter.contains("pages")) {
        let sizes: Vec<_> = PAGES.map(Backend::paged).chain([Backend::plaintext()]).collect();
        tables::measure(&mut report, "ledger::pages", &sizes, budget, place.path());
    }
    report.finish();
}
