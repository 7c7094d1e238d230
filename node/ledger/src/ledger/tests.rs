use bixi_types::state::History;

use super::*;
use crate::driver::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{EngineError, Reader, Visit, Watch};
use crate::error::ErrorKind;

mod crash;
mod measure;
mod model;
mod opening;

fn view_read(view: &dyn StateView, name: &str) -> Option<Vec<u8>> {
    let key = key(name);
    view.get(key.table, &key.key).unwrap()
}

#[test]
fn a_committed_block_is_read_back() {
    let ledger = ledger_in_memory();
    let transactions = vec![transaction(1, "11"), transaction(2, "12")];
    let hashes: Vec<_> = transactions.iter().map(|transaction| transaction.hash).collect();
    let prepared = ledger.prepare(1, &writes(&["a=1", "b=2"])).unwrap();
    let mut block = block_on(ledger.head_hash().unwrap(), prepared, transactions.clone());
    block.receipts[1] = receipt(16);
    let hash = block.header.hash(CryptoSuite::Sm);
    ledger.commit(block.clone()).unwrap();

    assert_eq!((ledger.height(), ledger.head_hash()), (1, Some(hash)));
    assert_eq!(ledger.counts(), Counts { transactions: 2, failed: 1 });
    let stored = ledger.block(1).unwrap().unwrap();
    assert_eq!(stored.header, block.header);
    assert_eq!((stored.value, stored.certificate), (block.value, block.certificate));
    assert_eq!(stored.batches, Some(block.batches));
    assert_eq!(stored.transactions, transactions.iter().map(|one| one.bytes.to_vec()).collect::<Vec<_>>());
    assert_eq!(ledger.number_of(&hash).unwrap(), Some(1));
    assert_eq!(ledger.hash_of(1).unwrap(), Some(hash));
    let second = ledger.transaction(&hashes[1]).unwrap().unwrap();
    assert_eq!((second.number, second.index, &second.bytes[..]), (1, 1, &*transactions[1].bytes));
    assert_eq!(ledger.receipt(&hashes[1]).unwrap(), Some(receipt(16)));
    assert_eq!(ledger.receipts(1).unwrap(), [receipt(0), receipt(16)]);
    assert_eq!(read(&ledger, "b").as_deref(), Some("2"));
}

#[test]
fn what_is_not_there_is_none() {
    let ledger = ledger_in_memory();
    assert_eq!(ledger.header(1).unwrap(), None);
    assert_eq!(ledger.block(1).unwrap(), None);
    assert_eq!(ledger.hash_of(1).unwrap(), None);
    assert_eq!(ledger.number_of(&H256([1; 32])).unwrap(), None);
    assert_eq!(ledger.transaction(&H256([1; 32])).unwrap(), None);
    assert_eq!(ledger.receipt(&H256([1; 32])).unwrap(), None);
    assert!(ledger.receipts(1).unwrap().is_empty());
    assert_eq!(read(&ledger, "nothing"), None);
}

#[test]
fn prepared_blocks_are_seen_before_they_are_committed() {
    let ledger = ledger_in_memory();
    let one = ledger.prepare(1, &writes(&["a=1", "b=1"])).unwrap();
    let two = ledger.prepare(2, &writes(&["a", "c=2"])).unwrap();
    let view = ledger.view();
    assert_eq!(view_read(&*view, "a"), None);
    assert_eq!(view_read(&*view, "b").as_deref(), Some(&b"1"[..]));
    assert_eq!(view_read(&*view, "c").as_deref(), Some(&b"2"[..]));
    assert_eq!(ledger.height(), 0);
    let committed = ledger.committed_view();
    assert_eq!(view_read(&*committed, "a").as_deref(), Some(&b"0"[..]), "clients see committed blocks only");
    assert_eq!(view_read(&*committed, "c"), None);
    let first = block_on(ledger.head_hash().unwrap(), one, Vec::new());
    let parent = first.header.hash(CryptoSuite::Sm);
    ledger.commit(first).unwrap();
    ledger.commit(block_on(parent, two, Vec::new())).unwrap();
    assert_eq!(read(&ledger, "c").as_deref(), Some("2"));
    assert_eq!(view_read(&*committed, "a").as_deref(), Some(&b"0"[..]));
}

