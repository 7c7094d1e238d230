use bixi_ledger::Counts;
use bixi_ledger::snapshot::ReceivedBlock;
use proptest::prelude::*;

use super::*;
use crate::exchange::Exchange;

fn manifest(chunks: usize) -> Message {
    Message::Manifest(Box::new(Manifest {
        format: 1,
        chain: H256([1; 32]),
        height: 9,
        header_hash: H256([2; 32]),
        changes_root: H256([3; 32]),
        counts: Counts { transactions: 4, failed: 1 },
        rows: 5,
        bytes: 6,
        chunks: vec![H256([7; 32]); chunks],
    }))
}

fn chunk(length: usize) -> Message {
    Message::Chunk { snapshot: H256([1; 32]), index: 3, bytes: vec![9; length] }
}

fn part(offset: u32, total: u32, length: usize) -> Message {
    Message::Block { height: 3, offset, total, bytes: vec![9; length] }
}

#[test]
fn messages_about_snapshots_come_back_within_their_bounds() {
    let total_max = SNAPSHOT_BLOCK_BYTES_MAX as u32;
    let wanted = [
        Wanted::Manifest,
        Wanted::Chunk { snapshot: H256([1; 32]), index: u32::MAX },
        Wanted::Block { height: 1, offset: 0 },
    ];
    let requests = wanted.into_iter().flat_map(|wanted| [Message::Want(wanted), Message::NotHeld(wanted)]);
    let answers = [
        manifest(SNAPSHOT_CHUNKS_MAX),
        chunk(SNAPSHOT_CHUNK_BYTES_MAX),
        part(0, 1, 1),
        part(total_max - 5, total_max, 5),
        part(0, total_max, SNAPSHOT_BLOCK_PART_BYTES_MAX),
    ];
    for message in requests.chain(answers).map(Exchange::Snapshot) {
        let encoded = message.encode();
        assert_eq!(Exchange::decode(&encoded), Ok(message.clone()));
        assert!(Exchange::decode(&encoded[..encoded.len() - 1]).is_err());
        assert!(Exchange::decode(&[encoded, vec![0]].concat()).is_err());
    }
    for refused in [
        manifest(SNAPSHOT_CHUNKS_MAX + 1),
        chunk(SNAPSHOT_CHUNK_BYTES_MAX + 1),
        part(0, 5, 0),
        part(1, 5, 5),
        part(u32::MAX, 5, 5),
        part(0, total_max + 1, 5),
        part(0, total_max, SNAPSHOT_BLOCK_PART_BYTES_MAX + 1),
    ] {
        assert!(Exchange::decode(&Exchange::Snapshot(refused).encode()).is_err());
    }
}

fn hash() -> impl Strategy<Value = H256> {
    any::<[u8; 32]>().prop_map(H256)
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        Just(Wanted::Manifest),
        (hash(), any::<u32>()).prop_map(|(snapshot, index)| Wanted::Chunk { snapshot, index }),
        (any::<u64>(), any::<u32>()).prop_map(|(height, offset)| Wanted::Block { height, offset }),
    ]
}

fn any_manifest() -> impl Strategy<Value = Message> {
    let numbers = any::<(u16, u64, u64, u64, u64, u64)>();
    (numbers, any::<[[u8; 32]; 3]>(), prop::collection::vec(hash(), 0..40)).prop_map(|(numbers, hashes, chunks)| {
        let (format, height, transactions, failed, rows, bytes) = numbers;
        let [chain, header_hash, changes_root] = hashes.map(H256);
        let counts = Counts { transactions, failed };
        Message::Manifest(Box::new(Manifest {
            format,
            chain,
            height,
            header_hash,
            changes_root,
            counts,
            rows,
            bytes,
            chunks,
        }))
    })
}

/// A part that stands where it may.
fn any_part() -> impl Strategy<Value = Message> {
    let bytes = prop::collection::vec(any::<u8>(), 1..300);
    (any::<u64>(), bytes, 0..1_000_u32, 0..1_000_u32).prop_map(|(height, bytes, offset, rest)| {
        let total = offset + bytes.len() as u32 + rest;
        Message::Block { height, offset, total, bytes }
    })
}

