use bixi_accel::Seeded;

use super::*;
use crate::transaction::KIND_WEB3;

/// n of SM2 (GB/T 32918.5) and of secp256k1.
const SM2_ORDER: &str = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123";
const SECP256K1_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn chain() -> ChainIdentity {
    ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() }
}

fn unsigned(nonce: u64) -> Transaction {
    Transaction {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit: 500,
        nonce: nonce.to_string(),
        to: "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
        input: b"data".to_vec(),
        ..Transaction::default()
    }
}

fn sm_key() -> sm2::PrivateKey {
    sm2::PrivateKey::from_bytes(&[0x17; 32]).unwrap()
}

fn std_key() -> secp256k1::SecretKey {
    secp256k1::SecretKey::from_byte_array([0x17; 32]).unwrap()
}

fn signed(suite: CryptoSuite, mut transaction: Transaction) -> Transaction {
    match suite {
        CryptoSuite::Sm => transaction.sign_sm(&sm_key(), &mut Seeded::new(0)).unwrap(),
        CryptoSuite::Std => transaction.sign_std(&std_key()),
    }
    transaction
}

fn refusal(suite: CryptoSuite, transaction: Transaction) -> TransactionError {
    verify(suite, &chain(), transaction).unwrap_err()
}

#[test]
fn signed_transactions_verify_in_both_suites() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let transaction = signed(suite, unsigned(1));
        let verified = verify(suite, &chain(), transaction.clone()).unwrap();
        assert_eq!(verified.hash, transaction.hash(suite));
        assert_eq!(verified.sender, suite.address(&verified.sender_key));
        assert_eq!(Transaction::decode(&verified.bytes), Ok(transaction));
        let again = verify(suite, &chain(), Transaction::decode(&verified.bytes).unwrap()).unwrap();
        assert_eq!(again, verified);
    }
}

#[test]
fn sm_sender_is_the_hash_of_the_carried_key() {
    let verified = verify(CryptoSuite::Sm, &chain(), signed(CryptoSuite::Sm, unsigned(1))).unwrap();
    let key = sm_key().public_key().to_bytes();
    assert_eq!(verified.sender_key, key);
    assert_eq!(verified.sender.0, crate::suite::sm3(&[&key]).0[12..]);
}

#[test]
fn what_the_wire_claims_is_dropped() {
    let suite = CryptoSuite::Sm;
    let honest = signed(suite, unsigned(1));
    let mut claims = honest.clone();
    claims.declared_hash = honest.hash(suite).0.to_vec();
    claims.import_time = 77;
    claims.attribute = 3;
    let mut writer = crate::tars::Writer::default();
    claims.write_fields(&mut writer);
    // Tag 7 is sender, 11 extraTransactionHash.
    writer.bytes(7, &[0xaa; 20]);
    writer.bytes(11, &[0xbb; 32]);
    let decoded = Transaction::decode(&writer.finish()).unwrap();
    assert_eq!(decoded, honest);
    let plain = verify(suite, &chain(), honest).unwrap();
    let claimed = verify(suite, &chain(), claims).unwrap();
    assert_eq!(claimed, plain);
}

#[test]
fn forged_data_hash_is_refused_by_name() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let mut transaction = signed(suite, unsigned(1));
        transaction.declared_hash = vec![7; 32];
        let error = refusal(suite, transaction.clone());
        assert!(matches!(error, TransactionError::HashMismatch { .. }));
        assert_eq!(error.status(), Status::Malformed);
        assert!(error.to_string().starts_with("dataHash is 0707"));
        transaction.declared_hash = vec![7; 3];
        assert!(matches!(refusal(suite, transaction), TransactionError::HashMismatch { .. }));
    }
}

