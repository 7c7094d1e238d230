//! Rows: the same for every contender and every run.

use bixi_ledger::engine::Batch;
use bixi_ledger::keys::Column;

/// Rows in one synced batch.
pub(crate) const BATCH_ROWS: u64 = 1_000;
const KEY_BYTES: usize = 33;
const VALUE_BYTES: usize = 128;
/// Bytes of one row.
pub(crate) const ROW_BYTES: usize = KEY_BYTES + VALUE_BYTES;

/// The order in which rows are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Sequential,
    Random,
}

/// A stream of numbers (SplitMix64).
#[derive(Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A state row's key: a table, then what looks like a hash, or rises.
pub(crate) fn key(order: Order, index: u64) -> Vec<u8> {
    let mut key = vec![0; KEY_BYTES];
    match order {
        Order::Sequential => key[1..9].copy_from_slice(&index.to_be_bytes()),
        Order::Random => fill(&mut Numbers::new(index), &mut key[1..]),
    }
    key
}

/// Words as contracts store them: half of the bytes cannot be compressed, the others are zero.
pub(crate) fn value(index: u64) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    let mut numbers = Numbers::new(!index);
    value.chunks_exact_mut(32).for_each(|word| fill(&mut numbers, &mut word[16..]));
    value
}

fn fill(numbers: &mut Numbers, out: &mut [u8]) {
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&numbers.next().to_be_bytes()[..chunk.len()]);
    }
}

/// Batches of all rows below `rows`.
pub(crate) fn batches(order: Order, rows: u64) -> impl Iterator<Item = Batch> {
    (0..rows).step_by(BATCH_ROWS as usize).map(move |first| {
        let mut batch = Batch::default();
        for index in first..(first + BATCH_ROWS).min(rows) {
            batch.put(Column::State, key(order, index), value(index));
        }
        batch
    })
}
