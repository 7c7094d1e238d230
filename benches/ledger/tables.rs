//! Rows written, compacted, looked up and walked over.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bixi_ledger::engine::rocks::{Memory, RocksEngine};
use bixi_ledger::engine::{Batch, Engine as _, Reader as _};
use bixi_ledger::keys::Column;

use crate::Budget;
use crate::backend::Backend;
use crate::data::{self, Numbers, Order, ROW_BYTES};
use crate::report::{Goal, Report, Row, Unit};
use crate::stopwatch::{Clock, Stopwatch};

const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// Keys of one `multi_get`.
const KEYS_TOGETHER: usize = 64;

/// What the page cache of the system holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Every table.
    Cached,
    /// Nothing, when a turn begins.
    Dropped,
}

impl Disk {
    fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Dropped => "dropped",
        }
    }

    /// What waits for nothing is measured by its processor time, which other programs disturb least.
    fn stopwatch(self) -> Stopwatch {
        Stopwatch::start(match self {
            Self::Cached => Clock::Thread,
            Self::Dropped => Clock::Wall,
        })
    }
}

/// All rows about tables, named `group::…`.
pub(crate) fn measure(report: &mut Report, group: &str, backends: &[Backend], budget: Budget, place: &Path) {
    let rows = budget.rows;
    let name = |operation: &str| format!("{group}::{operation}");
    let names = [
        report.named(&name("put")).with("order", "sequential").with("rows", rows),
        report.named(&name("put")).with("order", "random").with("rows", rows),
        report.named(&name("compact")).with("rows", rows),
        report.named(&name("get")).with("rows", rows).with("cache", "whole"),
        report.named(&name("get")).with("rows", rows).with("cache", "sixteenth"),
        report.named(&name("get")).with("rows", rows).with("cache", "sixteenth").with("disk", Disk::Dropped.name()),
        report.named(&name("multi_get")).with("rows", rows).with("cache", "sixteenth").with("keys", KEYS_TOGETHER),
        report.named(&name("scan")).with("rows", rows),
        report.named(&name("scan")).with("rows", rows).with("disk", Disk::Dropped.name()),
        report.named(&name("space")).with("rows", rows),
    ];
    let [sequential, random, compact, whole, small, dropped, together, scan, scan_dropped, space] = names;
    if report.wants(&sequential) {
        let place = place.join(format!("{group}-sequential"));
        let (rates, _) = write(backends, Order::Sequential, budget, &place);
        report.add(Row::new(sequential, Unit::PerSecond("rows"), rates));
        std::fs::remove_dir_all(place).expect("our own directory");
    }
    let reads = [&whole, &small, &dropped, &together, &scan, &scan_dropped, &space];
    if !report.wants(&random) && !report.wants(&compact) && !reads.iter().any(|row| report.wants(row)) {
        return;
    }
    let place = place.join(format!("{group}-random"));
    let (rates, compactions) = write(backends, Order::Random, budget, &place);
    let place = Place { root: &place, backends, budget };
    report.add(Row::new(random, Unit::PerSecond("rows"), rates));
    report.add(Row::new(compact, Unit::Megabytes, compactions));
    report.add(Row::new(space, Unit::Bytes, place.sizes()).goal(Goal::AtMost(1.01)));
    let whole_bytes = (rows as usize * ROW_BYTES * 2).max(8 << 20);
    let sixteenth_bytes = rows as usize * ROW_BYTES / 16;
    let mut get = |row, cache_bytes, disk, keys| {
        if report.wants(&row) {
            let rates = place.look_up(cache_bytes, disk, keys);
            report.add(Row::new(row, Unit::PerSecond("keys"), rates).goal(Goal::AtLeast(0.90)));
        }
    };
    get(whole, whole_bytes, Disk::Cached, 1);
    get(small, sixteenth_bytes, Disk::Cached, 1);
    get(dropped, sixteenth_bytes, Disk::Dropped, 1);
    get(together, sixteenth_bytes, Disk::Cached, KEYS_TOGETHER);
    for (row, disk) in [(scan, Disk::Cached), (scan_dropped, Disk::Dropped)] {
        if report.wants(&row) {
            let rates = place.scan(sixteenth_bytes, disk);
            report.add(Row::new(row, Unit::Megabytes, rates).goal(Goal::AtLeast(0.85)));
        }
    }
    std::fs::remove_dir_all(place.root).expect("our own directory");
}

/// Rates of each contender, a value for each round.
pub(crate) type Rates = Vec<(String, Vec<f64>)>;

pub(crate) fn no_rates(backends: &[Backend]) -> Rates {
    backends.iter().map(|backend| (backend.name.clone(), Vec::new())).collect()
}

