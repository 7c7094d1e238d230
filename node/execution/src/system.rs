//! System contracts: fixed addresses whose code is this node's, with FISCO BCOS's interfaces and return codes.
//!
//! Invariants:
//! - A row is written through `Session` only: refused in a static call, charged, and undone with the EVM frame that asked.
//! - A contract is reached by CALL and STATICCALL only. DELEGATECALL and CALLCODE, which would lend it a foreign caller, and calls
//!   with value, which it could never give back, are refused.
//! - Gas is a function of the call data and of the rows touched, never of the machine.

mod config;
mod consensus;
mod crypto;
mod dag_transfer;

use std::collections::BTreeMap;

use bixi_types::state::{StateKey, StateTable};
use bixi_types::status::Status;
use bixi_types::{Address, EvmHash};

use crate::ExecutionError;
use crate::abi::{self, AbiError, Arguments};
use crate::executor::ExecutionParams;

pub(crate) use config::number_at;
pub use config::{ConfigValue, KEY_TX_COUNT_LIMIT, KEY_TX_GAS_LIMIT, config_value};
pub use consensus::{Node, NodeKind, node_list, validators};

pub(crate) use config::genesis_rows as genesis_config_rows;
pub(crate) use consensus::genesis_row as genesis_node_row;

/// Gas of any call.
const CALL_GAS: u64 = 700;
/// Gas per started word of call data.
const INPUT_WORD_GAS: u64 = 6;
/// Gas of reading a row, and per started word of it.
const READ_GAS: u64 = 2_100;
/// Gas of writing a row, and per started word of it.
const WRITE_GAS: u64 = 5_000;
/// Gas per started word of a row read or written.
const ROW_WORD_GAS: u64 = 30;

/// A system contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contract {
    SystemConfig = 0x1000,
    Consensus = 0x1003,
    Crypto = 0x100a,
    DagTransfer = 0x100c,
}

impl Contract {
    pub(crate) const ALL: [Self; 4] = [Self::SystemConfig, Self::Consensus, Self::Crypto, Self::DagTransfer];

    /// The contract at an address.
    pub(crate) fn at(address: &Address) -> Option<Self> {
        let (zeros, number) = address.0.split_at(18);
        if zeros.iter().any(|byte| *byte != 0) {
            return None;
        }
        let number = u16::from_be_bytes([number[0], number[1]]);
        Self::ALL.into_iter().find(|contract| *contract as u16 == number)
    }

    pub(crate) fn address(self) -> Address {
        let mut address = [0; 20];
        address[18..].copy_from_slice(&(self as u16).to_be_bytes());
        Address(address)
    }

    fn name(self) -> &'static str {
        match self {
            Self::SystemConfig => "SystemConfig",
            Self::Consensus => "Consensus",
            Self::Crypto => "Crypto",
            Self::DagTransfer => "DagTransfer",
        }
    }

    fn methods(self) -> &'static [(&'static str, Method)] {
        match self {
            Self::SystemConfig => config::METHODS,
            Self::Consensus => consensus::METHODS,
            Self::Crypto => crypto::METHODS,
            Self::DagTransfer => dag_transfer::METHODS,
        }
    }
}

/// One function of a system contract: from its arguments to its return data.
type Method = fn(&mut Session<'_>, Arguments<'_>) -> Result<Vec<u8>, Fault>;

/// Why a call to a system contract did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The frame's gas is used up.
    OutOfGas,
    /// The call is refused: the frame reverts with `Error(message)`.
    Refused { status: Status, message: String },
    /// The node cannot go on.
    Fatal(ExecutionError),
}

impl Fault {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused { status: Status::PrecompiledError, message: message.into() }
    }
}

impl From<AbiError> for Fault {
    fn from(error: AbiError) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<ExecutionError> for Fault {
    fn from(error: ExecutionError) -> Self {
        Self::Fatal(error)
    }
}

/// Rows of the calling transaction: reads see its own writes, writes follow its frames.
pub(crate) trait Rows {
    fn get(&mut self, key: &StateKey) -> Result<Option<Vec<u8>>, ExecutionError>;
    fn set(&mut self, key: StateKey, row: Option<Vec<u8>>);
}

/// How a contract was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) caller: Address,
    pub(crate) is_static: bool,
    /// By DELEGATECALL or CALLCODE.
    pub(crate) is_delegated: bool,
    pub(crate) has_value: bool,
}

