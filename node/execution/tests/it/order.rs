use std::collections::BTreeSet;

use bixi_execution::order::{OrderLimits, Ordered, Tally, Weight, flatten, is_expired, is_within_block_limit};
use bixi_types::state::{History, StateError};
use bixi_types::status::Status;
use bixi_types::transaction::{Transaction, Verified};
use bixi_types::{Address, H256};

use crate::support::*;

const LIMITS: OrderLimits =
    OrderLimits { block_limit: 10, transactions_max: 100, gas_max: u64::MAX, tx_gas_limit: 1_000 };

#[derive(Default)]
struct Past {
    hashes: BTreeSet<H256>,
    nonces: BTreeSet<(Address, String)>,
}

impl History for Past {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        Ok(self.hashes.contains(hash))
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        Ok(self.nonces.contains(&(*sender, nonce.to_owned())))
    }
}

fn tx(sender: Address, nonce: &str, block_limit: i64) -> Verified {
    verified(sender, Transaction { nonce: nonce.to_owned(), block_limit, ..call_tx(bob(), vec![]) })
}

fn order(batches: &[Vec<Verified>], past: &Past, limits: &OrderLimits) -> Ordered {
    flatten(batches, 50, past, limits).expect("memory does not fail")
}

fn hashes(ordered: &Ordered) -> Vec<H256> {
    ordered.transactions.iter().map(|verified| verified.hash).collect()
}

#[test]
fn keeps_the_order_of_the_batches() {
    let [a, b, c, d] = ["1", "2", "3", "4"].map(|nonce| tx(alice(), nonce, 55));
    let batches = [vec![c.clone(), a.clone()], vec![], vec![d.clone(), b.clone()]];
    let ordered = order(&batches, &Past::default(), &LIMITS);
    assert_eq!(hashes(&ordered), [c.hash, a.hash, d.hash, b.hash]);
    assert!(ordered.dropped.is_empty());
}

#[test]
fn a_transaction_stands_once() {
    let a = tx(alice(), "1", 55);
    let ordered = order(&[vec![a.clone(), a.clone()], vec![a.clone()]], &Past::default(), &LIMITS);
    assert_eq!(hashes(&ordered), [a.hash]);
    assert_eq!(ordered.dropped, [(a.hash, Status::AlreadyInTxPool), (a.hash, Status::AlreadyInTxPool)]);
    let past = Past { hashes: [a.hash].into(), ..Past::default() };
    assert_eq!(order(&[vec![a.clone()]], &past, &LIMITS).dropped, [(a.hash, Status::TxAlreadyInChain)]);
}

#[test]
fn a_nonce_counts_once_per_sender() {
    let first = tx(alice(), "1", 55);
    let second = verified(alice(), Transaction { nonce: "1".to_owned(), block_limit: 55, ..call_tx(alice(), vec![1]) });
    // FISCO BCOS's hash does not cover the sender: another one's transaction must differ in more than that.
    let other_sender = tx(bob(), "1", 56);
    assert_eq!(tx(bob(), "1", 55).hash, first.hash);
    let ordered = order(&[vec![first.clone(), second.clone(), other_sender.clone()]], &Past::default(), &LIMITS);
    assert_eq!(hashes(&ordered), [first.hash, other_sender.hash]);
    assert_eq!(ordered.dropped, [(second.hash, Status::NonceCheckFail)]);
    let past = Past { nonces: [(alice(), "1".to_owned())].into(), ..Past::default() };
    assert_eq!(order(&[vec![first.clone()]], &past, &LIMITS).dropped, [(first.hash, Status::NonceCheckFail)]);
}

#[test]
fn block_limit_is_above_the_parent_and_not_too_far() {
    // Block 50 on parent 49 with a reach of 10: 50 ..= 59.
    for (block_limit, fits) in [(0, false), (49, false), (50, true), (59, true), (60, false), (i64::MAX, false)] {
        assert_eq!(is_within_block_limit(block_limit, 50, 10), fits, "{block_limit}");
        let a = tx(alice(), "1", block_limit);
        let dropped = order(&[vec![a.clone()]], &Past::default(), &LIMITS).dropped;
        assert_eq!(dropped.is_empty(), fits);
        assert!(dropped.iter().all(|entry| *entry == (a.hash, Status::BlockLimitCheckFail)));
    }
    assert!(!is_within_block_limit(-1, 1, 10) && !is_within_block_limit(i64::MIN, 1, 10));
    assert!(is_within_block_limit(1, 1, 1));
    assert!(is_within_block_limit(i64::MAX, u64::MAX / 2, u32::MAX));
}

