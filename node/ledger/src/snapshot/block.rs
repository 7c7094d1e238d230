//! Blocks on their way into a snapshot: those of the window in which a transaction or a nonce still counts.

use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::limits::{BLOCK_TRANSACTIONS_MAX, SNAPSHOT_BLOCK_BYTES_MAX};
use bixi_types::transaction::Transaction;
use bixi_types::{CryptoSuite, H256, merkle};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{SnapshotError, Staging, lie};
use crate::engine::Batch;
use crate::error::LedgerError;
use crate::history::put_nonce;
use crate::keys::{self, Column};
use crate::ledger::{Decision, put_body};

/// A block as it is received. Value, certificate and batches are the runtime's to check.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReceivedBlock {
    /// Canonical bytes, in order.
    pub transactions: Vec<Vec<u8>>,
    /// The decided value, as consensus encodes it.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it.
    pub certificate: Vec<u8>,
    /// How the value's batches are made of the transactions.
    pub batches: Vec<u8>,
}

impl ReceivedBlock {
    /// Reads exactly one block. How many transactions it claims is looked at before room is made for them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let claimed = bytes.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
        if bytes.len() > SNAPSHOT_BLOCK_BYTES_MAX || claimed as usize > BLOCK_TRANSACTIONS_MAX {
            return Err(format!("{claimed} transactions in {} bytes", bytes.len()));
        }
        borsh::from_slice(bytes).map_err(|error| error.to_string())
    }
}

impl Staging {
    /// Blocks that are needed and not here.
    ///
    /// # Errors
    /// The engine's.
    pub fn missing_blocks(&self) -> Result<Vec<u64>, LedgerError> {
        let numbers: Vec<u64> = (self.first_block()..=self.manifest().height).collect();
        let keys: Vec<Vec<u8>> = numbers.iter().map(|number| keys::body(*number)).collect();
        let bodies = self.engine.multi_get(Column::Chain, &keys)?;
        Ok(numbers.into_iter().zip(bodies).filter(|(_, body)| body.is_none()).map(|(number, _)| number).collect())
    }

    /// Takes a block whose header is here.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when its transactions are not those of the header.
    pub fn put_block(&self, number: u64, block: &ReceivedBlock) -> Result<(), SnapshotError> {
        let wrong = |what: String| lie(format!("block {number}: {what}"));
        let transactions = transactions_of(self.suite, &self.header(number)?, &block.transactions).map_err(wrong)?;
        let mut batch = Batch::default();
        let decision = Decision { value: &block.value, certificate: &block.certificate, batches: &block.batches };
        put_body(&mut batch, number, block.transactions.len(), &decision);
        for ((index, (transaction, hash)), bytes) in (0u32..).zip(&transactions).zip(&block.transactions) {
            let sender = transaction.signer_unchecked(self.suite);
            let sender = sender.ok_or_else(|| wrong("a transaction of nobody".into()))?;
            batch.put(Column::Chain, keys::transaction(number, index), bytes.as_slice());
            batch.put(Column::Index, keys::transaction_place(hash), keys::place(number, index));
            // Blocks may come in any order: among these the chain took no nonce twice.
            put_nonce(&mut batch, number, transaction, &sender);
        }
        Ok(self.engine.write(batch)?)
    }
}

/// The transactions of a block with their hashes, by both roots of its header: hashes as clients know them, and the bytes with their
/// signatures. The signatures themselves were checked by those who certified the bytes.
pub(crate) fn transactions_of(
    suite: CryptoSuite,
    header: &BlockHeader,
    encodings: &[Vec<u8>],
) -> Result<Vec<(Transaction, H256)>, String> {
    let extension = HeaderExtension::decode(&header.extra_data).map_err(|error| error.to_string())?;
    let expected = HeaderExtension::new(suite, extension.value_id, encodings.iter().map(Vec::as_slice));
    if expected.transactions_bytes_root != extension.transactions_bytes_root {
        return Err("its transactions are not those the header commits to".into());
    }
    let decode = |bytes: &Vec<u8>| Transaction::decode(bytes).map_err(|error| error.to_string());
    let transactions: Vec<Transaction> = encodings.iter().map(decode).collect::<Result<_, _>>()?;
    let hashes = Transaction::hash_many(suite, &transactions.iter().collect::<Vec<_>>());
    if merkle::root(suite, &hashes) != header.txs_root {
        return Err("its transactions do not have the header's root".into());
    }
    Ok(transactions.into_iter().zip(hashes).collect())
}
