//! The system contract DagTransfer, a register of named balances, for chains whose contracts see keccak256.

use bixi_types::EvmHash;
use bixi_types::abi::{self, Argument};
use bixi_types::transaction::Transaction;
use serde_json::{Value, json};

use crate::rpc::{CallError, Connection};
use crate::wallet::Wallet;

const CONTRACT: u16 = 0x100c;
const WORD_BYTES: usize = 32;

/// A signed `userSave(name, amount)`: so much more on an account, which it makes when it is not there.
pub fn save(wallet: &mut Wallet, name: &str, amount: u64, block_limit: i64) -> Transaction {
    let arguments = [Argument::Text(name), Argument::Number(amount.into())];
    wallet.call(CONTRACT, "userSave(string,uint256)", &arguments, block_limit)
}

/// What a node says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// The height it answers for.
    pub height: i64,
    /// `None`: no such account.
    pub amount: Option<u64>,
}

/// Reads a balance by `call`.
///
/// # Panics
/// When the answer is not one of the contract.
pub fn balance(connection: &mut Connection, name: &str) -> Result<Balance, CallError> {
    let data =
        format!("0x{}", hex::encode(abi::call(EvmHash::Keccak256, "userBalance(string)", &[Argument::Text(name)])));
    let answer = connection.call("call", json!(["group0", "", format!("0x{CONTRACT:040x}"), data]))?;
    Ok(read_balance(&answer))
}

fn read_balance(answer: &Value) -> Balance {
    let output = answer["output"].as_str().expect("an output");
    let output = hex::decode(output.trim_start_matches("0x")).expect("hexadecimal");
    assert_eq!(output.len(), 2 * WORD_BYTES, "a code and a balance: {answer}");
    let amount = u64::from_be_bytes(output[2 * WORD_BYTES - 8..].try_into().expect("eight bytes"));
    let exists = output[..WORD_BYTES].iter().all(|byte| *byte == 0);
    Balance { height: answer["blockNumber"].as_i64().expect("a height"), amount: exists.then_some(amount) }
}