#[test]
fn a_tally_weighs_batch_by_batch_and_forgets_what_is_taken_back() {
    let fresh: Vec<Verified> = (0..5).map(|nonce| tx(alice(), &nonce.to_string(), 55)).collect();
    let (spent, expired) = (tx(alice(), "7001", 55), tx(alice(), "7002", 49));
    let past = Past { nonces: [(alice(), "7001".to_owned())].into(), ..Past::default() };
    let batches = [vec![fresh[0].clone(), spent.clone()], vec![fresh[0].clone(), expired], fresh[..4].to_vec()];
    let bytes = |of: &[Verified]| of.iter().map(|verified| verified.bytes.len()).sum::<usize>();
    let mut tally = Tally::new(50, &past, LIMITS.block_limit);
    let mut stood = Vec::new();
    for (place, batch) in batches.iter().enumerate() {
        tally.add(&fresh).unwrap();
        tally.take_back();
        let before = stood.len();
        stood = order(&batches[..=place], &past, &LIMITS).transactions;
        let live = &stood[before..];
        let weight =
            Weight { live_transactions: live.len(), live_bytes: bytes(live), dead_bytes: bytes(batch) - bytes(live) };
        assert_eq!(tally.add(batch).unwrap(), weight, "batch {place}");
    }
    assert_eq!(stood, fresh[..4]);
}

#[test]
fn what_has_expired_stands_in_no_later_block() {
    for block_limit in [i64::MIN, -1, 0, 1, 49, 50, 51, 1_000, i64::MAX] {
        let stands = |height| is_within_block_limit(block_limit, height, 600);
        assert_eq!(is_expired(block_limit, 50), block_limit < 50, "{block_limit}");
        assert!(!is_expired(block_limit, 50) || !(50..2_000).any(stands), "{block_limit}");
    }
}

#[test]
fn a_full_block_turns_the_rest_away() {
    let all: Vec<Verified> = (0..5).map(|nonce| tx(alice(), &nonce.to_string(), 55)).collect();
    let by_count = order(std::slice::from_ref(&all), &Past::default(), &OrderLimits { transactions_max: 3, ..LIMITS });
    assert_eq!(by_count.transactions.len(), 3);
    assert_eq!(by_count.dropped, [(all[3].hash, Status::TxPoolIsFull), (all[4].hash, Status::TxPoolIsFull)]);
    let by_gas = order(&[all], &Past::default(), &OrderLimits { gas_max: 2_999, ..LIMITS });
    assert_eq!(by_gas.transactions.len(), 2);
}

#[test]
fn a_dropped_transaction_takes_no_nonce() {
    let expired = tx(alice(), "1", 10);
    let valid = tx(alice(), "1", 55);
    let past = Past { hashes: [H256::ZERO].into(), ..Past::default() };
    // Same sender and nonce: the expired one must not block the valid one.
    let ordered = order(
        &[vec![verified(alice(), Transaction { input: vec![9], ..(*expired.tx).clone() }), valid.clone()]],
        &past,
        &LIMITS,
    );
    assert_eq!(hashes(&ordered), [valid.hash]);
}

#[test]
fn limits_follow_the_configuration_of_the_height() {
    let mut chain = Chain::demo();
    let genesis = genesis(bixi_types::CryptoSuite::Sm, bixi_types::EvmHash::Keccak256);
    let set = |chain: &mut Chain, key, value| {
        chain.send_system(0x1000, "setValueByKey(string,string)", &[Value::Text(key), Value::Text(value)])
    };
    set(&mut chain, "tx_count_limit", "7");
    set(&mut chain, "tx_gas_limit", "100000");
    let at = |height| OrderLimits::at(&chain.state, height, &genesis).unwrap();
    assert_eq!((at(1).transactions_max, at(1).tx_gas_limit), (1_000, 3_000_000_000));
    assert_eq!((at(2).transactions_max, at(2).tx_gas_limit), (7, 3_000_000_000));
    assert_eq!((at(3).transactions_max, at(3).tx_gas_limit), (7, 100_000));
    assert_eq!((at(3).block_limit, at(3).gas_max), (1_000, u64::MAX));
}
