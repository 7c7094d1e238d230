//! Which transactions are canonical: those whose signed bytes have one reading only.
//!
//! The pre-image concatenates variable-length fields without lengths, so one signature covers many cuts: a call becomes a
//! deployment when `to` moves into `nonce` and `input`, money appears when the tail of `input` becomes `value`. The rule:
//!
//! > A transaction is accepted iff its own fields are the **only** canonical reading of its pre-image.
//!
//! `readings` enumerates every canonical reading of the bytes behind `blockLimit` (what is before has fixed length on one
//! chain) and `check` demands that there is exactly one and that it is the transaction. Two accepted transactions with equal
//! pre-images are therefore equal *by construction*: both are the one element of the same set.
//!
//! # Canonical readings
//!
//! Written so that what SDKs send has one reading (up to chances of about 10⁻⁶, and a new nonce repairs those):
//!
//! **nonce** is 1–78 decimal digits, or exactly 32 lower-case hexadecimal digits (a UUID) with at least one letter.
//! **to** is empty, `0x` + 40 hexadecimal digits, or 40 lower-case hexadecimal digits.
//! Let the *run* be the hexadecimal digits the bytes start with. The boundary behind nonce and `to` is, in this order:
//!
//! 1. *prefixed call*: the run is nonce + `0` and `x` + 40 digits follow. No other reading is canonical then: it would be a
//!    deployment or bare call whose binary input spells an address.
//! 2. *system call*: a nonce, one of [`SYSTEM_ADDRESSES`], bare as the Java SDK writes them, inside the run, and an ABI-shaped
//!    input (below).
//! 3. *bare call*: a nonce, 40 digits with a letter among the first 36, and an ABI-shaped input of which at most 4 bytes continue
//!    the run. The shape fixes the end of the address although a selector may look like digits.
//! 4. *deployment*: nonce, then init code that does not start with a decimal digit behind a decimal nonce, and continues the run
//!    by 4 bytes at most. (No compiler's first opcode is BALANCE, CALLDATALOAD …; one that starts with CALLVALUE = `4` needs a
//!    UUID nonce.)
//!
//! 3 and 4 exclude each other: a deployment's run has at most 4 bytes behind its decimal nonce, a bare address has a letter
//! earlier. A UUID whose first 28 digits are all decimal can meet 4 twice and is refused.
//!
//! **abi** is empty or, in a deployment, one complete JSON array of objects with a `type` (a contract ABI). At most one suffix of
//! any bytes is a complete JSON array: a longer one would read the shorter either at depth ≥ 1, where its `]` cannot be the end,
//! or with quotes flipped, where the shorter one can hold no escapes, hence has an even number of quotes and ends inside a
//! string. So a deployment's init code never ends in an ABI, and the suffix, when there, is the field.
//!
//! **Version 1**: a number is `0x` + 1–64 digits. `maxFeePerGas` and `maxPriorityFeePerGas` are both empty or both numbers.
//! `value` and `gasPrice` are both empty or both numbers (one alone could be the other: write the other as `0x0`); only where fees
//! stand for the price, `value` may be alone, as the Java SDK writes EIP-1559 transactions, and `gasPrice` may not.
//! `gasLimit` is below 2⁴⁰, so its first three bytes are zero
//! and cannot be digits of a fee: the bytes' end tells which of both is there. Two numbers in a row split in one way only, since
//! `x` is no digit. Where a number ends the bytes before `gasLimit`:
//! - a call's input must be *ABI-shaped*: empty, or a selector and whole words (length 4 modulo 32). Moving the boundary between
//!   input and numbers breaks the shape unless both lengths agree modulo 32; then both readings are canonical and both refused;
//! - a deployment's init code (and its ABI) must not itself end in a number, so the numbers are the fields.
//!
//! **Version 2**: an empty extension reads as version 1. A non-empty one needs a `value`, because numbers followed by three zero
//! bytes are the mark by which the reading finds `gasLimit`; bytes with many such marks are refused.
//!
//! Fields that a version does not sign must be empty, or anyone could change them.
//!
//! # Cost
//!
//! One pass over the bytes for version 2's mark, one backwards for the ABI; at most 13 left and a few right boundaries are tried
//! in constant time each.

mod json;
mod left;
mod right;

#[cfg(test)]
mod tests;

pub use left::SYSTEM_ADDRESSES;

use super::Transaction;
use left::Left;
use right::Right;

