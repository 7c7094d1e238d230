//! Execution and commit: two threads, so that a block executes while the one before it waits for its quorum or for the disk.
//!
//! ```text
//! Decide ─▶ executor: flatten, execute, state commitment, header ─▶ Executed ─▶ consensus (checkpoint vote)
//!                                   │                                               │
//!                                   ▼                                               ▼
//!                              committer ◀─────────────────── Certified ────────────┘
//!                              ledger commit ─▶ receipts to clients ─▶ LedgerCommitted
//! ```

mod execution;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bixi_consensus::{HeightRules, Input};
use bixi_execution::order::OrderLimits;
use bixi_execution::{Executor, system};
use bixi_ledger::{CommitBlock, Ledger};
use bixi_txpool::TxPool;
use bixi_types::H256;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::genesis::Genesis;
use bixi_types::header::HeaderSignature;
use bixi_types::state::StateView;
use bixi_types::status::Status;
use crossbeam_channel::{Receiver, Sender};

use crate::batches::BatchStore;
use crate::event::{Event, Fault};
use crate::evidence::{FILES_MAX, Found};
use crate::fingerprint::Fingerprint;
use crate::view::View;
pub(crate) use execution::{Executed, Execution};

/// Version in the headers of this release; FISCO BCOS 3.16's encoding.
pub(crate) const HEADER_VERSION: i32 = 0x0310_0000;

/// A decided value to execute.
pub(crate) struct ExecuteJob {
    pub height: u64,
    pub value: Value,
    pub certificate: CommitCertificate,
}

/// What the committer is told.
pub(crate) enum CommitJob {
    Executed(Box<Executed>),
    Certified {
        height: u64,
        header_hash: H256,
        signatures: Vec<(u32, SignatureBytes)>,
    },
    /// More than a third says the result of this height is another one: keep ours, unless it is in the ledger.
    Disputed {
        height: u64,
    },
}

/// What both threads work with.
pub(crate) struct Pipeline {
    pub genesis: Genesis,
    pub executor: Arc<Executor>,
    pub ledger: Arc<Ledger>,
    pub batches: Arc<BatchStore>,
    pub pool: Arc<TxPool>,
    pub view: Arc<View>,
    pub events: Sender<Event>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Header hash and its quorum: validator index and signature.
type Certificate = (H256, Vec<(u32, SignatureBytes)>);

impl Pipeline {
    /// The executor thread. Runs until the consensus thread is gone.
    pub(crate) fn execute_all(&self, jobs: &Receiver<ExecuteJob>, commit: &Sender<CommitJob>, mut parent: H256) {
        while let Ok(job) = jobs.recv() {
            let height = job.height;
            match self.execute(job, parent) {
                Ok(executed) => {
                    parent = executed.header_hash;
                    let header = Box::new(executed.header.clone());
                    let header_hash = executed.header_hash;
                    let _ = commit.send(CommitJob::Executed(Box::new(executed)));
                    let _ = self.events.send(Event::Input(Box::new(Input::Executed { height, header, header_hash })));
                }
                Err(error) => {
                    let _ = self.events.send(Event::Fault(Fault::Execution { height, detail: error.to_string() }));
                    return;
                }
            }
        }
    }

    fn execute(&self, job: ExecuteJob, parent: H256) -> Result<Executed, Failure> {
        let Self { genesis, executor, ledger, batches, .. } = self;
        Execution { genesis, executor, ledger, batches }.run(job, parent)
    }

    /// The committer thread. Runs until the executor and consensus threads are gone.
    pub(crate) fn commit_all(&self, jobs: &Receiver<CommitJob>, found: &Sender<Found>) {
        let mut executed = BTreeMap::new();
        let mut certified = BTreeMap::new();
        let mut disputed = BTreeSet::new();
        while let Ok(job) = jobs.recv() {
            match job {
                CommitJob::Executed(block) => {
                    executed.insert(block.height, *block);
                }
                CommitJob::Certified { height, header_hash, signatures } => {
                    certified.insert(height, (header_hash, signatures));
                }
                CommitJob::Disputed { height } => {
                    // No more of them than are kept; the height of a halt is disputed before, by the votes that make the quorum.
                    let is_new = disputed.len() < FILES_MAX && disputed.insert(height);
                    if let Some(block) = executed.get(&height).filter(|_| is_new) {
                        let result = Fingerprint::of(self.genesis.suite, block);
                        let _ = found.send(Found::Disputed(Box::new(result)));
                    }
                }
            }
            if let Err(fault) = self.commit_ready(&mut executed, &mut certified) {
                let _ = self.events.send(Event::Fault(fault));
                return;
            }
        }
    }

