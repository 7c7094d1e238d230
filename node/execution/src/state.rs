//! How execution lays the world state out in rows, and the readers other rooms use (RPC's getCode, getABI and the like).
//!
//! Rows: `Account` address → [`AccountRecord`]; `Storage` address ‖ slot → word, zero is absent; `Code` code hash → byte code;
//! `Abi` address → JSON as deployed. The code hash is the chain's EVM hash, whatever the interpreter uses inside.

mod changes;
mod source;

use bixi_types::state::{StateTable, StateView};
use bixi_types::{Address, H256};
use borsh::{BorshDeserialize, BorshSerialize};

pub(crate) use changes::Changes;
pub(crate) use source::Source;

use crate::ExecutionError;

/// An account's row.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct AccountRecord {
    /// Contracts count the contracts they created, from 1; accounts of users stay at 0 unless they send Ethereum transactions.
    pub nonce: u64,
    /// Balance, big-endian.
    pub balance: [u8; 32],
    /// Key of its byte code in table `Code`; `None` for an account without code.
    pub code_hash: Option<H256>,
}

/// The account at `address`, if there is one.
pub fn account(view: &dyn StateView, address: &Address) -> Result<Option<AccountRecord>, ExecutionError> {
    view.get(StateTable::Account, &address.0)?.map(|row| decode_account(&row, address)).transpose()
}

/// The byte code at `address`; empty when it is not a contract.
pub fn code(view: &dyn StateView, address: &Address) -> Result<Vec<u8>, ExecutionError> {
    match account(view, address)?.and_then(|record| record.code_hash) {
        None => Ok(Vec::new()),
        Some(hash) => view.get(StateTable::Code, &hash.0)?.ok_or_else(|| corrupt("Code", &hash.0)),
    }
}

/// The ABI that `address` was deployed with; empty when none was given.
pub fn abi(view: &dyn StateView, address: &Address) -> Result<String, ExecutionError> {
    let row = view.get(StateTable::Abi, &address.0)?.unwrap_or_default();
    String::from_utf8(row).map_err(|_| corrupt("Abi", &address.0))
}

/// One word of a contract's storage.
pub fn storage(view: &dyn StateView, address: &Address, slot: &H256) -> Result<H256, ExecutionError> {
    let key = storage_key(address, slot);
    match view.get(StateTable::Storage, &key)? {
        None => Ok(H256::ZERO),
        Some(row) => H256::from_slice(&row).ok_or_else(|| corrupt("Storage", &key)),
    }
}

pub(crate) fn decode_account(row: &[u8], address: &Address) -> Result<AccountRecord, ExecutionError> {
    borsh::from_slice(row).map_err(|_| corrupt("Account", &address.0))
}

pub(crate) fn storage_key(address: &Address, slot: &H256) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(&address.0);
    key[20..].copy_from_slice(&slot.0);
    key
}

pub(crate) fn corrupt(table: &'static str, key: &[u8]) -> ExecutionError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    ExecutionError::Corrupt { table, key }
}
