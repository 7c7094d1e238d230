//! What a transaction came to: status, output and logs in FISCO BCOS's terms, and the changes it leaves.

use bixi_types::status::Status;
use bixi_types::{Address, EvmHash, H256};
use revm::context::result::{ExecutionResult, HaltReason, Output};
use revm::primitives::{KECCAK_EMPTY, Log};
use revm::state::{Account, EvmState};

use super::OUTPUT_BYTES_MAX;
use crate::state::{AccountRecord, Changes, Source};
use crate::{ExecutionError, abi};

/// The result of one transaction.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) gas_used: u64,
    pub(crate) output: Vec<u8>,
    pub(crate) message: String,
    pub(crate) logs: Vec<Log>,
    /// The contract deployed.
    pub(crate) created: Option<Address>,
    pub(crate) changes: Changes,
}

impl Outcome {
    pub(super) fn new(
        result: ExecutionResult<HaltReason>,
        changes: Changes,
        refusal: Option<(Status, String)>,
        hash: EvmHash,
    ) -> Self {
        let gas_used = result.tx_gas_used();
        if result.output().is_some_and(|output| output.len() > OUTPUT_BYTES_MAX) && !is_deployment(&result) {
            let message = "Return data is too large.";
            return Self::failed(
                Status::OutOfGas,
                gas_used,
                abi::error(hash, message),
                message.to_owned(),
                Changes::default(),
            );
        }
        match result {
            ExecutionResult::Success { logs, output, .. } => {
                let (output, created) = match output {
                    Output::Call(data) => (data.to_vec(), None),
                    Output::Create(_, address) => (Vec::new(), address.map(|address| Address(address.into_array()))),
                };
                Self { status: Status::None, gas_used, output, message: String::new(), logs, created, changes }
            }
            ExecutionResult::Revert { output, .. } => {
                let (status, message) = explain_revert(&output, refusal, hash);
                Self::failed(status, gas_used, output.to_vec(), message, changes)
            }
            ExecutionResult::Halt { reason, .. } => {
                let (status, message) = explain_halt(&reason);
                Self::failed(status, gas_used, abi::error(hash, &message), message, changes)
            }
        }
    }

    /// A transaction that was refused before any code ran.
    pub(crate) fn refused(status: Status, message: &str, hash: EvmHash) -> Self {
        Self::failed(status, 0, abi::error(hash, message), message.to_owned(), Changes::default())
    }

    fn failed(status: Status, gas_used: u64, output: Vec<u8>, message: String, changes: Changes) -> Self {
        Self { status, gas_used, output, message, logs: Vec::new(), created: None, changes }
    }
}

fn is_deployment(result: &ExecutionResult<HaltReason>) -> bool {
    matches!(result, ExecutionResult::Success { output: Output::Create(..), .. })
}

fn explain_revert(output: &[u8], refusal: Option<(Status, String)>, hash: EvmHash) -> (Status, String) {
    refusal.unwrap_or_else(|| (Status::RevertInstruction, abi::error_reason(hash, output).unwrap_or_default()))
}

fn explain_halt(reason: &HaltReason) -> (Status, String) {
    let (status, message) = match reason {
        HaltReason::OutOfGas(_) => (Status::OutOfGas, "Execution out of gas."),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
            (Status::BadInstruction, "Execution invalid/undefined opcode.")
        }
        HaltReason::CreateContractStartingWithEF => (Status::BadInstruction, "Contract code starts with 0xEF."),
        HaltReason::InvalidJump => {
            (Status::BadJumpDestination, "Execution has violated the jump destination restrictions.")
        }
        HaltReason::StackUnderflow => (Status::StackUnderflow, "Execution needs more items on EVM stack."),
        HaltReason::OutOfOffset => (Status::StackUnderflow, "Execution tried to read outside memory bounds."),
        HaltReason::StackOverflow => (Status::OutOfStack, "Execution stack overflow."),
        HaltReason::PrecompileError | HaltReason::PrecompileErrorWithContext(_) => {
            (Status::PrecompiledError, "Precompiled contract failed.")
        }
        HaltReason::CreateCollision => (Status::ContractAddressAlreadyUsed, "Contract address already used."),
        HaltReason::OutOfFunds => (Status::NotEnoughCash, "Account balance is not enough!"),
        HaltReason::CreateContractSizeLimit | HaltReason::CreateInitCodeSizeLimit => {
            (Status::OutOfGas, "Code is too large.")
        }
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
            (Status::Unknown, "Execution tried to execute an operation which is restricted in static mode.")
        }
        HaltReason::CallTooDeep | HaltReason::NonceOverflow | HaltReason::OverflowPayment => {
            (Status::Unknown, "Execution failed.")
        }
    };
    (status, message.to_owned())
}

/// The difference between the accounts revm touched and what the transaction found.
///
/// revm's map has no order; everything goes into sorted maps, so none can show.
pub(super) fn changes(state: EvmState, source: &mut Source<'_>, sender: &Address) -> Result<Changes, ExecutionError> {
    let mut changes = Changes::default();
    for (address, account) in state {
        let address = Address(address.into_array());
        if account.is_touched() && crate::system::Contract::at(&address).is_none() {
            account_changes(&mut changes, address, account, source, sender)?;
        }
    }
    Ok(changes)
}

fn account_changes(
    changes: &mut Changes,
    address: Address,
    account: Account,
    source: &mut Source<'_>,
    sender: &Address,
) -> Result<(), ExecutionError> {
    let before = source.account(&address)?;
    let mut after = record(&account);
    if address == *sender && after.code_hash.is_none() {
        // Native transactions carry their own nonces: a deployment does not count on the sender's account.
        after.nonce = before.as_ref().map_or(0, |record| record.nonce);
    }
    let after = (after != AccountRecord::default() && !account.is_selfdestructed()).then_some(after);
    let is_destroyed = account.is_selfdestructed();
    if !is_destroyed {
        if let (Some(hash), Some(code)) = (after.as_ref().and_then(|record| record.code_hash), account.info.code)
            && before.as_ref().is_none_or(|record| record.code_hash != Some(hash))
        {
            changes.code.insert(hash, code);
        }
        for (slot, word) in account.storage {
            if word.is_changed() {
                changes.storage.insert((address, H256(slot.to_be_bytes())), H256(word.present_value.to_be_bytes()));
            }
        }
    }
    if before != after {
        changes.accounts.insert(address, after);
    }
    Ok(())
}

fn record(account: &Account) -> AccountRecord {
    let info = &account.info;
    let code_hash = (info.code_hash != KECCAK_EMPTY).then_some(H256(info.code_hash.0));
    AccountRecord { nonce: info.nonce, balance: info.balance.to_be_bytes(), code_hash }
}
