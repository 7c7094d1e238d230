//! A chain of the SM suite and calls of its transfer contract, for the benches that make blocks.

use bixi_accel::sm3;
use bixi_types::consensus::Validator;
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::{CryptoSuite, EvmHash, NodeId};

/// The contract's address.
pub(crate) const CONTRACT: &str = "0x000000000000000000000000000000000000100c";

/// An argument of a call. Texts have at most one word.
pub(crate) enum Argument {
    Number(u64),
    Text(String),
}

/// A call in the ABI of a chain whose EVM hash is SM3.
pub(crate) fn call(signature: &str, arguments: &[Argument]) -> Vec<u8> {
    let word = |value: u64| {
        let mut word = [0; 32];
        word[24..].copy_from_slice(&value.to_be_bytes());
        word
    };
    let mut tail = Vec::new();
    let mut out = sm3::digest(signature.as_bytes())[..4].to_vec();
    for argument in arguments {
        match argument {
            Argument::Number(number) => out.extend(word(*number)),
            Argument::Text(text) => {
                out.extend(word((32 * arguments.len() + tail.len()) as u64));
                tail.extend(word(text.len() as u64));
                let mut padded = [0; 32];
                padded[..text.len()].copy_from_slice(text.as_bytes());
                tail.extend(padded);
            }
        }
    }
    out.extend(tail);
    out
}

/// One validator, blocks of a thousand transactions.
pub(crate) fn genesis() -> Genesis {
    Genesis {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        suite: CryptoSuite::Sm,
        evm_hash: EvmHash::Sm3,
        evm_spec: EvmSpec::Cancun,
        evm_timestamp_unit: TimestampUnit::Ms,
        protocol_version: 1,
        timestamp_ms: 1_790_000_000_000,
        validators: vec![Validator { id: NodeId([1; 64]), weight: 1 }],
        tx_gas_limit: 3_000_000_000,
        block_tx_count_max: 1_000,
        block_limit: 1_000,
        pipeline_depth: 2,
        admin: None,
    }
}
