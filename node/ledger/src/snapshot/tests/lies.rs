//! What is received and is not what the chain certified.

use super::*;
use crate::snapshot::PieceDigest;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Whoever digests pieces instead of us, rightly, wrongly or at random: the same are taken and the same refused.
#[test]
fn a_wrong_digest_of_another_s_neither_loses_nor_admits_a_piece() {
    let (source, receiver) = (source(), Receiver::new());
    let export = export(&source);
    let piece = export.chunk(0).unwrap().unwrap();
    let mut spoilt = piece.clone();
    spoilt[20] ^= 1;
    let right: PieceDigest = Arc::new(|parts| bixi_accel::sm3::digest(&parts.concat()));
    let wrong: PieceDigest = Arc::new(|_| [7; 32]);
    let mut staging = receiver.begin(export.manifest());
    for digest in [right, wrong] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        staging = staging.digest_by(Some(Arc::new(move |parts| {
            count.fetch_add(1, Ordering::Relaxed);
            digest(parts)
        })));
        is_lie(staging.put_chunk(0, &spoilt), "not the one");
        staging.put_chunk(0, &piece).unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
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