#[test]
fn a_view_is_not_moved_by_commits() {
    let ledger = ledger_in_memory();
    grow(&ledger, &writes(&["a=1", "b=1"])).unwrap();
    let view = ledger.view();
    grow(&ledger, &writes(&["a=2", "b", "c=2"])).unwrap();
    grow(&ledger, &writes(&["a=3", "b=3", "c=3", "d=3"])).unwrap();
    assert_eq!(view_read(&*view, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(view_read(&*view, "b").as_deref(), Some(&b"1"[..]));
    assert_eq!(view_read(&*view, "c"), None);
    assert_eq!(view_read(&*view, "d"), None);
    assert_eq!(ledger.core.layers.read().len(), 2, "undo rows are kept for the view");
    drop(view);
    grow(&ledger, &writes(&["a=4"])).unwrap();
    assert_eq!(ledger.core.layers.read().len(), 0, "and forgotten when it is gone");
    assert_eq!(read(&ledger, "a").as_deref(), Some("4"));
}

#[test]
fn views_are_consistent_while_blocks_are_committed() {
    let ledger = ledger_in_memory();
    let pair = |number: u64| writes(&[&format!("left={number}"), &format!("right={number}")]);
    grow(&ledger, &pair(1)).unwrap();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 300 {
                        let view = ledger.view();
                        let left = view_read(&*view, "left").expect("written");
                        let right = view_read(&*view, "right").expect("written");
                        assert_eq!(left, right, "a view shows one height");
                        let height: u64 = String::from_utf8(left).unwrap().parse().unwrap();
                        assert!(height >= last, "later views show later heights");
                        last = height;
                    }
                })
            })
            .collect();
        for number in 2..=300 {
            grow(&ledger, &pair(number)).unwrap();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_view_knows_the_hashes_of_its_past_only() {
    let ledger = ledger_in_memory();
    let genesis = ledger.head_hash().unwrap();
    let hash = grow(&ledger, &WriteSet::new()).unwrap();
    let prepared = ledger.prepare(2, &WriteSet::new()).unwrap();
    let view = ledger.view();
    assert_eq!(view.block_hash(0).unwrap(), Some(genesis));
    assert_eq!(view.block_hash(1).unwrap(), Some(hash));
    assert_eq!(view.block_hash(3).unwrap(), None);
    assert!(view.block_hash(2).is_err(), "guessing would fork");
    prepared.set_header_hash(H256([9; 32]));
    assert_eq!(view.block_hash(2).unwrap(), Some(H256([9; 32])));
}

#[test]
fn blocks_are_prepared_in_order_and_can_be_taken_back() {
    let ledger = ledger_in_memory();
    assert!(matches!(ledger.prepare(2, &WriteSet::new()), Err(LedgerError::OutOfOrder { expected: 1, found: 2 })));
    let first = ledger.prepare(1, &writes(&["a=1"])).unwrap();
    assert!(matches!(ledger.prepare(1, &WriteSet::new()), Err(LedgerError::OutOfOrder { expected: 2, found: 1 })));
    ledger.discard_prepared(1);
    assert_eq!(read(&ledger, "a").as_deref(), Some("0"));
    let again = ledger.prepare(1, &writes(&["a=1"])).unwrap();
    assert_eq!(first.state_root, again.state_root);
    let stale = ledger.commit(block_on(ledger.head_hash().unwrap(), first, Vec::new()));
    assert!(matches!(stale, Err(LedgerError::Unfit { .. })));
    ledger.commit(block_on(ledger.head_hash().unwrap(), again, Vec::new())).unwrap();
}

#[test]
fn refuses_blocks_that_do_not_fit() {
    let ledger = ledger_in_memory();
    let head = ledger.head_hash().unwrap();
    let prepared = ledger.prepare(1, &writes(&["a=1"])).unwrap();
    let good = block_on(head, prepared.clone(), vec![transaction(1, "1")]);
    let spoilt: [fn(&mut CommitBlock); 5] = [
        |block| block.header.number = 2,
        |block| block.header.parent_info.clear(),
        |block| block.header.parent_info[0].hash = H256([1; 32]),
        |block| block.header.state_root = H256([1; 32]),
        |block| block.receipts.clear(),
    ];
    for spoil in spoilt {
        let mut block = good.clone();
        spoil(&mut block);
        let error = ledger.commit(block).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refuse, "{error}");
        assert_eq!((ledger.height(), ledger.head_hash()), (0, Some(head)));
    }
    ledger.commit(good.clone()).unwrap();
    assert!(matches!(ledger.commit(good), Err(LedgerError::OutOfOrder { expected: 2, found: 1 })));
}

