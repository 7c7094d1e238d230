use std::collections::HashSet;
use std::sync::mpsc;

use bixi_accel::Seeded;
use bixi_accel::sm2::PrivateKey;
use bixi_types::CryptoSuite;
use bixi_types::state::StateError;
use bixi_types::transaction::{self, ChainIdentity, Transaction};

use super::*;

/// A chain that remembers what a test tells it.
#[derive(Default)]
pub(crate) struct Remembered {
    hashes: HashSet<H256>,
    nonces: HashSet<(Address, String)>,
}

impl History for Remembered {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        Ok(self.hashes.contains(hash))
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        Ok(self.nonces.contains(&(*sender, nonce.to_owned())))
    }
}

/// A call by `account`. The hash does not cover the signer, so each account has inputs of its own.
fn signed(account: u8, nonce: &str, block_limit: i64) -> Verified {
    let chain = ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() };
    transaction::verify(CryptoSuite::Sm, &chain, unverified(account, nonce, block_limit)).expect("canonical and signed")
}

fn private_key(account: u8) -> PrivateKey {
    PrivateKey::generate(&mut Seeded::new(account.into())).expect("key")
}

/// X ‖ Y of an account's key.
pub(crate) fn public_key(account: u8) -> [u8; 64] {
    private_key(account).public_key().to_bytes()
}

pub(crate) fn unverified(account: u8, nonce: &str, block_limit: i64) -> Transaction {
    let mut tx = Transaction {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit,
        nonce: nonce.into(),
        to: "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
        input: vec![1, 2, 3, account],
        ..Transaction::default()
    };
    tx.sign_sm(&private_key(account), &mut Seeded::new(account.into())).expect("signs");
    tx
}

fn params() -> PoolParams {
    PoolParams {
        transactions_max: 4,
        bytes_max: usize::MAX,
        account_transactions_max: 3,
        expiry: Duration::from_secs(60),
        block_limit: 100,
        signer_tables_bytes_max: 0,
    }
}

fn pool(history: Remembered) -> TxPool {
    TxPool::new(params(), Arc::new(history), 10)
}

/// Inserts and returns the immediate refusal, if any, and the channel of the outcome.
fn insert(pool: &TxPool, tx: &Verified) -> (Option<Status>, mpsc::Receiver<Outcome>) {
    let (told, outcome) = mpsc::channel();
    pool.insert(vec![(tx.clone(), Box::new(move |outcome| told.send(outcome).expect("the test listens")))]);
    let refused = match outcome.try_recv() {
        Ok(Outcome::Refused(refusal)) => Some(refusal.status),
        Ok(Outcome::Final { .. }) => panic!("final before any block"),
        Err(_) => None,
    };
    (refused, outcome)
}

#[test]
fn takes_in_order_of_arrival_and_keeps_until_committed() {
    let pool = pool(Remembered::default());
    let (first, second) = (signed(1, "1", 50), signed(2, "1", 50));
    let (_, told_first) = insert(&pool, &first);
    let (_, _told) = insert(&pool, &second);
    assert_eq!(pool.pack(1, usize::MAX).iter().map(|tx| tx.hash).collect::<Vec<_>>(), [first.hash]);
    assert_eq!(pool.len(), 2, "a packed transaction is still held");
    pool.committed(11, [(first.clone(), Arc::new(Receipt::default()))]);
    assert!(matches!(told_first.try_recv(), Ok(Outcome::Final { .. })));
    assert_eq!(pool.len(), 1);
}

#[test]
fn refuses_duplicates_known_and_used() {
    let (known, reused) = (signed(1, "1", 50), signed(2, "7", 50));
    let mut history = Remembered::default();
    history.hashes.insert(known.hash);
    history.nonces.insert((reused.sender, "7".into()));
    let pool = pool(history);
    assert_eq!(insert(&pool, &known).0, Some(Status::TxAlreadyInChain));
    assert_eq!(insert(&pool, &reused).0, Some(Status::NonceCheckFail));
    let held = signed(3, "1", 50);
    let (refused, _told) = insert(&pool, &held);
    assert_eq!(refused, None);
    assert_eq!(insert(&pool, &held).0, Some(Status::AlreadyInTxPool));
    assert_eq!(insert(&pool, &signed(3, "1", 51)).0, Some(Status::NonceCheckFail), "same nonce, other transaction");
}

#[test]
fn bounds_the_pool_and_each_account() {
    let pool = pool(Remembered::default());
    let mut waiting = Vec::new();
    for nonce in ["1", "2", "3"] {
        let (refused, told) = insert(&pool, &signed(1, nonce, 50));
        assert_eq!(refused, None);
        waiting.push(told);
    }
    assert_eq!(insert(&pool, &signed(1, "4", 50)).0, Some(Status::TxPoolIsFull), "the account's bound");
    let (refused, _told) = insert(&pool, &signed(2, "1", 50));
    assert_eq!(refused, None);
    assert_eq!(insert(&pool, &signed(3, "1", 50)).0, Some(Status::TxPoolIsFull), "the pool's bound");
}

