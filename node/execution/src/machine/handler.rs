//! A native transaction's way through revm: no fee, no balance or nonce check, no intrinsic gas, as in FISCO BCOS.

use std::marker::PhantomData;

use revm::context::result::{EVMError, ExecutionResult, HaltReason, ResultGas};
use revm::context::{ContextTr, JournalTr, Transaction};
use revm::handler::{EvmTr, FrameResult, Handler};
use revm::interpreter::InitialAndFloorGas;

use super::{Machine, rows};
use crate::ExecutionError;

pub(super) type MachineError = EVMError<ExecutionError>;

pub(super) struct TransactionHandler<'a>(PhantomData<Machine<'a>>);

impl TransactionHandler<'_> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'a> Handler for TransactionHandler<'a> {
    type Evm = Machine<'a>;
    type Error = MachineError;
    type HaltReason = HaltReason;

    fn validate_env(&self, _: &mut Self::Evm) -> Result<(), Self::Error> {
        Ok(())
    }

    fn validate_initial_tx_gas(&self, _: &mut Self::Evm) -> Result<InitialAndFloorGas, Self::Error> {
        Ok(InitialAndFloorGas::new(0, 0))
    }

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        _: &mut InitialAndFloorGas,
    ) -> Result<(), Self::Error> {
        // Warm, as EIP-2929 wants the sender.
        let (tx, journal) = evm.ctx_mut().tx_journal_mut();
        journal.load_account(tx.caller())?;
        Ok(())
    }

    fn reimburse_caller(&self, _: &mut Self::Evm, _: &mut FrameResult) -> Result<(), Self::Error> {
        Ok(())
    }

    fn reward_beneficiary(&self, _: &mut Self::Evm, _: &mut FrameResult) -> Result<(), Self::Error> {
        Ok(())
    }

    fn execution_result(
        &mut self,
        evm: &mut Self::Evm,
        result: FrameResult,
        gas: ResultGas,
    ) -> Result<ExecutionResult<HaltReason>, Self::Error> {
        rows::settle(evm.ctx_mut());
        revm::context_interface::context::take_error::<Self::Error, _>(evm.ctx().error())?;
        let output = revm::handler::post_execution::output(evm.ctx(), result, gas);
        evm.ctx().journal_mut().commit_tx();
        revm::context::LocalContextTr::clear(evm.ctx().local_mut());
        evm.frame_stack().clear();
        Ok(output)
    }
}

/// What stopped the machine: a failed read, or something no transaction may cause.
pub(super) fn fatal(error: MachineError) -> ExecutionError {
    match error {
        EVMError::Database(error) => error,
        other => ExecutionError::Evm(other.to_string()),
    }
}
