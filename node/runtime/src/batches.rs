//! Batches: built from the pool or received from peers, kept until their height is in the ledger.
//!
//! ```text
//! pool ─ batcher ─▶ waiting ◀─ peers (verified, under a quota)
//!                      │ propose, pin: in a value of the running height, durable in the ordering log
//!                      ▼
//!                   decided ─ forget: in the ledger ─▶ gone
//! ```
//!
//! A batch waits, and may be proposed by anybody who holds it, until a value with it is decided: a round that fails costs nothing.

mod batcher;
mod choice;
mod store;
mod traffic;

use std::sync::Arc;

use bixi_types::batch::Batch;
use bixi_types::transaction::{self, ChainIdentity, Pending, Transaction, TransactionError, Verified};
use bixi_types::{CryptoSuite, H256};

pub(crate) use batcher::{Batcher, BatcherParams, Wake};
pub(crate) use store::{Admit, BatchStore, Need, Origin, Standing};
pub(crate) use traffic::Tally;

/// Why a batch is worth nothing: a pure function of its bytes and genesis, so every node judges alike.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("transaction {index} of a batch: {source}")]
    Transaction { index: usize, source: TransactionError },
    #[error("transaction {0} of a batch is not in canonical encoding")]
    NotCanonical(usize),
    #[error("a batch without transactions")]
    Empty,
}

/// A batch with its transactions verified.
#[derive(Clone)]
pub(crate) struct VerifiedBatch {
    /// Digest of the encoding.
    pub digest: H256,
    /// In order.
    pub transactions: Arc<[Verified]>,
}

impl VerifiedBatch {
    /// A batch of transactions that were verified before.
    pub(crate) fn seal(suite: CryptoSuite, transactions: Vec<Verified>) -> (Self, Vec<u8>) {
        let encoding = encode(&transactions);
        let digest = Batch::digest_of_encoding(suite, &encoding);
        (Self { digest, transactions: transactions.into() }, encoding)
    }

    /// Checks every transaction of an encoded batch anew: signatures included, whatever the disk or the peer says. Transactions stand
    /// in canonical encoding, so that a batch can be made again from the transactions of its block.
    pub(crate) fn check(suite: CryptoSuite, chain: &ChainIdentity, batch: &Batch) -> Result<Self, BatchError> {
        if batch.transactions.is_empty() {
            return Err(BatchError::Empty);
        }
        let at = |index, source| BatchError::Transaction { index, source };
        let decode =
            |(index, bytes): (usize, &Vec<u8>)| Transaction::decode(bytes).map_err(|error| at(index, error.into()));
        let decoded = batch.transactions.iter().enumerate().map(decode).collect::<Result<_, _>>()?;
        let prepared = transaction::prepare_many(suite, chain, decoded).into_iter().enumerate();
        let pending = prepared.map(|(index, one)| one.map_err(|error| at(index, error))).collect::<Result<_, _>>()?;
        let verdicts = Pending::verify_batch(pending, None).into_iter().enumerate();
        let transactions: Arc<[Verified]> =
            verdicts.map(|(index, one)| one.map_err(|error| at(index, error))).collect::<Result<_, _>>()?;
        let canonical = transactions.iter().zip(&batch.transactions).position(|(tx, bytes)| *tx.bytes != **bytes);
        match canonical {
            Some(index) => Err(BatchError::NotCanonical(index)),
            None => Ok(Self { digest: batch.digest(suite), transactions }),
        }
    }

    /// The batch as it is written down.
    pub(crate) fn to_batch(&self) -> Batch {
        to_batch(&self.transactions)
    }

    /// The batch as it travels.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(&self.transactions)
    }

    fn encoded_bytes(&self) -> usize {
        self.transactions.iter().map(|tx| Batch::framed_bytes(tx.bytes.len())).sum()
    }
}

fn to_batch(transactions: &[Verified]) -> Batch {
    Batch { transactions: transactions.iter().map(|tx| tx.bytes.to_vec()).collect() }
}

fn encode(transactions: &[Verified]) -> Vec<u8> {
    to_batch(transactions).encode()
}

#[cfg(test)]
pub(crate) mod tests;
