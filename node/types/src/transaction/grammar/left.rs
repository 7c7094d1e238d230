//! The boundaries behind `nonce` and behind `to`, read from the front.

use super::{ADDRESS_DIGITS, NONCE_DECIMAL_MAX, NONCE_UUID};

/// FISCO BCOS's system contracts as its SDKs write them, without prefix.
///
/// None is another one moved by a digit, except that the five-digit ones continue `…1000`; the input's shape decides then.
pub const SYSTEM_ADDRESSES: [&str; 23] = [
    "0000000000000000000000000000000000001000",
    "0000000000000000000000000000000000001001",
    "0000000000000000000000000000000000001002",
    "0000000000000000000000000000000000001003",
    "0000000000000000000000000000000000001004",
    "0000000000000000000000000000000000001005",
    "0000000000000000000000000000000000001006",
    "0000000000000000000000000000000000001007",
    "0000000000000000000000000000000000001009",
    "000000000000000000000000000000000000100a",
    "000000000000000000000000000000000000100b",
    "000000000000000000000000000000000000100c",
    "000000000000000000000000000000000000100e",
    "0000000000000000000000000000000000001010",
    "0000000000000000000000000000000000001011",
    "0000000000000000000000000000000000005003",
    "0000000000000000000000000000000000005004",
    "0000000000000000000000000000000000005005",
    "0000000000000000000000000000000000005100",
    "0000000000000000000000000000000000010001",
    "0000000000000000000000000000000000010002",
    "0000000000000000000000000000000000010003",
    "0000000000000000000000000000000000010004",
];

/// Bytes of init code that may continue the run of digits.
const INIT_RUN_MAX: usize = 4;
/// Bytes of a bare call's input that may continue the run.
const INPUT_RUN_MAX: usize = 4;
/// The run is not followed further: nothing canonical starts with more digits than a system call whose input is digits.
const RUN_MAX: usize = NONCE_DECIMAL_MAX + ADDRESS_DIGITS + INPUT_RUN_MAX + 1;

/// A boundary: where the nonce ends and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    nonce_end: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Prefixed,
    System,
    Bare,
    Deploy,
}

impl Left {
    /// Where the input begins.
    pub(super) fn end(&self) -> usize {
        self.nonce_end
            + match self.form {
                Form::Prefixed => 2 + ADDRESS_DIGITS,
                Form::System | Form::Bare => ADDRESS_DIGITS,
                Form::Deploy => 0,
            }
    }

    pub(super) fn deploys(&self) -> bool {
        self.form == Form::Deploy
    }

    /// Whether the input must be ABI-shaped whatever follows it.
    pub(super) fn needs_shape(&self) -> bool {
        matches!(self.form, Form::System | Form::Bare)
    }

    /// Nonce and `to`.
    pub(super) fn fields<'a>(&self, image: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        image[..self.end()].split_at(self.nonce_end)
    }
}

/// Every boundary that is canonical as far as the front can tell.
pub(super) fn candidates(image: &[u8]) -> Vec<Left> {
    let run = image.iter().take(RUN_MAX).take_while(|byte| is_lower_hex(**byte)).count();
    if let Some(prefixed) = prefixed(image, run) {
        return vec![prefixed];
    }
    let system = system(image, run);
    if !system.is_empty() {
        return system;
    }
    let mut found = bare(image, run);
    found.extend(deployments(image, run));
    found
}

fn prefixed(image: &[u8], run: usize) -> Option<Left> {
    let nonce_end = run.checked_sub(1)?;
    let digits = image.get(run + 1..run + 1 + ADDRESS_DIGITS)?;
    let matches = image[nonce_end] == b'0'
        && image[run] == b'x'
        && digits.iter().all(u8::is_ascii_hexdigit)
        && is_nonce(&image[..nonce_end]);
    matches.then_some(Left { nonce_end, form: Form::Prefixed })
}

fn system(image: &[u8], run: usize) -> Vec<Left> {
    let last = run.saturating_sub(ADDRESS_DIGITS).min(NONCE_DECIMAL_MAX);
    (1..=last)
        .filter(|start| {
            let window = &image[*start..start + ADDRESS_DIGITS];
            SYSTEM_ADDRESSES.iter().any(|address| address.as_bytes() == window) && is_nonce(&image[..*start])
        })
        .map(|nonce_end| Left { nonce_end, form: Form::System })
        .collect()
}

fn bare(image: &[u8], run: usize) -> Vec<Left> {
    let first = run.saturating_sub(INPUT_RUN_MAX).max(ADDRESS_DIGITS + 1);
    (first..=run)
        .map(|end| end - ADDRESS_DIGITS)
        .filter(|start| {
            let head = &image[*start..start + ADDRESS_DIGITS - INIT_RUN_MAX];
            is_nonce(&image[..*start]) && !head.iter().all(u8::is_ascii_digit)
        })
        .map(|nonce_end| Left { nonce_end, form: Form::Bare })
        .collect()
}

fn deployments(image: &[u8], run: usize) -> impl Iterator<Item = Left> {
    let decimal = image[..run].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let uuid = run >= NONCE_UUID && decimal < NONCE_UUID;
    [Some(decimal), uuid.then_some(NONCE_UUID)]
        .into_iter()
        .flatten()
        .filter(move |end| (1..=NONCE_DECIMAL_MAX).contains(end) && run - end <= INIT_RUN_MAX)
        .map(|nonce_end| Left { nonce_end, form: Form::Deploy })
}

pub(super) fn is_nonce(text: &[u8]) -> bool {
    let decimal = text.iter().all(u8::is_ascii_digit);
    let uuid = text.len() == NONCE_UUID && text.iter().copied().all(is_lower_hex);
    (decimal && (1..=NONCE_DECIMAL_MAX).contains(&text.len())) || uuid
}

pub(super) fn is_address(text: &[u8]) -> bool {
    match text.strip_prefix(b"0x") {
        Some(digits) => digits.len() == ADDRESS_DIGITS && digits.iter().all(u8::is_ascii_hexdigit),
        None => text.len() == ADDRESS_DIGITS && text.iter().copied().all(is_lower_hex),
    }
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}
