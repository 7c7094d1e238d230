//! `genesis.toml`: what every node of a chain must agree on.

use std::fmt::Write as _;
use std::path::Path;

use bixi_types::consensus::Validator;
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::limits::VALIDATORS_MAX;
use bixi_types::{CryptoSuite, EvmHash, NodeId};

use crate::diagnostic::ConfigErrors;
use crate::document::{Section, as_integer, as_text, parse, word_of};

const SUITES: [(&str, CryptoSuite); 2] = [("sm", CryptoSuite::Sm), ("std", CryptoSuite::Std)];
const EVM_HASHES: [(&str, EvmHash); 2] = [("sm3", EvmHash::Sm3), ("keccak256", EvmHash::Keccak256)];
const EVM_SPECS: [(&str, EvmSpec); 2] = [("cancun", EvmSpec::Cancun), ("prague", EvmSpec::Prague)];
const TIMESTAMP_UNITS: [(&str, TimestampUnit); 2] = [("ms", TimestampUnit::Ms), ("s", TimestampUnit::S)];

/// Reads a genesis file. Everything that changes the chain's identity is required: a default that changes with a release
/// would split a chain.
pub fn parse_genesis(file: &Path, text: &str) -> Result<Genesis, ConfigErrors> {
    let genesis = parse(file, text, read)?;
    Ok(genesis.expect("a missing part was reported as an error"))
}

fn read(root: &mut Section<'_, '_, '_>) -> Option<Genesis> {
    let chain_id = root.required("chain_id", "an id of 1 to 64 letters, digits, '_' or '-'", read_name);
    let group_id = root.required("group_id", "an id of 1 to 64 letters, digits, '_' or '-'", read_name);
    let suite = root.required_choice("suite", &SUITES);
    let evm_hash = root.required_choice("evm_hash", &EVM_HASHES);
    let evm_spec = root.required_choice("evm_spec", &EVM_SPECS);
    let evm_timestamp_unit = root.required_choice("evm_timestamp_unit", &TIMESTAMP_UNITS);
    let protocol_version = number(root, "protocol_version", 1, u64::from(u32::MAX));
    let timestamp_ms = number(root, "timestamp_ms", 0, i64::MAX as u64);
    let tx_gas_limit = number(root, "tx_gas_limit", 100_001, i64::MAX as u64);
    let block_tx_count_max = number(root, "block_tx_count_max", 1, 1_000_000);
    let block_limit = number(root, "block_limit", 1, 5_000);
    let pipeline_depth = number(root, "pipeline_depth", 1, 64);
    let admin = root.maybe("admin", "an address of 40 hexadecimal digits", |value| value.as_str()?.parse().ok());
    let validators = read_validators(root);
    Some(Genesis {
        chain_id: chain_id?,
        group_id: group_id?,
        suite: suite?,
        evm_hash: evm_hash?,
        evm_spec: evm_spec?,
        evm_timestamp_unit: evm_timestamp_unit?,
        protocol_version: u32::try_from(protocol_version?).ok()?,
        timestamp_ms: timestamp_ms?,
        validators: validators?,
        tx_gas_limit: tx_gas_limit?,
        block_tx_count_max: u32::try_from(block_tx_count_max?).ok()?,
        block_limit: u32::try_from(block_limit?).ok()?,
        pipeline_depth: u32::try_from(pipeline_depth?).ok()?,
        admin,
    })
}

/// Whether `text` can be a chain's or a group's id.
pub fn is_chain_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

fn read_name(value: &toml::de::DeValue<'_>) -> Option<String> {
    as_text(value).filter(|text| is_chain_name(text))
}

fn number(root: &mut Section<'_, '_, '_>, key: &'static str, min: u64, max: u64) -> Option<u64> {
    root.required(key, &format!("an integer from {min} to {max}"), |value| {
        as_integer(value).filter(|number| (min..=max).contains(number))
    })
}

fn read_validators(root: &mut Section<'_, '_, '_>) -> Option<Vec<Validator>> {
    let validators: Vec<Option<Validator>> = root.sections("validator", |section| {
        let id = section
            .required("id", "a public key of 128 hexadecimal digits", |value| value.as_str()?.parse::<NodeId>().ok());
        let weight = section.integer("weight", 1, 1..=1_000_000);
        Some(Validator { id: id?, weight })
    });
    let count = validators.len();
    if !(1..=VALIDATORS_MAX).contains(&count) {
        root.contradiction("validator", format!("expected 1 to {VALIDATORS_MAX} [[validator]] tables, found {count}"));
        return None;
    }
    let validators: Vec<Validator> = validators.into_iter().collect::<Option<_>>()?;
    for (index, validator) in validators.iter().enumerate() {
        if let Some(first) = validators[..index].iter().position(|earlier| earlier.id == validator.id) {
            root.contradiction("validator", format!("[{first}] and [{index}] have the same id"));
            return None;
        }
    }
    Some(validators)
}