#[test]
fn other_chains_and_groups_are_refused() {
    let suite = CryptoSuite::Sm;
    let chain_error = refusal(suite, signed(suite, Transaction { chain_id: "chain1".into(), ..unsigned(1) }));
    assert_eq!(chain_error.status(), Status::InvalidChainId);
    let group_error = refusal(suite, signed(suite, Transaction { group_id: "group1".into(), ..unsigned(1) }));
    assert_eq!(group_error.status(), Status::InvalidGroupId);
    // The same bytes cut between chain and group are another chain.
    let moved = Transaction { chain_id: "chain0g".into(), group_id: "roup0".into(), ..unsigned(1) };
    assert_eq!(moved.hash(suite), unsigned(1).hash(suite));
    assert_eq!(refusal(suite, signed(suite, moved)).status(), Status::InvalidChainId);
}

#[test]
fn ethereum_transactions_are_refused_until_supported() {
    let transaction = Transaction { kind: KIND_WEB3, extra_transaction_bytes: vec![0xc0], ..unsigned(1) };
    let decoded = Transaction::decode(&transaction.encode()).unwrap();
    assert_eq!(decoded, transaction);
    let error = refusal(CryptoSuite::Sm, decoded);
    assert_eq!(error, TransactionError::Kind(1));
    assert!(error.to_string().contains("type 1 are not supported"));
    let smuggled = signed(CryptoSuite::Sm, Transaction { extra_transaction_bytes: vec![1], ..unsigned(1) });
    assert_eq!(refusal(CryptoSuite::Sm, smuggled).status(), Status::Malformed);
}

#[test]
fn signatures_of_another_length_are_refused() {
    for (suite, expected) in [(CryptoSuite::Sm, 128), (CryptoSuite::Std, 65)] {
        for found in [0, 1, 64, 65, 66, 127, 128, 129] {
            let transaction = Transaction { signature: vec![1; found], ..unsigned(1) };
            if found != expected {
                let error = refusal(suite, transaction);
                assert_eq!(error, TransactionError::SignatureLength { found, expected });
                assert_eq!(error.status(), Status::InvalidSignature);
            }
        }
    }
}

#[test]
fn values_out_of_range_are_refusals_and_no_panics() {
    for (suite, order) in [(CryptoSuite::Sm, SM2_ORDER), (CryptoSuite::Std, SECP256K1_ORDER)] {
        let good = signed(suite, unsigned(1));
        let order = hex::decode(order).unwrap();
        for value in [[0; 32].as_slice(), &order, &[0xff; 32]] {
            for at in [0, 32] {
                let mut bad = good.clone();
                bad.signature[at..at + 32].copy_from_slice(value);
                assert_eq!(refusal(suite, bad), TransactionError::Signature);
            }
        }
    }
}

