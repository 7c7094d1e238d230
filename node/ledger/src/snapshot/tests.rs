mod lies;
mod past;

use std::path::Path;
use std::time::Duration;

use bixi_platform::io::PreadStorage;
use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::merkle;
use bixi_types::state::History as _;
use bixi_types::transaction::Verified;
use tempfile::TempDir;

use super::*;
use crate::driver::*;
use crate::{CommitBlock, Ledger, Params};

const SUITE: CryptoSuite = CryptoSuite::Sm;

/// Adds a block as the runtime makes it: with roots and extension.
fn grow_certified(ledger: &Ledger, rows: &[&str], transactions: Vec<Verified>) {
    let prepared = ledger.prepare(ledger.height() + 1, &writes(rows)).unwrap();
    let mut block: CommitBlock = block_on(ledger.head_hash().unwrap(), prepared, transactions);
    let hashes: Vec<H256> = block.transactions.iter().map(|transaction| transaction.hash).collect();
    block.header.txs_root = merkle::root(SUITE, &hashes);
    let bytes = block.transactions.iter().map(|transaction| transaction.bytes.as_ref());
    block.header.extra_data = HeaderExtension::new(SUITE, H256([9; 32]), bytes).encode();
    ledger.commit(block).unwrap();
}

/// A chain of nine blocks with some state: longer than the window of nonces.
fn source() -> Ledger {
    source_of(9)
}

/// Its first blocks.
fn source_of(height: u8) -> Ledger {
    let ledger = ledger_in_memory();
    for number in 1..=height {
        let value = "v".repeat(40_000);
        let rows: Vec<String> = (0..8).map(|row| format!("row{}={value}{number}", row * number)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).chain((number > 4).then_some("row1")).collect();
        grow_certified(
            &ledger,
            &rows,
            vec![transaction(number % 3 + 1, &format!("1{number}")), transaction(5, &format!("2{number}"))],
        );
    }
    ledger
}

fn export(ledger: &Ledger) -> Export<'_> {
    let frozen = ledger.freeze(1, Duration::ZERO).unwrap();
    frozen.describe(&|| true).unwrap().expect("not told to stop")
}

struct Receiver {
    dir: TempDir,
    own: Ledger,
}

impl Receiver {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), own: ledger_in_memory() }
    }

    fn params(&self, dir: &Path) -> Params {
        params(dir)
    }

    fn places(&self) -> Places {
        Places::around(&self.dir.path().join("ledger"))
    }

    fn begin(&self, manifest: &Manifest) -> Staging {
        Staging::begin(&self.params(&self.places().joining), &self.own, manifest.clone()).unwrap()
    }

    fn resume(&self) -> Staging {
        Staging::resume(&self.params(&self.places().joining), &self.own).unwrap().expect("something was begun")
    }
}

fn received(source: &Ledger, number: u64) -> ReceivedBlock {
    let block = source.block(number).unwrap().unwrap();
    let batches = block.batches.unwrap();
    ReceivedBlock { transactions: block.transactions, value: block.value, certificate: block.certificate, batches }
}

fn headers(source: &Ledger, numbers: std::ops::RangeInclusive<u64>) -> Vec<BlockHeader> {
    numbers.map(|number| source.header(number).unwrap().unwrap()).collect()
}

fn receive_blocks(staging: &Staging, source: &Ledger) {
    for number in staging.missing_blocks().unwrap().into_iter().rev() {
        staging.put_block(number, &received(source, number)).unwrap();
    }
}

fn receive(staging: &Staging, source: &Ledger, export: &Export<'_>) {
    staging.put_headers(&headers(source, 1..=9)).unwrap();
    for index in staging.missing_chunks().unwrap() {
        staging.put_chunk(index, &export.chunk(index).unwrap().unwrap()).unwrap();
    }
    receive_blocks(staging, source);
}