/// The file of a genesis; [`parse_genesis`] reads it back unchanged.
pub fn render_genesis(genesis: &Genesis) -> String {
    let mut out = String::from(
        "# The genesis of a chain. Every node must hold exactly this; changing anything makes another chain.\n\n",
    );
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(out, "{key} = {value}").expect("writing to a String cannot fail");
    };
    line("chain_id", &format!("{:?}", genesis.chain_id));
    line("group_id", &format!("{:?}", genesis.group_id));
    line("suite", &format!("{:?}", word_of(&SUITES, genesis.suite)));
    line("evm_hash", &format!("{:?}", word_of(&EVM_HASHES, genesis.evm_hash)));
    line("evm_spec", &format!("{:?}", word_of(&EVM_SPECS, genesis.evm_spec)));
    line("evm_timestamp_unit", &format!("{:?}", word_of(&TIMESTAMP_UNITS, genesis.evm_timestamp_unit)));
    line("protocol_version", &genesis.protocol_version);
    line("timestamp_ms", &genesis.timestamp_ms);
    line("tx_gas_limit", &genesis.tx_gas_limit);
    line("block_tx_count_max", &genesis.block_tx_count_max);
    line("block_limit", &genesis.block_limit);
    line("pipeline_depth", &genesis.pipeline_depth);
    if let Some(admin) = genesis.admin {
        line("admin", &format!("{:?}", admin.to_string()));
    }
    for validator in &genesis.validators {
        line("\n[[validator]]\nid", &format!("{:?}", validator.id.to_hex()));
        line("weight", &validator.weight);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Genesis {
        Genesis {
            evm_hash: EvmHash::Keccak256,
            timestamp_ms: 1_700_000_000_000,
            validators: vec![
                Validator { id: NodeId([7; 64]), weight: 1 },
                Validator { id: NodeId([9; 64]), weight: 3 },
            ],
            ..Genesis::fixture(&[])
        }
    }

    #[test]
    fn rendering_reads_back_unchanged() {
        let file = Path::new("genesis.toml");
        let genesis = sample();
        assert_eq!(parse_genesis(file, &render_genesis(&genesis)).unwrap(), genesis);
        let with_admin = Genesis { admin: Some(bixi_types::Address([5; 20])), ..genesis };
        assert_eq!(parse_genesis(file, &render_genesis(&with_admin)).unwrap(), with_admin);
    }

    #[test]
    fn missing_and_wrong_parts_are_all_named() {
        let errors = parse_genesis(Path::new("genesis.toml"), "suite = \"rsa\"\ntx_gas_limit = 5\n").unwrap_err();
        let keys: Vec<&str> = errors.0.iter().map(|diagnostic| diagnostic.key.as_str()).collect();
        for key in ["chain_id", "group_id", "suite", "tx_gas_limit", "validator", "pipeline_depth"] {
            assert!(keys.contains(&key), "{key} is not among {keys:?}");
        }
    }

    #[test]
    fn repeated_validator_is_refused() {
        let mut genesis = sample();
        genesis.validators[1].id = genesis.validators[0].id;
        let errors = parse_genesis(Path::new("genesis.toml"), &render_genesis(&genesis)).unwrap_err();
        assert!(errors.to_string().contains("[0] and [1] have the same id"), "{errors}");
    }

    #[test]
    fn what_is_no_table_is_told_as_it_was_found() {
        let text = render_genesis(&sample());
        let head = &text[..text.find("[[validator]]").unwrap()];
        let errors =
            parse_genesis(Path::new("genesis.toml"), &format!("{head}validator = [1]\n")).unwrap_err().to_string();
        assert!(errors.contains("expected [[validator]] tables, found the integer 1"), "{errors}");
        let errors = parse_genesis(Path::new("genesis.toml"), head).unwrap_err().to_string();
        assert!(errors.contains("expected 1 to") && errors.contains("found 0"), "{errors}");
    }
}
