//! What executing a block came to, in hashes: enough to say where another result of the same block first differs.
//!
//! A validator's signature names a header hash, and two hashes say nothing but that they differ. So when a result is disputed its
//! fingerprint is kept as evidence, and whoever executes the height again (`bixi db replay`) is told the first transaction, receipt or
//! row that is not the same.

use bixi_types::state::StateKey;
use bixi_types::{CryptoSuite, H256};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::pipeline::Executed;

/// Rows kept at most; of a block that writes more, the first ones in the order of their keys.
const ROWS_MAX: usize = 100_000;

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct ReceiptMark {
    status: i32,
    gas_used: String,
    /// Over the whole encoding.
    hash: H256,
}

/// One row that the block writes: its place, and the hash of what it becomes, or nothing when it is deleted.
type RowMark = (StateKey, Option<H256>);

/// One result.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Fingerprint {
    pub(crate) height: u64,
    pub(crate) header_hash: H256,
    transactions: Vec<H256>,
    receipts: Vec<ReceiptMark>,
    rows: Vec<RowMark>,
}

impl Fingerprint {
    pub(crate) fn of(suite: CryptoSuite, executed: &Executed) -> Self {
        let hash = |bytes: &[u8]| suite.hash(&[bytes]);
        let receipts = executed.receipts.iter().map(|receipt| ReceiptMark {
            status: receipt.status,
            gas_used: receipt.gas_used.clone(),
            hash: hash(&receipt.encode()),
        });
        let rows = executed.prepared.writes().into_iter().take(ROWS_MAX);
        Self {
            height: executed.height,
            header_hash: executed.header_hash,
            transactions: executed.transactions.iter().map(|transaction| transaction.hash).collect(),
            receipts: receipts.collect(),
            rows: rows.map(|(key, value)| (key, value.as_deref().map(hash))).collect(),
        }
    }

    /// The first transaction, receipt or row in which `other` differs, or the header when all of them are equal.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<String> {
        self.different_transaction(other)
            .or_else(|| self.different_receipt(other))
            .or_else(|| self.different_row(other))
            .or_else(|| {
                let (one, other) = (self.header_hash, other.header_hash);
                (one != other).then(|| format!("header {one} and {other}"))
            })
    }

    fn different_transaction(&self, other: &Self) -> Option<String> {
        let place = first_unequal(&self.transactions, &other.transactions)?;
        let named = |of: &Self| of.transactions.get(place).map_or("none".to_owned(), H256::to_string);
        Some(format!("transaction {place}: {} and {}", named(self), named(other)))
    }

    fn different_receipt(&self, other: &Self) -> Option<String> {
        let place = first_unequal(&self.receipts, &other.receipts)?;
        let told = |of: &Self| match of.receipts.get(place) {
            Some(ReceiptMark { status, gas_used, hash }) => format!("status {status}, gas {gas_used} ({hash})"),
            None => "none".to_owned(),
        };
        let transaction = self.transactions.get(place).copied().unwrap_or_default();
        Some(format!("receipt {place} (transaction {transaction}): {} and {}", told(self), told(other)))
    }

    fn different_row(&self, other: &Self) -> Option<String> {
        let place = first_unequal(&self.rows, &other.rows)?;
        let (key, _) = self.rows.get(place).or(other.rows.get(place))?;
        Some(format!("row {} of table {:?}", hex::encode(&key.key), key.table))
    }
}

/// Where two lists first differ.
fn first_unequal<T: PartialEq>(one: &[T], other: &[T]) -> Option<usize> {
    let common = one.len().min(other.len());
    (0..common).find(|place| one[*place] != other[*place]).or((one.len() != other.len()).then_some(common))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::run_of;

    #[test]
    fn the_first_difference_is_named() {
        let run = || Fingerprint::of(CryptoSuite::Sm, &run_of(2));
        assert_eq!(run().first_difference(&run()), None);
        let mut other = run();
        let told = |other: &Fingerprint| run().first_difference(other).expect("it differs");
        other.header_hash = H256([9; 32]);
        assert!(told(&other).starts_with("header"));
        other.rows[0].1 = None;
        assert!(told(&other).starts_with("row"));
        other.receipts[1].status = 7;
        assert!(told(&other).starts_with("receipt 1 ") && told(&other).contains("status 7"), "{}", told(&other));
        other.transactions.pop();
        assert!(told(&other).starts_with("transaction 1: "));
    }
}
