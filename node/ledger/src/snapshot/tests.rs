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

fn is_lie(result: Result<(), SnapshotError>, words: &str) {
    match result {
        Err(SnapshotError::Lie(reason)) => assert!(reason.contains(words), "{reason}, not {words}"),
        other => panic!("{other:?} instead of a lie: {words}"),
    }
}

/// What its manifest names is no snapshot: not the sender's fault alone.
fn is_false(result: Result<(), SnapshotError>, words: &str) {
    match result {
        Err(SnapshotError::FalseManifest(reason)) => assert!(reason.contains(words), "{reason}, not {words}"),
        other => panic!("{other:?} instead of a false manifest: {words}"),
    }
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

/// The pieces of a manifest that a liar made of other rows.
fn forged(export: &Export<'_>, edit: impl Fn(&mut Vec<Row>)) -> (Manifest, Vec<Vec<u8>>) {
    let mut manifest = export.manifest().clone();
    let last = manifest.chunks.len() as u32 - 1;
    let pieces: Vec<Vec<u8>> = (0..=last)
        .map(|index| {
            let mut rows = Chunk::decode(&export.chunk(index).unwrap().unwrap()).unwrap();
            if index == last {
                edit(&mut rows);
            }
            records::encode(&rows)
        })
        .collect();
    manifest.chunks = pieces.iter().map(|piece| chunk_hash(SUITE, piece)).collect();
    manifest.bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    (manifest, pieces)
}

#[test]
fn rows_that_are_wrong_missing_or_too_many_are_found_out_at_the_end() {
    let source = source();
    let export = export(&source);
    type Edit = fn(&mut Vec<Row>);
    let lies: [Edit; 4] = [
        |rows| rows[0].1[7] ^= 1,
        |rows| drop(rows.remove(1)),
        |rows| rows.push(([rows.last().unwrap().0.clone(), vec![0]].concat(), vec![1])),
        // Two rows exchange their values.
        |rows| {
            let value = rows[0].1.clone();
            rows[0].1 = std::mem::replace(&mut rows[1].1, value);
        },
    ];
    for edit in lies {
        let receiver = Receiver::new();
        let (manifest, pieces) = forged(&export, edit);
        let staging = receiver.begin(&manifest);
        staging.put_headers(&headers(&source, 1..=9)).unwrap();
        receive_blocks(&staging, &source);
        for (index, piece) in (0u32..).zip(&pieces) {
            staging.put_chunk(index, piece).unwrap();
        }
        // A row that is twice in what was sent stands once in the database, so even 2^16 copies hide nothing.
        is_false(staging.finish(), "state root");
    }
    let receiver = Receiver::new();
    let manifest = Manifest { changes_root: H256([1; 32]), ..export.manifest().clone() };
    let staging = receiver.begin(&manifest);
    receive(&staging, &source, &export);
    is_false(staging.finish(), "state root");
}

#[test]
fn pieces_that_are_not_the_manifest_s_are_refused_at_once() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    let piece = export.chunk(0).unwrap().unwrap();
    let mut spoilt = piece.clone();
    spoilt[20] ^= 1;
    is_lie(staging.put_chunk(0, &spoilt), "not the one");
    is_lie(staging.put_chunk(1, &piece), "not the one");
    is_lie(staging.put_chunk(u32::MAX, &piece), "not the one");
    assert!(staging.missing_chunks().unwrap().contains(&0), "nothing of it was kept");
    drop(staging);

    let key = crate::keys::state(bixi_types::state::StateTable::Config, b"a");
    let row = |key: &[u8]| (key.to_vec(), vec![1u8]);
    let too_long = vec![(key.clone(), vec![0; SNAPSHOT_CHUNK_BYTES_MAX])];
    for (words, rows) in
        [("do not rise", vec![row(&key), row(&key)]), ("no table", vec![row(&[0xee, 1])]), ("at most", too_long)]
    {
        let encoded = records::encode(&rows);
        let receiver = Receiver::new();
        let manifest = Manifest { chunks: vec![chunk_hash(SUITE, &encoded)], ..export.manifest().clone() };
        is_false(receiver.begin(&manifest).put_chunk(0, &encoded), words);
    }
    let encoded = vec![0xff; 9];
    let receiver = Receiver::new();
    let manifest = Manifest { chunks: vec![chunk_hash(SUITE, &encoded)], ..export.manifest().clone() };
    is_false(receiver.begin(&manifest).put_chunk(0, &encoded), "malformed");
}

#[test]
fn pieces_make_no_more_and_no_less_than_the_manifest_says() {
    let source = source();
    let export = export(&source);
    let pieces: Vec<Vec<u8>> =
        (0..export.manifest().chunks.len() as u32).map(|index| export.chunk(index).unwrap().unwrap()).collect();
    let put_all = |staging: &Staging| {
        (0u32..).zip(&pieces).try_for_each(|(index, piece)| staging.put_chunk(index, piece).map(drop))
    };
    // Fewer bytes than there are: found out with the piece that passes them, after a stop as well.
    let receiver = Receiver::new();
    let few = Manifest { bytes: export.manifest().bytes - 1, ..export.manifest().clone() };
    let staging = receiver.begin(&few);
    staging.put_chunk(0, &pieces[0]).unwrap();
    staging.put_chunk(0, &pieces[0]).expect("the same piece counts once");
    assert_eq!(staging.bytes_to_come(), few.bytes - pieces[0].len() as u64);
    drop(staging);
    let staging = receiver.resume();
    assert_eq!(staging.bytes_to_come(), few.bytes - pieces[0].len() as u64);
    is_false(put_all(&staging), "announced");
    // More of them: at the end.
    let receiver = Receiver::new();
    let staging = receiver.begin(&Manifest { bytes: export.manifest().bytes + 1, ..export.manifest().clone() });
    receive(&staging, &source, &export);
    is_false(staging.finish(), "too few");
    // Only the last may be short.
    let receiver = Receiver::new();
    let rows = vec![(crate::keys::state(bixi_types::state::StateTable::Config, b"a"), vec![1u8])];
    let short = records::encode(&rows);
    let hash = chunk_hash(SUITE, &short);
    let staging = receiver.begin(&Manifest { chunks: vec![hash, hash], ..export.manifest().clone() });
    is_false(staging.put_chunk(0, &short), "announced");
    staging.put_chunk(1, &short).unwrap();
}

