use bixi_types::NodeId;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::header::{BlockHeader, HeaderExtension, HeaderSignature, ParentInfo};
use bixi_types::limits::{HEADER_BYTES_MAX, HEIGHTS_MAX, VALIDATORS_MAX};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn value(batches: usize) -> Value {
    Value {
        height: 7,
        parent: H256([1; 32]),
        timestamp_ms: 9,
        builder: 1,
        protocol_version: 1,
        batches: vec![H256([2; 32]); batches],
    }
}

fn certificate(signers: usize) -> CommitCertificate {
    let signatures = vec![(NodeId([3; 64]), SignatureBytes([4; 64])); signers];
    CommitCertificate { height: 7, round: 0, value: H256([5; 32]), signatures }
}

fn heights(proofs: usize, header_bytes: usize, batches: usize, signers: usize) -> Exchange {
    let decision = Some((value(batches), certificate(signers)));
    let proof = HeightProof { header: vec![6; header_bytes], decision };
    Exchange::Heights(Heights { first: 7, proofs: vec![proof; proofs] })
}

fn want(digests: usize) -> Exchange {
    Exchange::Want { height: 7, digests: vec![H256([1; 32]); digests] }
}

fn want_heights(first: u64, count: u16) -> Exchange {
    Exchange::WantHeights(HeightRange { first, count, with_decisions: true })
}

#[test]
fn bulk_messages_come_back_within_their_bounds() {
    for message in [
        Exchange::Batch(vec![9; BATCH_BYTES_MAX]),
        want(1),
        want(VALUE_BATCHES_MAX),
        want_heights(1, 1),
        want_heights(u64::MAX, HEIGHTS_MAX as u16),
        heights(0, 0, 0, 0),
        Exchange::Head { number: i64::MAX as u64, hash: H256([1; 32]) },
        heights(HEIGHTS_MAX, 600, 4, 3),
        heights(1, HEADER_BYTES_MAX, VALUE_BATCHES_MAX, VALIDATORS_MAX),
    ] {
        let encoding = message.encode();
        assert_eq!(Exchange::decode(&encoding), Ok(message));
        assert!(Exchange::decode(&encoding[..encoding.len() - 1]).is_err());
    }
    for refused in [
        Exchange::Batch(vec![9; BATCH_BYTES_MAX + 1]),
        want(0),
        want(VALUE_BATCHES_MAX + 1),
        want_heights(0, 1),
        want_heights(1, 0),
        want_heights(1, HEIGHTS_MAX as u16 + 1),
        heights(HEIGHTS_MAX + 1, 0, 0, 0),
        heights(1, HEADER_BYTES_MAX + 1, 0, 0),
        heights(1, 0, VALUE_BATCHES_MAX + 1, 0),
        heights(1, 0, 0, VALIDATORS_MAX + 1),
        heights(5, HEADER_BYTES_MAX, 0, 0),
        Exchange::Heights(Heights { first: u64::MAX, proofs: Vec::new() }),
        Exchange::Head { number: i64::MAX as u64 + 1, hash: H256([1; 32]) },
    ] {
        assert!(Exchange::decode(&refused.encode()).is_err());
    }
    assert!(Exchange::decode(&[]).is_err());
    assert!(Exchange::decode(&[2, 0, 0, 0, 0]).is_err());
    // Lengths that lie cost no memory.
    assert!(Exchange::decode(&[0, 255, 255, 255, 255, 1]).is_err());
    assert!(Exchange::decode(&[3, 7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1]).is_err());
}

proptest! {
    /// Whatever comes, each message has one encoding, and what is taken is within its bounds.
    #[test]
    fn every_bulk_message_has_one_encoding(tag in 0u8..6, body in vec(any::<u8>(), 0..300)) {
        let bytes = [&[tag][..], &body].concat();
        if let Ok(message) = Exchange::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn no_change_of_an_answer_passes_unnoticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let message = heights(2, 40, 2, 2);
        let mut bytes = message.encode();
        bytes[at.index(message.encode().len())] ^= 1 << bit;
        prop_assert_ne!(Exchange::decode(&bytes), Ok(message));
    }
}

/// What an honest node answers: three heights, each built on the one before. Nothing in it is signed.
fn honest() -> Heights {
    let suite = bixi_types::CryptoSuite::Sm;
    let (mut parent, mut header_hash, mut proofs) = (H256([1; 32]), H256([2; 32]), Vec::new());
    for height in 5..8 {
        let value = Value { height, parent, ..value(2) };
        parent = value.id(suite);
        let header = BlockHeader {
            number: height as i64,
            parent_info: vec![ParentInfo { number: height as i64 - 1, hash: header_hash }],
            sealer_list: vec![NodeId([3; 64])],
            extra_data: HeaderExtension::new(suite, parent, std::iter::empty()).encode(),
            signature_list: vec![HeaderSignature { sealer_index: 0, signature: vec![4; 64] }],
            ..BlockHeader::default()
        };
        header_hash = header.hash(suite);
        let certificate = CommitCertificate { height, value: parent, ..certificate(1) };
        proofs.push(HeightProof { header: header.encode(), decision: Some((value, certificate)) });
    }
    Heights { first: 5, proofs }
}

#[test]
fn a_height_that_was_tampered_with_is_refused_before_anything_is_believed() {
    let suite = bixi_types::CryptoSuite::Sm;
    let read = honest().read(suite).expect("as honest nodes answer");
    assert_eq!(read.iter().map(|proven| proven.certified.height).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(read.iter().all(|proven| proven.checks(H256::ZERO).len() == 2), "every signature is to be checked");
    let header_of = |proof: &HeightProof| BlockHeader::decode(&proof.header).expect("a header");
    type Lie = fn(&mut Heights, BlockHeader);
    let lies: [(&str, Lie, &str); 8] = [
        ("garbage", |told, _| told.proofs[1].header.truncate(9), "header 6"),
        ("no decision", |told, _| told.proofs[1].decision = None, "no decision"),
        ("shifted", |told, _| told.first = 6, "do not belong together"),
        ("a gap", |told, _| drop(told.proofs.remove(1)), "do not belong together"),
        (
            "another value",
            |told, _| told.proofs[1].decision.as_mut().unwrap().0.timestamp_ms += 1,
            "do not belong together",
        ),
        (
            "another certificate",
            |told, _| told.proofs[1].decision.as_mut().unwrap().1.height = 9,
            "do not belong together",
        ),
        (
            "another result",
            |told, header| {
                told.proofs[1].header = BlockHeader { state_root: H256([9; 32]), ..header }.encode();
            },
            "does not build on",
        ),
        (
            "no such signer",
            |told, header| {
                let signature_list = vec![HeaderSignature { sealer_index: 1, signature: vec![4; 64] }];
                told.proofs[1].header = BlockHeader { signature_list, ..header }.encode();
            },
            "signatures of header 6 are damaged",
        ),
    ];
    for (name, lie, expected) in lies {
        let mut told = honest();
        let header = header_of(&told.proofs[1]);
        lie(&mut told, header);
        let refused = told.read(suite).expect_err(name);
        assert!(refused.contains(expected), "{name}: {refused}");
    }
}
