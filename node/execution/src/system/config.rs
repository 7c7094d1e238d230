//! SystemConfig (0x1000): the chain's parameters. A value set in block n holds from block n + 1.
//!
//! Keys and limits are FISCO BCOS's; a value must be written as plain decimal digits. `consensus_leader_period` is kept for
//! clients that set it: Bixi's consensus changes its proposer at every height. The gas a transaction may use and the count of
//! transactions in a block are read at the height being executed.

use bixi_types::genesis::Genesis;
use bixi_types::limits::{BATCH_TRANSACTIONS_MAX, VALUE_BATCHES_MAX};
use bixi_types::state::{StateKey, StateTable, StateView};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Fault, Method, Session};
use crate::ExecutionError;
use crate::abi::{Arguments, Encoder};
use crate::state::corrupt;

/// Gas limit of one transaction.
pub const KEY_TX_GAS_LIMIT: &str = "tx_gas_limit";
/// Transactions in one block at most.
pub const KEY_TX_COUNT_LIMIT: &str = "tx_count_limit";
const KEY_LEADER_PERIOD: &str = "consensus_leader_period";
const KEY_COMPATIBILITY_VERSION: &str = "compatibility_version";

/// FISCO BCOS release whose behaviour this node follows.
const COMPATIBILITY_VERSION: &str = "3.16.4";
const TX_GAS_LIMIT_MIN: u64 = 100_000;
const TX_GAS_LIMIT_MAX: u64 = i64::MAX as u64;
const TX_COUNT_LIMIT_MAX: u64 = (VALUE_BATCHES_MAX * BATCH_TRANSACTIONS_MAX) as u64;

pub(super) const METHODS: &[(&str, Method)] =
    &[("setValueByKey(string,string)", set_value), ("getValueByKey(string)", get_value)];

/// A value and the height from which it holds.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ConfigValue {
    /// As it was set.
    pub value: String,
    /// First height at which it holds.
    pub enabled_from: u64,
}

/// A key's row: the value in force and, after it, one that is not yet.
type Row = Vec<ConfigValue>;

/// The value of `key` in force at `height`; `None` when the key was never set.
pub fn config_value(view: &dyn StateView, key: &str, height: u64) -> Result<Option<ConfigValue>, ExecutionError> {
    let Some(row) = view.get(StateTable::Config, key.as_bytes())? else { return Ok(None) };
    Ok(in_force(decode(&row, key)?, height))
}

/// A number in force at `height`, or `genesis_value` when the key was never set.
pub(crate) fn number_at(
    view: &dyn StateView,
    key: &str,
    height: u64,
    genesis_value: u64,
) -> Result<u64, ExecutionError> {
    match config_value(view, key, height)? {
        None => Ok(genesis_value),
        Some(found) => found.value.parse().map_err(|_| corrupt("Config", key.as_bytes())),
    }
}

/// The rows of a new chain.
pub(crate) fn genesis_rows(genesis: &Genesis) -> impl Iterator<Item = (StateKey, Vec<u8>)> {
    let values = [
        (KEY_TX_GAS_LIMIT, genesis.tx_gas_limit.to_string()),
        (KEY_TX_COUNT_LIMIT, genesis.block_tx_count_max.to_string()),
        (KEY_LEADER_PERIOD, "1".to_owned()),
        (KEY_COMPATIBILITY_VERSION, COMPATIBILITY_VERSION.to_owned()),
    ];
    values.into_iter().map(|(key, value)| {
        let key = StateKey { table: StateTable::Config, key: key.as_bytes().to_vec() };
        (key, encode(&vec![ConfigValue { value, enabled_from: 0 }]))
    })
}

fn set_value(session: &mut Session<'_>, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Fault> {
    session.require_admin()?;
    let key = arguments.string()?.to_ascii_lowercase();
    let value = arguments.string()?;
    let row = read(session, &key)?;
    check_value(&key, value, row.last()).map_err(Fault::refused)?;
    let height = session.height;
    let mut values: Row = in_force(row, height).into_iter().collect();
    values.push(ConfigValue { value: value.to_owned(), enabled_from: height + 1 });
    session.set_row(StateTable::Config, key.as_bytes(), encode(&values))?;
    Ok(Encoder::new().int(0).finish())
}

/// The value set last, even if it does not hold yet, with the height from which it holds; `("", -1)` for an unknown key.
fn get_value(session: &mut Session<'_>, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Fault> {
    let key = arguments.string()?.to_ascii_lowercase();
    let encoder = Encoder::new();
    Ok(match read(session, &key)?.last() {
        Some(last) => encoder.string(&last.value).int(last.enabled_from as i64),
        None => encoder.string("").int(-1),
    }
    .finish())
}