#[test]
fn a_block_that_claims_too_much_is_refused_before_room_is_made_for_it() {
    let whole = records::encode(&received(&source(), 7));
    assert_eq!(ReceivedBlock::decode(&whole).unwrap(), received(&source(), 7));
    // As many empty transactions as fit the longest block would take twenty times its bytes.
    let count = BLOCK_TRANSACTIONS_MAX as u32 + 1;
    let empty = [count.to_le_bytes().to_vec(), vec![0; 4 * count as usize + 12]].concat();
    assert!(borsh::from_slice::<ReceivedBlock>(&empty).is_ok(), "borsh alone would take it");
    assert!(ReceivedBlock::decode(&empty).unwrap_err().contains("65537 transactions"));
    for cut in [0, 3, 4, whole.len() - 1] {
        assert!(ReceivedBlock::decode(&whole[..cut]).is_err());
    }
    assert!(ReceivedBlock::decode(&[whole, vec![0]].concat()).is_err());
}

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
    joined.keep(own).unwrap();
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

#[test]
fn a_finished_snapshot_that_a_crash_left_unpublished_is_found() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    let params = receiver.params(&receiver.places().joining);
    receive(&staging, &source, &export);
    drop(staging);
    assert_eq!(Staging::finished(&params).unwrap(), None, "complete, and not checked yet");
    receiver.resume().finish().unwrap();
    assert_eq!(Staging::finished(&params).unwrap(), Some(9));
}

#[test]
fn headers_and_blocks_that_do_not_fit_are_refused() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let staging = receiver.begin(export.manifest());
    is_lie(staging.put_headers(&headers(&source, 2..=3)), "does not follow");
    let mut twisted = headers(&source, 1..=3);
    twisted[1].timestamp += 1;
    is_lie(staging.put_headers(&twisted), "does not follow");
    assert_eq!(staging.headers_through().unwrap(), 0, "nothing of it was kept");
    let mut other_head = headers(&source, 1..=9);
    other_head[8].timestamp += 1;
    is_lie(staging.put_headers(&other_head), "not the manifest's");
    staging.put_headers(&headers(&source, 1..=9)).unwrap();
    is_lie(staging.put_headers(&headers(&source, 9..=9)), "does not follow");

    let block = received(&source, 7);
    let edits: [fn(&mut ReceivedBlock); 4] = [
        |block| drop(block.transactions.pop()),
        |block| block.transactions.reverse(),
        |block| block.transactions.push(block.transactions[0].clone()),
        |block| {
            let last = block.transactions[0].len() - 1;
            block.transactions[0][last] ^= 1;
        },
    ];
    for edit in edits {
        let mut block = block.clone();
        edit(&mut block);
        is_lie(staging.put_block(7, &block), "transactions");
    }
    is_lie(staging.put_block(8, &block), "transactions");
    assert!(staging.missing_blocks().unwrap().contains(&7), "nothing of it was kept");
}

#[test]
fn manifests_that_cannot_be_are_refused() {
    let source = source();
    let export = export(&source);
    let (manifest, chain) = (export.manifest().clone(), source.genesis().unwrap().hash());
    type Edit = fn(&mut Manifest);
    let edits: [(&str, Edit); 9] = [
        ("genesis", |manifest| manifest.chain = H256([3; 32])),
        ("Counts", |manifest| manifest.counts.transactions = u64::MAX),
        ("Counts", |manifest| manifest.counts.failed = manifest.counts.transactions + 1),
        ("pieces", |manifest| manifest.chunks.clear()),
        ("pieces", |manifest| manifest.chunks = vec![H256([0; 32]); SNAPSHOT_CHUNKS_MAX + 1]),
        ("bytes", |manifest| manifest.bytes = u64::MAX),
        // Every piece but the last is full: so many pieces cannot have so few bytes.
        ("bytes", |manifest| {
            manifest.bytes = (manifest.chunks.len() as u64 - 1) * SNAPSHOT_CHUNK_BYTES_TARGET as u64;
        }),
        ("rows", |manifest| manifest.rows = manifest.chunks.len() as u64 - 1),
        ("rows", |manifest| manifest.rows = manifest.bytes / 8 + 1),
    ];
    for (words, edit) in edits {
        let mut spoilt = manifest.clone();
        edit(&mut spoilt);
        let refused = spoilt.check(&chain).expect_err(words);
        assert!(refused.contains(words), "{refused}, not {words}");
        assert_ne!(spoilt.id(SUITE), manifest.id(SUITE));
    }
    // Another release's is none of these: it cannot be used, and nobody lied.
    let newer = Manifest { format: FORMAT_VERSION + 1, ..manifest.clone() };
    assert!(!newer.is_readable() && manifest.is_readable());
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
