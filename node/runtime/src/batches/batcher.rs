//! From waiting transactions to batches: the first at once, the next ones when full or [`BATCH_INTERVAL_MS`] old, so that an idle node
//! adds no wait and a busy one makes few batches.
//!
//! Peers hold the undecided batches of a node under [`PEER_BATCHES_BYTES_MAX`]; we stop at half of it, and what comes after waits in the
//! pool. With many batches undecided only full ones are made, so that those of all validators fit a value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_txpool::TxPool;
use bixi_types::limits::{
    BATCH_BYTES_TARGET, BATCH_INTERVAL_MS, BATCH_TRANSACTIONS_MAX, PEER_BATCHES_BYTES_MAX, PEER_BATCHES_MAX,
    VALUE_BATCHES_MAX,
};
use bixi_types::ports::Destination;
use bixi_types::{CryptoSuite, H256};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{BatchStore, Origin, VerifiedBatch};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::links::{Channel, Links};
use crate::view::View;

const INTERVAL: Duration = Duration::from_millis(BATCH_INTERVAL_MS);
/// Own undecided batches beyond which only full ones are made.
const SMALL_BATCHES_MAX: usize = VALUE_BATCHES_MAX / 4;

/// What a batcher works with.
pub(crate) struct BatcherParams {
    pub suite: CryptoSuite,
    /// Genesis' bound on the transactions of a block; configuration may lower it.
    pub genesis_transactions_max: usize,
    pub pool: Arc<TxPool>,
    pub batches: Arc<BatchStore>,
    pub view: Arc<View>,
    pub links: Arc<dyn Links>,
}

/// Makes batches. Shared by its own thread and the consensus thread.
pub(crate) struct Batcher {
    params: BatcherParams,
    wake: Sender<Wake>,
}

/// What the batcher's thread is told.
pub(crate) enum Wake {
    /// Transactions arrived in the pool or came back to it.
    Look,
    /// The node stops.
    Stop,
}

/// When to look again.
enum Next {
    Arrival,
    At(Instant),
    Now,
}

impl Batcher {
    /// A batcher, and how its thread is woken.
    pub(crate) fn new(params: BatcherParams) -> (Self, Receiver<Wake>) {
        // One look sees everything that arrived before it.
        let (wake, woken) = bounded(1);
        (Self { params, wake }, woken)
    }

    /// Has the thread look at the pool.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(Wake::Look);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        let _ = self.wake.send(Wake::Stop);
    }

    /// Transactions in a block at most; no batch holds more.
    pub(crate) fn block_transactions_max(&self) -> usize {
        self.params.view.block_transactions_max().min(self.params.genesis_transactions_max)
    }

    /// Whether there are peers to share batches with.
    pub(crate) fn is_alone(&self) -> bool {
        self.params.links.is_solitary()
    }

    /// The batcher's thread, for a node with peers: runs until told to stop.
    pub(crate) fn run(&self, woken: &Receiver<Wake>, events: &Sender<Event>) {
        let mut last = None;
        loop {
            let told = match self.next(last, Instant::now()) {
                Next::Arrival => woken.recv().map_err(RecvTimeoutError::from),
                Next::At(at) => woken.recv_deadline(at),
                Next::Now => {
                    last = Some(Instant::now());
                    if self.seal_one(self.block_transactions_max()) > 0 {
                        let _ = events.send(Event::Work);
                    }
                    continue;
                }
            };
            match told {
                Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next(&self, last: Option<Instant>, now: Instant) -> Next {
        let (waiting, waiting_bytes) = self.params.pool.waiting();
        if waiting == 0 {
            return Next::Arrival;
        }
        let (own, own_bytes) = self.params.batches.own_load();
        let is_full = waiting_bytes >= BATCH_BYTES_TARGET || waiting >= self.transactions_max(usize::MAX);
        let is_enough = own_bytes >= PEER_BATCHES_BYTES_MAX / 2 || own >= PEER_BATCHES_MAX / 2;
        if is_enough || (own >= SMALL_BATCHES_MAX && !is_full) {
            return Next::At(now + INTERVAL);
        }
        match last.map(|last| last + INTERVAL) {
            Some(due) if due > now && !is_full => Next::At(due),
            _ => Next::Now,
        }
    }

    fn transactions_max(&self, at_most: usize) -> usize {
        at_most.min(BATCH_TRANSACTIONS_MAX).min(self.block_transactions_max())
    }

    /// Makes one batch of the oldest waiting transactions, keeps it and tells the peers; returns how many it holds.
    fn seal_one(&self, transactions_max: usize) -> usize {
        let BatcherParams { suite, pool, batches, links, .. } = &self.params;
        let transactions = pool.pack(self.transactions_max(transactions_max), BATCH_BYTES_TARGET);
        let count = transactions.len();
        if count > 0 {
            let (batch, encoding) = VerifiedBatch::seal(*suite, transactions);
            batches.add(batch, Origin::Own);
            links.send_on(Channel::Bulk, Destination::Broadcast, Exchange::Batch(encoding).encode());
        }
        count
    }

    /// Makes batches of what waits now, of at most `transactions_max` transactions together: a proposal is due.
    pub(crate) fn seal_waiting(&self, transactions_max: usize) {
        let mut left = transactions_max;
        for _ in 0..VALUE_BATCHES_MAX {
            match self.seal_one(left) {
                0 => return,
                count => left = left.saturating_sub(count),
            }
        }
    }

    /// Takes own batches apart that nobody decided in time, and drops others' that waited too long.
    pub(crate) fn expire(&self, now: Instant) {
        for batch in self.params.batches.expire(now, self.params.view.undecided()) {
            tracing::debug!(digest = %batch.digest, "a batch was not decided in time; its transactions are batched again");
            let hashes: Vec<H256> = batch.transactions.iter().map(|transaction| transaction.hash).collect();
            self.params.pool.unpack(&hashes);
            self.wake();
        }
    }
}
