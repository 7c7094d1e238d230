//! From decided batches to the transactions of a block: one pure function, the same on every node.

use std::collections::BTreeSet;

use bixi_types::genesis::Genesis;
use bixi_types::state::{History, StateError, StateView};
use bixi_types::status::Status;
use bixi_types::transaction::Verified;
use bixi_types::{Address, H256};

use crate::ExecutionError;
use crate::system::{KEY_TX_COUNT_LIMIT, KEY_TX_GAS_LIMIT, number_at};

/// What a block may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderLimits {
    /// How far a transaction's blockLimit may be above the block before this one.
    pub block_limit: u32,
    /// Transactions at most; [`crate::system::config_value`] of `tx_count_limit` at this height.
    pub transactions_max: u32,
    /// Gas limits may not add up to more; `u64::MAX` sets no bound.
    pub gas_max: u64,
    /// Gas counted for a transaction that names none: the chain's limit of one transaction.
    pub tx_gas_limit: u64,
}

impl OrderLimits {
    /// The limits in force at `height`, from genesis and SystemConfig. `view` is the state after the block before.
    pub fn at(view: &dyn StateView, height: u64, genesis: &Genesis) -> Result<Self, ExecutionError> {
        let number = |key, genesis_value| number_at(view, key, height, genesis_value);
        let count = number(KEY_TX_COUNT_LIMIT, u64::from(genesis.block_tx_count_max))?;
        Ok(Self {
            block_limit: genesis.block_limit,
            transactions_max: u32::try_from(count).unwrap_or(u32::MAX),
            gas_max: u64::MAX,
            tx_gas_limit: number(KEY_TX_GAS_LIMIT, genesis.tx_gas_limit)?,
        })
    }
}

/// The transactions of a block.
#[derive(Debug, Clone, Default)]
pub struct Ordered {
    /// In the order they execute; a transaction's index here is its context id.
    pub transactions: Vec<Verified>,
    /// Left out, with the status their clients get: 10000 nonce used, 10001 blockLimit passed or too far, 10002 the block is
    /// full, 10004 twice in this block, 10005 in the chain already.
    pub dropped: Vec<(H256, Status)>,
}

/// Flattens the batches of the value decided for `height`.
///
/// A transaction is its hash: FISCO BCOS's does not cover the sender, so of two accounts that sign the same fields the first one
/// ordered stands and the other is dropped.
///
/// A transaction with blockLimit `l` may stand in block `height` iff `height ≤ l ≤ height − 1 + block_limit`: FISCO BCOS's rule,
/// whose own height is that of the block before. `history` answers for the chain up to `height − 1`.
pub fn flatten(
    batches: &[Vec<Verified>],
    height: u64,
    history: &dyn History,
    limits: &OrderLimits,
) -> Result<Ordered, StateError> {
    let mut seen = Seen::default();
    let mut ordered = Ordered::default();
    for verified in batches.iter().flatten() {
        match seen.judge(verified, height, history, limits)? {
            None => ordered.transactions.push(verified.clone()),
            Some(status) => ordered.dropped.push((verified.hash, status)),
        }
    }
    Ok(ordered)
}

/// Tells what [`flatten`] would let into a block from what it would drop, before the block is decided: batch by batch, of which the last
/// can be taken back. How much a block may hold is left to who collects for it.
pub struct Tally<'a> {
    height: u64,
    history: &'a dyn History,
    limits: OrderLimits,
    seen: Seen,
    last: Vec<(H256, Sent)>,
}

/// What a batch would bring to a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Transactions that can stand.
    pub live_transactions: usize,
    /// Their bytes.
    pub live_bytes: usize,
    /// Bytes of those that would be dropped.
    pub dead_bytes: usize,
}

impl<'a> Tally<'a> {
    /// For block `height` of a chain with this block limit, after what `history` knows.
    pub fn new(height: u64, history: &'a dyn History, block_limit: u32) -> Self {
        let limits = OrderLimits { block_limit, transactions_max: u32::MAX, gas_max: u64::MAX, tx_gas_limit: 0 };
        Self { height, history, limits, seen: Seen::default(), last: Vec::new() }
    }

    /// Adds a batch to those before.
    pub fn add(&mut self, batch: &[Verified]) -> Result<Weight, StateError> {
        self.last.clear();
        let mut weight = Weight::default();
        for verified in batch {
            let bytes = verified.bytes.len();
            if self.seen.judge(verified, self.height, self.history, &self.limits)?.is_some() {
                weight.dead_bytes += bytes;
                continue;
            }
            weight.live_transactions += 1;
            weight.live_bytes += bytes;
            self.last.push((verified.hash, sent(verified)));
        }
        Ok(weight)
    }

    /// As if the batch added last had not been; once.
    pub fn take_back(&mut self) {
        for (hash, sent) in self.last.drain(..) {
            self.seen.hashes.remove(&hash);
            self.seen.nonces.remove(&sent);
        }
    }
}

/// Who sent a transaction, and its nonce.
type Sent = (Address, String);

fn sent(verified: &Verified) -> Sent {
    (verified.sender, verified.tx.nonce.clone())
}

/// What the block holds so far.
#[derive(Default)]
struct Seen {
    hashes: BTreeSet<H256>,
    nonces: BTreeSet<Sent>,
    gas: u64,
}

impl Seen {
    /// The status that keeps the transaction out; `None` lets it in and remembers it.
    fn judge(
        &mut self,
        verified: &Verified,
        height: u64,
        history: &dyn History,
        limits: &OrderLimits,
    ) -> Result<Option<Status>, StateError> {
        let (hash, sender, tx) = (verified.hash, verified.sender, &verified.tx);
        if self.hashes.contains(&hash) {
            return Ok(Some(Status::AlreadyInTxPool));
        }
        if history.transaction_known(&hash)? {
            return Ok(Some(Status::TxAlreadyInChain));
        }
        if !is_within_block_limit(tx.block_limit, height, limits.block_limit) {
            return Ok(Some(Status::BlockLimitCheckFail));
        }
        let nonce = sent(verified);
        if self.nonces.contains(&nonce) || history.nonce_used(&sender, &tx.nonce)? {
            return Ok(Some(Status::NonceCheckFail));
        }
        let gas = self.gas.saturating_add(gas_limit(tx.gas_limit, limits.tx_gas_limit));
        if self.hashes.len() >= limits.transactions_max as usize || gas > limits.gas_max {
            return Ok(Some(Status::TxPoolIsFull));
        }
        self.gas = gas;
        self.hashes.insert(hash);
        self.nonces.insert(nonce);
        Ok(None)
    }
}

/// FISCO BCOS's rule for a transaction that would stand in block `height`.
pub fn is_within_block_limit(tx_block_limit: i64, height: u64, block_limit: u32) -> bool {
    let parent = height.saturating_sub(1);
    u64::try_from(tx_block_limit)
        .is_ok_and(|limit| limit > parent && limit <= parent.saturating_add(u64::from(block_limit)))
}

/// Whether a transaction may stand neither in block `height` nor in any later one.
pub fn is_expired(tx_block_limit: i64, height: u64) -> bool {
    u64::try_from(tx_block_limit).map_or(true, |limit| limit < height)
}

fn gas_limit(tx_gas_limit: i64, max: u64) -> u64 {
    u64::try_from(tx_gas_limit).ok().filter(|gas| *gas > 0).map_or(max, |gas| gas.min(max))
}
