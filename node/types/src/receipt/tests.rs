use super::*;

fn receipt() -> Receipt {
    Receipt {
        version: 1,
        gas_used: "19413".into(),
        contract_address: "0102e8b6fc8cdf9626fddc1c3ea8c1e79b3fce94".into(),
        status: 16,
        output: vec![1; 300],
        log_entries: vec![
            LogEntry {
                address: "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
                topics: vec![H256([1; 32]); 4],
                data: vec![],
            },
            LogEntry::default(),
        ],
        block_number: 1 << 40,
        effective_gas_price: "0x1".into(),
        message: "reverted: 余额不足".into(),
    }
}

#[test]
fn encoding_round_trips() {
    let full = receipt();
    assert_eq!(Receipt::decode(&full.encode()), Ok(full));
    let empty = Receipt::default();
    // `version` is a required field: written even when zero.
    assert_eq!(empty.encode(), [0x1a, 0x1c, 0x0b]);
    assert_eq!(Receipt::decode(&empty.encode()), Ok(empty));
}

#[test]
fn hash_covers_everything_but_the_message() {
    let base = receipt();
    let hash = |receipt: &Receipt| receipt.hash(CryptoSuite::Sm);
    assert_eq!(hash(&Receipt { message: String::new(), ..base.clone() }), hash(&base));
    let mut other_log = base.clone();
    other_log.log_entries[0].topics[3] = H256::ZERO;
    let changed = [
        Receipt { version: 0, ..base.clone() },
        Receipt { gas_used: "1".into(), ..base.clone() },
        Receipt { contract_address: String::new(), ..base.clone() },
        Receipt { status: 0, ..base.clone() },
        Receipt { output: vec![], ..base.clone() },
        Receipt { block_number: 1, ..base.clone() },
        Receipt { effective_gas_price: String::new(), ..base.clone() },
        other_log,
    ];
    for receipt in &changed {
        assert_ne!(hash(receipt), hash(&base), "{receipt:?}");
    }
    assert_eq!(Receipt::hash_many(CryptoSuite::Sm, &changed), changed.iter().map(hash).collect::<Vec<_>>());
    assert_ne!(base.hash(CryptoSuite::Std), hash(&base));
}

#[test]
fn more_than_four_topics_are_refused() {
    let mut receipt = receipt();
    receipt.log_entries[0].topics.push(H256::ZERO);
    let refusal = Receipt::decode(&receipt.encode());
    assert_eq!(refusal, Err(DecodeError::TooLarge { what: "log topics", found: 5, limit: 4 }));
}

#[test]
fn bloom_sets_the_bits_ethereum_sets() {
    let log = |address: &str, topics: Vec<H256>| LogEntry { address: address.into(), topics, data: vec![] };
    assert_eq!(Receipt::default().bloom(EvmHash::Keccak256), [0; BLOOM_BYTES]);
    // keccak256 of 20 zero bytes starts 5380c7b7ae81 : bits 0x380, 0x7b7, 0x681.
    let digest = crate::suite::keccak256(&[&[0; 20]]);
    assert_eq!(hex::encode(&digest.0[..6]), "5380c7b7ae81");
    let zero = "0".repeat(40);
    let bloom = Receipt { log_entries: vec![log(&zero, vec![])], ..Receipt::default() }.bloom(EvmHash::Keccak256);
    let set: Vec<usize> = (0..2048).filter(|bit| bloom[BLOOM_BYTES - 1 - bit / 8] >> (bit % 8) & 1 == 1).collect();
    assert_eq!(set, [0x380, 0x681, 0x7b7]);
    let with_topic = Receipt { log_entries: vec![log(&zero, vec![H256([7; 32])])], ..Receipt::default() };
    let more = with_topic.bloom(EvmHash::Keccak256);
    assert!(bloom.iter().zip(&more).all(|(less, more)| less & more == *less));
    assert_ne!(bloom, more);
    assert_ne!(more, with_topic.bloom(EvmHash::Sm3));
}

#[test]
fn status_has_a_name() {
    assert_eq!(receipt().status_name(), Some(Status::RevertInstruction));
    assert_eq!(Receipt { status: 3, ..receipt() }.status_name(), None);
}
