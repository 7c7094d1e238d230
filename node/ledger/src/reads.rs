//! Reading blocks, transactions and receipts back.

use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_types::H256;
use bixi_types::genesis::Genesis;
use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;

use crate::error::{LedgerError, damaged};
use crate::keys::{self, Column};
use crate::ledger::{Core, Ledger};
use crate::records::{self, Body, Counts, Heights, History, Outline, Past, StoredBlock, StoredTransaction};

impl Core {
    pub(crate) fn header(&self, number: u64) -> Result<Option<BlockHeader>, LedgerError> {
        let Some(bytes) = self.engine.get(Column::Chain, &keys::header(number))? else { return Ok(None) };
        let header = BlockHeader::decode(&bytes).map_err(|error| damaged(format_args!("header {number}: {error}")))?;
        Ok(Some(header))
    }

    fn values(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, LedgerError> {
        let mut values = Vec::new();
        self.engine.scan(Column::Chain, prefix, &mut |_, value| {
            values.push(value.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(values)
    }
}

fn decode_receipt(number: u64, bytes: &[u8]) -> Result<Receipt, LedgerError> {
    Receipt::decode(bytes).map_err(|error| damaged(format_args!("a receipt of block {number}: {error}")))
}

impl Ledger {
    /// The genesis; `None` before [`Self::initialise`].
    pub fn genesis(&self) -> Option<Arc<Genesis>> {
        self.core.head().map(|state| Arc::clone(&state.genesis))
    }

    /// Height of the head; 0 before [`Self::initialise`].
    pub fn height(&self) -> u64 {
        self.core.committed_number()
    }

    /// Height and header hash of the head, of one moment; `None` before [`Self::initialise`].
    pub fn head(&self) -> Option<(u64, H256)> {
        self.core.head().map(|state| (state.head.number, state.head.hash))
    }

    /// Header hash of the head; `None` before [`Self::initialise`].
    pub fn head_hash(&self) -> Option<H256> {
        self.core.head().map(|state| state.head.hash)
    }

    /// Transactions in the chain.
    pub fn counts(&self) -> Counts {
        self.core.head().map_or_else(Counts::default, |state| state.head.counts)
    }

    /// What is not here, when the ledger began with a snapshot.
    pub fn history(&self) -> Option<History> {
        self.core.head().and_then(|state| state.history)
    }

    /// Refuses a block whose transactions are not here; genesis is always there.
    fn check_block(&self, number: u64) -> Result<(), LedgerError> {
        self.check_history("transactions", number, |history| history.first_block, |past| &past.blocks)
    }

    /// Refuses a block whose receipts are not here.
    fn check_receipts(&self, number: u64) -> Result<(), LedgerError> {
        self.check_history("receipts", number, |history| history.joined + 1, |past| &past.receipts)
    }

    fn check_history(
        &self,
        what: &'static str,
        number: u64,
        first: impl FnOnce(History) -> u64,
        kept: impl FnOnce(&Past) -> &Heights,
    ) -> Result<(), LedgerError> {
        let Some(state) = self.core.head() else { return Ok(()) };
        match state.history.map(first) {
            Some(first) if (1..first).contains(&number) && !kept(&state.past).contains(number) => {
                Err(LedgerError::NoHistory { what, number, first })
            }
            _ => Ok(()),
        }
    }

    /// What a ledger can give of the heights up to its head to one that takes its place.
    pub(crate) fn held(&self) -> Past {
        let Some(state) = self.core.head() else { return Past::default() };
        let mut held = Past::clone(&state.past);
        let (block, receipts) = state.history.map_or((1, 1), |history| (history.first_block, history.joined + 1));
        held.blocks.insert(block, state.head.number);
        held.receipts.insert(receipts, state.head.number);
        held
    }

    /// A committed header, with the quorum's signatures.
    ///
    /// # Errors
    /// As every read here: the engine failed or a record is damaged. The node must stop.
    pub fn header(&self, number: u64) -> Result<Option<BlockHeader>, LedgerError> {
        self.core.header(number)
    }

    /// A committed block without its transactions: three reads, whatever its size.
    ///
    /// # Errors
    /// [`LedgerError::NoHistory`], and as [`Self::header`].
    pub fn outline(&self, number: u64) -> Result<Option<Outline>, LedgerError> {
        self.check_block(number)?;
        let Some(header) = self.core.header(number)? else { return Ok(None) };
        let body = self.core.engine.get(Column::Chain, &keys::body(number))?;
        let body = body.ok_or_else(|| damaged(format_args!("block {number} has a header but no body")))?;
        let Body { transaction_count, value, certificate } = records::decode("a block body", &body)?;
        let batches = self.core.engine.get(Column::Chain, &keys::batches(number))?;
        Ok(Some(Outline { header, transaction_count, value, certificate, batches }))
    }

    /// A committed block.
    ///
    /// # Errors
    /// [`LedgerError::NoHistory`], and as [`Self::header`].
    pub fn block(&self, number: u64) -> Result<Option<StoredBlock>, LedgerError> {
        let Some(outline) = self.outline(number)? else { return Ok(None) };
        let Outline { header, transaction_count, value, certificate, batches } = outline;
        let transactions = self.core.values(&keys::transactions(number))?;
        if transactions.len() != transaction_count as usize {
            let found = transactions.len();
            return Err(damaged(format_args!("block {number} has {found} of {transaction_count} transactions")));
        }
        Ok(Some(StoredBlock { header, transactions, value, certificate, batches }))
    }

    /// The canonical bytes of a committed block's transaction at a place.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn transaction_at(&self, number: u64, index: u32) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.core.engine.get(Column::Chain, &keys::transaction(number, index))?)
    }

    /// Header hash of a committed height.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn hash_of(&self, number: u64) -> Result<Option<H256>, LedgerError> {
        if number > self.height() {
            return Ok(None);
        }
        self.core.hash_at(number)
    }

    /// Height of a committed header hash.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn number_of(&self, hash: &H256) -> Result<Option<u64>, LedgerError> {
        let value = self.core.engine.get(Column::Index, &keys::block_number(hash))?;
        value.map(|value| keys::parse_number(&value).ok_or_else(|| damaged("a block number record"))).transpose()
    }

    fn place_of(&self, hash: &H256) -> Result<Option<(u64, u32)>, LedgerError> {
        let value = self.core.engine.get(Column::Index, &keys::transaction_place(hash))?;
        value.map(|value| keys::parse_place(&value).ok_or_else(|| damaged("a transaction index record"))).transpose()
    }

    /// A committed transaction.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn transaction(&self, hash: &H256) -> Result<Option<StoredTransaction>, LedgerError> {
        let Some((number, index)) = self.place_of(hash)? else { return Ok(None) };
        let bytes = self.core.engine.get(Column::Chain, &keys::transaction(number, index))?;
        let bytes = bytes.ok_or_else(|| damaged(format_args!("transaction {index} of block {number} is missing")))?;
        Ok(Some(StoredTransaction { bytes, number, index }))
    }

    /// The receipt of a committed transaction.
    ///
    /// # Errors
    /// [`LedgerError::NoHistory`], and as [`Self::header`].
    pub fn receipt(&self, hash: &H256) -> Result<Option<Receipt>, LedgerError> {
        let Some((number, index)) = self.place_of(hash)? else { return Ok(None) };
        self.check_receipts(number)?;
        let bytes = self.core.engine.get(Column::Chain, &keys::receipt(number, index))?;
        let bytes = bytes.ok_or_else(|| damaged(format_args!("receipt {index} of block {number} is missing")))?;
        decode_receipt(number, &bytes).map(Some)
    }

    /// Every receipt of a committed block, in order; empty when there is no such block.
    ///
    /// # Errors
    /// [`LedgerError::NoHistory`], and as [`Self::header`].
    pub fn receipts(&self, number: u64) -> Result<Vec<Receipt>, LedgerError> {
        self.check_receipts(number)?;
        let encoded = self.core.values(&keys::receipts(number))?;
        encoded.iter().map(|bytes| decode_receipt(number, bytes)).collect()
    }
}
