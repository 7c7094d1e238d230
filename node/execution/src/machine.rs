//! The EVM of a chain: revm, with FISCO BCOS's addresses, the chain's hash and system contracts. revm stays inside this module
//! and `state`.
//!
//! One [`Machine`] executes the transactions of one block, one after the other. What it changes in revm, and where:
//!
//! | rule | hook |
//! |---|---|
//! | opcode 0x20 hashes with SM3, EXTCODEHASH of no code | [`instructions`] |
//! | addresses of new contracts | [`address`], applied in `frame_init` to the first frame and to CREATE, CREATE2 alike |
//! | code hash of new contracts | `frame_run`, right after revm has stored the code under its keccak hash |
//! | no fees, nonces or intrinsic gas | [`handler`] |
//! | system contracts | [`precompiles`]; their rows ride on revm's journal in [`rows`] |

mod address;
mod handler;
mod instructions;
mod outcome;
mod precompiles;
mod rows;

use bixi_types::genesis::TimestampUnit;
use bixi_types::status::Status;
use bixi_types::{Address, EvmHash, H256};
use revm::Journal;
use revm::bytecode::Bytecode;
use revm::context::{BlockEnv, Cfg, CfgEnv, Evm, FrameStack, JournalTr, TxEnv};
use revm::context_interface::CreateScheme;
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler, ItemOrResult};
use revm::interpreter::FrameInput;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address as EvmAddress, B256, Bytes, TxKind, U256};

use crate::ExecutionError;
use crate::executor::{ExecutionParams, Rules};
use crate::state::{Changes, Source};

pub(crate) use outcome::Outcome;
use precompiles::Precompiles;
use rows::RowJournal;

/// FISCO BCOS's limit of the code of one contract, in bytes.
const CODE_BYTES_MAX: usize = 0x40000;
/// Memory of all frames of a transaction together. Gas alone would allow more than a gigabyte at FISCO BCOS's limit of 3·10⁹,
/// spread over a thousand frames; beyond this a frame is out of gas.
const MEMORY_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Topics and data of all events of a transaction together, reverted ones included; beyond this a frame is out of gas.
const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Return data of a transaction in its receipt; a longer one fails as out of gas.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

type Context<'a> = revm::Context<BlockEnv, TxEnv, CfgEnv, Source<'a>, Journal<Source<'a>>, Scope<'a>>;
type PlainContext<'a> = revm::Context<BlockEnv, TxEnv, CfgEnv, Source<'a>, Journal<Source<'a>>>;
type Inner<'a> =
    Evm<Context<'a>, (), EthInstructions<EthInterpreter, Context<'a>>, Precompiles, EthFrame<EthInterpreter>>;

/// What the interpreter's hooks know about the transaction.
pub(crate) struct Scope<'a> {
    rules: &'a Rules,
    height: u64,
    /// Index of the transaction in its block.
    context_id: u64,
    /// Frames opened so far; FISCO BCOS's `seq` of the newest one plus one.
    frames: u64,
    /// Bytes of events so far.
    log_bytes: u64,
    rows: RowJournal,
    /// Status and message of the refusal when the transaction itself calls a system contract.
    refusal: Option<(Status, String)>,
}

impl<'a> Scope<'a> {
    fn new(rules: &'a Rules, height: u64) -> Self {
        let rows = RowJournal::default();
        Self { rules, height, context_id: 0, frames: 0, log_bytes: 0, rows, refusal: None }
    }
}

/// The block that is executed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockScope {
    pub(crate) height: u64,
    pub(crate) timestamp_ms: u64,
    pub(crate) gas_limit: u64,
}

/// A transaction as the machine needs it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sender: Address,
    /// `None` deploys.
    pub(crate) to: Option<Address>,
    pub(crate) value: [u8; 32],
    pub(crate) data: Vec<u8>,
    pub(crate) gas_limit: u64,
}

