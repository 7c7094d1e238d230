//! Verified transactions waiting for their block.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_accel::sm2;
use bixi_types::receipt::Receipt;
use bixi_types::state::History;
use bixi_types::status::Status;
use bixi_types::transaction::Verified;
use bixi_types::{Address, H256};
use parking_lot::{Mutex, MutexGuard};

use crate::signers::Signers;

/// Bounds and rules of the pool.
#[derive(Debug, Clone)]
pub struct PoolParams {
    /// Transactions held at once.
    pub transactions_max: usize,
    /// Their encoded bytes. Decoded and indexed, a transaction takes about three times as much memory.
    pub bytes_max: usize,
    /// Transactions of one account held at once.
    pub account_transactions_max: usize,
    /// Age at which a waiting transaction is given up.
    pub expiry: Duration,
    /// How far above the head a blockLimit may lie (genesis).
    pub block_limit: u64,
    /// Memory for tables of frequent signers; 0 for none (a chain without SM2 has no use for them).
    pub signer_tables_bytes_max: usize,
}

/// Why a transaction is not taken: FISCO BCOS's status and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status})")]
pub struct Refusal {
    /// FISCO BCOS's code and name.
    pub status: Status,
    /// Why, and what to do.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is in a certified block.
    Final {
        /// The transaction.
        transaction: Verified,
        /// Its receipt.
        receipt: Arc<Receipt>,
    },
    /// It is in no block and will not be.
    Refused(Refusal),
}

/// Called once with the outcome, on whatever thread finds it out: it must not block.
pub type Completion = Box<dyn FnOnce(Outcome) + Send>;

struct Entry {
    transaction: Verified,
    completion: Option<Completion>,
    arrived: Instant,
    /// Place in the order of arrival.
    order: u64,
    packed: bool,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<H256, Entry>,
    /// Arrival order → hash, of those not packed yet.
    waiting: BTreeMap<u64, H256>,
    next_order: u64,
    nonces: HashMap<(Address, String), H256>,
    per_account: HashMap<Address, usize>,
    /// Of all entries.
    held_bytes: usize,
    /// Of those not packed yet.
    waiting_bytes: usize,
    height: u64,
}

/// The pool. Shared by reference; one lock, held for map operations only.
pub struct TxPool {
    params: PoolParams,
    history: Arc<dyn History>,
    inner: Mutex<Inner>,
    signers: Signers,
}

impl TxPool {
    /// An empty pool over a chain standing at `height`.
    pub fn new(params: PoolParams, history: Arc<dyn History>, height: u64) -> Self {
        let signers = Signers::new(params.signer_tables_bytes_max);
        Self { params, history, inner: Mutex::new(Inner { height, ..Inner::default() }), signers }
    }