#[test]
fn bounds_the_bytes_of_all_transactions() {
    let (a, b) = (signed(1, "1", 50), signed(2, "1", 50));
    let bytes_max = a.bytes.len() + b.bytes.len() - 1;
    let pool = TxPool::new(PoolParams { bytes_max, ..params() }, Arc::new(Remembered::default()), 10);
    let (refused, _told) = insert(&pool, &a);
    assert_eq!(refused, None);
    pool.pack(1, usize::MAX);
    assert_eq!(insert(&pool, &b).0, Some(Status::TxPoolIsFull), "a packed transaction still takes memory");
    pool.committed(11, [(a, Arc::new(Receipt::default()))]);
    assert_eq!(insert(&pool, &b).0, None);
}

/// A ledger whose first answer is overtaken by a block.
struct Overtaken {
    committed: std::sync::OnceLock<(Arc<TxPool>, Verified)>,
    asked: std::sync::atomic::AtomicUsize,
}

impl History for Overtaken {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        let Some((pool, transaction)) = self.committed.get() else { return Ok(false) };
        if self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            return Ok(transaction.hash == *hash);
        }
        pool.committed(11, [(transaction.clone(), Arc::new(Receipt::default()))]);
        Ok(false)
    }

    fn nonce_used(&self, _: &Address, _: &str) -> Result<bool, StateError> {
        Ok(false)
    }
}

#[test]
fn a_duplicate_is_refused_though_its_block_is_committed_between_both_looks() {
    let history = Arc::new(Overtaken { committed: std::sync::OnceLock::new(), asked: Default::default() });
    let pool = Arc::new(TxPool::new(params(), Arc::clone(&history) as _, 10));
    let tx = signed(1, "1", 50);
    let (refused, _told) = insert(&pool, &tx);
    assert_eq!(refused, None);
    assert!(history.committed.set((Arc::clone(&pool), tx.clone())).is_ok());
    assert_eq!(insert(&pool, &tx).0, Some(Status::TxAlreadyInChain));
    assert!(pool.is_empty());
    drop(pool);
}

#[test]
fn block_limit_must_lie_above_the_head_and_within_reach() {
    let pool = pool(Remembered::default());
    for (limit, accepted) in [(9, false), (10, false), (11, true), (110, true), (111, false), (-1, false)] {
        assert_eq!(pool.check_block_limit(limit).is_ok(), accepted, "blockLimit {limit} at height 10");
    }
}

#[test]
fn packs_within_bytes_but_takes_one_large_transaction_alone() {
    let pool = pool(Remembered::default());
    let (a, b) = (signed(1, "1", 50), signed(2, "1", 50));
    let (_x, _y) = (insert(&pool, &a), insert(&pool, &b));
    assert_eq!(pool.pack(10, 1).len(), 1);
    assert_eq!(pool.pack(10, 1).len(), 1);
    assert!(pool.pack(10, 1).is_empty());
    assert_eq!(pool.waiting(), (0, 0));
}

#[test]
fn unpacked_transactions_return_to_their_place() {
    let pool = pool(Remembered::default());
    let (a, b) = (signed(1, "1", 50), signed(2, "1", 50));
    let (_x, _y) = (insert(&pool, &a), insert(&pool, &b));
    let packed = pool.pack(1, usize::MAX);
    pool.unpack(&[packed[0].hash]);
    let order: Vec<H256> = pool.pack(10, usize::MAX).iter().map(|tx| tx.hash).collect();
    assert_eq!(order, [a.hash, b.hash]);
}

#[test]
fn tells_clients_of_dropped_and_expired_transactions_and_frees_their_nonce() {
    let pool = pool(Remembered::default());
    let (a, b, c) = (signed(1, "1", 11), signed(2, "1", 50), signed(3, "1", 50));
    let told: Vec<_> = [&a, &b, &c].map(|tx| insert(&pool, tx).1).into();
    pool.dropped([(b.hash, Status::NonceCheckFail)]);
    assert!(matches!(told[1].try_recv(), Ok(Outcome::Refused(refusal)) if refusal.status == Status::NonceCheckFail));
    pool.committed(11, []);
    pool.expire(Instant::now());
    assert!(
        matches!(told[0].try_recv(), Ok(Outcome::Refused(refusal)) if refusal.status == Status::BlockLimitCheckFail)
    );
    pool.expire(Instant::now() + Duration::from_secs(61));
    assert!(
        matches!(told[2].try_recv(), Ok(Outcome::Refused(refusal)) if refusal.status == Status::TransactionPoolTimeout)
    );
    assert!(pool.is_empty());
    let (refused, _told) = insert(&pool, &b);
    assert_eq!(refused, None, "its nonce is free again");
}
