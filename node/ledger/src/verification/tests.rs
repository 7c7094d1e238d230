use bixi_types::header::HeaderExtension;
use bixi_types::merkle;
use bixi_types::receipt::Receipt;
use bixi_types::state::StateTable;
use bixi_types::transaction::Verified;

use super::*;
use crate::driver::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Write};
use crate::records::{Head, encode};
use crate::{CommitBlock, Counts, Ledger};

const SUITE: CryptoSuite = CryptoSuite::Sm;
const HEIGHT: u64 = 9;

/// Adds a block with everything under its header.
fn grow_whole(ledger: &Ledger, rows: &[&str], transactions: Vec<Verified>) {
    let prepared = ledger.prepare(ledger.height() + 1, &writes(rows)).unwrap();
    let mut block: CommitBlock = block_on(ledger.head_hash().unwrap(), prepared, transactions);
    for (index, one) in block.receipts.iter_mut().enumerate() {
        one.status = i32::from(index == 1) * 15;
    }
    let hashes: Vec<H256> = block.transactions.iter().map(|transaction| transaction.hash).collect();
    block.header.txs_root = merkle::root(SUITE, &hashes);
    block.header.receipts_root = merkle::root(SUITE, &Receipt::hash_many(SUITE, &block.receipts));
    let bytes = block.transactions.iter().map(|transaction| transaction.bytes.as_ref());
    block.header.extra_data = HeaderExtension::new(SUITE, H256([9; 32]), bytes).encode();
    ledger.commit(block).unwrap();
}

/// More blocks than nonces count for.
fn chain() -> Ledger {
    let ledger = ledger_in_memory();
    for number in 1..=HEIGHT {
        let rows = [format!("row{number}=a"), format!("row{}=b", number / 2), "row1".to_owned()];
        let rows: Vec<&str> = rows.iter().map(String::as_str).take(if number > 4 { 3 } else { 2 }).collect();
        let nonce = |kind: u64| format!("{kind}{number}");
        grow_whole(&ledger, &rows, vec![transaction(number as u8 % 3 + 1, &nonce(1)), transaction(5, &nonce(2))]);
    }
    ledger
}