#[test]
fn recovery_bytes_outside_0_to_3_are_refused() {
    let good = signed(CryptoSuite::Std, unsigned(1));
    let sender = verify(CryptoSuite::Std, &chain(), good.clone()).unwrap().sender;
    for v in 0..=255 {
        let mut other = good.clone();
        other.signature[64] = v;
        if v == good.signature[64] {
            continue;
        }
        // Another v in range may recover somebody else, never the signer.
        match verify(CryptoSuite::Std, &chain(), other) {
            Ok(verified) => assert!(v < 4 && verified.sender != sender),
            Err(error) => assert_eq!(error, TransactionError::Signature),
        }
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    let good = signed(CryptoSuite::Sm, unsigned(1));
    for (at, value) in [(64..128, 0), (64..128, 0xff), (96..128, 0), (127..128, good.signature[127] ^ 1)] {
        let mut bad = good.clone();
        bad.signature[at].fill(value);
        assert_eq!(refusal(CryptoSuite::Sm, bad), TransactionError::Signature);
    }
}

#[test]
fn changed_fields_break_the_signature() {
    let suite = CryptoSuite::Sm;
    let good = signed(suite, unsigned(1));
    for bad in [
        Transaction { nonce: "2".into(), ..good.clone() },
        Transaction { block_limit: 501, ..good.clone() },
        Transaction { input: vec![], ..good.clone() },
        Transaction { to: "0x0000000000000000000000000000000000001000".into(), ..good.clone() },
    ] {
        assert_eq!(refusal(suite, bad), TransactionError::Signature);
    }
}

#[test]
fn high_s_is_the_same_transaction() {
    let good = signed(CryptoSuite::Std, unsigned(1));
    let mut twin = good.clone();
    let s = secp256k1::SecretKey::from_byte_array(good.signature[32..64].try_into().unwrap()).unwrap();
    twin.signature[32..64].copy_from_slice(&s.negate().secret_bytes());
    twin.signature[64] ^= 1;
    let (one, two) =
        (verify(CryptoSuite::Std, &chain(), good).unwrap(), verify(CryptoSuite::Std, &chain(), twin).unwrap());
    assert_eq!((one.hash, one.sender), (two.hash, two.sender));
    assert_ne!(one.bytes, two.bytes);
}

#[test]
fn many_are_prepared_as_each_is_alone() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let mut transactions: Vec<Transaction> = (0..40)
            .map(|nonce| {
                let input = vec![7; nonce as usize * 13];
                signed(suite, Transaction { version: (nonce % 3) as i32, input, ..unsigned(nonce) })
            })
            .collect();
        transactions[3].chain_id = "elsewhere".into();
        transactions[4].declared_hash = vec![9; 32];
        transactions[5].declared_hash = transactions[5].hash(suite).0.to_vec();
        transactions[6].signature.pop();
        transactions[7].kind = KIND_WEB3;
        let alone: Vec<_> = transactions.iter().map(|tx| prepare(suite, &chain(), tx.clone())).collect();
        let together = prepare_many(suite, &chain(), transactions.clone());
        assert_eq!(together.len(), alone.len());
        let refused: Vec<usize> = (0..alone.len()).filter(|index| alone[*index].is_err()).collect();
        assert!(refused.starts_with(&[3, 4, 6, 7]), "{refused:?}");
        for (together, alone) in together.iter().zip(&alone) {
            match (together, alone) {
                (Ok(one), Ok(other)) => {
                    assert_eq!((one.hash(), one.transaction()), (other.hash(), other.transaction()))
                }
                (Err(one), Err(other)) => assert_eq!(one, other),
                _ => panic!("{together:?} but alone {alone:?}"),
            }
        }
        let references: Vec<&Transaction> = transactions.iter().collect();
        let each: Vec<_> = transactions.iter().map(|tx| tx.hash(suite)).collect();
        assert_eq!(Transaction::hash_many(suite, &references), each, "one of them Ethereum's");
        assert_eq!(Transaction::hash_many(suite, &references[..7]), each[..7]);
    }
    assert!(prepare_many(CryptoSuite::Sm, &chain(), vec![]).is_empty());
}

#[test]
fn one_bad_signature_leaves_its_batch_alone_with_and_without_a_table() {
    let tables = sm2::Registry::new(1);
    let signer = verify(CryptoSuite::Sm, &chain(), signed(CryptoSuite::Sm, unsigned(1))).unwrap().sender_key;
    tables.register(&sm2::PublicKey::from_bytes(&signer).unwrap()).unwrap();
    for (suite, tables) in [(CryptoSuite::Sm, None), (CryptoSuite::Sm, Some(&tables)), (CryptoSuite::Std, None)] {
        let mut transactions: Vec<Transaction> = (0..70).map(|nonce| signed(suite, unsigned(nonce))).collect();
        for bad in [0, 33, 69] {
            transactions[bad].signature[5] ^= 1;
        }
        let pending = transactions.iter().map(|tx| prepare(suite, &chain(), tx.clone()).unwrap()).collect();
        let sender = verify(suite, &chain(), signed(suite, unsigned(1))).unwrap().sender;
        for (index, verdict) in Pending::verify_batch(pending, tables).into_iter().enumerate() {
            // A damaged recoverable signature may still recover an account, but never the signer's.
            let genuine = verdict.as_ref().is_ok_and(|verified| verified.sender == sender);
            assert_eq!(genuine, ![0, 33, 69].contains(&index), "{suite:?} {index}");
            if suite == CryptoSuite::Sm {
                assert_eq!(verdict.is_ok(), genuine);
            }
        }
    }
    assert_eq!(Pending::verify_batch(vec![], None), []);
}
