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

use bixi_types::state::StateTable;
use bixi_types::{CryptoSuite, H256, merkle};

use super::{Change, StateCommitment, Update};

const LANES: usize = 1024;
const SUM_BYTES: usize = 2 * LANES;
const HASH_BYTES: usize = 32;
const BLOCKS: usize = SUM_BYTES / HASH_BYTES;

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

    fn row_seed(&self, table: StateTable, key: &[u8], value: &[u8]) -> H256 {
        self.suite.hash(&[ROW_DOMAIN, &[table as u8], &length(key), key, &length(value), value])
    }

    fn expand(&self, seed: &H256) -> [u8; SUM_BYTES] {
        let mut messages = [[0u8; HASH_BYTES + 4]; BLOCKS];
        for (index, message) in (0u32..).zip(&mut messages) {
            message[..HASH_BYTES].copy_from_slice(&seed.0);
            message[HASH_BYTES..].copy_from_slice(&index.to_le_bytes());
        }
        let mut element = [0; SUM_BYTES];
        match self.suite {
            CryptoSuite::Sm => {
                let inputs: [&[u8]; BLOCKS] = std::array::from_fn(|i| messages[i].as_slice());
                let mut digests = [[0; HASH_BYTES]; BLOCKS];
                bixi_accel::sm3::digest_many(&inputs, &mut digests);
                element.copy_from_slice(digests.as_flattened());
            }
            CryptoSuite::Std => {
                for (out, message) in element.chunks_exact_mut(HASH_BYTES).zip(&messages) {
                    out.copy_from_slice(&self.suite.hash(&[message]).0);
                }
            }
        }
        element
    }
}

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
        for change in changes.iter().filter(|change| change.old != change.new) {
            if let Some(old) = change.old {
                sum.remove(&self.expand(&self.row_seed(change.table, change.key, old)));
            }
            if let Some(new) = change.new {
                sum.add(&self.expand(&self.row_seed(change.table, change.key, new)));
            }
        }
        let leaves: Vec<H256> =
            changes.iter().map(|change| self.change_leaf(change.table, change.key, change.new)).collect();
        let accumulator = sum.to_bytes();
        let changes_root = merkle::root(self.suite, &leaves);
        let state_root = self.state_root(&accumulator, &changes_root);
        Update { accumulator, changes_root, state_root }
    }

    fn state_root(&self, accumulator: &[u8], changes_root: &H256) -> H256 {
        let sum = self.suite.hash(&[accumulator]);
        self.suite.hash(&[STATE_DOMAIN, sum.as_ref(), changes_root.as_ref()])
    }

    fn change_leaf(&self, table: StateTable, key: &[u8], new: Option<&[u8]>) -> H256 {
        let flag = [u8::from(new.is_some())];
        self.suite.hash(&[CHANGE_DOMAIN, &[table as u8], &length(key), key, &flag, new.unwrap_or_default()])
    }
}

#[cfg(test)]
mod tests;
