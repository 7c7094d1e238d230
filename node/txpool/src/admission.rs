//! From received bytes to verified transactions: size and quota at the door, then decoding, shape and signatures in batches
//! on the verifier threads.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use bixi_types::CryptoSuite;
use bixi_types::limits::TRANSACTION_BYTES_MAX;
use bixi_types::status::Status;
use bixi_types::transaction::{self, ChainIdentity, Pending, Transaction, TransactionError, Verified};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use crate::pool::{Completion, Outcome, Refusal, TxPool};

const QUEUE_FULL: &str = "too many transactions wait for their signature check; try again later";

/// One client connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection(pub u64);

/// Bounds and rules of admission.
#[derive(Debug, Clone)]
pub struct AdmissionParams {
    /// Algorithms of the chain.
    pub suite: CryptoSuite,
    /// What every transaction must name.
    pub chain: ChainIdentity,
    /// Verifier threads, at least one.
    pub verifiers: usize,
    /// Unverified transactions waiting, over all connections.
    pub queue_max: usize,
    /// Bytes of unverified transactions waiting, over all connections.
    pub queue_bytes_max: usize,
    /// Unverified transactions of one connection.
    pub connection_pending_max: usize,
    /// Signatures checked in one batch at most.
    pub verify_batch_max: usize,
}

/// Running totals, for metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Transactions handed in.
    pub submitted: AtomicU64,
    /// Of these, refused before or by verification.
    pub refused: AtomicU64,
    /// Of these, with a good signature.
    pub verified: AtomicU64,
}

struct Submission {
    bytes: Vec<u8>,
    connection: Connection,
    completion: Completion,
}

/// What waits for its signature check.
#[derive(Default)]
struct Pressure {
    per_connection: HashMap<Connection, usize>,
    bytes: usize,
}

/// The door of the pool. Dropping it ends the verifier threads after they emptied the queue.
pub struct Admission {
    queue: Sender<Submission>,
    shared: Arc<Shared>,
}

struct Shared {
    params: AdmissionParams,
    pool: Arc<TxPool>,
    pending: Mutex<Pressure>,
    metrics: Metrics,
    on_admitted: Box<dyn Fn() + Send + Sync>,
}

impl Admission {
    /// Starts the verifier threads. `on_admitted` is called after transactions entered the pool; it must not block.
    pub fn start(
        params: AdmissionParams,
        pool: Arc<TxPool>,
        spawner: &Spawner,
        on_admitted: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        assert!(params.verifiers > 0 && params.verify_batch_max > 0, "admission without verifiers");
        let (queue, submissions) = crossbeam_channel::bounded(params.queue_max);
        let shared =
            Arc::new(Shared { params, pool, pending: Mutex::default(), metrics: Metrics::default(), on_admitted });
        for index in 0..shared.params.verifiers {
            let (shared, submissions) = (Arc::clone(&shared), submissions.clone());
            spawner.spawn(Role::Verifier, &format!("verify-{index}"), move || shared.run(&submissions))?;
        }
        Ok(Self { queue, shared })
    }

    /// Hands in one encoded transaction. `completion` is called exactly once, now or later.
    pub fn submit(&self, bytes: Vec<u8>, connection: Connection, completion: Completion) {
        self.shared.metrics.submitted.fetch_add(1, Ordering::Relaxed);
        if let Err(refusal) = self.shared.charge(connection, bytes.len()) {
            self.shared.refuse(completion, refusal);
            return;
        }
        let submission = Submission { bytes, connection, completion };
        if let Err(TrySendError::Full(submission) | TrySendError::Disconnected(submission)) =
            self.queue.try_send(submission)
        {
            self.shared.release(connection, submission.bytes.len());
            self.shared.refuse(submission.completion, Refusal::new(Status::TxPoolIsFull, QUEUE_FULL));
        }
    }

