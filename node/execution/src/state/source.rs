//! What a transaction reads: the changes of the transactions before it, over the state before the block.

use std::collections::BTreeMap;

use bixi_types::state::{StateKey, StateTable, StateView};
use bixi_types::{Address, H256};
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::primitives::{Address as EvmAddress, B256, Bytes, KECCAK_EMPTY, StorageKey, StorageValue, U256};
use revm::state::AccountInfo;

use super::{AccountRecord, Changes, corrupt, decode_account, storage_key};
use crate::{ExecutionError, system};

impl DBErrorMarker for ExecutionError {}

/// Reads for the interpreter, with the block's changes on top. Analysed byte code and account rows are kept for the block.
pub(crate) struct Source<'a> {
    view: &'a dyn StateView,
    /// Whether a missing block hash is an error; a call may name any height.
    is_block: bool,
    changes: Changes,
    accounts: BTreeMap<Address, Option<AccountRecord>>,
    code: BTreeMap<H256, Bytecode>,
}

impl<'a> Source<'a> {
    /// To execute a block: every hash of a block below it must be known.
    pub(crate) fn for_block(view: &'a dyn StateView) -> Self {
        let (changes, accounts, code) = Default::default();
        Self { view, is_block: true, changes, accounts, code }
    }

    /// To run a call, at whatever height its caller names.
    pub(crate) fn for_call(view: &'a dyn StateView) -> Self {
        Self { is_block: false, ..Self::for_block(view) }
    }

    /// Makes a transaction's changes visible to the next one.
    pub(crate) fn apply(&mut self, changes: Changes) {
        self.changes.apply(changes);
    }

    /// All changes so far.
    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    /// A row of a table that system contracts own.
    pub(crate) fn row(&self, key: &StateKey) -> Result<Option<Vec<u8>>, ExecutionError> {
        match self.changes.rows.get(key) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.view.get(key.table, &key.key)?),
        }
    }

    /// The account as the next transaction sees it.
    pub(crate) fn account(&mut self, address: &Address) -> Result<Option<AccountRecord>, ExecutionError> {
        if let Some(record) = self.changes.accounts.get(address).or_else(|| self.accounts.get(address)) {
            return Ok(record.clone());
        }
        let row = self.view.get(StateTable::Account, &address.0)?;
        let record = row.map(|row| decode_account(&row, address)).transpose()?;
        self.accounts.insert(*address, record.clone());
        Ok(record)
    }

    fn code(&mut self, hash: &H256) -> Result<Bytecode, ExecutionError> {
        if let Some(code) = self.changes.code.get(hash).or_else(|| self.code.get(hash)) {
            return Ok(code.clone());
        }
        let row = self.view.get(StateTable::Code, &hash.0)?.ok_or_else(|| corrupt("Code", &hash.0))?;
        let code = Bytecode::new_legacy(Bytes::from(row));
        self.code.insert(*hash, code.clone());
        Ok(code)
    }
}

impl revm::Database for Source<'_> {
    type Error = ExecutionError;

    fn basic(&mut self, address: EvmAddress) -> Result<Option<AccountInfo>, ExecutionError> {
        let address = Address(address.into_array());
        if system::Contract::at(&address).is_some() {
            return Ok(Some(system_account()));
        }
        let Some(record) = self.account(&address)? else { return Ok(None) };
        let code_hash = record.code_hash.map_or(KECCAK_EMPTY, |hash| B256::from(hash.0));
        let balance = U256::from_be_bytes(record.balance);
        Ok(Some(AccountInfo { balance, nonce: record.nonce, code_hash, code: None, ..Default::default() }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ExecutionError> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytecode::default());
        }
        self.code(&H256(hash.0))
    }

    fn storage(&mut self, address: EvmAddress, slot: StorageKey) -> Result<StorageValue, ExecutionError> {
        let place = (Address(address.into_array()), H256(slot.to_be_bytes()));
        if let Some(word) = self.changes.storage.get(&place) {
            return Ok(U256::from_be_bytes(word.0));
        }
        let key = storage_key(&place.0, &place.1);
        let Some(row) = self.view.get(StateTable::Storage, &key)? else { return Ok(U256::ZERO) };
        let word = H256::from_slice(&row).ok_or_else(|| corrupt("Storage", &key))?;
        Ok(U256::from_be_bytes(word.0))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ExecutionError> {
        match self.view.block_hash(number)? {
            Some(hash) => Ok(B256::from(hash.0)),
            None if self.is_block => Err(ExecutionError::UnknownBlockHash(number)),
            None => Ok(B256::ZERO),
        }
    }
}

/// What contracts see at the address of a system contract: one INVALID byte of code, so that the `EXTCODESIZE` check that
/// Solidity puts before calls passes, and a nonce, so that nothing can be deployed there.
fn system_account() -> AccountInfo {
    let code = Bytecode::new_legacy(Bytes::from_static(&[0xfe]));
    AccountInfo { nonce: 1, code_hash: code.hash_slow(), code: Some(code), ..Default::default() }
}
