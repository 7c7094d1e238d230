//! In which order, and on how many cores, the transactions of a block run. The result is that of the serial order, always.

use bixi_types::execution::ExecutedBlock;
use bixi_types::state::StateView;
use bixi_types::transaction::Verified;

use crate::ExecutionError;
use crate::executor::{Rules, transact};
use crate::machine::{BlockScope, Machine};
use crate::state::Source;

/// Runs the transactions of one block. Whatever it does inside, receipts and writes are those of [`Sequential`].
pub(crate) trait Scheduler: Send + Sync {
    fn execute(
        &self,
        rules: &Rules,
        block: BlockScope,
        transactions: &[Verified],
        view: &dyn StateView,
    ) -> Result<ExecutedBlock, ExecutionError>;
}

/// One transaction after the other: the definition of a block's result.
pub(crate) struct Sequential;

impl Scheduler for Sequential {
    fn execute(
        &self,
        rules: &Rules,
        block: BlockScope,
        transactions: &[Verified],
        view: &dyn StateView,
    ) -> Result<ExecutedBlock, ExecutionError> {
        let mut machine = Machine::new(rules, block, Source::for_block(view));
        let mut receipts = Vec::with_capacity(transactions.len());
        let mut gas_used = 0;
        for (index, verified) in transactions.iter().enumerate() {
            let (receipt, changes) =
                transact(&mut machine, rules, block, index as u64, &verified.sender, &verified.tx)?;
            machine.apply(changes);
            gas_used += receipt.gas_used.parse::<u128>().expect("written by this room as decimal digits");
            receipts.push(receipt);
        }
        Ok(ExecutedBlock { receipts, writes: machine.into_changes().into_write_set(), gas_used })
    }
}
