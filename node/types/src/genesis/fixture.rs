//! The chain that tests begin with. Only dependencies of tests turn the feature `fixtures` on.

use super::{EvmSpec, Genesis, TimestampUnit};
use crate::consensus::Validator;
use crate::{CryptoSuite, EvmHash, NodeId};

impl Genesis {
    /// A chain of suite `sm` with these validators, each of weight 1; a test names what it needs otherwise.
    pub fn fixture(validators: &[NodeId]) -> Self {
        Self {
            chain_id: "chain0".into(),
            group_id: "group0".into(),
            suite: CryptoSuite::Sm,
            evm_hash: EvmHash::Sm3,
            evm_spec: EvmSpec::Cancun,
            evm_timestamp_unit: TimestampUnit::Ms,
            protocol_version: 1,
            timestamp_ms: 1,
            validators: validators.iter().map(|id| Validator { id: *id, weight: 1 }).collect(),
            tx_gas_limit: 3_000_000_000,
            block_tx_count_max: 1_000,
            block_limit: 1_000,
            pipeline_depth: 4,
            admin: None,
        }
    }
}