#[test]
fn a_received_snapshot_is_the_ledger_it_was_made_of() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    assert!(export.manifest().chunks.len() > 2, "several pieces");
    export.manifest().check(&source.genesis().unwrap().hash()).unwrap();
    let staging = receiver.begin(export.manifest());
    receive(&staging, &source, &export);
    staging.finish().unwrap();
    drop(staging);
    publish(&PreadStorage, &receiver.places()).unwrap();
    assert!(adopt(&PreadStorage, &receiver.places()).unwrap());
    assert!(!adopt(&PreadStorage, &receiver.places()).unwrap(), "once");

    let ledger = Ledger::open(receiver.params(&receiver.places().ledger)).unwrap();
    assert_eq!((ledger.height(), ledger.head_hash()), (9, source.head_hash()));
    assert_eq!(ledger.counts(), source.counts());
    for name in (0..=72).map(|row| format!("row{row}")) {
        assert_eq!(read(&ledger, &name), read(&source, &name), "{name}");
    }
    for number in 0..=9 {
        assert_eq!(ledger.header(number).unwrap(), source.header(number).unwrap());
    }
    // The next block gives the same commitment on both, and forgets the same nonces.
    for chain in [&ledger, &source] {
        grow_certified(chain, &["row2=next", "row3"], vec![transaction(5, "99")]);
    }
    assert_eq!(ledger.head_hash(), source.head_hash());
}

#[test]
fn replays_are_refused_after_a_snapshot_as_before() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    receive(&staging, &source, &export);
    staging.finish().unwrap();
    drop(staging);
    let ledger = Ledger::open(receiver.params(&receiver.places().joining)).unwrap();
    for _ in 0..=BLOCK_LIMIT {
        for number in 1..=9u8 {
            let past = transaction(5, &format!("2{number}"));
            let used = |chain: &Ledger| chain.nonce_used(&past.sender, &past.tx.nonce).unwrap();
            assert_eq!(used(&ledger), used(&source), "nonce of block {number} at height {}", source.height());
            let is_recent = u64::from(number) + u64::from(BLOCK_LIMIT) > source.height();
            assert!(!is_recent || ledger.transaction_known(&past.hash).unwrap());
        }
        for chain in [&ledger, &source] {
            grow_certified(chain, &[], Vec::new());
        }
    }
}

#[test]
fn what_a_snapshot_leaves_out_is_refused_by_name() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    assert_eq!(staging.first_block(), 5, "nine blocks, five of them in the window");
    receive(&staging, &source, &export);
    staging.finish().unwrap();
    drop(staging);
    let ledger = Ledger::open(receiver.params(&receiver.places().joining)).unwrap();
    assert_eq!(ledger.history(), Some(crate::History { joined: 9, first_block: 5 }));
    let refused = ledger.block(4).unwrap_err();
    assert!(matches!(refused, LedgerError::NoHistory { number: 4, first: 5, .. }), "{refused}");
    assert_eq!(refused.kind(), crate::ErrorKind::Refuse);
    assert_eq!(ledger.block(5).unwrap(), source.block(5).unwrap());
    assert_eq!(ledger.block(0).unwrap(), source.block(0).unwrap());
    assert!(matches!(ledger.receipts(9), Err(LedgerError::NoHistory { number: 9, first: 10, .. })));
    assert!(matches!(ledger.receipt(&transaction(5, "29").hash), Err(LedgerError::NoHistory { .. })));
    assert_eq!(ledger.block(10).unwrap(), None);
    assert_eq!(ledger.receipts(0).unwrap(), []);
}

