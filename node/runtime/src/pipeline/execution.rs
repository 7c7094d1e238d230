//! From a decided value to its result: the same in a running node and where a height is executed again.

use bixi_execution::order::{self, OrderLimits, Ordered};
use bixi_execution::{Executor, system};
use bixi_ledger::{Ledger, PreparedState};
use bixi_types::consensus::{CommitCertificate, ValidatorSet, Value};
use bixi_types::execution::OrderedBlock;
use bixi_types::genesis::Genesis;
use bixi_types::header::{BlockHeader, HeaderExtension, ParentInfo};
use bixi_types::receipt::Receipt;
use bixi_types::state::StateView;
use bixi_types::status::Status;
use bixi_types::transaction::Verified;
use bixi_types::{H256, merkle};

use super::{ExecuteJob, Failure, HEADER_VERSION};
use crate::batches::{BatchStore, VerifiedBatch};
use crate::exchange::Recipe;

/// A block between execution and commit.
pub(crate) struct Executed {
    pub height: u64,
    pub header: BlockHeader,
    pub header_hash: H256,
    pub transactions: Vec<Verified>,
    pub receipts: Vec<Receipt>,
    pub dropped: Vec<(H256, Status)>,
    pub prepared: PreparedState,
    pub value: Value,
    pub certificate: CommitCertificate,
    pub recipe: Recipe,
}

/// What a result follows from.
pub(crate) struct Execution<'a> {
    pub genesis: &'a Genesis,
    pub executor: &'a Executor,
    pub ledger: &'a Ledger,
    pub batches: &'a BatchStore,
}

impl Execution<'_> {
    /// Executes a decided value on the newest state and lays its writes over it. Touches no disk but for reading.
    pub(crate) fn run(&self, job: ExecuteJob, parent: H256) -> Result<Executed, Failure> {
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
        let limits = OrderLimits::at(state, height, self.genesis)?;
        Ok(order::flatten(&batches, height, self.ledger, &limits)?)
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
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("heights, weights and times stay below 2^63")
}
