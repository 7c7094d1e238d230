//! Small writes made durable: what the write-ahead log costs.

use std::path::Path;
use std::time::Instant;

use bixi_ledger::engine::rocks::{Memory, RocksEngine};
use bixi_ledger::engine::{Batch, Engine as _};
use bixi_ledger::keys::Column;

use crate::Budget;
use crate::backend::Backend;
use crate::data::{self, Order};
use crate::report::{Goal, Report, Row, Unit};
use crate::tables::{no_rates, turns};

/// Writes before the next contender has its turn: short, so that a busy moment of the disk hits all of them.
const WRITES_TOGETHER: usize = 10;
const ROWS: [u64; 2] = [1, 100];
/// Quantiles are taken over this many stretches of the turns, each beside plaintext's of the same stretch: one tail of all writes is made by a
/// few busy moments of the disk, and whose turn it was then.
const STRETCHES: usize = 9;
/// A 99th percentile of fewer writes is one of the slowest, and is not held against a goal.
const TAIL_WRITES_MIN: usize = 500;

pub(crate) fn measure(report: &mut Report, backends: &[Backend], budget: Budget, place: &Path) {
    for rows in ROWS {
        let named = |quantile: &str| report.named("ledger::engine::sync").with("rows", rows).with("time", quantile);
        let (median, tail) = (named("p50"), named("p99"));
        if !report.wants(&median) && !report.wants(&tail) {
            continue;
        }
        let memory = Memory { cache_bytes: 8 << 20, write_buffer_bytes: 32 << 20 };
        let place = place.join(format!("sync-{rows}"));
        let open = |backend: &Backend| {
            let dir = place.join(&backend.name);
            std::fs::create_dir_all(&dir).expect("a directory");
            backend.open(&dir, memory)
        };
        let engines: Vec<_> = backends.iter().map(open).collect();
        let (mut medians, mut tails) = (no_rates(backends), no_rates(backends));
        let rounds = (budget.syncs / WRITES_TOGETHER / STRETCHES).max(1);
        for stretch in 0..STRETCHES {
            let mut latencies: Vec<Vec<f64>> = backends.iter().map(|_| Vec::new()).collect();
            for round in stretch * rounds..(stretch + 1) * rounds {
                let index = (round * WRITES_TOGETHER) as u64 * rows;
                for (turn, engine) in turns(&engines, round) {
                    // The first after the others' turns finds caches that are theirs.
                    latencies[turn].extend(write(engine, index, rows).into_iter().skip(1));
                }
            }
            for (turn, latencies) in latencies.iter_mut().enumerate() {
                latencies.sort_unstable_by(f64::total_cmp);
                let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
                medians[turn].1.push(at(0.50));
                tails[turn].1.push(at(0.99));
            }
        }
        report.add(Row::new(median, Unit::Microseconds, medians).typical());
        let tail = Row::new(tail, Unit::Microseconds, tails).typical();
        let is_tail = rounds * (WRITES_TOGETHER - 1) >= TAIL_WRITES_MIN;
        report.add(if is_tail { tail.goal(Goal::AtMost(1.10)) } else { tail });
        drop(engines);
        std::fs::remove_dir_all(place).expect("our own directory");
    }
}

/// Microseconds of each write.
fn write(engine: &RocksEngine, first: u64, rows: u64) -> Vec<f64> {
    let batch = |write: usize| {
        let mut batch = Batch::default();
        let first = first + write as u64 * rows;
        (first..first + rows)
            .for_each(|index| batch.put(Column::State, data::key(Order::Random, index), data::value(index)));
        batch
    };
    let batches: Vec<_> = (0..WRITES_TOGETHER).map(batch).collect();
    let timed = |batch| {
        let began = Instant::now();
        engine.write(batch).expect("room");
        began.elapsed().as_secs_f64() * 1e6
    };
    batches.into_iter().map(timed).collect()
}
