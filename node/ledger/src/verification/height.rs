//! One height: its rows against each other and against its header.

use std::ops::ControlFlow;

use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use bixi_types::transaction::{KIND_BCOS, Transaction};
use bixi_types::{H256, merkle};

use super::{Subject, Tell};
use crate::error::LedgerError;
use crate::keys::{self, Column};
use crate::records::{self, Body, StoredBlock};
use crate::snapshot::transactions_of;

/// What a height holds, once its rows were looked at.
pub struct Height {
    /// With the quorum's signatures; none where there is no header that can be read.
    pub header: Option<BlockHeader>,
    /// None where the ledger does not have the block, by a snapshot, or where it is damaged.
    pub block: Option<StoredBlock>,
    /// What must be in the index for it.
    pub indexed: Indexed,
}

/// Entries of the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Of transactions by their hash.
    pub transactions: u64,
    /// Of nonces that still count.
    pub nonces: u64,
    /// Transactions whose receipt has a status other than 0.
    pub failed: u64,
    /// Blocks that could not be read to their end: nothing can be counted then.
    pub unread: u64,
}

impl std::ops::AddAssign for Indexed {
    fn add_assign(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.nonces += other.nonces;
        self.failed += other.failed;
        self.unread += other.unread;
    }
}

impl Subject {
    /// A header as it is stored.
    ///
    /// # Errors
    /// The engine's. One that cannot be decoded is none.
    pub fn header(&self, number: u64) -> Result<Option<BlockHeader>, LedgerError> {
        let bytes = self.engine.get(Column::Chain, &keys::header(number))?;
        Ok(bytes.and_then(|bytes| BlockHeader::decode(&bytes).ok()))
    }

    /// Looks at the rows of a height up to the head's: header and hash, transactions and receipts under its roots, places in the index.
    ///
    /// # Errors
    /// The engine's: nothing is known of the height then.
    pub fn height(&self, number: u64, tell: Tell<'_>) -> Result<Height, LedgerError> {
        let header = self.checked_header(number, tell)?;
        let mut height = Height { header, block: None, indexed: Indexed::default() };
        if self.holds_block(number) {
            height.block = self.checked_block(number, height.header.as_ref(), &mut height.indexed, tell)?;
            height.indexed.unread = u64::from(height.block.is_none());
        }
        if self.holds_receipts(number) {
            self.check_receipts(number, &mut height, tell)?;
        }
        Ok(height)
    }

    fn holds_block(&self, number: u64) -> bool {
        self.state.history.is_none_or(|history| {
            number == 0 || number >= history.first_block || self.state.past.blocks.contains(number)
        })
    }

    fn holds_receipts(&self, number: u64) -> bool {
        self.state
            .history
            .is_none_or(|history| number == 0 || number > history.joined || self.state.past.receipts.contains(number))
    }

    /// The one row that may stand under a key.
    fn only_row(&self, key: &[u8], what: &str, tell: Tell<'_>) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut row = None;
        self.engine.scan(Column::Chain, key, &mut |found, value| {
            if found == key {
                row = Some(value.to_vec());
            } else {
                tell(format!("a row that nothing names stands behind its {what}"));
            }
            ControlFlow::Continue(())
        })?;
        Ok(row)
    }

    fn checked_header(&self, number: u64, tell: Tell<'_>) -> Result<Option<BlockHeader>, LedgerError> {
        let stored_hash = self.only_row(&keys::hash(number), "hash", tell)?;
        let Some(bytes) = self.only_row(&keys::header(number), "header", tell)? else {
            tell("its header is missing".into());
            return Ok(None);
        };
        let header = match BlockHeader::decode(&bytes) {
            Ok(header) => header,
            Err(error) => {
                tell(format!("its header cannot be read: {error}"));
                return Ok(None);
            }
        };
        let hash = header.hash(self.suite);
        if u64::try_from(header.number) != Ok(number) {
            tell(format!("its header is that of height {}", header.number));
        }
        if stored_hash.as_deref() != Some(hash.as_ref()) {
            tell(format!("the hash stored for its header is not the header's, {hash}"));
        }
        let (head, head_hash) = self.head();
        if number == head && hash != head_hash {
            tell(format!("its header is not the head's, {head_hash}"));
        }
        if self.engine.get(Column::Index, &keys::block_number(&hash))?.as_deref() != Some(&keys::number(number)) {
            tell("the index does not lead from its header's hash to it".into());
        }
        Ok(Some(header))
    }