/// One call to a system contract.
pub(crate) struct Session<'a> {
    rows: &'a mut dyn Rows,
    params: &'a ExecutionParams,
    reached: Reached,
    height: u64,
    gas_left: u64,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        rows: &'a mut dyn Rows,
        params: &'a ExecutionParams,
        reached: Reached,
        height: u64,
        gas_limit: u64,
    ) -> Self {
        Self { rows, params, reached, height, gas_left: gas_limit }
    }

    pub(crate) fn gas_left(&self) -> u64 {
        self.gas_left
    }

    fn charge(&mut self, gas: u64) -> Result<(), Fault> {
        self.gas_left = self.gas_left.checked_sub(gas).ok_or(Fault::OutOfGas)?;
        Ok(())
    }

    fn charge_words(&mut self, base: u64, per_word: u64, bytes: usize) -> Result<(), Fault> {
        self.charge(base + per_word * bytes.div_ceil(32) as u64)
    }

    fn row(&mut self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.charge(READ_GAS)?;
        let row = self.rows.get(&StateKey { table, key: key.to_vec() })?;
        self.charge_words(0, ROW_WORD_GAS, row.as_ref().map_or(0, Vec::len))?;
        Ok(row)
    }

    fn set_row(&mut self, table: StateTable, key: &[u8], row: Vec<u8>) -> Result<(), Fault> {
        if self.reached.is_static {
            return Err(Fault::refused("a system contract cannot write in a static call"));
        }
        self.charge_words(WRITE_GAS, ROW_WORD_GAS, row.len())?;
        self.rows.set(StateKey { table, key: key.to_vec() }, Some(row));
        Ok(())
    }

    /// Only the chain's administrator may go on, where genesis names one.
    fn require_admin(&self) -> Result<(), Fault> {
        match self.params.admin {
            Some(admin) if admin != self.reached.caller => Err(Fault::Refused {
                status: Status::PermissionDenied,
                message: format!("{} is not the administrator of this chain", self.reached.caller),
            }),
            _ => Ok(()),
        }
    }
}

/// Which function answers which selector; the selectors depend on the hash that contracts see.
pub(crate) struct Registry {
    methods: BTreeMap<(Contract, [u8; 4]), Method>,
}

impl Registry {
    pub(crate) fn new(hash: EvmHash) -> Self {
        let functions = Contract::ALL.into_iter().flat_map(|contract| {
            contract
                .methods()
                .iter()
                .map(move |(signature, method)| ((contract, abi::selector(hash, signature)), *method))
        });
        Self { methods: functions.collect() }
    }

    /// Runs one call.
    pub(crate) fn call(&self, contract: Contract, session: &mut Session<'_>, input: &[u8]) -> Result<Vec<u8>, Fault> {
        session.charge_words(CALL_GAS, INPUT_WORD_GAS, input.len())?;
        if session.reached.is_delegated {
            return Err(Fault::refused("a system contract cannot be reached by DELEGATECALL or CALLCODE"));
        }
        if session.reached.has_value {
            return Err(Fault::refused("a system contract takes no value"));
        }
        let (selector, arguments) = abi::split_selector(input)?;
        let method = self
            .methods
            .get(&(contract, selector))
            .ok_or_else(|| Fault::refused(format!("{} call undefined function!", contract.name())))?;
        method(session, Arguments::new(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_distinct_under_both_hashes() {
        let functions: usize = Contract::ALL.iter().map(|contract| contract.methods().len()).sum();
        assert_eq!(Registry::new(EvmHash::Keccak256).methods.len(), functions);
        assert_eq!(Registry::new(EvmHash::Sm3).methods.len(), functions);
    }

    #[test]
    fn contracts_stand_at_the_addresses_of_fisco_bcos() {
        for contract in Contract::ALL {
            assert_eq!(Contract::at(&contract.address()), Some(contract));
        }
        assert_eq!(Contract::DagTransfer.address().to_hex(), "000000000000000000000000000000000000100c");
        assert_eq!(Contract::at(&Address([1; 20])), None);
        assert_eq!(Contract::at(&Address::ZERO), None);
    }
}
