//! What a node keeps of its own when a snapshot takes the place of its ledger: every block and every receipt it held.
//!
//! Copied as it stands, block by block, in batches that carry how far they reach: a stop or a crash loses one batch, and whoever copies
//! again goes on from there. Nonces are not copied: those that still count come with the blocks of the snapshot's window.

use std::ops::ControlFlow;

use bixi_types::CryptoSuite;
use bixi_types::transaction::Transaction;

use super::Staging;
use crate::engine::{Batch, Engine};
use crate::error::{LedgerError, damaged};
use crate::keys::{self, Column};
use crate::ledger::Ledger;
use crate::records::{self, History, Past};

/// A batch is written once it holds so much.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

impl Staging {
    /// Copies what `own` holds and is not here; `false` when `go_on` said to stop.
    ///
    /// # Errors
    /// Either engine's, or [`LedgerError::Damaged`].
    pub fn keep(&self, own: &Ledger, go_on: &dyn Fn() -> bool) -> Result<bool, LedgerError> {
        self.keep_by(BATCH_BYTES, own, go_on)
    }

    pub(super) fn keep_by(
        &self,
        batch_bytes: usize,
        own: &Ledger,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool, LedgerError> {
        let target = Target {
            engine: self.engine.as_ref(),
            suite: self.suite,
            joined: self.manifest().height,
            first_block: self.first_block(),
        };
        target.keep(batch_bytes, own, go_on)
    }
}

impl Ledger {
    /// Copies what `own` holds and is not here, before this ledger takes its place; `false` when `go_on` said to stop. Known to those who
    /// open this ledger afterwards.
    ///
    /// # Errors
    /// As [`Staging::keep`].
    pub fn keep(&self, own: &Self, go_on: &dyn Fn() -> bool) -> Result<bool, LedgerError> {
        let Some(history) = self.history() else { return Ok(true) };
        let (engine, suite) = (self.core.engine.as_ref(), self.core.suite);
        let History { joined, first_block } = history;
        Target { engine, suite, joined, first_block }.keep(BATCH_BYTES, own, go_on)
    }
}

/// The database that began with a snapshot.
struct Target<'a> {
    engine: &'a dyn Engine,
    suite: CryptoSuite,
    /// Height of the snapshot.
    joined: u64,
    /// From here on the snapshot brings blocks, receipts aside.
    first_block: u64,
}

impl Target<'_> {
    fn keep(&self, batch_bytes: usize, own: &Ledger, go_on: &dyn Fn() -> bool) -> Result<bool, LedgerError> {
        let held = own.held();
        let past = self.engine.get(Column::Meta, keys::META_PAST)?;
        let mut past: Past = past.map(|bytes| records::decode("the past", &bytes)).transpose()?.unwrap_or_default();
        let mut copy = Copied::default();
        for number in 1..=own.height().min(self.joined) {
            if number < self.first_block && held.blocks.contains(number) && !past.blocks.contains(number) {
                copy.block(own, self.suite, number)?;
                past.blocks.insert(number, number);
            }
            if held.receipts.contains(number) && !past.receipts.contains(number) {
                copy.rows(own, &keys::receipts(number))?;
                past.receipts.insert(number, number);
            }
            if copy.bytes >= batch_bytes {
                self.write(std::mem::take(&mut copy), &past)?;
                if !go_on() {
                    return Ok(false);
                }
            }
        }
        self.write(copy, &past)?;
        Ok(true)
    }

    fn write(&self, Copied { mut batch, .. }: Copied, past: &Past) -> Result<(), LedgerError> {
        batch.put(Column::Meta, keys::META_PAST, records::encode(past));
        Ok(self.engine.write(batch)?)
    }
}

/// Rows on their way.
#[derive(Default)]
struct Copied {
    batch: Batch,
    bytes: usize,
}

impl Copied {
    fn row(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.batch.put(Column::Chain, key, value);
    }

    /// Every row of the column `chain` below a prefix.
    fn rows(&mut self, own: &Ledger, prefix: &[u8]) -> Result<(), LedgerError> {
        own.core.engine.scan(Column::Chain, prefix, &mut |key, value| {
            self.row(key, value);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Body, recipe and transactions with their places.
    fn block(&mut self, own: &Ledger, suite: CryptoSuite, number: u64) -> Result<(), LedgerError> {
        for key in [keys::body(number), keys::batches(number)] {
            if let Some(value) = own.core.engine.get(Column::Chain, &key)? {
                self.row(&key, &value);
            }
        }
        let transactions = own.block(number)?.ok_or_else(|| damaged(format_args!("block {number} is missing")))?;
        for (index, bytes) in (0u32..).zip(&transactions.transactions) {
            let transaction = Transaction::decode(bytes)
                .map_err(|error| damaged(format_args!("transaction {index} of block {number}: {error}")))?;
            self.row(&keys::transaction(number, index), bytes);
            let place = keys::transaction_place(&transaction.hash(suite));
            self.batch.put(Column::Index, place, keys::place(number, index));
        }
        Ok(())
    }
}