fn rows_of(ledger: &Ledger) -> Vec<Write> {
    let mut rows = Vec::new();
    for column in Column::ALL {
        ledger
            .core
            .engine
            .walk(column, &[], &mut |key, value| {
                rows.push((column, key.to_vec(), Some(value.to_vec())));
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    rows
}

/// What is told of a ledger of these rows.
fn faults(rows: &[Write]) -> Vec<String> {
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    for (column, key, value) in rows {
        batch.put(*column, key.as_slice(), value.clone().expect("only rows that are there"));
    }
    engine.write(batch).unwrap();
    let subject = match Subject::on(Box::new(engine), SUITE, Some(genesis("chain0").hash())) {
        Ok(Some(subject)) => subject,
        Ok(None) => return vec!["no chain".into()],
        Err(error) => return vec![error.to_string()],
    };
    let (mut told, mut indexed) = (Vec::new(), Indexed::default());
    let (head, _) = subject.head();
    for number in 0..=head {
        let height = subject.height(number, &mut |what| told.push(format!("{number}: {what}"))).unwrap();
        indexed += height.indexed;
    }
    let mut tell = |what| told.push(what);
    let (mut entries, mut read) = (Entries::default(), 0);
    for part in IndexPart::all() {
        match subject.entries(&part, &mut |more| read += more, &mut tell) {
            Ok(more) => entries += more,
            Err(error) => tell(error.to_string()),
        }
    }
    let everything = rows.iter().filter(|(column, ..)| *column == Column::Index).count();
    assert_eq!(read, everything as u64, "each entry in one part");
    if subject.count(&indexed, &entries, &mut tell) {
        for part in IndexPart::all() {
            subject.follow_back(&part, &mut |_| (), &mut tell).unwrap();
        }
    }
    subject.strays(&mut tell).unwrap();
    let mut sum = subject.empty_sum();
    let gathered = subject.rows(&mut |rows| {
        sum = subject.gather(&sum, &rows);
        ControlFlow::Continue(())
    });
    if let Err(error) = gathered.and_then(|()| subject.state(&sum, &mut tell)) {
        tell(error.to_string());
    }
    told
}

/// Decided value, certificate and batches are under signatures and digests that only the runtime can check.
fn is_for_the_runtime(column: Column, key: &[u8]) -> bool {
    let is = |make: fn(u64) -> Vec<u8>| (0..=HEIGHT).any(|number| make(number) == key);
    column == Column::Chain && (is(keys::body) || is(keys::batches))
}

#[test]
fn of_a_whole_ledger_nothing_is_told() {
    assert_eq!(faults(&rows_of(&chain())), [""; 0]);
    let empty = ledger_in_memory();
    assert_eq!(faults(&rows_of(&empty)), [""; 0], "a chain without blocks");
}

#[test]
fn every_row_that_is_gone_is_told() {
    let rows = rows_of(&chain());
    for index in 0..rows.len() {
        let (column, key, _) = &rows[index];
        let mut less = rows.clone();
        less.remove(index);
        // A block of a release that had no network has none.
        let is_optional = *column == Column::Chain && (0..=HEIGHT).any(|number| keys::batches(number) == *key);
        assert_ne!(faults(&less).is_empty(), !is_optional, "{column:?} {key:?}");
    }
}

#[test]
fn every_row_that_is_changed_is_told() {
    let rows = rows_of(&chain());
    let mut told_of = 0;
    for index in 0..rows.len() {
        let (column, key, value) = &rows[index];
        let mut bytes = value.clone().unwrap();
        if is_for_the_runtime(*column, key) {
            continue;
        }
        match bytes.last_mut() {
            Some(last) => *last ^= 1,
            // Of the nonces of a height the key is all there is.
            None => continue,
        }
        let mut changed = rows.clone();
        changed[index].2 = Some(bytes);
        assert!(!faults(&changed).is_empty(), "{column:?} {key:?}");
        told_of += 1;
    }
    assert!(told_of > 90, "{told_of}");
}

#[test]
fn every_row_too_many_is_told() {
    let rows = rows_of(&chain());
    for index in 0..rows.len() {
        let (column, key, value) = rows[index].clone();
        if column == Column::Meta {
            continue;
        }
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 0x80;
        let longer = [&key[..], &[0]].concat();
        for key in [other, longer] {
            let mut more = rows.clone();
            more.push((column, key.clone(), value.clone()));
            assert!(!faults(&more).is_empty(), "{column:?} {key:?}");
        }
    }
}

#[test]
fn receipts_that_changed_places_are_told_and_so_are_transactions() {
    let rows = rows_of(&chain());
    for make in [keys::receipt as fn(u64, u32) -> Vec<u8>, keys::transaction] {
        let find =
            |key: &[u8]| rows.iter().position(|(column, found, _)| (*column, &found[..]) == (Column::Chain, key));
        let (one, other) = (find(&make(3, 0)).unwrap(), find(&make(3, 1)).unwrap());
        let mut swapped = rows.clone();
        (swapped[one].2, swapped[other].2) = (rows[other].2.clone(), rows[one].2.clone());
        let told = faults(&swapped);
        assert!(told[0].starts_with("3: its ") && told[0].contains("header"), "{told:?}");
    }
}

/// The state is authentic, its rows are well formed, and one of them is another.
#[test]
fn a_wrong_row_of_the_state_is_told_though_everything_else_fits() {
    let mut rows = rows_of(&chain());
    let row = rows.iter_mut().find(|(column, key, _)| *column == Column::State && key.ends_with(b"row4")).unwrap();
    row.2 = Some(b"c".to_vec());
    let told = faults(&rows);
    assert!(told.len() == 1 && told[0].contains("do not have the state root of header 9"), "{told:?}");
}

#[test]
fn a_head_that_is_not_the_chain_s_is_told() {
    let ledger = chain();
    let rows = rows_of(&ledger);
    let state = ledger.core.head().unwrap();
    let heads = [
        Head { number: HEIGHT - 1, ..state.head.clone() },
        Head { hash: H256([1; 32]), ..state.head.clone() },
        Head { changes_root: H256([1; 32]), ..state.head.clone() },
        Head { counts: Counts { failed: 0, ..state.head.counts }, ..state.head.clone() },
    ];
    for head in heads {
        let mut other = rows.clone();
        let place = other.iter().position(|(_, key, _)| key == keys::META_HEAD).unwrap();
        other[place].2 = Some(encode(&head));
        assert!(!faults(&other).is_empty(), "{head:?}");
    }
}

/// A start would begin a chain among them.
#[test]
fn rows_of_no_chain_are_told_whatever_they_are() {
    assert_eq!(faults(&[]), ["no chain"]);
    let rows = rows_of(&chain());
    for column in Column::ALL {
        let is_record = |key: &[u8]| [keys::META_SCHEMA, keys::META_HEAD].contains(&key);
        let of_column = rows.iter().filter(|(of, key, _)| *of == column && !is_record(key));
        let told = faults(&of_column.cloned().collect::<Vec<_>>());
        let words = format!("rows in {:?} but no schema version", column.name());
        assert!(told.len() == 1 && told[0].contains(&words), "{told:?}");
    }
}

#[test]
fn the_sums_of_two_halves_are_the_sum_of_the_whole() {
    let ledger = chain();
    let (mut halves, mut whole, mut count) = ([Vec::new(), Vec::new()], Vec::new(), 0);
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    rows_of(&ledger).into_iter().for_each(|(column, key, value)| batch.put(column, key, value.unwrap()));
    for row in 0..10_000u32 {
        batch.put(Column::State, keys::state(StateTable::Storage, &row.to_be_bytes()), row.to_le_bytes());
    }
    engine.write(batch).unwrap();
    let subject = Subject::on(Box::new(engine), SUITE, None).unwrap().unwrap();
    halves.iter_mut().chain([&mut whole]).for_each(|sum| *sum = subject.empty_sum());
    subject
        .rows(&mut |rows| {
            halves[count % 2] = subject.gather(&halves[count % 2], &rows);
            whole = subject.gather(&whole, &rows);
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(count >= 3, "{count}");
    assert_eq!(subject.join(&halves[0], &halves[1]), whole);
}