#[test]
fn the_genesis_must_fit_and_is_written_once() {
    let ledger = Ledger::in_memory(CryptoSuite::Sm);
    let rows = writes(&["a=0"]);
    assert!(matches!(ledger.prepare(1, &rows), Err(LedgerError::Uninitialised)));
    let good = BlockHeader { state_root: ledger.genesis_state_root(&rows), ..BlockHeader::default() };
    let unrooted = BlockHeader::default();
    assert!(matches!(ledger.initialise(&genesis("c"), &rows, &unrooted), Err(LedgerError::Unfit { number: 0, .. })));
    let elsewhere = BlockHeader { number: 1, ..good.clone() };
    assert!(matches!(ledger.initialise(&genesis("c"), &rows, &elsewhere), Err(LedgerError::Unfit { .. })));
    let other_suite = Genesis { suite: CryptoSuite::Std, ..genesis("c") };
    assert!(matches!(ledger.initialise(&other_suite, &rows, &good), Err(LedgerError::Unfit { .. })));
    ledger.initialise(&genesis("c"), &rows, &good).unwrap();
    ledger.initialise(&genesis("c"), &rows, &good).unwrap();
    assert!(matches!(ledger.initialise(&genesis("d"), &rows, &good), Err(LedgerError::OtherChain { .. })));
    assert_eq!(ledger.genesis().unwrap().chain_id, "c");
}

#[test]
fn transactions_are_known_once_ordered_and_for_ever_once_committed() {
    let ledger = ledger_in_memory();
    let one = transaction(1, "1");
    assert!(!ledger.transaction_known(&one.hash).unwrap());
    ledger.note_ordered(1, std::slice::from_ref(&one));
    assert!(ledger.transaction_known(&one.hash).unwrap());
    grow_with(&ledger, &WriteSet::new(), vec![one.clone()]).unwrap();
    for _ in 0..=BLOCK_LIMIT {
        grow(&ledger, &WriteSet::new()).unwrap();
    }
    assert!(ledger.transaction_known(&one.hash).unwrap());
}

#[test]
fn nonces_leave_the_window() {
    let ledger = ledger_in_memory();
    let one = transaction(1, "77");
    grow_with(&ledger, &WriteSet::new(), vec![one.clone()]).unwrap();
    let other = transaction(2, "77");
    for height in 1..=u64::from(BLOCK_LIMIT) {
        assert_eq!(ledger.height(), height);
        assert!(ledger.nonce_used(&one.sender, "77").unwrap(), "height {height}");
        assert!(!ledger.nonce_used(&one.sender, "7").unwrap() && !ledger.nonce_used(&other.sender, "77").unwrap());
        grow(&ledger, &WriteSet::new()).unwrap();
    }
    assert!(!ledger.nonce_used(&one.sender, "77").unwrap());
    let nonce = keys::nonce(&one.sender, "77");
    assert_eq!(ledger.core.engine.get(Column::Index, &nonce).unwrap(), None, "and is forgotten");
}