/// Fills fresh databases: rows a second until nothing is left to do in the background, and megabytes a second of the compaction of
/// everything. The databases of the last round stay.
fn write(backends: &[Backend], order: Order, budget: Budget, place: &Path) -> (Rates, Rates) {
    let memory = Memory { cache_bytes: 8 << 20, write_buffer_bytes: WRITE_BUFFER_BYTES };
    let (mut puts, mut compactions) = (no_rates(backends), no_rates(backends));
    for round in 0..budget.rounds {
        for (turn, backend) in turns(backends, round) {
            let dir = place.join(&backend.name);
            if dir.exists() {
                std::fs::remove_dir_all(&dir).expect("our own directory");
            }
            std::fs::create_dir_all(&dir).expect("a directory");
            let engine = backend.open(&dir, memory);
            let batches: Vec<Batch> = data::batches(order, budget.rows).collect();
            let stopwatch = Stopwatch::start(Clock::Wall);
            for batch in batches {
                engine.write(batch).expect("room");
            }
            engine.settle().expect("room");
            puts[turn].1.push(budget.rows as f64 / stopwatch.seconds());
            let stopwatch = Stopwatch::start(Clock::Wall);
            engine.compact().expect("room");
            compactions[turn].1.push((budget.rows as usize * ROW_BYTES) as f64 / stopwatch.seconds() / 1e6);
        }
    }
    (puts, compactions)
}

/// Every contender once, another one first in each round.
pub(crate) fn turns<T>(all: &[T], round: usize) -> impl Iterator<Item = (usize, &T)> {
    let count = all.len();
    (0..count).map(move |turn| {
        let index = (turn + round) % count;
        (index, &all[index])
    })
}

/// Databases that are read.
struct Place<'a> {
    root: &'a Path,
    backends: &'a [Backend],
    budget: Budget,
}

impl Place<'_> {
    fn dir(&self, backend: &Backend) -> PathBuf {
        self.root.join(&backend.name)
    }

    fn open(&self, cache_bytes: usize) -> Vec<RocksEngine> {
        let memory = Memory { cache_bytes, write_buffer_bytes: WRITE_BUFFER_BYTES };
        self.backends.iter().map(|backend| backend.open(&self.dir(backend), memory)).collect()
    }

    /// Keys a second, looked up `together` at a time.
    fn look_up(&self, cache_bytes: usize, disk: Disk, together: usize) -> Rates {
        let engines = self.open(cache_bytes);
        for engine in &engines {
            // Also brings tables into the system's cache, and indexes and filters into RocksDB's.
            (0..self.budget.rows).for_each(|index| self.require(engine, &[data::key(Order::Random, index)]));
        }
        let mut rates = no_rates(self.backends);
        for round in 0..self.budget.reads {
            for (turn, engine) in turns(&engines, round) {
                self.prepare(turn, disk);
                let mut numbers = Numbers::new(round as u64);
                let mut looked_up = 0;
                let (began, stopwatch) = (Instant::now(), disk.stopwatch());
                while began.elapsed() < self.budget.turn {
                    let keys = (0..together).map(|_| data::key(Order::Random, numbers.below(self.budget.rows)));
                    self.require(engine, &keys.collect::<Vec<_>>());
                    looked_up += together;
                }
                rates[turn].1.push(looked_up as f64 / stopwatch.seconds());
            }
        }
        rates
    }

    fn require(&self, engine: &RocksEngine, keys: &[Vec<u8>]) {
        match keys {
            [key] => assert!(engine.get(Column::State, key).expect("readable").is_some()),
            keys => assert!(engine.multi_get(Column::State, keys).expect("readable").iter().all(Option::is_some)),
        }
    }

    /// Megabytes a second of keys and values.
    fn scan(&self, cache_bytes: usize, disk: Disk) -> Rates {
        let engines = self.open(cache_bytes);
        let mut rates = no_rates(self.backends);
        engines.iter().for_each(|engine| self.walk(engine));
        for round in 0..self.budget.reads {
            for (turn, engine) in turns(&engines, round) {
                self.prepare(turn, disk);
                let stopwatch = disk.stopwatch();
                self.walk(engine);
                rates[turn].1.push((self.budget.rows as usize * ROW_BYTES) as f64 / stopwatch.seconds() / 1e6);
            }
        }
        rates
    }

    fn walk(&self, engine: &RocksEngine) {
        let mut bytes = 0;
        let mut count = |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            ControlFlow::Continue(())
        };
        engine.walk(Column::State, &[], &mut count).expect("readable");
        assert_eq!(bytes, self.budget.rows as usize * ROW_BYTES);
    }

    fn prepare(&self, turn: usize, disk: Disk) {
        if disk == Disk::Dropped {
            tables(&self.dir(&self.backends[turn])).iter().for_each(|table| drop_from_cache(table));
        }
    }

    /// Bytes of all tables.
    fn sizes(&self) -> Rates {
        let bytes = |table: &PathBuf| std::fs::metadata(table).expect("a table").len() as f64;
        let size = |backend: &Backend| vec![tables(&self.dir(backend)).iter().map(bytes).sum()];
        self.backends.iter().map(|backend| (backend.name.clone(), size(backend))).collect()
    }
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).expect("a database").map(|entry| entry.expect("a name").path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "sst")).collect()
}

/// Tells the system to forget a file's pages. They are written already, or it would keep them.
fn drop_from_cache(file: &Path) {
    let file = std::fs::File::open(file).expect("a table");
    file.sync_all().expect("a disk");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("the system's cache");
}
