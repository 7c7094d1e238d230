//! The room's door: execute an ordered block, or call a contract without changing anything.

use std::str::FromStr;

use bixi_types::execution::{ExecutedBlock, OrderedBlock};
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::receipt::{LogEntry, Receipt};
use bixi_types::state::{StateKey, StateTable, StateView};
use bixi_types::status::Status;
use bixi_types::transaction::{KIND_BCOS, Transaction};
use bixi_types::{Address, CryptoSuite, EvmHash, H256};

use crate::ExecutionError;
use crate::machine::{BlockScope, Machine, Message, Outcome};
use crate::scheduler::{Scheduler, Sequential};
use crate::state::{Changes, Source};
use crate::system::{self, Registry};

/// The rules this release executes.
pub const PROTOCOL_VERSION: u32 = 1;

/// What every node executes by; fixed in genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionParams {
    /// Hash of deploy addresses.
    pub suite: CryptoSuite,
    /// Hash that contracts see.
    pub evm_hash: EvmHash,
    /// Ethereum rules.
    pub evm_spec: EvmSpec,
    /// Unit of TIMESTAMP.
    pub evm_timestamp_unit: TimestampUnit,
    /// Gas limit of one transaction until SystemConfig sets another.
    pub tx_gas_limit: u64,
    /// Heights between a change of validators and the first height it rules, less one.
    pub pipeline_depth: u32,
    /// The only account that may change configuration and membership.
    pub admin: Option<Address>,
}

impl From<&Genesis> for ExecutionParams {
    fn from(genesis: &Genesis) -> Self {
        Self {
            suite: genesis.suite,
            evm_hash: genesis.evm_hash,
            evm_spec: genesis.evm_spec,
            evm_timestamp_unit: genesis.evm_timestamp_unit,
            tx_gas_limit: genesis.tx_gas_limit,
            pipeline_depth: genesis.pipeline_depth,
            admin: genesis.admin,
        }
    }
}

/// The parameters with what is computed from them once.
pub(crate) struct Rules {
    pub(crate) params: ExecutionParams,
    pub(crate) registry: Registry,
}

/// A read-only call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// msg.sender; zero when the caller gave none.
    pub from: Address,
    /// The contract; `None` runs `data` as a deployment and returns nothing of it.
    pub to: Option<Address>,
    /// Call data.
    pub data: Vec<u8>,
    /// Value, big-endian.
    pub value: [u8; 32],
    /// Gas at most; the chain's limit of one transaction rules when it is lower, or when this is `None`.
    /// That limit can be seconds of work: a server names its own.
    pub gas_limit: Option<u64>,
    /// NUMBER as the contract sees it.
    pub block_number: u64,
    /// TIMESTAMP as the contract sees it, in milliseconds.
    pub timestamp_ms: u64,
}

/// What a read-only call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// FISCO BCOS's transaction status; 0 is success.
    pub status: i32,
    /// Return data, or the data of the revert.
    pub output: Vec<u8>,
    /// Gas used.
    pub gas_used: u64,
    /// Why it failed, in words; empty on success.
    pub message: String,
}

/// Executes blocks and calls. Holds no state of the chain; one is shared by all threads.
pub struct Executor {
    rules: Rules,
    scheduler: Box<dyn Scheduler>,
}

impl Executor {
    /// An executor for a chain, with the sequential scheduler.
    pub fn new(params: ExecutionParams) -> Self {
        let registry = Registry::new(params.evm_hash);
        Self { rules: Rules { params, registry }, scheduler: Box::new(Sequential) }
    }

    /// Executes `block` on `view`, the state after the block before it. The same input gives the same bytes on every node.
    pub fn execute(&self, block: &OrderedBlock, view: &dyn StateView) -> Result<ExecutedBlock, ExecutionError> {
        if block.protocol_version != PROTOCOL_VERSION {
            return Err(ExecutionError::UnsupportedProtocol { asked: block.protocol_version, known: PROTOCOL_VERSION });
        }
        let gas_limit = self.tx_gas_limit(view, block.number)?;
        let scope = BlockScope { height: block.number, timestamp_ms: block.timestamp_ms, gas_limit };
        self.scheduler.execute(&self.rules, scope, &block.transactions, view)
    }

    /// Runs a call on `view` and forgets its changes.
    pub fn call(&self, view: &dyn StateView, request: &CallRequest) -> Result<CallResult, ExecutionError> {
        let limit = self.tx_gas_limit(view, request.block_number)?;
        let scope = BlockScope { height: request.block_number, timestamp_ms: request.timestamp_ms, gas_limit: limit };
        let message = Message {
            sender: request.from,
            to: request.to,
            value: request.value,
            data: request.data.clone(),
            gas_limit: request.gas_limit.map_or(limit, |gas| gas.min(limit)),
        };
        let mut machine = Machine::new(&self.rules, scope, Source::for_call(view));
        let outcome = run(&mut machine, &self.rules, 0, message)?;
        let Outcome { status, gas_used, output, message, .. } = outcome;
        Ok(CallResult { status: status.code(), output, gas_used, message })
    }

    fn tx_gas_limit(&self, view: &dyn StateView, height: u64) -> Result<u64, ExecutionError> {
        system::number_at(view, system::KEY_TX_GAS_LIMIT, height, self.rules.params.tx_gas_limit)
    }
}

