//! The genesis of a chain: everything every node must agree on before block 1.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::consensus::Validator;
use crate::{Address, CryptoSuite, EvmHash, H256};

/// Ethereum rules for contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvmSpec {
    /// The default: FISCO BCOS 3.x's newest.
    Cancun,
    /// Prague.
    Prague,
}

/// Unit of the TIMESTAMP opcode. FISCO BCOS answers milliseconds unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampUnit {
    /// Milliseconds since the Unix epoch.
    Ms,
    /// Seconds since the Unix epoch.
    S,
}

/// Chain parameters. Its hash is the chain's id in every signed statement and the parent of block 1's value.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// FISCO BCOS chain id, e.g. `chain0`.
    pub chain_id: String,
    /// FISCO BCOS group id, e.g. `group0`.
    pub group_id: String,
    /// Algorithms.
    pub suite: CryptoSuite,
    /// The hash contracts see.
    pub evm_hash: EvmHash,
    /// Ethereum rules.
    pub evm_spec: EvmSpec,
    /// Unit of TIMESTAMP.
    pub evm_timestamp_unit: TimestampUnit,
    /// Rules the chain starts with.
    pub protocol_version: u32,
    /// Creation time, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// First validators.
    pub validators: Vec<Validator>,
    /// Gas limit of one transaction.
    pub tx_gas_limit: u64,
    /// Transactions in one block at most.
    pub block_tx_count_max: u32,
    /// How many heights above its own a transaction's blockLimit may be.
    pub block_limit: u32,
    /// How many decided heights may wait for their checkpoint certificate.
    pub pipeline_depth: u32,
    /// The account that may change configuration and membership; `None` leaves it open, as FISCO BCOS without auth check does.
    pub admin: Option<Address>,
}

#[cfg(any(test, feature = "fixtures"))]
mod fixture;

impl Genesis {
    /// Domain string of [`Self::hash`].
    pub const DOMAIN: &'static [u8] = b"BIXI-TYPES-GENESIS-V1";

    /// The chain's identity: H(domain ‖ borsh).
    pub fn hash(&self) -> H256 {
        let bytes = borsh::to_vec(self).expect("borsh into memory cannot fail");
        self.suite.hash(&[Self::DOMAIN, &bytes])
    }
}
