use bixi_ledger::Counts;
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

proptest! {
    #[test]
    fn nothing_a_peer_can_send_about_snapshots_is_read_beyond_its_bounds(rest: Vec<u8>, kind in 0_u8..6, cut in 0_usize..64) {
        let Some(tag) = Exchange::Snapshot(Message::Want(Wanted::Manifest)).encode().first().copied() else { return Ok(()) };
        let bytes = [&[tag, kind], &rest[..]].concat();
        if let Ok(read) = Exchange::decode(&bytes) {
            let Exchange::Snapshot(message) = &read else { return Err(TestCaseError::fail("another message")) };
            prop_assert_eq!(message.check_bounds(), Ok(()));
            prop_assert_eq!(read.encode(), bytes);
        }
        // What honest nodes send, cut or lengthened anywhere, is nothing or something within its bounds.
        let whole = Exchange::Snapshot(part(3, 90, 20)).encode();
        prop_assert!(Exchange::decode(&whole[..cut.min(whole.len() - 1)]).is_err());
    }
}