    /// The rows of a block's items, which must be numbered without a gap.
    fn items(&self, prefix: &[u8], what: &str, tell: Tell<'_>) -> Result<Vec<Vec<u8>>, LedgerError> {
        let mut items: Vec<Vec<u8>> = Vec::new();
        self.engine.scan(Column::Chain, prefix, &mut |key, value| {
            let expected = u32::try_from(items.len()).ok().map(|index| keys::item_of(prefix, index));
            if expected.as_deref() == Some(key) {
                items.push(value.to_vec());
            } else {
                tell(format!("its {what} are not numbered one by one: a row after {} of them is another", items.len()));
            }
            ControlFlow::Continue(())
        })?;
        Ok(items)
    }

    fn checked_block(
        &self,
        number: u64,
        header: Option<&BlockHeader>,
        indexed: &mut Indexed,
        tell: Tell<'_>,
    ) -> Result<Option<StoredBlock>, LedgerError> {
        let batches = self.only_row(&keys::batches(number), "batches", tell)?;
        let Some(body) = self.only_row(&keys::body(number), "body", tell)? else {
            tell("its body is missing".into());
            return Ok(None);
        };
        let Body { transaction_count, value, certificate } = match records::decode("its body", &body) {
            Ok(body) => body,
            Err(error) => {
                tell(error.to_string());
                return Ok(None);
            }
        };
        let transactions = self.items(&keys::transactions(number), "transactions", tell)?;
        if transactions.len() != transaction_count as usize {
            tell(format!("it has {} of its {transaction_count} transactions", transactions.len()));
            return Ok(None);
        }
        let Some(header) = header else { return Ok(None) };
        // The first block has no transactions, and its header no extension.
        if number > 0 || !transactions.is_empty() {
            match transactions_of(self.suite, header, &transactions) {
                Ok(read) => {
                    let (read, hashes): (Vec<_>, Vec<_>) = read.into_iter().unzip();
                    self.check_places(number, &hashes, tell)?;
                    indexed.nonces = self.check_nonces(number, &read, tell)?;
                    indexed.transactions = hashes.len() as u64;
                }
                Err(what) => {
                    tell(what);
                    return Ok(None);
                }
            }
        }
        Ok(Some(StoredBlock { header: header.clone(), transactions, value, certificate, batches }))
    }

    fn check_places(&self, number: u64, hashes: &[H256], tell: Tell<'_>) -> Result<(), LedgerError> {
        let keys: Vec<Vec<u8>> = hashes.iter().map(keys::transaction_place).collect();
        let places = self.engine.multi_get(Column::Index, &keys)?;
        for ((index, place), hash) in (0u32..).zip(places).zip(hashes) {
            if place.as_deref() != Some(&keys::place(number, index)) {
                tell(format!("the index does not lead from the hash of its transaction {index}, {hash}, to it"));
            }
        }
        Ok(())
    }

    /// Whether the nonces of a height still count.
    pub(super) fn counts(&self, number: u64) -> bool {
        number.saturating_add(self.state.genesis.block_limit.into()) > self.state.head.number
    }

    fn check_nonces(&self, number: u64, transactions: &[Transaction], tell: Tell<'_>) -> Result<u64, LedgerError> {
        if !self.counts(number) {
            return Ok(0);
        }
        let mut expected = 0;
        for (index, transaction) in transactions.iter().enumerate().filter(|(_, one)| one.kind == KIND_BCOS) {
            let Some(sender) = transaction.signer_unchecked(self.suite) else {
                tell(format!("its transaction {index} is of nobody"));
                continue;
            };
            expected += 1;
            let used = keys::nonce_at(number, &sender, &transaction.nonce);
            if self.engine.get(Column::Index, &used)?.is_none() {
                tell(format!(
                    "the nonce of its transaction {index} is not kept, though it counts: it could be used again"
                ));
            }
        }
        Ok(expected)
    }

    fn check_receipts(&self, number: u64, height: &mut Height, tell: Tell<'_>) -> Result<(), LedgerError> {
        let encoded = self.items(&keys::receipts(number), "receipts", tell)?;
        let mut receipts = Vec::with_capacity(encoded.len());
        for (index, bytes) in encoded.iter().enumerate() {
            match Receipt::decode(bytes) {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => tell(format!("its receipt {index} cannot be read: {error}")),
            }
        }
        if let Some(block) = &height.block
            && block.transactions.len() != encoded.len()
        {
            tell(format!("it has {} receipts for {} transactions", encoded.len(), block.transactions.len()));
        }
        let Some(header) = height.header.as_ref().filter(|_| number > 0) else { return Ok(()) };
        if receipts.len() == encoded.len()
            && merkle::root(self.suite, &Receipt::hash_many(self.suite, &receipts)) != header.receipts_root
        {
            tell("its receipts do not have the header's root".into());
        }
        height.indexed.failed = receipts.iter().filter(|receipt| receipt.status != 0).count() as u64;
        Ok(())
    }
}