#[test]
fn the_nonce_window_counts_ordered_blocks() {
    let ledger = ledger_in_memory();
    let one = transaction(1, "77");
    ledger.note_ordered(1, std::slice::from_ref(&one));
    assert!(ledger.nonce_used(&one.sender, "77").unwrap());
    ledger.note_ordered(u64::from(BLOCK_LIMIT), &[]);
    assert!(ledger.nonce_used(&one.sender, "77").unwrap());
    ledger.note_ordered(u64::from(BLOCK_LIMIT) + 1, &[]);
    assert!(!ledger.nonce_used(&one.sender, "77").unwrap());
}

#[test]
fn the_window_of_a_block_whose_predecessors_are_not_noted_yet_is_measured_from_its_parent() {
    let ledger = ledger_in_memory();
    let (one, other) = (transaction(1, "77"), transaction(2, "78"));
    grow_with(&ledger, &WriteSet::new(), vec![one.clone()]).unwrap();
    ledger.note_ordered(2, std::slice::from_ref(&other));
    let last = u64::from(BLOCK_LIMIT);
    for (sender, used_at) in [(&one, 1), (&other, 2)] {
        let is_used = |parent| ledger.history_after(parent).nonce_used(&sender.sender, &sender.tx.nonce).unwrap();
        assert!(is_used(2) && is_used(used_at + last - 1));
        assert!(!is_used(used_at + last));
        assert!(ledger.history_after(used_at + last).transaction_known(&sender.hash).unwrap(), "for ever");
    }
}

#[test]
fn a_block_taken_back_leaves_no_trace_in_the_history() {
    let ledger = ledger_in_memory();
    let (old, new) = (transaction(1, "77"), transaction(2, "78"));
    grow_with(&ledger, &WriteSet::new(), vec![old.clone()]).unwrap();
    for _ in 1..BLOCK_LIMIT {
        grow(&ledger, &WriteSet::new()).unwrap();
    }
    let height = ledger.height() + 1;
    // The nonce leaves the window with this very block.
    let reads = || [&old, &new].map(|used| ledger.nonce_used(&used.sender, &used.tx.nonce).unwrap());
    assert_eq!(reads(), [true, false]);
    ledger.prepare(height, &WriteSet::new()).unwrap();
    ledger.note_ordered(height, std::slice::from_ref(&new));
    assert_eq!(reads(), [false, true]);
    ledger.discard_prepared(height);
    assert_eq!(reads(), [true, false]);
    assert!(!ledger.transaction_known(&new.hash).unwrap());
}

/// A store whose disk is full after some writes.
struct Failing {
    inner: MemoryEngine,
    writes_left: std::sync::atomic::AtomicI32,
}

impl Reader for Failing {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.inner.get(column, key)
    }

    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.inner.multi_get(column, keys)
    }

    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.inner.scan(column, prefix, visit)
    }

    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.inner.walk(column, first, visit)
    }
}

impl Engine for Failing {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        if self.writes_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(EngineError("no space left".into()));
        }
        self.inner.write(batch)
    }

    fn snapshot(&self) -> Box<dyn Reader + '_> {
        self.inner.snapshot()
    }

    fn reseal(&self, watch: Watch<'_>) -> Result<bool, EngineError> {
        self.inner.reseal(watch)
    }
}

#[test]
fn a_failed_write_poisons_the_ledger() {
    let engine = Failing { inner: MemoryEngine::new(), writes_left: 2.into() };
    let ledger = Ledger::with_engine(Box::new(engine), CryptoSuite::Sm, None, 1 << 20).unwrap();
    initialise(&ledger, "chain0", &writes(&["a=0"]));
    grow(&ledger, &writes(&["a=1"])).unwrap();
    let prepared = ledger.prepare(2, &writes(&["a=2"])).unwrap();
    let block = block_on(ledger.head_hash().unwrap(), prepared, Vec::new());
    let error = ledger.commit(block.clone()).unwrap_err();
    assert_eq!((error.kind(), ledger.height()), (ErrorKind::Halt, 1));
    assert!(matches!(ledger.commit(block), Err(LedgerError::Poisoned)));
}
