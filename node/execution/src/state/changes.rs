//! What transactions changed, typed; it becomes a write set of rows at the end of the block.
//!
//! Everything is kept sorted, so that the write set is the same on every node.

use std::collections::BTreeMap;

use bixi_types::state::{StateKey, StateTable, WriteSet};
use bixi_types::{Address, H256};
use revm::bytecode::Bytecode;

use super::{AccountRecord, storage_key};

/// Changes of one transaction, or of all transactions of a block so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// `None` deletes the account.
    pub(crate) accounts: BTreeMap<Address, Option<AccountRecord>>,
    /// New words; zero deletes the slot.
    pub(crate) storage: BTreeMap<(Address, H256), H256>,
    /// New byte code by its hash.
    pub(crate) code: BTreeMap<H256, Bytecode>,
    /// Rows of the other tables; `None` deletes.
    pub(crate) rows: BTreeMap<StateKey, Option<Vec<u8>>>,
}

impl Changes {
    /// Lays `later` over these changes.
    pub(crate) fn apply(&mut self, later: Self) {
        // `extend`, not `append`: the latter rebuilds the whole map, which would make a block cost the square of its size.
        self.accounts.extend(later.accounts);
        self.storage.extend(later.storage);
        self.code.extend(later.code);
        self.rows.extend(later.rows);
    }

    /// The rows to write.
    pub(crate) fn into_write_set(self) -> WriteSet {
        let mut writes = WriteSet::new();
        for (address, record) in self.accounts {
            let row = record.map(|record| borsh::to_vec(&record).expect("borsh into memory cannot fail"));
            writes.insert(StateKey { table: StateTable::Account, key: address.0.to_vec() }, row);
        }
        for ((address, slot), word) in self.storage {
            let row = (word != H256::ZERO).then(|| word.0.to_vec());
            writes.insert(StateKey { table: StateTable::Storage, key: storage_key(&address, &slot).to_vec() }, row);
        }
        for (hash, code) in self.code {
            let row = code.original_byte_slice().to_vec();
            writes.insert(StateKey { table: StateTable::Code, key: hash.0.to_vec() }, Some(row));
        }
        writes.extend(self.rows);
        writes
    }
}