/// Executes the transaction at index `context_id` of its block.
pub(crate) fn transact(
    machine: &mut Machine<'_>,
    rules: &Rules,
    block: BlockScope,
    context_id: u64,
    sender: &Address,
    tx: &Transaction,
) -> Result<(Receipt, Changes), ExecutionError> {
    let mut outcome = match message(tx, sender, block.gas_limit) {
        Ok(message) => run(machine, rules, context_id, message)?,
        Err(reason) => Outcome::refused(Status::Malformed, reason, rules.params.evm_hash),
    };
    if let (Some(address), false) = (outcome.created, tx.abi.is_empty()) {
        let key = StateKey { table: StateTable::Abi, key: address.0.to_vec() };
        outcome.changes.rows.insert(key, Some(tx.abi.as_bytes().to_vec()));
    }
    let changes = std::mem::take(&mut outcome.changes);
    Ok((receipt(outcome, tx.version, block.height), changes))
}

/// A call to an address where nothing is fails before it runs, as in FISCO BCOS; between contracts it succeeds, as in Ethereum.
fn run(machine: &mut Machine<'_>, rules: &Rules, context_id: u64, message: Message) -> Result<Outcome, ExecutionError> {
    if let Some(to) = &message.to
        && !machine.is_callable(to)?
    {
        return Ok(Outcome::refused(Status::CallAddressError, "Error contract address.", rules.params.evm_hash));
    }
    machine.run(context_id, message)
}

/// Reads the fields execution needs; admission has checked their grammar, so a failure here is a transaction of another kind.
fn message(tx: &Transaction, sender: &Address, gas_limit_max: u64) -> Result<Message, &'static str> {
    if tx.kind != KIND_BCOS {
        return Err("Ethereum transactions are not executed by this release.");
    }
    let to = match tx.to.as_str() {
        "" => None,
        text => Some(Address::from_str(text).map_err(|_| "The field to is not an address.")?),
    };
    let gas_limit = u64::try_from(tx.gas_limit).ok().filter(|gas| *gas > 0).unwrap_or(gas_limit_max);
    if tx.version < 1 && (tx.gas_limit != 0 || !tx.value.is_empty()) {
        return Err("Transactions of version 0 sign neither gasLimit nor value.");
    }
    Ok(Message {
        sender: *sender,
        to,
        value: parse_value(&tx.value).ok_or("The field value is not a hexadecimal number of 256 bits.")?,
        data: tx.input.clone(),
        gas_limit: gas_limit.min(gas_limit_max),
    })
}

/// Hexadecimal with or without 0x; empty is zero.
fn parse_value(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let padded = format!("{digits:0>64}");
    H256::from_str(&padded).ok().map(|word| word.0)
}

fn receipt(outcome: Outcome, version: i32, height: u64) -> Receipt {
    let logs = outcome.logs.into_iter().map(|log| LogEntry {
        address: Address(log.address.into_array()).to_hex(),
        topics: log.data.topics().iter().map(|topic| H256(topic.0)).collect(),
        data: log.data.data.to_vec(),
    });
    Receipt {
        version,
        gas_used: outcome.gas_used.to_string(),
        contract_address: outcome.created.map(|address| address.to_hex()).unwrap_or_default(),
        status: outcome.status.code(),
        output: outcome.output,
        log_entries: logs.collect(),
        block_number: height as i64,
        message: outcome.message,
        ..Receipt::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(edit: impl FnOnce(&mut Transaction)) -> Result<Message, &'static str> {
        let mut tx = Transaction { version: 1, to: "0x".to_owned() + &"11".repeat(20), ..Transaction::default() };
        edit(&mut tx);
        message(&tx, &Address([7; 20]), 1_000)
    }

    #[test]
    fn gas_is_the_transactions_within_the_chains() {
        for (asked, given) in [(0, 1_000), (-5, 1_000), (10, 10), (1_000, 1_000), (i64::MAX, 1_000)] {
            assert_eq!(read(|tx| tx.gas_limit = asked).unwrap().gas_limit, given);
        }
    }

    #[test]
    fn an_empty_recipient_deploys() {
        assert_eq!(read(|tx| tx.to.clear()).unwrap().to, None);
        assert_eq!(read(|_| {}).unwrap().to, Some(Address([0x11; 20])));
    }

    #[test]
    fn values_are_hexadecimal_of_256_bits_at_most() {
        let value = |text: &str| read(|tx| tx.value = text.to_owned()).map(|message| message.value[31]);
        assert_eq!(
            (value(""), value("0x"), value("0x0"), value("0xa"), value("ff")),
            (Ok(0), Ok(0), Ok(0), Ok(10), Ok(255))
        );
        assert!(value("xyz").is_err() && value(&"f".repeat(65)).is_err() && value("-1").is_err());
    }

    #[test]
    fn refuses_what_is_not_a_native_transaction() {
        assert!(read(|tx| tx.to = "0x12".to_owned()).is_err());
        assert!(read(|tx| tx.kind = 1).is_err());
        assert!(read(|tx| (tx.version, tx.gas_limit) = (0, 5)).is_err(), "a limit that nobody signed");
        assert!(read(|tx| (tx.version, tx.value) = (0, "0x1".to_owned())).is_err());
        assert!(read(|tx| tx.version = 0).is_ok());
    }
}
