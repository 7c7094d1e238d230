//! The boundaries behind `input ‖ abi`, read from the back, and version 2's mark.

use super::{GAS_LIMIT_END, NUMBER_DIGITS_MAX};

const GAS_LIMIT_BYTES: usize = 8;
/// Zero bytes a gas limit below [`GAS_LIMIT_END`] starts with.
const GAS_LIMIT_ZEROS: [u8; 3] = [0; 3];
/// Readings at marks that are tried; a client's one mark has two at most.
const MARKS_MAX: usize = 6;

/// Two numbers that come together, or two empty slices.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Everything behind `input ‖ abi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Right<'a> {
    /// Where `input ‖ abi` ends.
    pub(super) body_end: usize,
    pub(super) value: &'a [u8],
    pub(super) gas_price: &'a [u8],
    pub(super) gas_limit: i64,
    pub(super) max_fee_per_gas: &'a [u8],
    pub(super) max_priority_fee_per_gas: &'a [u8],
    pub(super) extension: &'a [u8],
    signs_numbers: bool,
}

impl Right<'_> {
    /// Whether a number stands directly before `gasLimit`, as a field or at the end of `body`.
    pub(super) fn number_before_gas_limit(&self, body: &[u8]) -> bool {
        self.signs_numbers && (!self.value.is_empty() || ends_in_number(body))
    }
}

/// Every canonical boundary at or behind `first`, where the input begins at the earliest; `None` above [`MARKS_MAX`].
pub(super) fn candidates(image: &[u8], version: i32, first: usize) -> Option<Vec<Right<'_>>> {
    if version == 0 {
        return Some(vec![Right { body_end: image.len(), ..Right::default() }]);
    }
    let mut found = without_extension(image);
    if version == 2 {
        found.extend(with_extension(image, first)?);
    }
    Some(found)
}

fn without_extension(image: &[u8]) -> Vec<Right<'_>> {
    let Some((front, gas_limit, fees)) = gas_limit_at_end(image) else { return Vec::new() };
    let base = Right {
        body_end: front.len(),
        gas_limit,
        max_fee_per_gas: fees.0,
        max_priority_fee_per_gas: fees.1,
        signs_numbers: true,
        ..Right::default()
    };
    let mut found = vec![base];
    found.extend(amounts(front, base));
    found
}

/// `base` with the numbers at the end of `front` as `value` and `gasPrice`, or as `value` alone where fees stand for the price.
fn amounts<'a>(front: &'a [u8], base: Right<'a>) -> impl Iterator<Item = Right<'a>> {
    let pair = strip_pair(front);
    let single =
        strip_number(front).filter(|_| !base.max_fee_per_gas.is_empty()).map(|(body, value)| (body, value, &[][..]));
    [pair, single].into_iter().flatten().map(move |(body, value, gas_price)| Right {
        body_end: body.len(),
        value,
        gas_price,
        ..base
    })
}

/// Front, gas limit and fees. Without fees the last 8 bytes are the limit and start with three zero bytes, which with fees would
/// be digits or `x`, since a pair has 6 bytes at least.
fn gas_limit_at_end(image: &[u8]) -> Option<(&[u8], i64, Pair<'_>)> {
    if let Some((front, gas_limit)) = strip_gas_limit(image) {
        return Some((front, gas_limit, (&[], &[])));
    }
    let (rest, max_fee, max_priority_fee) = strip_pair(image)?;
    let (front, gas_limit) = strip_gas_limit(rest)?;
    Some((front, gas_limit, (max_fee, max_priority_fee)))
}

/// Readings with a non-empty extension: at every mark `number ‖ 000000`, in one pass.
fn with_extension(image: &[u8], first: usize) -> Option<Vec<Right<'_>>> {
    let mut found = Vec::new();
    for (at, window) in image.windows(GAS_LIMIT_ZEROS.len()).enumerate().skip(first.max(1)) {
        // A digit stands before a mark, so a run of zeros is looked at once.
        if window == GAS_LIMIT_ZEROS && image[at - 1].is_ascii_hexdigit() {
            found.extend(extension_at(image, first, at));
        }
        if found.len() > MARKS_MAX {
            return None;
        }
    }
    Some(found)
}

fn extension_at(image: &[u8], first: usize, at: usize) -> Vec<Right<'_>> {
    let Some(base) = extension_after(image, at) else { return Vec::new() };
    amounts(&image[..at], base).filter(|right| right.body_end >= first).collect()
}

/// Gas limit, fees and a non-empty extension from `at` on.
fn extension_after(image: &[u8], at: usize) -> Option<Right<'_>> {
    let (limit, rest) = image[at..].split_at_checked(GAS_LIMIT_BYTES)?;
    let (_, gas_limit) = strip_gas_limit(limit)?;
    let (fees, extension) = split_fees(rest)?;
    (!extension.is_empty()).then_some(Right {
        gas_limit,
        max_fee_per_gas: fees.0,
        max_priority_fee_per_gas: fees.1,
        extension,
        signs_numbers: true,
        ..Right::default()
    })
}

/// Fees in front of an extension: two numbers as long as they go, or none when the extension does not start like a number.
fn split_fees(bytes: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let Some((first, rest)) = leading_number(bytes) else {
        return (!bytes.starts_with(b"0x")).then_some(((&[][..], &[][..]), bytes));
    };
    // The digit before the second x belongs to the second number.
    let (first, rest) = match rest.first() {
        Some(b'x') if first.len() > 3 && first.ends_with(b"0") => bytes.split_at(first.len() - 1),
        _ => (first, rest),
    };
    let (second, extension) = leading_number(rest)?;
    (is_number(first) && is_number(second)).then_some(((first, second), extension))
}

/// `0x` and all hexadecimal digits that follow.
fn leading_number(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = bytes.strip_prefix(b"0x")?;
    let count = digits.iter().take(NUMBER_DIGITS_MAX + 2).take_while(|byte| byte.is_ascii_hexdigit()).count();
    (count > 0).then(|| bytes.split_at(2 + count))
}

fn strip_gas_limit(bytes: &[u8]) -> Option<(&[u8], i64)> {
    let (front, last) = bytes.split_last_chunk::<GAS_LIMIT_BYTES>()?;
    let gas_limit = i64::from_be_bytes(*last);
    (0..GAS_LIMIT_END).contains(&gas_limit).then_some((front, gas_limit))
}

/// Two numbers at the end.
fn strip_pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (front, second) = strip_number(bytes)?;
    let (body, first) = strip_number(front)?;
    Some((body, first, second))
}

/// One number at the end. `x` is no digit, so the last `0x` decides where it begins.
fn strip_number(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = bytes.iter().rev().take(NUMBER_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let start = bytes.len().checked_sub(digits + 2)?;
    let (front, number) = bytes.split_at(start);
    is_number(number).then_some((front, number))
}

/// Whether `bytes` end in a number.
pub(super) fn ends_in_number(bytes: &[u8]) -> bool {
    strip_number(bytes).is_some()
}

pub(super) fn is_number(text: &[u8]) -> bool {
    text.strip_prefix(b"0x").is_some_and(|digits| {
        (1..=NUMBER_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)
    })
}
