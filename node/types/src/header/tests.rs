use bixi_accel::{Seeded, sm2};

use super::*;
use crate::consensus::{Validator, ValidatorSet};

struct Chain {
    keys: Vec<sm2::PrivateKey>,
    set: ValidatorSet,
    header: BlockHeader,
}

/// Validators of the given weights and a header none of them has signed; keys stand in the order of the set.
fn chain(weights: &[u64]) -> Chain {
    let mut rng = Seeded::new(0);
    let mut keys: Vec<_> = weights.iter().map(|_| sm2::PrivateKey::generate(&mut rng).unwrap()).collect();
    keys.sort_by_key(|key| key.public_key().to_bytes());
    let id = |key: &sm2::PrivateKey| NodeId(key.public_key().to_bytes());
    let set = ValidatorSet::new(
        keys.iter().zip(weights).map(|(key, weight)| Validator { id: id(key), weight: *weight }).collect(),
    );
    let header = BlockHeader {
        version: 0x0310_0400,
        parent_info: vec![ParentInfo { number: 6, hash: H256([6; 32]) }],
        txs_root: H256([1; 32]),
        receipts_root: H256([2; 32]),
        state_root: H256([3; 32]),
        number: 7,
        gas_used: "21000".into(),
        timestamp: 1_700_000_000_000,
        sealer: 1,
        sealer_list: set.members().iter().map(|member| member.id).collect(),
        extra_data: HeaderExtension::new(CryptoSuite::Sm, H256([9; 32]), [&b"tx"[..]].into_iter()).encode(),
        consensus_weights: weights.iter().map(|weight| *weight as i64).collect(),
        signature_list: vec![],
    };
    Chain { keys, set, header }
}

impl Chain {
    fn sign(&mut self, signers: &[usize]) {
        let hash = self.header.hash(CryptoSuite::Sm);
        for index in signers {
            let signature = sm2::sign(&self.keys[*index], sm2::DEFAULT_ID, &hash.0, &mut Seeded::new(99)).unwrap();
            self.header
                .signature_list
                .push(HeaderSignature { sealer_index: *index as i64, signature: signature.0.to_vec() });
        }
    }

    fn verify(&self) -> Result<(), QuorumError> {
        self.header.verify_quorum(CryptoSuite::Sm, &self.set)
    }
}

#[test]
fn encoding_round_trips() {
    let mut chain = chain(&[1, 1, 1, 1]);
    chain.sign(&[0, 2]);
    assert_eq!(BlockHeader::decode(&chain.header.encode()), Ok(chain.header.clone()));
    assert_eq!(BlockHeader::decode(&BlockHeader::default().encode()), Ok(BlockHeader::default()));
}

#[test]
fn pre_image_is_the_fields_in_order() {
    let header = chain(&[5]).header;
    let image = [
        &[0x03, 0x10, 0x04, 0x00][..],
        &6i64.to_be_bytes(),
        &[6; 32],
        &[1; 32],
        &[2; 32],
        &[3; 32],
        &7i64.to_be_bytes(),
        b"21000",
        &1_700_000_000_000i64.to_be_bytes(),
        &1i64.to_be_bytes(),
        &header.sealer_list[0].0,
        &header.extra_data,
        &5i64.to_be_bytes(),
    ]
    .concat();
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        assert_eq!(header.hash(suite), suite.hash(&[&image]));
    }
}

#[test]
fn signatures_are_outside_the_hash() {
    let mut chain = chain(&[1, 1, 1, 1]);
    let before = chain.header.hash(CryptoSuite::Sm);
    chain.sign(&[0, 1, 2]);
    assert_eq!(chain.header.hash(CryptoSuite::Sm), before);
}

#[test]
fn quorum_counts_weights() {
    for (weights, signers, expected) in [
        (&[1, 1, 1, 1][..], &[0, 1, 2][..], Ok(())),
        (&[1, 1, 1, 1], &[0, 1, 2, 3], Ok(())),
        (&[1, 1, 1, 1], &[3, 1], Err(QuorumError::Weight { signed: 2, needed: 3 })),
        (&[1, 1, 1, 1], &[], Err(QuorumError::Weight { signed: 0, needed: 3 })),
        (&[7, 1, 1, 1], &[0], Ok(())),
        (&[7, 1, 1, 1], &[1, 2, 3], Err(QuorumError::Weight { signed: 3, needed: 7 })),
        (&[1], &[0], Ok(())),
    ] {
        let mut chain = chain(weights);
        chain.sign(signers);
        assert_eq!(chain.verify(), expected, "{weights:?} {signers:?}");
    }
}