    /// Commits, in order, every height that is both executed and certified.
    fn commit_ready(
        &self,
        executed: &mut BTreeMap<u64, Executed>,
        certified: &mut BTreeMap<u64, Certificate>,
    ) -> Result<(), Fault> {
        loop {
            let next = self.ledger.height() + 1;
            if !executed.contains_key(&next) || !certified.contains_key(&next) {
                return Ok(());
            }
            let (Some(block), Some(certificate)) = (executed.remove(&next), certified.remove(&next)) else {
                return Ok(());
            };
            let not_durable =
                |error: Failure| Fault::Durability { what: "a certified block", detail: error.to_string() };
            self.commit(block, certificate).map_err(not_durable)?;
            let unreadable = |error: Failure| Fault::Execution { height: next, detail: error.to_string() };
            self.announce(next).map_err(unreadable)?;
        }
    }

    /// Makes a certified block durable, then tells its clients.
    fn commit(&self, block: Executed, certificate: Certificate) -> Result<(), Failure> {
        let (header_hash, signatures) = certificate;
        if header_hash != block.header_hash {
            return Err(
                format!("height {}: certified {header_hash}, executed {}", block.height, block.header_hash).into()
            );
        }
        let Executed {
            height, mut header, transactions, receipts, dropped, prepared, value, certificate, recipe, ..
        } = block;
        header.signature_list = signatures
            .into_iter()
            .map(|(index, signature)| HeaderSignature { sealer_index: index.into(), signature: signature.0.to_vec() })
            .collect();
        self.ledger.commit(CommitBlock {
            header,
            transactions: transactions.clone(),
            receipts: receipts.clone(),
            prepared,
            value: borsh::to_vec(&value)?,
            certificate: borsh::to_vec(&certificate)?,
            batches: recipe.encode(),
        })?;
        tracing::debug!(height, transactions = transactions.len(), dropped = dropped.len(), "committed");
        self.pool.committed(height, transactions.into_iter().zip(receipts.into_iter().map(Arc::new)));
        // What only found the block full is to be batched again.
        let (crowded_out, dropped): (Vec<_>, Vec<_>) =
            dropped.into_iter().partition(|(_, status)| *status == Status::TxPoolIsFull);
        self.pool.dropped(dropped);
        self.pool.unpack(&crowded_out.into_iter().map(|(hash, _)| hash).collect::<Vec<_>>());
        let spent = self.batches.drop_spent(self.ledger.as_ref(), height + 1)?;
        if !spent.is_empty() {
            let hashes = spent.iter().flat_map(|batch| batch.transactions.iter()).map(|transaction| transaction.hash);
            self.pool.unpack(&hashes.collect::<Vec<_>>());
            self.pool.expire(Instant::now());
        }
        Ok(())
    }

    /// Tells consensus that a height is durable, and the rules that follow from it. Only now: consensus then forgets the
    /// height's batches and gives what the pool still holds of them back to it.
    fn announce(&self, height: u64) -> Result<(), Failure> {
        let state = self.ledger.view();
        let rules = rules_of(&self.genesis, state.as_ref(), height + u64::from(self.genesis.pipeline_depth) + 1)?;
        let limits = OrderLimits::at(state.as_ref(), height + 1, &self.genesis)?;
        self.view.set_block_transactions_max(limits.transactions_max as usize);
        let _ = self.events.send(Event::Input(Box::new(Input::LedgerCommitted { height, rules })));
        Ok(())
    }
}

/// The rules of `height`, fixed by any state from `height - pipeline_depth - 1` on.
pub(crate) fn rules_of(genesis: &Genesis, state: &dyn StateView, height: u64) -> Result<HeightRules, Failure> {
    let validators = system::validators(state, height)?;
    Ok(HeightRules { validators, protocol_version: genesis.protocol_version })
}