    /// Transactions held, packed ones included.
    pub fn len(&self) -> usize {
        self.inner.lock().entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Transactions not packed yet, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.waiting.len(), inner.waiting_bytes)
    }

    /// Whether a transaction of this hash is held; it is verified then.
    pub fn holds(&self, hash: &H256) -> bool {
        self.inner.lock().entries.contains_key(hash)
    }

    /// Tables of frequent signers, for whoever checks signatures.
    pub fn signer_tables(&self) -> &sm2::Registry {
        self.signers.tables()
    }

    pub(crate) fn signers(&self) -> &Signers {
        &self.signers
    }

    /// Checks a blockLimit against the head: it must lie above it and at most `block_limit` above.
    pub fn check_block_limit(&self, block_limit: i64) -> Result<(), Refusal> {
        let height = self.inner.lock().height;
        let highest = height.saturating_add(self.params.block_limit);
        if u64::try_from(block_limit).is_ok_and(|limit| limit > height && limit <= highest) {
            return Ok(());
        }
        let message = format!(
            "blockLimit {block_limit} must be above the height {height} and at most {highest}; sign with a blockLimit in between"
        );
        Err(Refusal::new(Status::BlockLimitCheckFail, message))
    }

    /// Adds verified transactions. Each completion is called now when refused, later otherwise. Returns how many were added.
    pub fn insert(&self, verified: Vec<(Verified, Completion)>) -> usize {
        let mut added = 0;
        for (transaction, completion) in verified {
            match self.insert_one(&transaction) {
                Ok(mut inner) => {
                    inner.add(transaction, completion);
                    added += 1;
                }
                Err(refusal) => completion(Outcome::Refused(refusal)),
            }
        }
        added
    }

    /// Every rule that needs the chain or the pool; on success the lock is returned so that nothing changes in between.
    ///
    /// History is read outside the lock, because it may read the disk. A block committed meanwhile may have moved this very
    /// transaction from the pool into the chain, where neither look would have found it: then history is asked again.
    fn insert_one(&self, transaction: &Verified) -> Result<MutexGuard<'_, Inner>, Refusal> {
        let mut height = self.inner.lock().height;
        loop {
            self.check_block_limit(transaction.tx.block_limit)?;
            self.check_history(&transaction.hash, &transaction.sender, &transaction.tx.nonce)?;
            let inner = self.inner.lock();
            if inner.height == height {
                self.check_room(&inner, transaction)?;
                return Ok(inner);
            }
            height = inner.height;
        }
    }

    fn check_room(&self, inner: &Inner, transaction: &Verified) -> Result<(), Refusal> {
        let (hash, sender, nonce) = (&transaction.hash, &transaction.sender, &transaction.tx.nonce);
        if inner.entries.contains_key(hash) {
            let message = "the transaction is in the pool already; ask for its receipt with getTransactionReceipt";
            return Err(Refusal::new(Status::AlreadyInTxPool, message));
        }
        if inner.nonces.contains_key(&(*sender, nonce.clone())) {
            let message = format!("{sender} has another waiting transaction with nonce {nonce}; sign with a new nonce");
            return Err(Refusal::new(Status::NonceCheckFail, message));
        }
        if inner.entries.len() >= self.params.transactions_max {
            let message = format!("the pool holds {} transactions; try again later", inner.entries.len());
            return Err(Refusal::new(Status::TxPoolIsFull, message));
        }
        if inner.held_bytes + transaction.bytes.len() > self.params.bytes_max {
            let message = format!("the pool holds {} bytes of transactions; try again later", inner.held_bytes);
            return Err(Refusal::new(Status::TxPoolIsFull, message));
        }
        if inner.per_account.get(sender).is_some_and(|count| *count >= self.params.account_transactions_max) {
            let limit = self.params.account_transactions_max;
            let message =
                format!("{sender} has {limit} transactions waiting, the most one account may; try again later");
            return Err(Refusal::new(Status::TxPoolIsFull, message));
        }
        Ok(())
    }

    fn check_history(&self, hash: &H256, sender: &Address, nonce: &str) -> Result<(), Refusal> {
        let unreadable = |error: bixi_types::state::StateError| {
            Refusal::new(Status::TxPoolIsFull, format!("the ledger cannot be asked now: {error}"))
        };
        if self.history.transaction_known(hash).map_err(unreadable)? {
            let message = "the transaction is in a block already; ask for its receipt with getTransactionReceipt";
            return Err(Refusal::new(Status::TxAlreadyInChain, message));
        }
        if self.history.nonce_used(sender, nonce).map_err(unreadable)? {
            let message = format!("{sender} used nonce {nonce} in a recent block; sign with a new nonce");
            return Err(Refusal::new(Status::NonceCheckFail, message));
        }
        Ok(())
    }

    /// Takes the oldest waiting transactions for a batch, within the bounds; they stay held until committed or dropped. One
    /// transaction larger than `bytes_max` is taken alone.
    pub fn pack(&self, count_max: usize, bytes_max: usize) -> Vec<Verified> {
        let mut inner = self.inner.lock();
        let mut packed = Vec::new();
        let mut bytes = 0;
        while packed.len() < count_max {
            let Some((&order, &hash)) = inner.waiting.first_key_value() else { break };
            let size = inner.entries[&hash].transaction.bytes.len();
            if !packed.is_empty() && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            inner.waiting.remove(&order);
            inner.waiting_bytes -= size;
            let entry = inner.entries.get_mut(&hash).expect("every waiting hash has its entry");
            entry.packed = true;
            packed.push(entry.transaction.clone());
        }
        packed
    }

    /// Puts packed transactions back at the front, in their old order: their batch was lost.
    pub fn unpack(&self, hashes: &[H256]) {
        let mut inner = self.inner.lock();
        for hash in hashes {
            let Some(entry) = inner.entries.get_mut(hash).filter(|entry| entry.packed) else { continue };
            entry.packed = false;
            let (order, size) = (entry.order, entry.transaction.bytes.len());
            inner.waiting.insert(order, *hash);
            inner.waiting_bytes += size;
        }
    }

    /// Removes the transactions of a certified block and tells their clients; the head is now `height`.
    pub fn committed(&self, height: u64, block: impl IntoIterator<Item = (Verified, Arc<Receipt>)>) {
        let block: Vec<_> = block.into_iter().collect();
        self.signers.note_committed(block.iter().map(|(transaction, _)| &transaction.sender_key));
        let mut told = Vec::new();
        {
            let mut inner = self.inner.lock();
            inner.height = inner.height.max(height);
            for (transaction, receipt) in block {
                if let Some(completion) = inner.remove(&transaction.hash).and_then(|entry| entry.completion) {
                    told.push((completion, Outcome::Final { transaction, receipt }));
                }
            }
        }
        for (completion, outcome) in told {
            completion(outcome);
        }
    }

    /// Removes transactions that ordering dropped and tells their clients why.
    pub fn dropped(&self, transactions: impl IntoIterator<Item = (H256, Status)>) {
        for (hash, status) in transactions {
            let entry = self.inner.lock().remove(&hash);
            if let Some(completion) = entry.and_then(|entry| entry.completion) {
                let message = format!("dropped when its block was ordered: {}", status.name());
                completion(Outcome::Refused(Refusal::new(status, message)));
            }
        }
    }

    /// Gives up what waited too long or whose blockLimit has passed. Packed transactions are left to their block.
    pub fn expire(&self, now: Instant) {
        let mut told = Vec::new();
        {
            let mut inner = self.inner.lock();
            let height = inner.height;
            let old: Vec<(H256, bool)> = inner
                .entries
                .iter()
                .filter(|(_, entry)| !entry.packed)
                .filter_map(|(hash, entry)| {
                    let passed = entry.transaction.tx.block_limit <= height as i64;
                    let aged = now.saturating_duration_since(entry.arrived) > self.params.expiry;
                    (passed || aged).then_some((*hash, passed))
                })
                .collect();
            for (hash, passed) in old {
                let Some(completion) = inner.remove(&hash).and_then(|entry| entry.completion) else { continue };
                let refusal = if passed {
                    Refusal::new(Status::BlockLimitCheckFail, "its blockLimit passed while it waited; sign it anew")
                } else {
                    Refusal::new(Status::TransactionPoolTimeout, "it waited too long in the pool; send it again")
                };
                told.push((completion, refusal));
            }
        }
        for (completion, refusal) in told {
            completion(Outcome::Refused(refusal));
        }
    }
}

impl Inner {
    fn add(&mut self, transaction: Verified, completion: Completion) {
        let (hash, sender) = (transaction.hash, transaction.sender);
        let size = transaction.bytes.len();
        self.nonces.insert((sender, transaction.tx.nonce.clone()), hash);
        *self.per_account.entry(sender).or_default() += 1;
        let order = self.next_order;
        self.next_order += 1;
        self.waiting.insert(order, hash);
        self.waiting_bytes += size;
        self.held_bytes += size;
        let arrived = Instant::now();
        self.entries.insert(hash, Entry { transaction, completion: Some(completion), arrived, order, packed: false });
    }

    fn remove(&mut self, hash: &H256) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        let size = entry.transaction.bytes.len();
        self.held_bytes -= size;
        if !entry.packed {
            self.waiting.remove(&entry.order);
            self.waiting_bytes -= size;
        }
        let sender = entry.transaction.sender;
        self.nonces.remove(&(sender, entry.transaction.tx.nonce.clone()));
        if let Some(count) = self.per_account.get_mut(&sender) {
            *count -= 1;
            if *count == 0 {
                self.per_account.remove(&sender);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
pub(crate) mod tests;
