//! DagTransfer (0x100c): named balances, the load generator of FISCO BCOS's benchmarks.
//!
//! Return codes and rules are FISCO BCOS's `DagTransferPrecompiled`: saving to or transferring to an unknown user creates it,
//! a transfer to oneself succeeds without looking at the balance.

use bixi_types::state::StateTable;
use revm::primitives::U256;

use super::{Fault, Method, Session};
use crate::ExecutionError;
use crate::abi::{Arguments, Encoder};
use crate::state::corrupt;

const SUCCESS: i64 = 0;
const INVALID_USER_NAME: i64 = -51400;
const INVALID_AMOUNT: i64 = -51401;
const USER_NOT_EXIST: i64 = -51402;
const USER_ALREADY_EXIST: i64 = -51403;
const INSUFFICIENT_BALANCE: i64 = -51404;
const BALANCE_OVERFLOW: i64 = -51405;

/// Longest user name, in bytes; a longer one is invalid.
const USER_NAME_BYTES_MAX: usize = 256;

pub(super) const METHODS: &[(&str, Method)] = &[
    ("userAdd(string,uint256)", |session, mut arguments| {
        let (user, balance) = (arguments.string()?, arguments.uint()?);
        answer(add(session, user, balance))
    }),
    ("userSave(string,uint256)", |session, mut arguments| {
        let (user, amount) = (arguments.string()?, arguments.uint()?);
        answer(save(session, user, amount))
    }),
    ("userDraw(string,uint256)", |session, mut arguments| {
        let (user, amount) = (arguments.string()?, arguments.uint()?);
        answer(draw(session, user, amount))
    }),
    ("userTransfer(string,string,uint256)", |session, mut arguments| {
        let (from, to, amount) = (arguments.string()?, arguments.string()?, arguments.uint()?);
        answer(transfer(session, from, to, amount))
    }),
    ("userBalance(string)", user_balance),
];

fn answer(code: Result<i64, Fault>) -> Result<Vec<u8>, Fault> {
    Ok(Encoder::new().int(code?).finish())
}

fn user_balance(session: &mut Session<'_>, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Fault> {
    let user = arguments.string()?;
    let (code, balance) = if !is_valid(user) {
        (INVALID_USER_NAME, U256::ZERO)
    } else {
        balance(session, user)?.map_or((USER_NOT_EXIST, U256::ZERO), |balance| (SUCCESS, balance))
    };
    Ok(Encoder::new().int(code).uint(balance).finish())
}

fn add(session: &mut Session<'_>, user: &str, amount: U256) -> Result<i64, Fault> {
    if !is_valid(user) {
        return Ok(INVALID_USER_NAME);
    }
    if balance(session, user)?.is_some() {
        return Ok(USER_ALREADY_EXIST);
    }
    set_balance(session, user, amount)
}

fn save(session: &mut Session<'_>, user: &str, amount: U256) -> Result<i64, Fault> {
    if !is_valid(user) {
        return Ok(INVALID_USER_NAME);
    }
    if amount.is_zero() {
        return Ok(INVALID_AMOUNT);
    }
    match balance(session, user)?.unwrap_or_default().checked_add(amount) {
        Some(sum) => set_balance(session, user, sum),
        None => Ok(BALANCE_OVERFLOW),
    }
}

fn draw(session: &mut Session<'_>, user: &str, amount: U256) -> Result<i64, Fault> {
    if !is_valid(user) {
        return Ok(INVALID_USER_NAME);
    }
    if amount.is_zero() {
        return Ok(INVALID_AMOUNT);
    }
    let Some(balance) = balance(session, user)? else { return Ok(USER_NOT_EXIST) };
    match balance.checked_sub(amount) {
        Some(rest) => set_balance(session, user, rest),
        None => Ok(INSUFFICIENT_BALANCE),
    }
}

fn transfer(session: &mut Session<'_>, from: &str, to: &str, amount: U256) -> Result<i64, Fault> {
    if !is_valid(from) || !is_valid(to) {
        return Ok(INVALID_USER_NAME);
    }
    if amount.is_zero() {
        return Ok(INVALID_AMOUNT);
    }
    if from == to {
        return Ok(SUCCESS);
    }
    let Some(from_balance) = balance(session, from)? else { return Ok(USER_NOT_EXIST) };
    let Some(rest) = from_balance.checked_sub(amount) else { return Ok(INSUFFICIENT_BALANCE) };
    let to_balance = balance(session, to)?.unwrap_or_default();
    let Some(sum) = to_balance.checked_add(amount) else { return Ok(BALANCE_OVERFLOW) };
    set_balance(session, from, rest)?;
    set_balance(session, to, sum)
}

fn is_valid(user: &str) -> bool {
    !user.is_empty() && user.len() <= USER_NAME_BYTES_MAX
}

fn balance(session: &mut Session<'_>, user: &str) -> Result<Option<U256>, Fault> {
    let row = session.row(StateTable::DagTransfer, user.as_bytes())?;
    row.map(|row| decode(&row, user)).transpose().map_err(Fault::Fatal)
}

fn decode(row: &[u8], user: &str) -> Result<U256, ExecutionError> {
    let word: [u8; 32] = row.try_into().map_err(|_| corrupt("DagTransfer", user.as_bytes()))?;
    Ok(U256::from_be_bytes(word))
}

fn set_balance(session: &mut Session<'_>, user: &str, balance: U256) -> Result<i64, Fault> {
    session.set_row(StateTable::DagTransfer, user.as_bytes(), balance.to_be_bytes::<32>().to_vec())?;
    Ok(SUCCESS)
}
