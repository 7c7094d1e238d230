//! LtHash over the whole state, and a Merkle root over one block's writes.
//!
//! - Row: `R = H("BIXI-LEDGER-ROW-V1" ‖ table ‖ len(key) ‖ key ‖ len(value) ‖ value)`, lengths as u32 little-endian: injective.
//! - Element: 1,024 lanes of 16 bits, little-endian, from `H(R ‖ 0) ‖ H(R ‖ 1) ‖ … ‖ H(R ‖ 63)`, indices as u32 little-endian.
//! - Sum: the lane-wise sum modulo 2^16 of the elements of all rows. A block takes old rows out and puts new rows in, so the sum
//!   does not depend on history or order, and an empty state is all zero (Bellare–Micciancio's AdHash over Z_{2^16}^1024, as
//!   analysed for LtHash by Lewi, Kim, Maykov and Weis, 2019).
//! - `changes_root`: Merkle root of `H("BIXI-LEDGER-CHANGE-V1" ‖ table ‖ len(key) ‖ key ‖ flag ‖ value)`, one leaf per write in
//!   order of table and key; flag 1 and the value when set, flag 0 when deleted.
//! - `state_root = H("BIXI-STATE-V1" ‖ H(sum) ‖ changes_root)`.
//!
//! The flat XOR of other chains commits to one block only and can be solved by linear algebra; here a collision is a short
//! integer solution of 1,024 equations.

use bixi_accel::sm3::lthash;
use bixi_types::state::StateTable;
use bixi_types::{CryptoSuite, H256, merkle};

use super::{Change, StateCommitment, Update};

const LANES: usize = lthash::LANES;
const SUM_BYTES: usize = 2 * LANES;
const HASH_BYTES: usize = 32;

const ROW_DOMAIN: &[u8] = b"BIXI-LEDGER-ROW-V1";
const CHANGE_DOMAIN: &[u8] = b"BIXI-LEDGER-CHANGE-V1";
const STATE_DOMAIN: &[u8] = b"BIXI-STATE-V1";

/// The commitment of protocol version 1.
#[derive(Debug, Clone, Copy)]
pub struct LatticeCommitment {
    suite: CryptoSuite,
}

impl LatticeCommitment {
    /// Uses the suite's hash throughout.
    pub fn new(suite: CryptoSuite) -> Self {
        Self { suite }
    }

    /// The seeds of rows, table, key and value each.
    fn row_seeds<'a>(&self, rows: impl Iterator<Item = (StateTable, &'a [u8], &'a [u8])>) -> Vec<[u8; HASH_BYTES]> {
        let rows: Vec<_> =
            rows.map(|(table, key, value)| ([table as u8], length(key), key, length(value), value)).collect();
        let images: Vec<[&[u8]; 6]> = rows
            .iter()
            .map(|(table, key_length, key, value_length, value)| {
                [ROW_DOMAIN, table, key_length, *key, value_length, *value]
            })
            .collect();
        self.suite.hash_many(&images).into_iter().map(|hash| hash.0).collect()
    }

    /// Takes old rows out of the sum and puts new ones in.
    fn replace_rows(&self, sum: &mut Sum, changes: &[Change<'_>]) {
        let changed = changes.iter().filter(|change| change.old != change.new);
        let removed = self.row_seeds(changed.clone().filter_map(|row| Some((row.table, row.key, row.old?))));
        let added = self.row_seeds(changed.filter_map(|row| Some((row.table, row.key, row.new?))));
        match self.suite {
            CryptoSuite::Sm => lthash::update(&mut sum.0, &removed, &added),
            CryptoSuite::Std => {
                removed.iter().for_each(|seed| sum.remove(&self.expand(seed)));
                added.iter().for_each(|seed| sum.add(&self.expand(seed)));
            }
        }
    }

    /// The element of a seed, by the definition above.
    fn expand(&self, seed: &[u8; HASH_BYTES]) -> [u8; SUM_BYTES] {
        let mut element = [0; SUM_BYTES];
        for (index, out) in (0u32..).zip(element.chunks_exact_mut(HASH_BYTES)) {
            out.copy_from_slice(&self.suite.hash(&[seed, &index.to_le_bytes()]).0);
        }
        element
    }

    fn change_leaves(&self, changes: &[Change<'_>]) -> Vec<H256> {
        let heads: Vec<_> = changes
            .iter()
            .map(|change| ([change.table as u8], length(change.key), [u8::from(change.new.is_some())]))
            .collect();
        let images: Vec<[&[u8]; 6]> = changes
            .iter()
            .zip(&heads)
            .map(|(change, (table, key_length, flag))| {
                [CHANGE_DOMAIN, table, key_length, change.key, flag, change.new.unwrap_or_default()]
            })
            .collect();
        self.suite.hash_many(&images)
    }
}

/// Changes hashed together: enough for every lane, little enough to stay in the cache.
const CHANGES_AT_ONCE: usize = 256;

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("keys and values are far below 4 GiB").to_le_bytes()
}

/// The lane-wise sum.
struct Sum([u16; LANES]);

impl Sum {
    fn from_bytes(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), SUM_BYTES, "an accumulator has {SUM_BYTES} bytes");
        let mut lanes = [0; LANES];
        for (lane, pair) in lanes.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([pair[0], pair[1]]);
        }
        Self(lanes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    fn add(&mut self, element: &[u8; SUM_BYTES]) {
        for (lane, pair) in self.0.iter_mut().zip(element.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([pair[0], pair[1]]));
        }
    }

    fn remove(&mut self, element: &[u8; SUM_BYTES]) {
        for (lane, pair) in self.0.iter_mut().zip(element.chunks_exact(2)) {
            *lane = lane.wrapping_sub(u16::from_le_bytes([pair[0], pair[1]]));
        }
    }
}

impl StateCommitment for LatticeCommitment {
    fn empty(&self) -> Vec<u8> {
        vec![0; SUM_BYTES]
    }

    fn accumulator_bytes(&self) -> usize {
        SUM_BYTES
    }

    fn apply(&self, accumulator: &[u8], changes: &[Change<'_>]) -> Update {
        let mut sum = Sum::from_bytes(accumulator);
        let mut leaves = Vec::with_capacity(changes.len());
        for changes in changes.chunks(CHANGES_AT_ONCE) {
            self.replace_rows(&mut sum, changes);
            leaves.extend(self.change_leaves(changes));
        }
        let accumulator = sum.to_bytes();
        let changes_root = merkle::root(self.suite, &leaves);
        let state_root = self.state_root(&accumulator, &changes_root);
        Update { accumulator, changes_root, state_root }
    }

    fn gather(&self, accumulator: &[u8], rows: &[Change<'_>]) -> Vec<u8> {
        let mut sum = Sum::from_bytes(accumulator);
        rows.chunks(CHANGES_AT_ONCE).for_each(|rows| self.replace_rows(&mut sum, rows));
        sum.to_bytes()
    }

    fn join(&self, one: &[u8], other: &[u8]) -> Vec<u8> {
        let mut sum = Sum::from_bytes(one);
        sum.add(other.try_into().expect("an accumulator has the length of an element"));
        sum.to_bytes()
    }

    fn state_root(&self, accumulator: &[u8], changes_root: &H256) -> H256 {
        let sum = self.suite.hash(&[accumulator]);
        self.suite.hash(&[STATE_DOMAIN, sum.as_ref(), changes_root.as_ref()])
    }

    fn change_leaf(&self, table: StateTable, key: &[u8], new: Option<&[u8]>) -> H256 {
        self.change_leaves(&[Change { table, key, old: None, new }])[0]
    }
}

#[cfg(test)]
mod tests;