fn read(session: &mut Session<'_>, key: &str) -> Result<Row, Fault> {
    let row = session.row(StateTable::Config, key.as_bytes())?;
    row.map_or(Ok(Row::new()), |row| decode(&row, key)).map_err(Fault::Fatal)
}

fn in_force(row: Row, height: u64) -> Option<ConfigValue> {
    row.into_iter().rfind(|value| value.enabled_from <= height)
}

fn decode(row: &[u8], key: &str) -> Result<Row, ExecutionError> {
    borsh::from_slice(row).map_err(|_| corrupt("Config", key.as_bytes()))
}

fn encode(row: &Row) -> Vec<u8> {
    borsh::to_vec(row).expect("borsh into memory cannot fail")
}

fn check_value(key: &str, value: &str, last: Option<&ConfigValue>) -> Result<(), String> {
    match key {
        KEY_TX_GAS_LIMIT => check_number(key, value, TX_GAS_LIMIT_MIN, TX_GAS_LIMIT_MAX),
        KEY_TX_COUNT_LIMIT => check_number(key, value, 1, TX_COUNT_LIMIT_MAX),
        KEY_LEADER_PERIOD => check_number(key, value, 1, u64::from(u32::MAX)),
        KEY_COMPATIBILITY_VERSION => check_version(key, value, last),
        _ => Err(format!("unsupported key {}", key.chars().take(64).collect::<String>())),
    }
}

fn check_number(key: &str, value: &str, min: u64, max: u64) -> Result<(), String> {
    let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| value.parse::<u64>().ok()).flatten();
    let number = number.ok_or_else(|| format!("The value for {key} must be a valid number."))?;
    if number < min {
        return Err(format!("Invalid value {number} ,the value for {key} must be no less than {min}"));
    }
    if number > max {
        return Err(format!("Invalid value {number} ,the value for {key} must be no more than {max}"));
    }
    Ok(())
}

/// Versions only rise.
fn check_version(key: &str, value: &str, last: Option<&ConfigValue>) -> Result<(), String> {
    let version = parse_version(value).ok_or_else(|| {
        format!(
            "Invalid value for {key}. The version must be in format of major_version.middle_version.minimum_version"
        )
    })?;
    match last.and_then(|last| parse_version(&last.value)) {
        Some(current) if version < current => {
            Err(format!("Invalid value for {key}. The version cannot be lower than the current one"))
        }
        _ => Ok(()),
    }
}

fn parse_version(text: &str) -> Option<[u8; 3]> {
    let mut version = [0; 3];
    let mut parts = text.split('.');
    for (index, number) in version.iter_mut().enumerate() {
        match parts.next() {
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => *number = part.parse().ok()?,
            None if index == 2 => {}
            _ => return None,
        }
    }
    (parts.next().is_none() && version[0] == 3).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses_values_as_fisco_bcos_does() {
        let current = ConfigValue { value: COMPATIBILITY_VERSION.to_owned(), enabled_from: 0 };
        let check = |key, value| check_value(key, value, Some(&current));
        assert_eq!(check(KEY_TX_GAS_LIMIT, "100000"), Ok(()));
        assert_eq!(check(KEY_TX_COUNT_LIMIT, "1"), Ok(()));
        assert_eq!(check(KEY_LEADER_PERIOD, "5"), Ok(()));
        assert_eq!(check(KEY_COMPATIBILITY_VERSION, "3.17"), Ok(()));
        assert_eq!(check(KEY_COMPATIBILITY_VERSION, "3.16.4"), Ok(()));
        for (key, value) in [
            (KEY_TX_GAS_LIMIT, "99999"),
            (KEY_TX_GAS_LIMIT, "9223372036854775808"),
            (KEY_TX_GAS_LIMIT, "-1"),
            (KEY_TX_GAS_LIMIT, ""),
            (KEY_TX_GAS_LIMIT, "1e9"),
            (KEY_TX_COUNT_LIMIT, "0"),
            (KEY_LEADER_PERIOD, "0"),
            (KEY_COMPATIBILITY_VERSION, "3.16.3"),
            (KEY_COMPATIBILITY_VERSION, "2.9.0"),
            (KEY_COMPATIBILITY_VERSION, "3"),
            (KEY_COMPATIBILITY_VERSION, "3.16.4.1"),
            (KEY_COMPATIBILITY_VERSION, "3..4"),
            ("unknown_key", "1"),
        ] {
            assert!(check(key, value).is_err(), "{key}={value}");
        }
    }
}
