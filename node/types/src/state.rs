//! World state as seen by execution: tables, a read view, a write set. The ledger stores it; execution never sees the store.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::H256;

/// The tables of the world state. The discriminant is part of the state commitment and of the database key: never reuse one.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
pub enum StateTable {
    /// address(20) → account record (nonce, balance, code hash).
    Account = 1,
    /// address(20) ‖ slot(32) → word(32); absent means zero.
    Storage = 2,
    /// code hash(32) → byte code.
    Code = 3,
    /// address(20) → ABI JSON as deployed.
    Abi = 4,
    /// configuration key (ASCII) → value and the height from which it holds.
    Config = 5,
    /// b"validators" → the node list of the chain, with weights and the height from which it holds.
    Consensus = 6,
    /// user name → balance of the DagTransfer system contract.
    DagTransfer = 7,
}

impl StateTable {
    /// Every table, in order of its discriminant.
    pub const ALL: [Self; 7] =
        [Self::Account, Self::Storage, Self::Code, Self::Abi, Self::Config, Self::Consensus, Self::DagTransfer];

    /// The table of a discriminant.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == byte)
    }
}

/// One row's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct StateKey {
    /// The table.
    pub table: StateTable,
    /// The row within the table.
    pub key: Vec<u8>,
}

/// What one block writes: `Some` sets a row, `None` deletes it. Sorted, so that every node walks it in the same order.
pub type WriteSet = BTreeMap<StateKey, Option<Vec<u8>>>;

/// The state could not be read. Execution must stop: a node that guesses would fork.
#[derive(Debug, Clone, thiserror::Error)]
#[error("state read failed: {0}")]
pub struct StateError(pub String);

/// A consistent read view of the state at one height.
pub trait StateView: Send + Sync {
    /// One row; `None` when absent.
    fn get(&self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Hash of a block's header, for the BLOCKHASH opcode; `None` when the height is not below this view's.
    fn block_hash(&self, number: u64) -> Result<Option<H256>, StateError>;
}

/// What the chain remembers of past transactions, for replay protection.
pub trait History: Send + Sync {
    /// Whether a transaction of this hash is in a block already.
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError>;

    /// Whether `sender` used `nonce` in one of the last `block_limit` blocks.
    fn nonce_used(&self, sender: &crate::Address, nonce: &str) -> Result<bool, StateError>;
}

/// One row of [`StateTable::Account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct AccountRecord {
    /// Number of transactions or creations of this account.
    pub nonce: u64,
    /// Balance, 256 bits big-endian.
    pub balance: [u8; 32],
    /// Key of its code in [`StateTable::Code`]; zero without code.
    pub code_hash: H256,
}

impl AccountRecord {
    /// Bytes of the encoding.
    pub const ENCODED_BYTES: usize = 72;

    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads exactly one record. A row of any other length is a damaged state.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        borsh::from_slice(bytes).map_err(|_| {
            StateError(format!("account row has {} bytes instead of {}", bytes.len(), Self::ENCODED_BYTES))
        })
    }

    /// Whether the row can be left out of the state.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_record_has_one_encoding() {
        let record = AccountRecord { nonce: 7, balance: [3; 32], code_hash: H256([9; 32]) };
        let bytes = record.encode();
        assert_eq!(bytes.len(), AccountRecord::ENCODED_BYTES);
        assert_eq!(AccountRecord::decode(&bytes).unwrap(), record);
        assert!(AccountRecord::decode(&bytes[..71]).is_err());
        assert!(AccountRecord::decode(&[bytes, vec![0]].concat()).is_err());
        assert!(AccountRecord::default().is_empty());
    }
}
