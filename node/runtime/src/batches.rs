//! Batches: built from the pool, kept until their height is in the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use bixi_txpool::TxPool;
use bixi_types::batch::Batch;
use bixi_types::limits::{BATCH_BYTES_TARGET, BATCH_TRANSACTIONS_MAX, VALUE_BATCHES_MAX};
use bixi_types::transaction::{self, ChainIdentity, Pending, Transaction, TransactionError, Verified};
use bixi_types::{CryptoSuite, H256};
use parking_lot::Mutex;

/// A batch with its transactions verified.
#[derive(Clone)]
pub(crate) struct VerifiedBatch {
    /// Digest of the encoding.
    pub digest: H256,
    /// In order.
    pub transactions: Arc<[Verified]>,
}

impl VerifiedBatch {
    /// Checks every transaction of an encoded batch anew: signatures included, whatever the disk says.
    pub(crate) fn check(suite: CryptoSuite, chain: &ChainIdentity, batch: &Batch) -> Result<Self, TransactionError> {
        let decoded = batch.transactions.iter().map(|bytes| Transaction::decode(bytes)).collect::<Result<_, _>>()?;
        let pending = transaction::prepare_many(suite, chain, decoded).into_iter().collect::<Result<_, _>>()?;
        let transactions: Arc<[Verified]> =
            Pending::verify_batch(pending, None).into_iter().collect::<Result<_, _>>()?;
        Ok(Self { digest: batch.digest(suite), transactions })
    }
}

struct Held {
    batch: VerifiedBatch,
    height: u64,
}

/// Batches by digest, each tied to the height it was built or fetched for.
#[derive(Default)]
pub(crate) struct BatchStore {
    held: Mutex<HashMap<H256, Held>>,
}

impl BatchStore {
    /// Keeps a batch for the height it was built or fetched for.
    pub(crate) fn insert(&self, height: u64, batch: VerifiedBatch) {
        self.held.lock().insert(batch.digest, Held { batch, height });
    }

    /// The batches of a value, in order; `Err` names the first one missing.
    pub(crate) fn of_value(&self, digests: &[H256]) -> Result<Vec<VerifiedBatch>, H256> {
        let held = self.held.lock();
        digests.iter().map(|digest| held.get(digest).map(|entry| entry.batch.clone()).ok_or(*digest)).collect()
    }

    /// Drops the batches of a height and of every one below; returns them.
    pub(crate) fn forget(&self, height: u64) -> Vec<VerifiedBatch> {
        let mut held = self.held.lock();
        let gone: Vec<H256> =
            held.iter().filter(|(_, entry)| entry.height <= height).map(|(digest, _)| *digest).collect();
        gone.iter().filter_map(|digest| held.remove(digest)).map(|entry| entry.batch).collect()
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.held.lock().len()
    }
}

/// Takes up to `transactions_max` waiting transactions as batches of the usual size, with their encodings.
pub(crate) fn build(pool: &TxPool, suite: CryptoSuite, transactions_max: usize) -> Vec<(VerifiedBatch, Batch)> {
    let mut built = Vec::new();
    let mut left = transactions_max;
    while left > 0 && built.len() < VALUE_BATCHES_MAX {
        let transactions = pool.pack(left.min(BATCH_TRANSACTIONS_MAX), BATCH_BYTES_TARGET);
        if transactions.is_empty() {
            break;
        }
        left -= transactions.len();
        let batch = Batch { transactions: transactions.iter().map(|tx| tx.bytes.to_vec()).collect() };
        let digest = batch.digest(suite);
        built.push((VerifiedBatch { digest, transactions: transactions.into() }, batch));
    }
    built
}
