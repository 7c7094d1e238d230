//! Batches: the unit in which transactions travel between nodes and which a value names by digest.
//!
//! ```text
//! u8 version = 1 ‖ u32 count ‖ count × ( u32 length ‖ canonical transaction bytes )        all little-endian
//! ```
//!
//! The digest is over the encoding, so two batches of equal digest hold the same bytes in the same order.

use crate::limits::{BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX};
use crate::tars::DecodeError;
use crate::{CryptoSuite, H256};

const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 5;

/// Transactions in canonical encoding; nothing in it has been verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Canonical bytes of each transaction, in order.
    pub transactions: Vec<Vec<u8>>,
}

impl Batch {
    /// Domain string of [`Self::digest`].
    pub const DOMAIN: &'static [u8] = b"BIXI-TYPES-BATCH-V1";

    /// H(domain ‖ encoding).
    pub fn digest(&self, suite: CryptoSuite) -> H256 {
        Self::digest_of_encoding(suite, &self.encode())
    }

    /// The digest of a batch whose encoding is at hand.
    pub fn digest_of_encoding(suite: CryptoSuite, encoding: &[u8]) -> H256 {
        suite.hash(&[Self::DOMAIN, encoding])
    }

    /// Size of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        PREFIX_BYTES + self.transactions.iter().map(|bytes| Self::framed_bytes(bytes.len())).sum::<usize>()
    }

    /// What a transaction of `transaction_bytes` adds to a batch's encoding.
    pub const fn framed_bytes(transaction_bytes: usize) -> usize {
        4 + transaction_bytes
    }

    /// The encoding. Panics when a limit is exceeded: the builder of a batch closes it before.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.transactions.len() <= BATCH_TRANSACTIONS_MAX,
            "{} transactions in a batch",
            self.transactions.len()
        );
        let size = self.encoded_bytes();
        assert!(size <= BATCH_BYTES_MAX, "a batch of {size} bytes");
        let mut out = Vec::with_capacity(size);
        out.push(VERSION);
        out.extend((self.transactions.len() as u32).to_le_bytes());
        for transaction in &self.transactions {
            assert!(transaction.len() <= TRANSACTION_BYTES_MAX, "a transaction of {} bytes", transaction.len());
            out.extend((transaction.len() as u32).to_le_bytes());
            out.extend(transaction);
        }
        out
    }

    /// Reads exactly one batch within the shared limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        limit("batch", bytes.len(), BATCH_BYTES_MAX)?;
        let (&version, mut rest) = bytes.split_first().ok_or(DecodeError::Missing("batch"))?;
        if version != VERSION {
            return Err(DecodeError::Version { what: "batch", version: version.into() });
        }
        let count = take_length(&mut rest, "batch count")?;
        limit("batch count", count, BATCH_TRANSACTIONS_MAX)?;
        let mut transactions = Vec::with_capacity(count);
        for _ in 0..count {
            let length = take_length(&mut rest, "transaction length")?;
            limit("transaction", length, TRANSACTION_BYTES_MAX)?;
            let (transaction, after) = rest.split_at_checked(length).ok_or(DecodeError::Truncated {
                what: "transaction",
                needed: length as u64,
                left: rest.len(),
            })?;
            transactions.push(transaction.to_vec());
            rest = after;
        }
        if rest.is_empty() { Ok(Self { transactions }) } else { Err(DecodeError::Trailing(rest.len())) }
    }
}

fn take_length(rest: &mut &[u8], what: &'static str) -> Result<usize, DecodeError> {
    let (length, after) =
        rest.split_first_chunk().ok_or(DecodeError::Truncated { what, needed: 4, left: rest.len() })?;
    *rest = after;
    Ok(u32::from_le_bytes(*length) as usize)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found > limit { Err(DecodeError::TooLarge { what, found: found as u64, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoding_round_trips(transactions in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let batch = Batch { transactions };
            let bytes = batch.encode();
            prop_assert_eq!(bytes.len(), batch.encoded_bytes());
            prop_assert_eq!(Batch::decode(&bytes), Ok(batch.clone()));
            prop_assert!(Batch::decode(&bytes[..bytes.len() - 1]).is_err());
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert_eq!(Batch::decode(&longer), Err(DecodeError::Trailing(1)));
        }
    }

    #[test]
    fn refuses_lying_counts_before_allocating() {
        let mut bytes = vec![VERSION];
        bytes.extend(u32::MAX.to_le_bytes());
        assert!(matches!(Batch::decode(&bytes), Err(DecodeError::TooLarge { what: "batch count", .. })));
        let mut bytes = vec![VERSION];
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(1000u32.to_le_bytes());
        assert!(matches!(Batch::decode(&bytes), Err(DecodeError::Truncated { .. })));
        assert!(matches!(Batch::decode(&[2, 0, 0, 0, 0]), Err(DecodeError::Version { version: 2, .. })));
    }

    #[test]
    fn largest_transaction_fits_a_batch_of_its_own() {
        let batch = Batch { transactions: vec![vec![0; TRANSACTION_BYTES_MAX]] };
        assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
    }

    #[test]
    fn digest_depends_on_boundaries() {
        let one = Batch { transactions: vec![b"ab".to_vec()] };
        let two = Batch { transactions: vec![b"a".to_vec(), b"b".to_vec()] };
        assert_ne!(one.digest(CryptoSuite::Sm), two.digest(CryptoSuite::Sm));
    }
}