/// Digits of the longest decimal nonce: 2²⁵⁶ has 78.
const NONCE_DECIMAL_MAX: usize = 78;
/// Digits of a UUID nonce.
const NONCE_UUID: usize = 32;
/// Digits of an address.
const ADDRESS_DIGITS: usize = 40;
/// Digits of a 256-bit number.
const NUMBER_DIGITS_MAX: usize = 64;
/// First gas limit that is not accepted.
pub const GAS_LIMIT_END: i64 = 1 << 40;

/// Why a transaction is not canonical. Final: the client has to build and sign another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A version this node does not know.
    #[error("transaction version {0} is not 0, 1 or 2")]
    Version(i32),
    /// A field does not look as SDKs write it.
    #[error("{field}: {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must look like.
        rule: &'static str,
    },
    /// A field is set that this version does not sign.
    #[error("{field} is set, but transactions of version {version} do not sign it")]
    Unsigned {
        /// The field.
        field: &'static str,
        /// The transaction's version.
        version: i32,
    },
    /// The signed bytes have no canonical reading, or another one than these fields.
    #[error("the signed bytes do not read back as these fields: {0}")]
    OtherReading(&'static str),
    /// The signed bytes can be cut into fields in more than one way.
    #[error(
        "the signed bytes can be read in two ways: sign again with another nonce, a 0x-prefixed address, or padded numbers"
    )]
    Ambiguous,
}

/// One way to cut the bytes behind `blockLimit` into fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading<'a> {
    nonce: &'a [u8],
    to: &'a [u8],
    input: &'a [u8],
    abi: &'a [u8],
    value: &'a [u8],
    gas_price: &'a [u8],
    gas_limit: i64,
    max_fee_per_gas: &'a [u8],
    max_priority_fee_per_gas: &'a [u8],
    extension: &'a [u8],
}

/// Refuses `transaction` unless its fields are the only canonical reading of its pre-image.
pub(super) fn check(transaction: &Transaction) -> Result<(), GrammarError> {
    check_version(transaction)?;
    check_fields(transaction)?;
    let image = signed_tail(transaction);
    let mut found = readings(&image, transaction.version).ok_or(GrammarError::Ambiguous)?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(GrammarError::OtherReading(advice(transaction))),
        (Some(_), false) => Err(GrammarError::Ambiguous),
        (Some(reading), true) if reading == fields(transaction) => Ok(()),
        (Some(_), true) => Err(GrammarError::OtherReading(advice(transaction))),
    }
}

/// Every canonical reading of `image`, the bytes behind `blockLimit`; `None` when there are too many marks to try.
fn readings(image: &[u8], version: i32) -> Option<Vec<Reading<'_>>> {
    let lefts = left::candidates(image);
    let Some(first) = lefts.iter().map(Left::end).min() else { return Some(Vec::new()) };
    let rights = right::candidates(image, version, first)?;
    let mut found = Vec::new();
    for left in &lefts {
        for right in &rights {
            found.extend(join(image, left, right));
        }
    }
    Some(found)
}

/// The reading of a left and a right boundary, if the two make a canonical whole.
fn join<'a>(image: &'a [u8], left: &Left, right: &Right<'a>) -> Option<Reading<'a>> {
    let body = image.get(left.end()..right.body_end)?;
    let (input, abi) = if left.deploys() { body.split_at(json::abi_start(body)) } else { (body, &[][..]) };
    let shaped = input.is_empty() || input.len() % 32 == 4;
    if left.needs_shape() && !shaped {
        return None;
    }
    let canonical_end = match (right.number_before_gas_limit(body), left.deploys()) {
        (false, _) => true,
        (true, false) => shaped,
        (true, true) => !right::ends_in_number(body),
    };
    if !canonical_end {
        return None;
    }
    let (nonce, to) = left.fields(image);
    Some(Reading {
        nonce,
        to,
        input,
        abi,
        value: right.value,
        gas_price: right.gas_price,
        gas_limit: right.gas_limit,
        max_fee_per_gas: right.max_fee_per_gas,
        max_priority_fee_per_gas: right.max_priority_fee_per_gas,
        extension: right.extension,
    })
}

