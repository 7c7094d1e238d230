//! What the chain remembers for replay protection.
//!
//! A block may be ordered before its predecessors are executed and committed. [`Ledger::note_ordered`] makes them count at
//! once, so that every node drops the same transactions whatever the depth of its pipeline. The nonce window is measured from
//! the newest block ordered or committed. Only FISCO BCOS's nonces are random strings; Ethereum's count per account and are checked
//! against the state.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use bixi_types::genesis::Genesis;
use bixi_types::state::{History, StateError};
use bixi_types::transaction::{KIND_BCOS, Transaction, Verified};
use bixi_types::{Address, H256};

use crate::engine::Batch;
use crate::error::{LedgerError, damaged};
use crate::keys::{self, Column};
use crate::ledger::Ledger;

/// Blocks ordered and not yet committed.
#[derive(Default)]
pub(crate) struct Ordered {
    blocks: BTreeMap<u64, OrderedBlock>,
}

#[derive(Default)]
struct OrderedBlock {
    transactions: HashSet<H256>,
    nonces: HashSet<(Address, String)>,
}

impl Ordered {
    /// Forgets what is committed.
    pub(crate) fn forget_through(&mut self, number: u64) {
        self.blocks = self.blocks.split_off(&(number + 1));
    }

    /// Forgets a block and those above: they are to be ordered anew.
    pub(crate) fn forget_from(&mut self, number: u64) {
        self.blocks.split_off(&number);
    }

    fn top(&self) -> Option<u64> {
        self.blocks.last_key_value().map(|(number, _)| *number)
    }

    fn nonce_block(&self, sender: &Address, nonce: &str) -> Option<u64> {
        let key = (*sender, nonce.to_owned());
        self.blocks.iter().rev().find(|(_, block)| block.nonces.contains(&key)).map(|(number, _)| *number)
    }
}

/// Replay protection for the block after a given one, whether the blocks through that one are noted yet or not.
pub struct HistoryAfter<'a> {
    ledger: &'a Ledger,
    parent: u64,
}

impl Ledger {
    /// Replay protection for the block after `parent`: the nonce window is measured from `parent`.
    pub fn history_after(&self, parent: u64) -> HistoryAfter<'_> {
        HistoryAfter { ledger: self, parent }
    }

    /// Makes a decided block's transactions known to [`History`] before it is committed; repeating it replaces the block.
    pub fn note_ordered(&self, number: u64, transactions: &[Verified]) {
        let block = OrderedBlock {
            transactions: transactions.iter().map(|transaction| transaction.hash).collect(),
            nonces: transactions
                .iter()
                .filter(|transaction| transaction.tx.kind == KIND_BCOS)
                .map(|transaction| (transaction.sender, transaction.tx.nonce.clone()))
                .collect(),
        };
        let mut ordered = self.core.ordered.write();
        if number > self.core.committed_number() {
            ordered.blocks.insert(number, block);
        }
    }

    /// Adds the deletion of the nonces that leave the window when `number` is committed.
    pub(crate) fn forget_nonces(&self, batch: &mut Batch, number: u64, genesis: &Genesis) -> Result<(), LedgerError> {
        let Some(leaving) = number.checked_sub(u64::from(genesis.block_limit)) else { return Ok(()) };
        let mut old = Vec::new();
        self.core.engine.scan(Column::Index, &keys::nonces_at(leaving), &mut |key, _| {
            old.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in old {
            let nonce = keys::nonce_of_nonce_at(&key).ok_or_else(|| damaged("a nonce key"))?;
            // Used again meanwhile: the newer use stays.
            if self.core.engine.get(Column::Index, &nonce)?.as_deref() == Some(&keys::number(leaving)) {
                batch.delete(Column::Index, nonce);
            }
            batch.delete(Column::Index, key);
        }
        Ok(())
    }

    fn known(&self, hash: &H256) -> Result<bool, LedgerError> {
        if self.core.ordered.read().blocks.values().any(|block| block.transactions.contains(hash)) {
            return Ok(true);
        }
        Ok(self.core.engine.get(Column::Index, &keys::transaction_place(hash))?.is_some())
    }

    /// The newest block ordered or committed.
    fn newest(&self) -> u64 {
        self.core.ordered.read().top().unwrap_or(0).max(self.core.committed_number())
    }

    /// Whether a nonce is in the window of the block after `parent`.
    fn used(&self, sender: &Address, nonce: &str, parent: u64) -> Result<bool, LedgerError> {
        let block_limit = u64::from(self.core.head().ok_or(LedgerError::Uninitialised)?.genesis.block_limit);
        let noted = self.core.ordered.read().nonce_block(sender, nonce);
        let stored = self.core.engine.get(Column::Index, &keys::nonce(sender, nonce))?;
        let stored = stored.map(|value| keys::parse_number(&value).ok_or_else(|| damaged("a nonce record")));
        let used = noted.into_iter().chain(stored.transpose()?);
        Ok(used.max().is_some_and(|number| number.saturating_add(block_limit) > parent))
    }
}

/// Records a transaction's nonce.
pub(crate) fn put_nonce(batch: &mut Batch, number: u64, transaction: &Transaction, sender: &Address) {
    if transaction.kind == KIND_BCOS {
        let nonce = &transaction.nonce;
        batch.put(Column::Index, keys::nonce(sender, nonce), keys::number(number));
        batch.put(Column::Index, keys::nonce_at(number, sender, nonce), []);
    }
}

impl History for Ledger {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        self.known(hash).map_err(unreadable)
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        self.used(sender, nonce, self.newest()).map_err(unreadable)
    }
}

impl History for HistoryAfter<'_> {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        self.ledger.transaction_known(hash)
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        self.ledger.used(sender, nonce, self.parent).map_err(unreadable)
    }
}

fn unreadable(error: LedgerError) -> StateError {
    StateError(error.to_string())
}
