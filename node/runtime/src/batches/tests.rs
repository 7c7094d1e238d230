//! Batches made of transactions that are really signed.

use std::time::{Duration, Instant};

use bixi_accel::Seeded;
use bixi_accel::sm2::PrivateKey;
use bixi_consensus::Message;
use bixi_execution::order;
use bixi_types::consensus::{Proposal, SignatureBytes, SignedProposal, Value};
use bixi_types::limits::{
    BATCH_HELD_MS, BATCH_RETRY_MS, PEER_BATCHES_BYTES_MAX, PEER_BATCHES_MAX, TRANSACTION_BYTES_MAX, VALUE_BATCHES_MAX,
    VALUE_BYTES_MAX,
};
use bixi_types::state::{History, StateError};
use bixi_types::{Address, NodeId};

use super::*;
use crate::exchange::Recipe;

/// A call that changes the state: `userAdd(name, 7)` of DagTransfer.
pub(crate) fn user_add(name: &str) -> Verified {
    user_add_until(name, 500)
}

pub(crate) fn user_add_until(name: &str, block_limit: i64) -> Verified {
    let mut input = CryptoSuite::Sm.hash(&[b"userAdd(string,uint256)"]).0[..4].to_vec();
    for word in [64_u128, 7, name.len() as u128] {
        input.extend([0; 16]);
        input.extend(word.to_be_bytes());
    }
    input.extend(name.as_bytes());
    input.resize(4 + 3 * 32 + name.len().next_multiple_of(32), 0);
    signed(name, block_limit, input)
}

/// A call of DagTransfer by the account that the nonce begins with.
fn signed(nonce: &str, block_limit: i64, input: Vec<u8>) -> Verified {
    let mut random = Seeded::new(u64::from(nonce.as_bytes()[0]) << 32);
    let key = PrivateKey::generate(&mut random).expect("a key");
    let mut tx = Transaction {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit,
        nonce: nonce.into(),
        to: "0x000000000000000000000000000000000000100c".into(),
        input,
        ..Transaction::default()
    };
    tx.sign_sm(&key, &mut random).expect("signs");
    transaction::verify(CryptoSuite::Sm, &chain(), tx).expect("canonical and signed")
}

pub(crate) fn names(from: usize, count: usize) -> impl Iterator<Item = Verified> {
    (from..from + count).map(|number| user_add(&format!("{number}")))
}

const PEER: NodeId = NodeId([4; 64]);

fn sealed(from: usize, count: usize) -> VerifiedBatch {
    VerifiedBatch::seal(CryptoSuite::Sm, names(from, count).collect()).0
}

/// A batch of at least so many bytes: one transaction, again and again.
fn weighing(from: usize, bytes: usize) -> VerifiedBatch {
    let VerifiedBatch { digest, transactions } = sealed(from, 1);
    let count = bytes.div_ceil(Batch::framed_bytes(transactions[0].bytes.len()));
    VerifiedBatch { digest, transactions: vec![transactions[0].clone(); count].into() }
}

/// A batch of at least so many bytes of different transactions, as large as they may be.
fn heavy(from: usize, bytes: usize) -> VerifiedBatch {
    let transaction = |number: usize| signed(&format!("{number}"), 500, vec![7; TRANSACTION_BYTES_MAX - 1024]);
    let transactions: Vec<_> = (from..from + bytes.div_ceil(TRANSACTION_BYTES_MAX - 1024)).map(transaction).collect();
    VerifiedBatch { digest: transactions[0].hash, transactions: transactions.into() }
}

fn chain() -> ChainIdentity {
    ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() }
}

/// What would be proposed on a chain that holds nothing.
fn propose(store: &BatchStore, transactions_max: usize) -> Vec<H256> {
    let nothing = Holds(Vec::new());
    store.propose(&mut order::Tally::new(1, &nothing, 1_000), transactions_max).expect("nothing is read")
}

