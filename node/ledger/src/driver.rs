//! Drives a ledger in tests: a chain of headers around arbitrary write sets.

use std::path::Path;
use std::sync::Arc;

use bixi_accel::{Seeded, sm2};
use bixi_platform::io::{PreadStorage, Storage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};
use bixi_types::genesis::Genesis;
use bixi_types::header::{BlockHeader, ParentInfo};
use bixi_types::receipt::Receipt;
use bixi_types::state::{StateKey, StateTable, WriteSet};
use bixi_types::transaction::{ChainIdentity, Transaction, Verified, verify};
use bixi_types::{CryptoSuite, H256, NodeId};

use crate::{CommitBlock, Ledger, LedgerError, Params, PreparedState};

pub(crate) const BLOCK_LIMIT: u32 = 5;

pub(crate) fn genesis(chain_id: &str) -> Genesis {
    Genesis { chain_id: chain_id.to_owned(), block_limit: BLOCK_LIMIT, ..Genesis::fixture(&[NodeId([7; 64])]) }
}

pub(crate) fn keyring(byte: u8) -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[byte; 32]))], 1).expect("one epoch")
}

pub(crate) fn params_on(dir: &Path, storage: Arc<dyn Storage>) -> Params {
    Params {
        dir: dir.to_owned(),
        storage,
        keyring: keyring(1),
        suite: CryptoSuite::Sm,
        genesis: None,
        block_cache_mb: 4,
        write_buffer_mb: 4,
        state_cache_mb: 1,
    }
}

pub(crate) fn params(dir: &Path) -> Params {
    params_on(dir, Arc::new(PreadStorage))
}

pub(crate) fn key(name: &str) -> StateKey {
    StateKey { table: StateTable::Config, key: name.as_bytes().to_vec() }
}

/// `name=value` sets, `name` deletes.
pub(crate) fn writes(list: &[&str]) -> WriteSet {
    list.iter()
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => (key(name), Some(value.as_bytes().to_vec())),
            None => (key(entry), None),
        })
        .collect()
}

pub(crate) fn initialise(ledger: &Ledger, chain_id: &str, rows: &WriteSet) {
    let header = BlockHeader { state_root: ledger.genesis_state_root(rows), timestamp: 1, ..BlockHeader::default() };
    ledger.initialise(&genesis(chain_id), rows, &header).expect("initialise");
}

pub(crate) fn ledger_in_memory() -> Ledger {
    let ledger = Ledger::in_memory(CryptoSuite::Sm);
    initialise(&ledger, "chain0", &writes(&["a=0"]));
    ledger
}

pub(crate) fn receipt(status: i32) -> Receipt {
    Receipt { status, gas_used: "21000".to_owned(), ..Receipt::default() }
}

/// A block around `prepared`, on top of `parent`.
pub(crate) fn block_on(parent: H256, prepared: PreparedState, transactions: Vec<Verified>) -> CommitBlock {
    let number = prepared.number as i64;
    let header = BlockHeader {
        version: 1,
        parent_info: vec![ParentInfo { number: number - 1, hash: parent }],
        state_root: prepared.state_root,
        number,
        timestamp: number + 1,
        ..BlockHeader::default()
    };
    let receipts = transactions.iter().map(|_| receipt(0)).collect();
    let (value, certificate, batches) = (vec![1, 2], vec![3, 4], vec![5, 6]);
    CommitBlock { header, transactions, receipts, prepared, value, certificate, batches }
}

/// Prepares and commits the next block.
pub(crate) fn grow(ledger: &Ledger, rows: &WriteSet) -> Result<H256, LedgerError> {
    grow_with(ledger, rows, Vec::new())
}

pub(crate) fn grow_with(ledger: &Ledger, rows: &WriteSet, transactions: Vec<Verified>) -> Result<H256, LedgerError> {
    let prepared = ledger.prepare(ledger.height() + 1, rows)?;
    let block = block_on(ledger.head_hash().expect("initialised"), prepared, transactions);
    let hash = block.header.hash(CryptoSuite::Sm);
    ledger.commit(block)?;
    Ok(hash)
}

pub(crate) fn read(ledger: &Ledger, name: &str) -> Option<String> {
    let key = key(name);
    let value = ledger.view().get(key.table, &key.key).expect("read");
    value.map(|bytes| String::from_utf8(bytes).expect("text"))
}

/// A signed transaction of one of a few accounts.
pub(crate) fn transaction(account: u8, nonce: &str) -> Verified {
    let mut transaction = Transaction {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        block_limit: 500,
        nonce: nonce.to_owned(),
        to: format!("0x{}", "1b".repeat(20)),
        input: vec![0xff, 1, 2, 3],
        ..Transaction::default()
    };
    let key = sm2::PrivateKey::from_bytes(&[account; 32]).expect("a valid scalar");
    transaction.sign_sm(&key, &mut Seeded::new(u64::from(account))).expect("signature");
    verify(CryptoSuite::Sm, &ChainIdentity::from(&genesis("chain0")), transaction).expect("a good transaction")
}
