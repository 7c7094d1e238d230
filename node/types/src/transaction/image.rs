//! What is hashed of a transaction: the signed fields, in parts.

use super::{KIND_WEB3, Transaction};
use crate::{CryptoSuite, H256};

/// The numbers among the signed fields, as they are hashed.
struct Numbers {
    version: [u8; 4],
    block_limit: [u8; 8],
    gas_limit: [u8; 8],
}

/// The parts whose concatenation is hashed.
struct Image<'a> {
    parts: [&'a [u8]; 14],
    count: usize,
}

impl<'a> AsRef<[&'a [u8]]> for Image<'a> {
    fn as_ref(&self) -> &[&'a [u8]] {
        &self.parts[..self.count]
    }
}

impl Transaction {
    /// Hash of the signed fields; for [`KIND_WEB3`] keccak256 of the signing payload.
    pub fn hash(&self, suite: CryptoSuite) -> H256 {
        if self.kind == KIND_WEB3 {
            return crate::suite::keccak256(&[&self.extra_transaction_bytes]);
        }
        suite.hash(self.image(&self.numbers()).as_ref())
    }

    /// [`Self::hash`] of many: much faster than one by one.
    pub fn hash_many(suite: CryptoSuite, transactions: &[&Self]) -> Vec<H256> {
        if transactions.iter().any(|transaction| transaction.kind == KIND_WEB3) {
            return transactions.iter().map(|transaction| transaction.hash(suite)).collect();
        }
        let numbers: Vec<Numbers> = transactions.iter().map(|transaction| transaction.numbers()).collect();
        let images: Vec<Image<'_>> =
            transactions.iter().zip(&numbers).map(|(transaction, numbers)| transaction.image(numbers)).collect();
        suite.hash_many(&images)
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            version: self.version.to_be_bytes(),
            block_limit: self.block_limit.to_be_bytes(),
            gas_limit: self.gas_limit.to_be_bytes(),
        }
    }

    fn image<'a>(&'a self, numbers: &'a Numbers) -> Image<'a> {
        let parts: [&[u8]; 14] = [
            &numbers.version,
            self.chain_id.as_bytes(),
            self.group_id.as_bytes(),
            &numbers.block_limit,
            self.nonce.as_bytes(),
            self.to.as_bytes(),
            &self.input,
            self.abi.as_bytes(),
            self.value.as_bytes(),
            self.gas_price.as_bytes(),
            &numbers.gas_limit,
            self.max_fee_per_gas.as_bytes(),
            self.max_priority_fee_per_gas.as_bytes(),
            &self.extension,
        ];
        Image { parts, count: self.signed_parts() }
    }

    /// Parts that this version signs. FISCO BCOS compares versions as unsigned numbers.
    fn signed_parts(&self) -> usize {
        match self.version as u32 {
            0 => 8,
            1 => 13,
            _ => 14,
        }
    }
}