#[test]
fn a_batch_is_checked_anew_and_has_one_encoding() {
    let batch = sealed(10, 3);
    let read = Batch::decode(&batch.encode()).unwrap();
    let checked = VerifiedBatch::check(CryptoSuite::Sm, &chain(), &read).expect("well made");
    assert_eq!((checked.digest, checked.encode()), (batch.digest, batch.encode()));

    // A field more that readers skip: tag 12, the integer zero.
    let longer = [read.transactions[1].as_slice(), &[0xcc]].concat();
    assert_eq!(Transaction::decode(&longer), Transaction::decode(&read.transactions[1]));
    let cases = [
        (Batch { transactions: Vec::new() }, "without transactions"),
        (
            Batch { transactions: vec![read.transactions[0].clone(), longer] },
            "transaction 1 of a batch is not in canonical",
        ),
        (Batch { transactions: vec![vec![1, 2, 3]] }, "transaction 0 of a batch: made for chain"),
    ];
    for (batch, expected) in cases {
        let error = VerifiedBatch::check(CryptoSuite::Sm, &chain(), &batch).err().expect("refused").to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_value_takes_the_oldest_batches_within_the_bounds_of_a_block() {
    let store = BatchStore::default();
    let batches = [sealed(10, 3), sealed(20, 2), sealed(30, 4)];
    for batch in &batches {
        store.add(batch.clone(), Origin::Own);
    }
    let digests: Vec<H256> = batches.iter().map(|batch| batch.digest).collect();
    assert_eq!(store.waiting_transactions(), 9);
    for (transactions_max, count) in [(9, 3), (8, 2), (5, 2), (4, 1), (1, 1)] {
        assert_eq!(propose(&store, transactions_max), digests[..count], "{transactions_max}");
    }
}

#[test]
fn whatever_waits_a_proposal_is_within_what_every_receiver_takes() {
    let store = BatchStore::default();
    for number in 0..VALUE_BATCHES_MAX + 40 {
        store.add(sealed(1_000 + number, 1), Origin::Own);
    }
    let batches = propose(&store, usize::MAX);
    assert_eq!(batches.len(), VALUE_BATCHES_MAX);
    let value = Value { height: 1, parent: H256::ZERO, timestamp_ms: 1, builder: 0, protocol_version: 1, batches };
    let proposal = Proposal {
        chain: H256::ZERO,
        height: 1,
        round: 0,
        value: value.id(CryptoSuite::Sm),
        pol_round: None,
        validator: PEER,
    };
    let message = Message::Proposal(SignedProposal { proposal, value, signature: SignatureBytes([1; 64]) });
    assert_eq!(Message::decode(&message.encode()), Ok(message));
}

#[test]
fn batches_of_a_value_stay_until_its_height_is_in_the_ledger_and_wait_again_when_it_lost() {
    let store = BatchStore::default();
    let (won, lost) = (sealed(10, 1), sealed(20, 1));
    let both = [won.digest, lost.digest];
    assert_eq!(store.pin(&both, 5).err(), Some(both.to_vec()), "not here");
    store.add(won.clone(), Origin::Own);
    store.add(lost.clone(), Origin::Peer(PEER));
    assert!(store.is_pending(5));
    assert_eq!(store.pin(&both, 5).unwrap_or_default().len(), 2);
    assert_eq!(store.pin(&both, 5).unwrap_or_default().len(), 0, "logged once for a height");
    assert!(!store.is_pending(5));
    store.decided(&[won.digest], 5);
    assert!(store.is_pending(6));
    assert_eq!(propose(&store, 9), [lost.digest]);
    // Somebody names the decided one again.
    assert_eq!(store.pin(&both, 6).unwrap_or_default().len(), 2);
    store.forget(5);
    assert!(store.of_value(&both).is_ok());
    store.forget(6);
    assert_eq!(store.of_value(&both).err(), Some(won.digest));
    assert_eq!(store.len(), 1);
}

#[test]
fn undecided_batches_of_a_peer_are_bounded_and_those_asked_for_are_taken() {
    let store = BatchStore::default();
    let (first, second) = (sealed(10, 1), sealed(20, 1));
    assert_eq!(store.admit(first.digest, PEER, 100), Admit::Verify);
    assert_eq!(store.admit(first.digest, PEER, 100), Admit::Known, "on its way");
    store.add(first.clone(), Origin::Peer(PEER));
    assert_eq!(store.admit(first.digest, PEER, 100), Admit::Known);
    assert_eq!(store.admit(second.digest, PEER, PEER_BATCHES_BYTES_MAX), Admit::OverQuota);
    assert_eq!(store.standing(&[first.digest, second.digest]), Standing::Missing(vec![second.digest]));
    store.want([(second.digest, Need::Proposed(PEER))].into());
    assert_eq!(store.admit(second.digest, PEER, PEER_BATCHES_BYTES_MAX), Admit::Verify);
    store.refuse(second.digest, true);
    assert_eq!(store.admit(second.digest, PEER, 1), Admit::Invalid);
    assert_eq!(store.standing(&[first.digest, second.digest]), Standing::Invalid);
    assert_eq!(store.standing(&[first.digest]), Standing::Complete);
    store.want(Default::default());
    store.decided(&[first.digest], 1);
    assert_eq!(store.admit(sealed(30, 1).digest, PEER, PEER_BATCHES_BYTES_MAX), Admit::Verify, "room again");
}

#[test]
fn what_a_proposer_names_is_bounded_for_it_and_for_all() {
    let store = BatchStore::default();
    let large: Vec<VerifiedBatch> = (0..7).map(|index| weighing(10 + index, VALUE_BYTES_MAX / 2)).collect();
    // Its quota is full, so that nothing more of it is taken unless it is named.
    store.add(weighing(1, PEER_BATCHES_BYTES_MAX), Origin::Peer(PEER));
    let arrive = |batch: &VerifiedBatch, need| {
        store.want([(batch.digest, need)].into());
        let admitted = store.admit(batch.digest, PEER, VALUE_BYTES_MAX / 2);
        if admitted == Admit::Verify {
            store.add(batch.clone(), Origin::Peer(PEER));
        }
        admitted
    };
    let liar = NodeId([9; 64]);
    assert_eq!(arrive(&large[0], Need::Proposed(liar)), Admit::Verify);
    assert_eq!(arrive(&large[1], Need::Proposed(liar)), Admit::Verify);
    assert!(!store.has_room_for(liar));
    assert_eq!(arrive(&large[2], Need::Proposed(liar)), Admit::OverQuota, "whatever value it names");
    assert_eq!(arrive(&large[2], Need::Proposed(NodeId([8; 64]))), Admit::Verify, "another proposer's value");
    for proposer in 20..26 {
        let batches = [weighing(1_000 + proposer, VALUE_BYTES_MAX), weighing(2_000 + proposer, VALUE_BYTES_MAX)];
        for batch in &batches {
            arrive(batch, Need::Proposed(NodeId([proposer as u8; 64])));
        }
    }
    assert!(!store.has_room_for(NodeId([7; 64])), "all proposers together");
    // What a quorum has decided is taken whatever there is, is not proposed again, and goes with its height.
    assert_eq!(arrive(&large[3], Need::Decided(5)), Admit::Verify);
    let waiting = store.waiting_transactions();
    assert!(store.decided_bytes() >= VALUE_BYTES_MAX / 2);
    store.forget(5);
    assert_eq!((store.decided_bytes(), store.waiting_transactions()), (0, waiting));
    assert!(store.get(&large[3].digest).is_none());
    // Room again once the values have lost.
    store.want(Default::default());
    store.expire(Instant::now() + Duration::from_millis(BATCH_RETRY_MS), 6);
    assert!(store.has_room_for(liar));
}

#[test]
fn a_value_names_no_more_bytes_than_its_receivers_hold() {
    let store = BatchStore::default();
    for index in 0..5 {
        store.add(heavy(1_000 * (1 + index), VALUE_BYTES_MAX / 3), Origin::Own);
    }
    assert_eq!(propose(&store, usize::MAX).len(), 2);
    let store = BatchStore::default();
    store.add(heavy(1_000, VALUE_BYTES_MAX + 1), Origin::Own);
    assert_eq!(propose(&store, usize::MAX).len(), 1, "the first, whatever its size");
}

#[test]
fn nobodys_batches_keep_the_others_waiting_and_many_small_ones_are_too_many() {
    let store = BatchStore::default();
    for number in 0..PEER_BATCHES_MAX {
        store.add(sealed(10_000 + number, 1), Origin::Peer(PEER));
    }
    let (other, own) = (sealed(10, 1), sealed(20, 1));
    assert_eq!(store.admit(other.digest, PEER, 1), Admit::OverQuota);
    assert_eq!(store.admit(other.digest, NodeId([77; 64]), 1), Admit::Verify, "another peer's quota is its own");
    store.add(other.clone(), Origin::Peer(NodeId([77; 64])));
    store.add(own.clone(), Origin::Own);
    let proposed = propose(&store, 6);
    assert_eq!(proposed.len(), 6);
    assert_eq!(proposed[1..3], [other.digest, own.digest], "each in its turn");
}

#[test]
fn what_nobody_decides_expires_and_what_a_value_names_does_not() {
    let store = BatchStore::default();
    let (own, named, theirs) = (sealed(10, 1), sealed(20, 1), sealed(30, 1));
    store.add(own.clone(), Origin::Own);
    store.add(named.clone(), Origin::Own);
    store.add(theirs.clone(), Origin::Peer(PEER));
    store.pin(&[named.digest], 3).unwrap_or_default();
    let after = |ms| Instant::now() + Duration::from_millis(ms);
    assert!(store.expire(Instant::now(), 3).is_empty());
    let back: Vec<H256> = store.expire(after(BATCH_RETRY_MS), 3).iter().map(|batch| batch.digest).collect();
    assert_eq!(back, [own.digest]);
    assert_eq!(propose(&store, 9), [named.digest, theirs.digest]);
    assert!(store.expire(after(BATCH_HELD_MS), 3).is_empty());
    assert_eq!(propose(&store, 9), [named.digest]);
    assert_eq!(store.own_load().0, 1);
    // Fetched for a value that lost: gone with the next look after the usual time.
    let fetched = sealed(40, 1);
    store.want([(fetched.digest, Need::Proposed(PEER))].into());
    store.add(fetched.clone(), Origin::Peer(PEER));
    store.expire(after(BATCH_RETRY_MS), 3);
    assert!(store.get(&fetched.digest).is_some(), "the value waits for others");
    store.want(Default::default());
    store.expire(after(BATCH_RETRY_MS), 3);
    assert!(store.get(&fetched.digest).is_none());
}

/// A chain that holds some transactions.
struct Holds(Vec<H256>);

impl History for Holds {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        Ok(self.0.contains(hash))
    }

    fn nonce_used(&self, _: &Address, _: &str) -> Result<bool, StateError> {
        Ok(false)
    }
}

#[test]
fn a_batch_of_which_nothing_can_stand_any_more_is_dropped() {
    let store = BatchStore::default();
    let seal = |transactions| VerifiedBatch::seal(CryptoSuite::Sm, transactions).0;
    let expired = |name| user_add_until(name, 4);
    let (old, partly) = (sealed(10, 2), sealed(20, 2));
    let (passed, own) = (seal(vec![expired("40"), old.transactions[0].clone()]), seal(vec![expired("41")]));
    for (batch, origin) in [(&old, Origin::Peer(PEER)), (&partly, Origin::Peer(PEER)), (&passed, Origin::Named(PEER))] {
        store.add(batch.clone(), origin);
    }
    store.add(own.clone(), Origin::Own);
    let known = old.transactions.iter().chain(&partly.transactions[..1]).map(|transaction| transaction.hash).collect();
    let history = Holds(known);
    assert!(store.drop_spent(&history, 4).unwrap().is_empty());
    assert!(store.get(&old.digest).is_none() && store.get(&passed.digest).is_some(), "not expired at 4");
    store.pin(&[passed.digest], 5).unwrap_or_default();
    let back: Vec<H256> = store.drop_spent(&history, 5).unwrap().iter().map(|batch| batch.digest).collect();
    assert_eq!(back, [own.digest], "its clients are to be told");
    assert!(store.get(&passed.digest).is_some(), "a value of that height has it");
    store.drop_spent(&history, 6).unwrap();
    assert_eq!((store.len(), store.get(&partly.digest).is_some()), (1, true));
}

#[test]
fn batches_of_a_committed_block_come_back_byte_for_byte() {
    let all: Vec<Verified> = names(10, 6).collect();
    let batch = |places: &[usize]| {
        VerifiedBatch::seal(CryptoSuite::Sm, places.iter().map(|place| all[*place].clone()).collect()).0
    };
    // The second batch repeats a transaction, one of the third found no place, the fourth is dropped as a whole.
    let batches = [batch(&[0, 1]), batch(&[1, 2]), batch(&[3, 4, 5]), batch(&[0])];
    let block: Vec<Verified> = [0, 1, 2, 3, 5].iter().map(|place| all[*place].clone()).collect();
    let recipe = Recipe::new(&batches, &block);
    let read = Recipe::decode(&recipe.encode()).expect("reads back");
    assert_eq!(read, recipe);
    let stored: Vec<Vec<u8>> = block.iter().map(|transaction| transaction.bytes.to_vec()).collect();
    let made = |place, block: &[Vec<u8>]| read.batch(place, |index| Ok::<_, ()>(block.get(index as usize).cloned()));
    for (place, batch) in batches.iter().enumerate() {
        assert_eq!(made(place, &stored), Ok(Some(batch.to_batch())), "{place}");
    }
    assert_eq!(made(4, &stored), Ok(None));
    assert_eq!(made(2, &stored[..3]), Ok(None), "of another block");
    assert_eq!(read.batch(0, |_| Err("unreadable")), Err("unreadable"));
    let dropped: usize = [1, 4, 0].iter().map(|place| all[*place].bytes.len()).sum();
    assert!(recipe.encode().len() < dropped + 100, "the block's own transactions are not repeated");
    assert!(Recipe::decode(&[9]).is_err());
}
