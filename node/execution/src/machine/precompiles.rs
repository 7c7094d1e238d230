//! Contracts without byte code: Ethereum's precompiles 0x01 to 0x0a, and the system contracts.
//!
//! `ecrecover` stays secp256k1 and keccak256 in every suite, as in FISCO BCOS.

use bixi_types::Address;
use revm::context::ContextTr;
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, CallScheme, Gas, InstructionResult, InterpreterResult};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address as EvmAddress, AddressSet, Bytes};

use super::Context;
use super::rows::FrameRows;
use crate::abi;
use crate::system::{Contract, Fault, Reached, Session};

/// The provider revm asks before it looks for byte code.
pub(crate) struct Precompiles {
    ethereum: EthPrecompiles,
    warm: AddressSet,
}

impl Precompiles {
    pub(super) fn new(spec: SpecId) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let mut warm = ethereum.warm_addresses().clone();
        warm.extend(Contract::ALL.map(|contract| EvmAddress::from(contract.address().0)));
        Self { ethereum, warm }
    }

    /// Whether the address is one of these contracts.
    pub(super) fn is_reserved(&self, address: &Address) -> bool {
        self.warm.contains(&EvmAddress::from(address.0))
    }
}

impl<'a> PrecompileProvider<Context<'a>> for Precompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, _: SpecId) -> bool {
        false // The spec of a chain is fixed; `new` got it.
    }

    fn run(&mut self, context: &mut Context<'a>, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        match Contract::at(&Address(inputs.bytecode_address.into_array())) {
            Some(contract) => run_system(contract, context, inputs).map(Some),
            None => self.ethereum.run(context, inputs),
        }
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}

fn run_system(contract: Contract, context: &mut Context<'_>, inputs: &CallInputs) -> Result<InterpreterResult, String> {
    let input = inputs.input.bytes_local(context.local());
    let reached = Reached {
        caller: Address(inputs.caller.into_array()),
        is_static: inputs.is_static,
        is_delegated: matches!(inputs.scheme, CallScheme::DelegateCall | CallScheme::CallCode),
        has_value: !inputs.value.get().is_zero(),
    };
    let (rules, height) = (context.chain.rules, context.chain.height);
    let mut rows = FrameRows(context);
    let mut session = Session::new(&mut rows, &rules.params, reached, height, inputs.gas_limit);
    let answer = rules.registry.call(contract, &mut session, &input);
    let gas_left = session.gas_left();
    let mut gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit, inputs.reservoir);
    let (result, output) = match answer {
        Ok(output) => (InstructionResult::Return, output),
        Err(Fault::Refused { status, message }) => {
            let output = abi::error(rules.params.evm_hash, &message);
            // Between contracts a refusal is a revert like any other: the caller may go on, or fail for reasons of its own.
            if context.chain.frames == 1 {
                context.chain.refusal = Some((status, message));
            }
            (InstructionResult::Revert, output)
        }
        Err(Fault::OutOfGas) => {
            gas.spend_all();
            return Ok(InterpreterResult::new(InstructionResult::PrecompileOOG, Bytes::new(), gas));
        }
        Err(Fault::Fatal(error)) => return Err(error.to_string()),
    };
    let is_paid = gas.record_regular_cost(inputs.gas_limit - gas_left);
    assert!(is_paid, "a system contract cannot use more gas than it was given");
    Ok(InterpreterResult::new(result, Bytes::from(output), gas))
}
