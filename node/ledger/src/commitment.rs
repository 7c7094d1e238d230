//! State commitment: what a header says about the state.
//!
//! Behind a trait, because its format is part of consensus and must be replaceable at a named height.

use bixi_types::H256;
use bixi_types::state::StateTable;

mod lattice;

pub use lattice::LatticeCommitment;

/// One row a block changes: the row before and after. Given once per row and block, sorted by table and key.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Its table.
    pub table: StateTable,
    /// Its key within the table.
    pub key: &'a [u8],
    /// Before the block; `None` is absent.
    pub old: Option<&'a [u8]>,
    /// After the block; `None` is absent.
    pub new: Option<&'a [u8]>,
}

/// What a block does to the commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The accumulator after the block, to be stored with it.
    pub accumulator: Vec<u8>,
    /// Commitment to this block's writes.
    pub changes_root: H256,
    /// What goes into the header.
    pub state_root: H256,
}

/// Commits to the whole state and to one block's writes. Pure.
pub trait StateCommitment: Send + Sync {
    /// The accumulator of the empty state.
    fn empty(&self) -> Vec<u8>;

    /// Length of every accumulator.
    fn accumulator_bytes(&self) -> usize;

    /// Applies one block's changes. Panics when `accumulator` has another length than [`Self::accumulator_bytes`].
    fn apply(&self, accumulator: &[u8], changes: &[Change<'_>]) -> Update;

    /// The accumulator with rows of no block: for summing up a whole state. Panics as [`Self::apply`].
    fn gather(&self, accumulator: &[u8], rows: &[Change<'_>]) -> Vec<u8>;

    /// The accumulator of the rows of both, where no row is in either twice. Panics as [`Self::apply`].
    fn join(&self, one: &[u8], other: &[u8]) -> Vec<u8>;

    /// The state root of an accumulator and a block's changes root.
    fn state_root(&self, accumulator: &[u8], changes_root: &H256) -> H256;

    /// Leaf of one write under `changes_root`: what a proof starts from.
    fn change_leaf(&self, table: StateTable, key: &[u8], new: Option<&[u8]>) -> H256;
}