#[test]
fn what_was_received_stays_after_a_stop() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    staging.put_headers(&headers(&source, 1..=4)).unwrap();
    drop(staging);
    let staging = receiver.resume();
    assert_eq!((staging.manifest(), staging.headers_through().unwrap()), (export.manifest(), 4));
    staging.put_headers(&headers(&source, 5..=9)).unwrap();
    staging.put_chunk(1, &export.chunk(1).unwrap().unwrap()).unwrap();
    staging.put_block(7, &received(&source, 7)).unwrap();
    let unfinished = staging.finish().unwrap_err();
    assert!(matches!(unfinished, SnapshotError::Ledger(LedgerError::Unfit { .. })), "{unfinished}");
    drop(staging);
    let staging = receiver.resume();
    assert!(!staging.missing_chunks().unwrap().contains(&1));
    assert_eq!(staging.missing_blocks().unwrap(), [5, 6, 8, 9]);
    receive_blocks(&staging, &source);
    for index in staging.missing_chunks().unwrap() {
        staging.put_chunk(index, &export.chunk(index).unwrap().unwrap()).unwrap();
    }
    staging.finish().unwrap();
    drop(staging);
    assert!(
        Staging::resume(&receiver.params(&receiver.places().joining), &receiver.own).unwrap().is_none(),
        "finished"
    );
}

#[test]
fn a_crash_anywhere_in_the_adoption_leaves_one_whole_ledger() {
    let touch = |dir: &Path, what: &str| {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("CURRENT"), what).unwrap();
    };
    // What a crash leaves: the directories that exist, and what is the ledger after the next start.
    for (there, after) in [
        (vec!["ledger", "ledger.joined"], "ledger.joined"),
        (vec!["ledger.replaced", "ledger.joined"], "ledger.joined"),
        (vec!["ledger", "ledger.replaced"], "ledger"),
        (vec!["ledger", "ledger.replaced", "ledger.joined"], "ledger.joined"),
        (vec!["ledger", "ledger.joining"], "ledger"),
    ] {
        let dir = TempDir::new().unwrap();
        there.iter().for_each(|name| touch(&dir.path().join(name), name));
        let places = Places::around(&dir.path().join("ledger"));
        adopt(&PreadStorage, &places).unwrap();
        assert_eq!(std::fs::read_to_string(places.ledger.join("CURRENT")).unwrap(), after, "{there:?}");
        assert!(!places.joined.exists() && !places.replaced.exists(), "{there:?}");
    }
}

#[test]
fn a_finished_snapshot_that_a_crash_left_unpublished_is_found() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    let params = receiver.params(&receiver.places().joining);
    receive(&staging, &source, &export);
    drop(staging);
    let finished = || Staging::finished(&params).unwrap().map(|ledger| ledger.height());
    assert_eq!(finished(), None, "complete, and not checked yet");
    receiver.resume().finish().unwrap();
    assert_eq!(finished(), Some(9));
}

#[test]
fn two_ledgers_of_one_chain_make_one_manifest() {
    let (one, other) = (source(), source());
    assert_eq!(export(&one).manifest(), export(&other).manifest());
}

#[test]
fn a_frozen_height_stays_while_the_chain_goes_on() {
    let source = source();
    let frozen = source.freeze(1, Duration::ZERO).unwrap();
    grow_certified(&source, &["row0=later", "row2"], Vec::new());
    let export = frozen.describe(&|| true).unwrap().unwrap();
    assert_eq!(export.manifest().height, 9);
    let (early, receiver) = (self::source(), Receiver::new());
    let staging = receiver.begin(export.manifest());
    receive(&staging, &early, &export);
    staging.finish().unwrap();
}

#[test]
fn a_ledger_is_frozen_at_a_multiple_when_one_is_reached_in_time() {
    let source = source();
    assert_eq!(source.freeze(4, Duration::ZERO).unwrap().height(), 9, "nothing is committed: the head it is");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| source.freeze(12, Duration::from_secs(600)).unwrap().height());
        while !waiting.is_finished() {
            grow_certified(&source, &[], Vec::new());
        }
        assert_eq!(waiting.join().unwrap() % 12, 0);
    });
    let frozen = source.freeze(1, Duration::ZERO).unwrap();
    assert!(frozen.describe(&|| false).unwrap().is_none(), "told to stop");
}
