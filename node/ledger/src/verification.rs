//! A ledger that is read by who believes none of its rows.
//!
//! What authenticates may be wrong all the same: put there by this program, by another one that had the keys, or by a disk that gave back
//! what was there before. So everything that can be computed is computed again: a height from its own rows ([`Subject::height`]), the
//! indexes against the heights and the other way about ([`Subject::entries`], [`Subject::count`]), the state's commitment from every row of
//! the state ([`Subject::rows`], [`Subject::gather`], [`Subject::state`]). Who signed is for the caller, who knows the validators.
//!
//! Nothing is held that grows with the ledger: heights are looked at one by one, and that an index has nothing besides what the heights
//! call for is told by counting.

mod height;
mod index;

use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_types::genesis::Genesis;
use bixi_types::state::{StateKey, WriteSet};
use bixi_types::{CryptoSuite, H256};

use crate::commitment::{Change, LatticeCommitment, StateCommitment as _};
use crate::engine::{Engine, Reader};
use crate::error::{LedgerError, damaged};
use crate::keys::{self, Column};
use crate::ledger::{HeadState, genesis_state_root};
use crate::open::{Params, load_records};
use crate::records::Head;

pub use height::{Height, Indexed};
pub use index::{Entries, IndexPart};

/// Rows of the state at once, and bytes of their values above which there are fewer.
const ROWS_AT_ONCE: usize = 4_096;
const ROW_BYTES_AT_ONCE: usize = 4 << 20;

/// Is told of each fault.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// The ledger.
pub struct Subject {
    engine: Box<dyn Engine>,
    suite: CryptoSuite,
    commitment: LatticeCommitment,
    state: HeadState,
}

/// Rows of the state in the order of their keys.
pub struct Rows(Vec<(StateKey, Vec<u8>)>);

impl Rows {
    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The sum with these rows.
    pub(crate) fn gather(&self, commitment: &LatticeCommitment, sum: &[u8]) -> Vec<u8> {
        let changes: Vec<Change<'_>> = self
            .0
            .iter()
            .map(|(key, value)| Change { table: key.table, key: &key.key, old: None, new: Some(value) })
            .collect();
        commitment.gather(sum, &changes)
    }
}

/// Whoever began a chain among rows of another would have them in his state.
fn expect_no_rows(engine: &dyn Engine) -> Result<(), LedgerError> {
    for column in Column::ALL {
        let mut has_rows = false;
        engine.walk(column, &[], &mut |_, _| {
            has_rows = true;
            ControlFlow::Break(())
        })?;
        if has_rows {
            return Err(damaged(format_args!("there are rows in {:?} but no schema version", column.name())));
        }
    }
    Ok(())
}

/// Every row of the state once, some at a time, until `visit` breaks.
pub(crate) fn each_rows(
    reader: &dyn Reader,
    visit: &mut dyn FnMut(Rows) -> ControlFlow<()>,
) -> Result<(), LedgerError> {
    let mut rows: Vec<(StateKey, Vec<u8>)> = Vec::with_capacity(ROWS_AT_ONCE);
    let (mut stray, mut is_ended, mut bytes) = (None, false, 0);
    reader.walk(Column::State, &[], &mut |key, value| {
        let Some(parsed) = keys::parse_state(key) else {
            stray = Some(damaged("a row of no table"));
            return ControlFlow::Break(());
        };
        rows.push((parsed, value.to_vec()));
        bytes += value.len();
        if rows.len() < ROWS_AT_ONCE && bytes < ROW_BYTES_AT_ONCE {
            return ControlFlow::Continue(());
        }
        bytes = 0;
        let flow = visit(Rows(std::mem::replace(&mut rows, Vec::with_capacity(ROWS_AT_ONCE))));
        is_ended = flow.is_break();
        flow
    })?;
    match stray {
        Some(error) => Err(error),
        None => {
            if !(is_ended || rows.is_empty()) {
                let _ = visit(Rows(rows));
            }
            Ok(())
        }
    }
}

impl Subject {
    /// Opens the ledger in the directory of `params` as it is: nothing is written. `None` where no chain was begun. One that was sealed from
    /// plaintext and is not verified yet is opened.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when the files cannot be opened, [`LedgerError::Schema`], [`LedgerError::OtherChain`], or records without which
    /// nothing else can be read.
    pub fn open(params: &Params) -> Result<Option<Self>, LedgerError> {
        let (suite, genesis) = (params.suite, params.genesis);
        Self::on(Box::new(params.open_engine_to_verify()?), suite, genesis)
    }

    /// The same on any engine.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(engine: Box<dyn Engine>, suite: CryptoSuite, genesis: Option<H256>) -> Result<Option<Self>, LedgerError> {
        let commitment = LatticeCommitment::new(suite);
        let state = load_records(engine.as_ref(), suite, genesis)?;
        if state.is_none() {
            expect_no_rows(engine.as_ref())?;
        }
        Ok(state.map(|state| Self { engine, suite, commitment, state }))
    }

    /// The chain.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.state.genesis
    }

    /// Height and header hash of the head.
    pub fn head(&self) -> (u64, H256) {
        (self.state.head.number, self.state.head.hash)
    }

    /// Names of the tables that the database is made of, without their directory.
    ///
    /// # Errors
    /// The engine's.
    pub fn tables(&self) -> Result<Vec<String>, LedgerError> {
        Ok(self.engine.tables()?)
    }

    /// The state root of a chain's first rows.
    pub fn genesis_state_root(&self, writes: &WriteSet) -> H256 {
        genesis_state_root(&self.commitment, writes)
    }

    /// Every row of the state once, some at a time, until `visit` breaks.
    ///
    /// # Errors
    /// The engine's, or a row of no table.
    pub fn rows(&self, visit: &mut dyn FnMut(Rows) -> ControlFlow<()>) -> Result<(), LedgerError> {
        each_rows(self.engine.as_ref(), visit)
    }

    /// The sum of no rows.
    pub fn empty_sum(&self) -> Vec<u8> {
        self.commitment.empty()
    }

    /// A sum with some rows more.
    pub fn gather(&self, sum: &[u8], rows: &Rows) -> Vec<u8> {
        rows.gather(&self.commitment, sum)
    }

    /// The sum of the rows of both.
    pub fn join(&self, one: &[u8], other: &[u8]) -> Vec<u8> {
        self.commitment.join(one, other)
    }

    /// Holds the sum of all rows against what the head says of them.
    ///
    /// # Errors
    /// The engine's, or a header that cannot be read.
    pub fn state(&self, sum: &[u8], tell: Tell<'_>) -> Result<(), LedgerError> {
        let HeadState { head: Head { number, changes_root, .. }, accumulator, .. } = &self.state;
        let Some(header) = self.header(*number)? else { return Ok(()) };
        let has_root = |sum: &[u8]| self.commitment.state_root(sum, changes_root) == header.state_root;
        match (has_root(accumulator), has_root(sum)) {
            (true, true) => {}
            (true, false) => tell(format!(
                "its rows do not have the state root of header {number}: a row is wrong, missing, or too many; which, the sum cannot tell"
            )),
            (false, true) => {
                tell(format!("the stored sum is not that of its rows, which have the state root of header {number}"))
            }
            (false, false) => {
                tell(format!("neither its rows nor the stored sum have the state root of header {number}"))
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