    /// Running totals.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Transactions waiting for their signature check.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

impl Shared {
    fn charge(&self, connection: Connection, size: usize) -> Result<(), Refusal> {
        if size > TRANSACTION_BYTES_MAX {
            let message = format!("a transaction of {size} bytes; at most {TRANSACTION_BYTES_MAX} are taken");
            return Err(Refusal::new(Status::Malformed, message));
        }
        let mut pending = self.pending.lock();
        if pending.bytes + size > self.params.queue_bytes_max {
            return Err(Refusal::new(Status::TxPoolIsFull, QUEUE_FULL));
        }
        let count = pending.per_connection.get(&connection).copied().unwrap_or(0);
        if count >= self.params.connection_pending_max {
            let message = format!("this connection has {count} unverified transactions; wait for their answers");
            return Err(Refusal::new(Status::TxPoolIsFull, message));
        }
        pending.per_connection.insert(connection, count + 1);
        pending.bytes += size;
        Ok(())
    }

    fn release(&self, connection: Connection, size: usize) {
        let mut pending = self.pending.lock();
        pending.bytes -= size;
        if let Some(held) = pending.per_connection.get_mut(&connection) {
            *held -= 1;
            if *held == 0 {
                pending.per_connection.remove(&connection);
            }
        }
    }

    fn refuse(&self, completion: Completion, refusal: Refusal) {
        self.metrics.refused.fetch_add(1, Ordering::Relaxed);
        completion(Outcome::Refused(refusal));
    }

    /// A verifier thread: takes what waits, up to a batch, checks it in one go.
    fn run(&self, submissions: &Receiver<Submission>) {
        while let Ok(first) = submissions.recv() {
            let mut batch = vec![first];
            while batch.len() < self.params.verify_batch_max {
                let Ok(next) = submissions.try_recv() else { break };
                batch.push(next);
            }
            // What clients send must not end the only threads that look at it: the clients of this batch are told nothing but
            // that there is no answer.
            if catch_unwind(AssertUnwindSafe(|| self.verify(batch))).is_err() {
                tracing::error!("a signature check panicked; its transactions are dropped: report the message above");
            }
        }
    }

    fn verify(&self, batch: Vec<Submission>) {
        let mut decoded = Vec::with_capacity(batch.len());
        for submission in batch {
            self.release(submission.connection, submission.bytes.len());
            match self.decode(&submission.bytes) {
                Ok(transaction) => decoded.push((transaction, submission.completion)),
                Err(refusal) => self.refuse(submission.completion, refusal),
            }
        }
        let (transactions, completions): (Vec<Transaction>, Vec<Completion>) = decoded.into_iter().unzip();
        let prepared = transaction::prepare_many(self.params.suite, &self.params.chain, transactions);
        let mut checks = Vec::with_capacity(prepared.len());
        for (pending, completion) in prepared.into_iter().zip(completions) {
            match pending {
                Ok(pending) => checks.push((pending, completion)),
                Err(error) => self.refuse(completion, refusal_of(&error)),
            }
        }
        let (pending, completions): (Vec<Pending>, Vec<Completion>) = checks.into_iter().unzip();
        let mut admitted: Vec<(Verified, Completion)> = Vec::with_capacity(pending.len());
        for (verdict, completion) in
            Pending::verify_batch(pending, Some(self.pool.signer_tables())).into_iter().zip(completions)
        {
            match verdict {
                Ok(verified) => admitted.push((verified, completion)),
                Err(error) => self.refuse(completion, refusal_of(&error)),
            }
        }
        self.metrics.verified.fetch_add(admitted.len() as u64, Ordering::Relaxed);
        if self.pool.insert(admitted) > 0 {
            (self.on_admitted)();
        }
        self.pool.signers().build_due(Instant::now());
    }

    /// What can be judged before a hash is computed.
    fn decode(&self, bytes: &[u8]) -> Result<Transaction, Refusal> {
        let transaction = Transaction::decode(bytes)
            .map_err(|error| Refusal::new(Status::Malformed, format!("not a transaction: {error}")))?;
        self.pool.check_block_limit(transaction.block_limit)?;
        Ok(transaction)
    }
}

fn refusal_of(error: &TransactionError) -> Refusal {
    Refusal::new(error.status(), error.to_string())
}

#[cfg(test)]
mod tests;