#[test]
fn malformed_signature_lists_are_refused() {
    let signed = || {
        let mut chain = chain(&[1, 1, 1, 1]);
        chain.sign(&[0, 1, 2]);
        chain
    };
    let mut twice = signed();
    twice.sign(&[1]);
    assert_eq!(twice.verify(), Err(QuorumError::Duplicate(1)));
    for index in [4, -1, i64::MAX] {
        let mut outside = signed();
        outside.header.signature_list[0].sealer_index = index;
        assert_eq!(outside.verify(), Err(QuorumError::Index(index)));
    }
    let mut swapped = signed();
    swapped.header.signature_list[0].sealer_index = 3;
    assert_eq!(swapped.verify(), Err(QuorumError::Signature(3)));
    let mut long = signed();
    long.header.signature_list[2].signature.push(0);
    assert_eq!(long.verify(), Err(QuorumError::Length { index: 2, found: 65, expected: 64 }));
    for byte in [0, 31, 32, 63] {
        let mut damaged = signed();
        damaged.header.signature_list[1].signature[byte] ^= 1;
        assert_eq!(damaged.verify(), Err(QuorumError::Signature(1)));
    }
    let mut other_header = signed();
    other_header.header.state_root = H256::ZERO;
    assert_eq!(other_header.verify(), Err(QuorumError::Signature(0)));
}

#[test]
fn the_header_must_name_the_set_it_is_certified_by() {
    let mut weights = chain(&[1, 1, 1, 1]);
    weights.header.consensus_weights[0] = 100;
    weights.sign(&[0, 1, 2]);
    assert_eq!(weights.verify(), Err(QuorumError::OtherSet));
    let mut shorter = chain(&[1, 1, 1, 1]);
    shorter.header.sealer_list.pop();
    shorter.header.consensus_weights.pop();
    shorter.sign(&[0, 1, 2]);
    assert_eq!(shorter.verify(), Err(QuorumError::OtherSet));
    let mut reordered = chain(&[1, 1, 1, 1]);
    reordered.header.sealer_list.swap(0, 1);
    reordered.sign(&[0, 1, 2]);
    assert_eq!(reordered.verify(), Err(QuorumError::OtherSet));
}

#[test]
fn secp256k1_quorum_is_checked_by_recovery() {
    use secp256k1::{Message, Secp256k1, SecretKey};
    let context = Secp256k1::new();
    let mut keys: Vec<SecretKey> = (1..=4).map(|byte| SecretKey::from_byte_array([byte; 32]).unwrap()).collect();
    let id = |key: &SecretKey| NodeId(*key.public_key(&context).serialize_uncompressed().last_chunk().unwrap());
    keys.sort_by_key(id);
    let set = ValidatorSet::new(keys.iter().map(|key| Validator { id: id(key), weight: 1 }).collect());
    let mut header = BlockHeader {
        sealer_list: set.members().iter().map(|member| member.id).collect(),
        consensus_weights: vec![1; 4],
        ..BlockHeader::default()
    };
    let hash = header.hash(CryptoSuite::Std);
    for (index, key) in keys.iter().enumerate().take(3) {
        let (recovery, compact) = context.sign_ecdsa_recoverable(Message::from_digest(hash.0), key).serialize_compact();
        let signature = [&compact[..], &[i32::from(recovery) as u8]].concat();
        header.signature_list.push(HeaderSignature { sealer_index: index as i64, signature });
    }
    assert_eq!(header.verify_quorum(CryptoSuite::Std, &set), Ok(()));
    header.signature_list[1].signature[64] = 4;
    assert_eq!(header.verify_quorum(CryptoSuite::Std, &set), Err(QuorumError::Signature(1)));
}

#[test]
fn extension_has_one_encoding_and_a_version() {
    let extension = HeaderExtension::new(CryptoSuite::Sm, H256([4; 32]), [&b"one"[..], b"two"].into_iter());
    let leaves = [b"one", b"two"].map(|bytes| crate::suite::sm3(&[bytes]));
    assert_eq!(extension.transactions_bytes_root, crate::merkle::root(CryptoSuite::Sm, &leaves));
    let bytes = extension.encode();
    assert_eq!(HeaderExtension::decode(&bytes), Ok(extension));
    assert!(matches!(HeaderExtension::decode(&[]), Err(DecodeError::Missing(_))));
    assert!(matches!(HeaderExtension::decode(&bytes[..64]), Err(DecodeError::Length { found: 64, .. })));
    assert!(matches!(
        HeaderExtension::decode(&[&bytes[..], &[0]].concat()),
        Err(DecodeError::Length { found: 66, .. })
    ));
    let later = [&[2], &bytes[1..]].concat();
    assert!(matches!(HeaderExtension::decode(&later), Err(DecodeError::Version { version: 2, .. })));
}
