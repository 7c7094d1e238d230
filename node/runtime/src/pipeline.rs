//! Execution and commit: two threads, so that a block executes while the one before it waits for its quorum or for the disk.
//!
//! ```text
//! Decide ─▶ executor: flatten, execute, state commitment, header ─▶ Executed ─▶ consensus (checkpoint vote)
//!                                   │                                               │
//!                                   ▼                                               ▼
//!                              committer ◀─────────────────── Certified ────────────┘
//!                              ledger commit ─▶ receipts to clients ─▶ LedgerCommitted
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bixi_consensus::{HeightRules, Input};
use bixi_execution::order::{self, OrderLimits, Ordered};
use bixi_execution::{Executor, system};
use bixi_ledger::{CommitBlock, Ledger, PreparedState};
use bixi_txpool::TxPool;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, ValidatorSet, Value};
use bixi_types::execution::OrderedBlock;
use bixi_types::genesis::Genesis;
use bixi_types::header::{BlockHeader, HeaderExtension, HeaderSignature, ParentInfo};
use bixi_types::receipt::Receipt;
use bixi_types::state::StateView;
use bixi_types::status::Status;
use bixi_types::transaction::Verified;
use bixi_types::{H256, merkle};
use crossbeam_channel::{Receiver, Sender};

use crate::batches::{BatchStore, VerifiedBatch};
use crate::event::{Event, Fault};
use crate::exchange::Recipe;
use crate::view::View;

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
    Certified { height: u64, header_hash: H256, signatures: Vec<(u32, SignatureBytes)> },
}

/// A block between execution and commit.
pub(crate) struct Executed {
    height: u64,
    header: BlockHeader,
    header_hash: H256,
    transactions: Vec<Verified>,
    receipts: Vec<Receipt>,
    dropped: Vec<(H256, Status)>,
    prepared: PreparedState,
    value: Value,
    certificate: CommitCertificate,
    recipe: Recipe,
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
        let ExecuteJob { height, value, certificate } = job;
        let state = self.ledger.view();
        let batches = self.batches.of_value(&value.batches).map_err(|missing| {
            format!("batch {missing} was decided but is neither in memory nor in the ordering log")
        })?;
        let Ordered { transactions, dropped } = self.flatten(height, &batches, state.as_ref())?;
        let recipe = Recipe::new(&batches, &transactions);
        self.ledger.note_ordered(height, &transactions);
        let block = OrderedBlock {
            number: height,
            timestamp_ms: value.timestamp_ms,
            value_id: value.id(self.genesis.suite),
            protocol_version: value.protocol_version,
            transactions,
        };
        let result = self.executor.execute(&block, state.as_ref())?;
        let validators = system::validators(state.as_ref(), height)?;
        let prepared = self.ledger.prepare(height, &result.writes)?;
        let header = self.header(&block, &result.receipts, result.gas_used, &prepared, &value, &validators, parent);
        let header_hash = header.hash(self.genesis.suite);
        prepared.set_header_hash(header_hash);
        let OrderedBlock { transactions, .. } = block;
        let receipts = result.receipts;
        Ok(Executed {
            height,
            header,
            header_hash,
            transactions,
            receipts,
            dropped,
            prepared,
            value,
            certificate,
            recipe,
        })
    }

    fn flatten(&self, height: u64, batches: &[VerifiedBatch], state: &dyn StateView) -> Result<Ordered, Failure> {
        let batches: Vec<Vec<Verified>> = batches.iter().map(|batch| batch.transactions.to_vec()).collect();
        let limits = OrderLimits::at(state, height, &self.genesis)?;
        Ok(order::flatten(&batches, height, self.ledger.as_ref(), &limits)?)
    }

    #[allow(clippy::too_many_arguments, reason = "each is one part of the header")]
    fn header(
        &self,
        block: &OrderedBlock,
        receipts: &[Receipt],
        gas_used: u128,
        prepared: &PreparedState,
        value: &Value,
        validators: &ValidatorSet,
        parent: H256,
    ) -> BlockHeader {
        let suite = self.genesis.suite;
        let transaction_hashes: Vec<H256> = block.transactions.iter().map(|transaction| transaction.hash).collect();
        let receipt_hashes = Receipt::hash_many(suite, receipts);
        let bytes = block.transactions.iter().map(|transaction| transaction.bytes.as_ref());
        BlockHeader {
            version: HEADER_VERSION,
            parent_info: vec![ParentInfo { number: signed(block.number - 1), hash: parent }],
            txs_root: merkle::root(suite, &transaction_hashes),
            receipts_root: merkle::root(suite, &receipt_hashes),
            state_root: prepared.state_root,
            number: signed(block.number),
            gas_used: gas_used.to_string(),
            timestamp: signed(block.timestamp_ms),
            sealer: i64::from(value.builder),
            sealer_list: validators.members().iter().map(|member| member.id).collect(),
            extra_data: HeaderExtension::new(suite, block.value_id, bytes).encode(),
            consensus_weights: validators.members().iter().map(|member| signed(member.weight)).collect(),
            signature_list: Vec::new(),
        }
    }

    /// The committer thread. Runs until the executor and consensus threads are gone.
    pub(crate) fn commit_all(&self, jobs: &Receiver<CommitJob>) {
        let mut executed = BTreeMap::new();
        let mut certified = BTreeMap::new();
        while let Ok(job) = jobs.recv() {
            match job {
                CommitJob::Executed(block) => {
                    executed.insert(block.height, *block);
                }
                CommitJob::Certified { height, header_hash, signatures } => {
                    certified.insert(height, (header_hash, signatures));
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
        self.batches.drop_known(self.ledger.as_ref(), height + 1)?;
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

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("heights, weights and times stay below 2^63")
}