/// Every message within its bounds.
fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any_wanted().prop_map(Message::Want),
        any_wanted().prop_map(Message::NotHeld),
        any_manifest(),
        (hash(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(snapshot, index, bytes)| Message::Chunk { snapshot, index, bytes }),
        any_part(),
    ]
}

/// What may be read of these bytes is a message within its bounds, of no more bytes than were sent, and of one encoding.
fn is_bounded(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(read) = Exchange::decode(bytes) else { return Ok(()) };
    prop_assert_eq!(read.encode(), bytes);
    let Exchange::Snapshot(message) = read else { return Ok(()) };
    prop_assert_eq!(message.check_bounds(), Ok(()));
    let room = match &message {
        Message::Manifest(manifest) => manifest.chunks.capacity() * H256::LEN,
        Message::Chunk { bytes, .. } | Message::Block { bytes, .. } => bytes.capacity(),
        Message::Want(_) | Message::NotHeld(_) => 0,
    };
    // Growing room doubles, and begins with what borsh thinks cautious.
    prop_assert!(room <= 2 * bytes.len() + 4 * 1024, "room for {} bytes out of {}", room, bytes.len());
    Ok(())
}

#[test]
fn a_length_that_is_claimed_and_not_sent_is_refused() {
    let tag = Exchange::Snapshot(Message::Want(Wanted::Manifest)).encode()[0];
    for message in [manifest(1), chunk(1), part(0, 9, 1)] {
        let encoded = Exchange::Snapshot(message).encode();
        // The length is the u32 before the last item: a hash or a byte.
        let at = encoded.len() - 4 - if encoded[1] == 1 { H256::LEN } else { 1 };
        assert_eq!((encoded[0], &encoded[at..at + 4]), (tag, &[1, 0, 0, 0][..]));
        for claimed in [2, 1 << 16, u32::MAX] {
            let mut spoilt = encoded.clone();
            spoilt[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
            assert!(Exchange::decode(&spoilt).is_err(), "{claimed}");
        }
    }
}

#[test]
fn a_part_is_as_long_as_its_place_asks_for() {
    let part_max = SNAPSHOT_BLOCK_PART_BYTES_MAX as u32;
    assert_eq!(part_length(0, 10), 10);
    assert_eq!(part_length(0, part_max + 1), SNAPSHOT_BLOCK_PART_BYTES_MAX);
    assert_eq!(part_length(part_max, part_max + 1), 1);
    assert_eq!(part_length(9, 9), 0);
    assert_eq!(part_length(u32::MAX, 9), 0);
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(message in any_message()) {
        let exchange = Exchange::Snapshot(message);
        let encoded = exchange.encode();
        prop_assert_eq!(Exchange::decode(&encoded), Ok(exchange));
        is_bounded(&encoded)?;
    }

    #[test]
    fn messages_that_are_cut_are_refused(message in any_message(), cut: prop::sample::Index) {
        let encoded = Exchange::Snapshot(message).encode();
        prop_assert!(Exchange::decode(&encoded[..cut.index(encoded.len())]).is_err());
    }

    #[test]
    fn messages_that_were_changed_are_refused_or_others(
        message in any_message(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut encoded = Exchange::Snapshot(message).encode();
        for (place, byte) in edits {
            let place = place.index(encoded.len());
            encoded[place] = byte;
        }
        encoded.extend(more);
        is_bounded(&encoded)?;
    }

    #[test]
    fn nothing_a_peer_can_send_about_snapshots_is_read_beyond_its_bounds(rest: Vec<u8>, kind in 0_u8..6) {
        let tag = Exchange::Snapshot(Message::Want(Wanted::Manifest)).encode()[0];
        is_bounded(&[&[tag, kind], &rest[..]].concat())?;
        // Whatever is read of a block that was put together from parts is one.
        if let Ok(block) = ReceivedBlock::decode(&rest) {
            prop_assert_eq!(borsh::to_vec(&block).expect("borsh into memory cannot fail"), rest);
        }
    }
}