fn fields(transaction: &Transaction) -> Reading<'_> {
    Reading {
        nonce: transaction.nonce.as_bytes(),
        to: transaction.to.as_bytes(),
        input: &transaction.input,
        abi: transaction.abi.as_bytes(),
        value: transaction.value.as_bytes(),
        gas_price: transaction.gas_price.as_bytes(),
        gas_limit: transaction.gas_limit,
        max_fee_per_gas: transaction.max_fee_per_gas.as_bytes(),
        max_priority_fee_per_gas: transaction.max_priority_fee_per_gas.as_bytes(),
        extension: &transaction.extension,
    }
}

/// The pre-image behind `blockLimit`.
fn signed_tail(transaction: &Transaction) -> Vec<u8> {
    let reading = fields(transaction);
    let mut image = [reading.nonce, reading.to, reading.input, reading.abi].concat();
    if transaction.version >= 1 {
        image.extend([reading.value, reading.gas_price].concat());
        image.extend(reading.gas_limit.to_be_bytes());
        image.extend([reading.max_fee_per_gas, reading.max_priority_fee_per_gas].concat());
    }
    if transaction.version >= 2 {
        image.extend(reading.extension);
    }
    image
}

fn check_version(transaction: &Transaction) -> Result<(), GrammarError> {
    let version = transaction.version;
    if !(0..=2).contains(&version) {
        return Err(GrammarError::Version(version));
    }
    let unsigned = [
        (1, "value", transaction.value.is_empty()),
        (1, "gasPrice", transaction.gas_price.is_empty()),
        (1, "gasLimit", transaction.gas_limit == 0),
        (1, "maxFeePerGas", transaction.max_fee_per_gas.is_empty()),
        (1, "maxPriorityFeePerGas", transaction.max_priority_fee_per_gas.is_empty()),
        (2, "extension", transaction.extension.is_empty()),
    ];
    match unsigned.into_iter().find(|(since, _, empty)| version < *since && !empty) {
        Some((_, field, _)) => Err(GrammarError::Unsigned { field, version }),
        None => Ok(()),
    }
}

/// Field by field, so that the common mistakes get a message of their own; `check` does not rely on it.
fn check_fields(transaction: &Transaction) -> Result<(), GrammarError> {
    let pair = |first: &str, second: &str| {
        (first.is_empty() && second.is_empty())
            || (right::is_number(first.as_bytes()) && right::is_number(second.as_bytes()))
    };
    let fees_stand_for_the_price = transaction.gas_price.is_empty()
        && right::is_number(transaction.value.as_bytes())
        && !transaction.max_fee_per_gas.is_empty();
    let rules = [
        (
            left::is_nonce(transaction.nonce.as_bytes()),
            "nonce",
            "1 to 78 decimal digits or 32 lower-case hexadecimal digits with a letter",
        ),
        (
            transaction.to.is_empty() || left::is_address(transaction.to.as_bytes()),
            "to",
            "empty, 0x and 40 hexadecimal digits, or 40 lower-case hexadecimal digits",
        ),
        (
            transaction.abi.is_empty() || (transaction.to.is_empty() && json::is_abi(transaction.abi.as_bytes())),
            "abi",
            "empty, or in a deployment exactly one JSON array of objects with a type",
        ),
        (
            pair(&transaction.value, &transaction.gas_price) || fees_stand_for_the_price,
            "value and gasPrice",
            "both empty or both 0x and 1 to 64 hexadecimal digits (0x0 for none)",
        ),
        (
            pair(&transaction.max_fee_per_gas, &transaction.max_priority_fee_per_gas),
            "maxFeePerGas and maxPriorityFeePerGas",
            "both empty or both 0x and 1 to 64 hexadecimal digits (0x0 for none)",
        ),
        ((0..GAS_LIMIT_END).contains(&transaction.gas_limit), "gasLimit", "from 0 to 2^40 - 1"),
        (transaction.block_limit >= 0, "blockLimit", "not negative"),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, field, rule)) => Err(GrammarError::Field { field, rule }),
        None => Ok(()),
    }
}

fn advice(transaction: &Transaction) -> &'static str {
    match () {
        () if transaction.to.is_empty() => {
            "init code that starts with a digit needs a 32-digit hexadecimal nonce, and must not end in a number or an ABI"
        }
        () if !transaction.to.starts_with("0x") => "write the address with the prefix 0x",
        () if !transaction.extension.is_empty() => {
            "an extension needs value and gasPrice, and may not start with a digit or 0x"
        }
        () => "where numbers follow, or the input ends in one, it must be a selector and whole 32-byte words",
    }
}
