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

    fn top(&self) -> Option<u64> {
        self.blocks.last_key_value().map(|(number, _)| *number)
    }

    fn nonce_block(&self, sender: &Address, nonce: &str) -> Option<u64> {
        let key = (*sender, nonce.to_owned());
        self.blocks.iter().rev().find(|(_, block)| block.nonces.contains(&key)).map(|(number, _)| *number)
    }
}

/// What every node knows of past transactions that holds the chain through one height, whatever it has executed or committed above.
pub struct HistoryAt<'a> {
    ledger: &'a Ledger,
    base: u64,
    parent: u64,
}

impl Ledger {
    /// Replay protection for the block after `parent`, by the chain through `base`. The answers are the same on every node whose head is
    /// between the two: a nonce that leaves the window at or below `parent` is free, whether it is forgotten here or not.
    pub fn history_at(&self, base: u64, parent: u64) -> HistoryAt<'_> {
        HistoryAt { ledger: self, base, parent }
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

    /// The committed block that used a nonce last, unless it is forgotten.
    fn stored_nonce(&self, sender: &Address, nonce: &str) -> Result<Option<u64>, LedgerError> {
        let stored = self.core.engine.get(Column::Index, &keys::nonce(sender, nonce))?;
        stored.map(|value| keys::parse_number(&value).ok_or_else(|| damaged("a nonce record"))).transpose()
    }

    fn used(&self, sender: &Address, nonce: &str) -> Result<bool, LedgerError> {
        let state = self.core.head().ok_or(LedgerError::Uninitialised)?;
        let (noted, top) = {
            let ordered = self.core.ordered.read();
            (ordered.nonce_block(sender, nonce), ordered.top().unwrap_or(0).max(state.head.number))
        };
        let stored = self.stored_nonce(sender, nonce)?;
        let block_limit = u64::from(state.genesis.block_limit);
        Ok(noted.into_iter().chain(stored).any(|number| number.saturating_add(block_limit) > top))
    }
}

impl HistoryAt<'_> {
    fn known(&self, hash: &H256) -> Result<bool, LedgerError> {
        let Some(place) = self.ledger.core.engine.get(Column::Index, &keys::transaction_place(hash))? else {
            return Ok(false);
        };
        let (number, _) = keys::parse_place(&place).ok_or_else(|| damaged("the place of a transaction"))?;
        Ok(number <= self.base)
    }

    fn used(&self, sender: &Address, nonce: &str) -> Result<bool, LedgerError> {
        let genesis = &self.ledger.core.head().ok_or(LedgerError::Uninitialised)?.genesis;
        let block_limit = u64::from(genesis.block_limit);
        let stored = self.ledger.stored_nonce(sender, nonce)?.filter(|number| *number <= self.base);
        Ok(stored.is_some_and(|number| number.saturating_add(block_limit) > self.parent))
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
        self.used(sender, nonce).map_err(unreadable)
    }
}

impl History for HistoryAt<'_> {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        self.known(hash).map_err(unreadable)
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        self.used(sender, nonce).map_err(unreadable)
    }
}

fn unreadable(error: LedgerError) -> StateError {
    StateError(error.to_string())
}
