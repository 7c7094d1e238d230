//! Opcodes that differ from Ethereum's when contracts see SM3.

use bixi_types::EvmHash;
use bixi_types::suite::sm3;
use revm::bytecode::opcode;
use revm::handler::instructions::EthInstructions;
use revm::interpreter::instructions::host::{extcodehash, log};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{MemoryTr, StackTr};
use revm::interpreter::{
    Host, Instruction, InstructionContext, InstructionExecResult, InstructionResult, InterpreterTypes,
};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{KECCAK_EMPTY, U256};

use super::{Context, LOG_BYTES_MAX};

/// The instruction table of a chain.
pub(super) fn table<'a>(spec: SpecId, hash: EvmHash) -> EthInstructions<EthInterpreter, Context<'a>> {
    let mut table = EthInstructions::new_mainnet_with_spec(spec);
    let mut bound = |code: u8, log: Instruction<EthInterpreter, Context<'a>>| {
        let gas = table.gas_table()[code as usize];
        table.insert_instruction(code, log, gas);
    };
    bound(opcode::LOG0, Instruction::new(bounded_log::<0>));
    bound(opcode::LOG1, Instruction::new(bounded_log::<1>));
    bound(opcode::LOG2, Instruction::new(bounded_log::<2>));
    bound(opcode::LOG3, Instruction::new(bounded_log::<3>));
    bound(opcode::LOG4, Instruction::new(bounded_log::<4>));
    if hash == EvmHash::Sm3 {
        // Static gas as revm's own: 30 for a hash; EXTCODEHASH's warm price comes from the table of the spec.
        let extcodehash_gas = table.gas_table()[opcode::EXTCODEHASH as usize];
        table.insert_instruction(opcode::KECCAK256, Instruction::new(sm3_of_memory), 30);
        table.insert_instruction(opcode::EXTCODEHASH, Instruction::new(sm3_code_hash), extcodehash_gas);
    }
    table
}

/// LOG0 to LOG4, with a bound on what a transaction may emit.
fn bounded_log<const TOPICS: usize>(
    context: InstructionContext<'_, Context<'_>, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let length = interpreter.stack.peek(1)?;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    host.chain.log_bytes = host.chain.log_bytes.saturating_add(length).saturating_add(32 * TOPICS as u64);
    if host.chain.log_bytes > LOG_BYTES_MAX {
        return Err(InstructionResult::OutOfGas);
    }
    log::<TOPICS, Context<'_>>(InstructionContext { interpreter, host })
}

/// KECCAK256 (0x20) with SM3; the same gas: 30 + 6 per word + memory.
fn sm3_of_memory<IT: InterpreterTypes, H: Host + ?Sized>(
    context: InstructionContext<'_, H, IT>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let Some(([offset], top)) = interpreter.stack.popn_top::<1>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let length = to_usize(*top)?;
    if !interpreter.gas.record_regular_cost(host.gas_params().keccak256_cost(length)) {
        return Err(InstructionResult::OutOfGas);
    }
    let digest = if length == 0 {
        sm3(&[])
    } else {
        let offset = to_usize(offset)?;
        let gas_params = host.gas_params();
        revm::interpreter::interpreter::resize_memory(
            &mut interpreter.gas,
            &mut interpreter.memory,
            gas_params,
            offset,
            length,
        )?;
        sm3(&[interpreter.memory.slice_len(offset, length).as_ref()])
    };
    *top = U256::from_be_bytes(digest.0);
    Ok(())
}

/// EXTCODEHASH: stored hashes are SM3 already; only revm's sentinel for "no code" needs translation.
fn sm3_code_hash<IT: InterpreterTypes, H: Host + ?Sized>(
    context: InstructionContext<'_, H, IT>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    extcodehash(InstructionContext { interpreter: &mut *interpreter, host })?;
    if let Some(top) = interpreter.stack.top()
        && *top == U256::from_be_bytes(KECCAK_EMPTY.0)
    {
        *top = U256::from_be_bytes(sm3(&[]).0);
    }
    Ok(())
}

fn to_usize(value: U256) -> Result<usize, InstructionResult> {
    usize::try_from(value).map_err(|_| InstructionResult::InvalidOperandOOG)
}
