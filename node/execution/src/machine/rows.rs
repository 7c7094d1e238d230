//! Rows of system contracts, on revm's journal.
//!
//! A row written in a transaction is appended to an arena; *which* entry of the arena is the row's newest value is kept as
//! transient storage (EIP-1153) of an address where no byte code ever runs. revm undoes transient storage with the frame that
//! wrote it, so a row is undone exactly when its frame is, without a second journal that could disagree with the first.

use std::collections::BTreeMap;

use bixi_types::state::StateKey;
use revm::context::{ContextTr, JournalTr};
use revm::primitives::{Address as EvmAddress, U256};

use super::Context;
use crate::ExecutionError;
use crate::system::{Contract, Rows};

/// The rows one transaction has written.
#[derive(Debug, Default)]
pub(crate) struct RowJournal {
    /// Number of each row: its slot in transient storage.
    numbers: BTreeMap<StateKey, u64>,
    /// Every value ever written, dropped ones included; slot `n + 1` means entry `n`.
    values: Vec<Option<Vec<u8>>>,
    /// What stood at the end.
    written: BTreeMap<StateKey, Option<Vec<u8>>>,
}

impl RowJournal {
    pub(super) fn take_written(&mut self) -> BTreeMap<StateKey, Option<Vec<u8>>> {
        std::mem::take(&mut self.written)
    }
}

/// The rows as a frame of the running transaction sees them.
pub(super) struct FrameRows<'c, 'a>(pub(super) &'c mut Context<'a>);

impl FrameRows<'_, '_> {
    /// The value this transaction gave to the row, if a frame that still stands did.
    fn own(&mut self, key: &StateKey) -> Option<Option<Vec<u8>>> {
        let number = *self.0.chain.rows.numbers.get(key)?;
        let entry = usize::try_from(self.0.journal_mut().tload(anchor(), U256::from(number))).ok()?;
        entry.checked_sub(1).map(|entry| self.0.chain.rows.values[entry].clone())
    }
}

impl Rows for FrameRows<'_, '_> {
    fn get(&mut self, key: &StateKey) -> Result<Option<Vec<u8>>, ExecutionError> {
        match self.own(key) {
            Some(row) => Ok(row),
            None => self.0.journaled_state.database.row(key),
        }
    }

    fn set(&mut self, key: StateKey, row: Option<Vec<u8>>) {
        let rows = &mut self.0.chain.rows;
        rows.values.push(row);
        let entry = U256::from(rows.values.len());
        let next = rows.numbers.len() as u64;
        let number = *rows.numbers.entry(key).or_insert(next);
        self.0.journal_mut().tstore(anchor(), U256::from(number), entry);
    }
}

/// Fixes what stands, before revm clears transient storage at the end of the transaction.
pub(super) fn settle(context: &mut Context<'_>) {
    let keys: Vec<StateKey> = context.chain.rows.numbers.keys().cloned().collect();
    for key in keys {
        if let Some(row) = FrameRows(context).own(&key) {
            context.chain.rows.written.insert(key, row);
        }
    }
}

fn anchor() -> EvmAddress {
    EvmAddress::from(Contract::SystemConfig.address().0)
}
