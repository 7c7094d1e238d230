//! What a node keeps of its own.

use super::*;

/// Joins at the head of `source` and puts the snapshot in the place of the receiver's ledger, which is `own`.
fn replace(receiver: &Receiver, source: &Ledger, own: &Ledger, after_publishing: impl FnOnce()) -> Ledger {
    let export = export(source);
    let staging = Staging::begin(&receiver.params(&receiver.places().joining), own, export.manifest().clone()).unwrap();
    staging.put_headers(&headers(source, staging.headers_through().unwrap() + 1..=source.height())).unwrap();
    for index in staging.missing_chunks().unwrap() {
        staging.put_chunk(index, &export.chunk(index).unwrap().unwrap()).unwrap();
    }
    receive_blocks(&staging, source);
    assert!(staging.keep(own, &|| true).unwrap());
    staging.finish().unwrap();
    drop(staging);
    after_publishing();
    let joined = Ledger::open(receiver.params(&receiver.places().joining)).unwrap();
    assert!(joined.keep(own, &|| true).unwrap());
    drop(joined);
    publish(&PreadStorage, &receiver.places()).unwrap();
    adopt(&PreadStorage, &receiver.places()).unwrap();
    Ledger::open(receiver.params(&receiver.places().ledger)).unwrap()
}

#[test]
fn a_node_whose_ledger_is_replaced_keeps_every_block_and_receipt_it_had() {
    let (source, receiver, own) = (source(), Receiver::new(), source_of(2));
    // The third block is committed when the snapshot is complete already.
    let grow = || {
        let block = received(&source, 3);
        let whole = source_of(3);
        assert_eq!(whole.block(3).unwrap().unwrap().transactions, block.transactions);
        let rows: Vec<String> = (0..8).map(|row| format!("row{}={}3", row * 3, "v".repeat(40_000))).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        grow_certified(&own, &rows, vec![transaction(1, "13"), transaction(5, "23")]);
    };
    let ledger = replace(&receiver, &source, &own, grow);
    assert_eq!(own.head_hash(), source.hash_of(3).unwrap());
    assert_eq!(ledger.history(), Some(crate::History { joined: 9, first_block: 5 }));
    for number in 1..=3 {
        assert_eq!(ledger.block(number).unwrap(), source.block(number).unwrap());
        assert_eq!(ledger.receipts(number).unwrap(), source.receipts(number).unwrap());
        let hash = transaction(5, &format!("2{number}")).hash;
        assert_eq!(ledger.transaction(&hash).unwrap(), source.transaction(&hash).unwrap());
        assert_eq!(ledger.receipt(&hash).unwrap(), source.receipt(&hash).unwrap());
        assert!(!ledger.nonce_used(&transaction(5, "0").sender, &format!("2{number}")).unwrap(), "no longer counts");
    }
    assert!(matches!(ledger.block(4), Err(LedgerError::NoHistory { number: 4, first: 5, .. })));
    assert!(matches!(ledger.receipts(4), Err(LedgerError::NoHistory { number: 4, first: 10, .. })));
    assert!(matches!(ledger.receipts(9), Err(LedgerError::NoHistory { .. })));

    // Joining once more, it loses nothing either: blocks of before, of the window, and those it executed since.
    for _ in 0..3 {
        for chain in [&ledger, &source] {
            let number = chain.height() + 1;
            grow_certified(chain, &["row2=next"], vec![transaction(5, &format!("3{number}"))]);
        }
    }
    for _ in 0..9 {
        grow_certified(&source, &["row3=later"], Vec::new());
    }
    let second = Receiver { dir: TempDir::new().unwrap(), own: ledger_in_memory() };
    let again = replace(&second, &source, &ledger, || {});
    assert_eq!(again.history(), Some(crate::History { joined: 21, first_block: 17 }));
    for number in 1..=21 {
        let is_there = !matches!(number, 4 | 13..=16);
        assert_eq!(again.block(number).is_ok(), is_there, "block {number}");
        assert_eq!(again.receipts(number).is_ok(), matches!(number, 1..=3 | 10..=12), "receipts of {number}");
    }
    assert_eq!(again.receipts(11).unwrap(), source.receipts(11).unwrap());
}

#[test]
fn keeping_goes_on_where_a_stop_left_it() {
    let (source, receiver, own) = (source(), Receiver::new(), source_of(3));
    let export = export(&source);
    let staging =
        Staging::begin(&receiver.params(&receiver.places().joining), &own, export.manifest().clone()).unwrap();
    let copied = std::cell::Cell::new(0);
    let one = || {
        copied.set(copied.get() + 1);
        copied.get() != 2
    };
    assert!(!staging.keep_by(1, &own, &one).unwrap(), "told to stop after two blocks");
    drop(staging);
    let staging = Staging::resume(&receiver.params(&receiver.places().joining), &own).unwrap().unwrap();
    assert!(staging.keep_by(1, &own, &one).unwrap());
    assert_eq!(copied.get(), 3, "the third block, and no other again");
    assert!(staging.keep_by(1, &own, &|| panic!("nothing is left")).unwrap());
}