/// Executes the transactions of one block.
pub(crate) struct Machine<'a> {
    inner: Inner<'a>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(rules: &'a Rules, block: BlockScope, source: Source<'a>) -> Self {
        let spec = spec(&rules.params);
        let scope = Scope::new(rules, block.height);
        let mut context = PlainContext::new(source, spec).with_chain(scope);
        context.block = block_env(&rules.params, block);
        configure(&mut context.cfg);
        let instructions = instructions::table(spec, rules.params.evm_hash);
        Self { inner: Evm::new(context, instructions, Precompiles::new(spec)) }
    }

    /// Executes one transaction. Its changes are returned, not applied.
    pub(crate) fn run(&mut self, context_id: u64, message: Message) -> Result<Outcome, ExecutionError> {
        let scope = &mut self.inner.ctx.chain;
        *scope = Scope { context_id, ..Scope::new(scope.rules, scope.height) };
        let sender = message.sender;
        self.inner.ctx.tx = tx_env(message);
        let result = handler::TransactionHandler::new().run(self).map_err(handler::fatal)?;
        let state = self.inner.ctx.journaled_state.finalize();
        let context = &mut self.inner.ctx;
        let mut changes = outcome::changes(state, &mut context.journaled_state.database, &sender)?;
        changes.rows = context.chain.rows.take_written();
        Ok(Outcome::new(result, changes, context.chain.refusal.take(), context.chain.rules.params.evm_hash))
    }

    /// Makes a transaction's changes visible to the next one.
    pub(crate) fn apply(&mut self, changes: Changes) {
        self.inner.ctx.journaled_state.database.apply(changes);
    }

    /// Whether a call to `address` would run something.
    pub(crate) fn is_callable(&mut self, address: &Address) -> Result<bool, ExecutionError> {
        if self.inner.precompiles.is_reserved(address) {
            return Ok(true);
        }
        Ok(self.inner.ctx.journaled_state.database.account(address)?.is_some_and(|record| record.code_hash.is_some()))
    }

    /// All changes applied so far.
    pub(crate) fn into_changes(self) -> Changes {
        self.inner.ctx.journaled_state.database.into_changes()
    }

    /// Gives a frame its number and a new contract its address.
    fn prepare(&mut self, init: &mut FrameInit) {
        let scope = &mut self.inner.ctx.chain;
        let sequence = scope.frames;
        scope.frames += 1;
        let FrameInput::Create(inputs) = &mut init.frame_input else { return };
        let params = &scope.rules.params;
        let address = match inputs.scheme() {
            CreateScheme::Create => address::create(params.suite, scope.height, scope.context_id, sequence),
            CreateScheme::Create2 { salt } => {
                let creator = Address(inputs.caller().into_array());
                address::create2(params.evm_hash, &creator, &H256(salt.to_be_bytes()), inputs.init_code())
            }
            CreateScheme::Custom { .. } => return,
        };
        inputs.set_scheme(CreateScheme::Custom { address: EvmAddress::from(address.0) });
    }

    /// Stores the code of a contract just created under the chain's hash.
    fn rehash_created(&mut self, result: &FrameResult) {
        let FrameResult::Create(created) = result else { return };
        let hash = self.inner.ctx.chain.rules.params.evm_hash;
        let (Some(address), true, EvmHash::Sm3) = (created.address, created.result.result.is_ok(), hash) else {
            return;
        };
        let code = &created.result.output;
        if !code.is_empty() {
            let code_hash = B256::from(hash.hash(&[code]).0);
            let code = Bytecode::new_legacy(code.clone());
            self.inner.ctx.journaled_state.set_code_with_hash(address, code, code_hash);
        }
    }
}

impl<'a> EvmTr for Machine<'a> {
    type Context = Context<'a>;
    type Instructions = EthInstructions<EthInterpreter, Context<'a>>;
    type Precompiles = Precompiles;
    type Frame = EthFrame<EthInterpreter>;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>) {
        self.inner.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Self::Frame>) {
        self.inner.all_mut()
    }

    fn frame_init(
        &mut self,
        mut init: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        self.prepare(&mut init);
        self.inner.frame_init(init)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        let next = self.inner.frame_run()?;
        if let ItemOrResult::Result(result) = &next {
            self.rehash_created(result);
        }
        Ok(next)
    }

    fn frame_return_result(
        &mut self,
        result: <Self::Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Self::Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        self.inner.frame_return_result(result)
    }
}

fn spec(params: &ExecutionParams) -> SpecId {
    match params.evm_spec {
        bixi_types::genesis::EvmSpec::Cancun => SpecId::CANCUN,
        bixi_types::genesis::EvmSpec::Prague => SpecId::PRAGUE,
    }
}

/// COINBASE, PREVRANDAO, DIFFICULTY and BASEFEE are 0, GASLIMIT is a transaction's limit, as FISCO BCOS answers.
fn block_env(params: &ExecutionParams, block: BlockScope) -> BlockEnv {
    let timestamp = match params.evm_timestamp_unit {
        TimestampUnit::Ms => block.timestamp_ms,
        TimestampUnit::S => block.timestamp_ms / 1_000,
    };
    BlockEnv {
        number: U256::from(block.height),
        beneficiary: EvmAddress::ZERO,
        timestamp: U256::from(timestamp),
        gas_limit: block.gas_limit,
        basefee: 0,
        difficulty: U256::ZERO,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    }
}

fn configure(cfg: &mut CfgEnv) {
    cfg.chain_id = 0;
    cfg.tx_chain_id_check = false;
    cfg.disable_nonce_check = true;
    cfg.limit_contract_code_size = Some(CODE_BYTES_MAX);
    cfg.memory_limit = MEMORY_BYTES_MAX;
    cfg.limit_contract_initcode_size = Some(2 * CODE_BYTES_MAX);
    debug_assert_eq!(cfg.max_code_size(), CODE_BYTES_MAX);
}

fn tx_env(message: Message) -> TxEnv {
    TxEnv {
        caller: EvmAddress::from(message.sender.0),
        gas_limit: message.gas_limit,
        gas_price: 0,
        kind: message.to.map_or(TxKind::Create, |to| TxKind::Call(EvmAddress::from(to.0))),
        value: U256::from_be_bytes(message.value),
        data: Bytes::from(message.data),
        chain_id: None,
        ..TxEnv::default()
    }
}
