//! Bytes as lines that a person can copy: groups of characters without look-alikes, each line with a check of its own.
//!
//! ```text
//! 01  4H7K-09QD-X2MZ-A1BC  7RWT
//! ```
//!
//! A line has its number, 16 characters (10 bytes) and a check of 4. The alphabet is Crockford's base32 (no I, L, O, U; those
//! that are typed for 1 and 0 are taken for them, and lower case for upper case). The check of line k is the first 20 bits of SM3
//! over domain ‖ lines 1 … k: what was copied wrongly, and the first line of another page, is told with its number.

use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use crate::EscrowError;

/// Bytes of one line.
pub(crate) const LINE_BYTES: usize = 10;
/// Most lines of one document.
pub(crate) const LINES_MAX: usize = 24;

const DOMAIN: &[u8] = b"BIXI-ESCROW-LINE-V1";
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUP: usize = 4;
const DATA_CHARACTERS: usize = LINE_BYTES * 8 / 5;
const CHECK_CHARACTERS: usize = 4;
const CHARACTERS: usize = DATA_CHARACTERS + CHECK_CHARACTERS;

/// The bytes as lines.
///
/// # Panics
/// If they do not fill lines.
pub(crate) fn print(bytes: &[u8]) -> Zeroizing<String> {
    assert_eq!(bytes.len() % LINE_BYTES, 0, "whole lines");
    // Room for all: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() / LINE_BYTES * (CHARACTERS + 16)));
    for (place, line) in bytes.chunks_exact(LINE_BYTES).enumerate() {
        let number = place + 1;
        text.extend([char::from(b'0' + (number / 10) as u8), char::from(b'0' + (number % 10) as u8), ' ']);
        for (character, value) in values(line).chain(check(bytes, place)).enumerate() {
            match character {
                DATA_CHARACTERS => text.push_str("  "),
                0 => text.push(' '),
                _ if character % GROUP == 0 => text.push('-'),
                _ => {}
            }
            text.push(char::from(ALPHABET[usize::from(value)]));
        }
        text.push('\n');
    }
    text
}

/// Groups of five bits, from the first.
fn values(line: &[u8]) -> impl Iterator<Item = u8> {
    let mut wide = [0; 16];
    wide[16 - LINE_BYTES..].copy_from_slice(line);
    let bits = u128::from_be_bytes(wide);
    (0..DATA_CHARACTERS).rev().map(move |place| (bits >> (5 * place)) as u8 & 31)
}

/// The check of the line at `place`, counted from 0.
fn check(bytes: &[u8], place: usize) -> [u8; CHECK_CHARACTERS] {
    let mut hasher = sm3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&bytes[..(place + 1) * LINE_BYTES]);
    let digest = hasher.finalize();
    let bits = u32::from_be_bytes(*digest.first_chunk().expect("32 bytes"));
    [27, 22, 17, 12].map(|shift| (bits >> shift) as u8 & 31)
}

/// Reads lines as they come: from a file, or as an officer types them. What they hold stays in locked memory.
pub(crate) struct Lines {
    bytes: Secret,
    /// Lines read.
    count: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { bytes: Secret::zeroed(LINES_MAX * LINE_BYTES), count: 0 }
    }
}

impl Lines {
    /// What was read so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.as_slice()[..self.count * LINE_BYTES]
    }

    /// Number of the line that comes next.
    pub(crate) fn next_line(&self) -> usize {
        self.count + 1
    }

    /// Takes the next line.
    pub(crate) fn take(&mut self, text: &str) -> Result<(), EscrowError> {
        let line = self.next_line();
        let failed = |reason: String| Err(EscrowError::Line { line, reason });
        let text = text.trim();
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        if !rest.starts_with([' ', '\t']) || number.len() > 2 {
            return failed("it begins with its number and a space".to_owned());
        }
        if number.parse() != Ok(line) {
            return failed(format!("line {number} stands in its place; a line is missing or twice there"));
        }
        if line > LINES_MAX {
            return failed(format!("no share has more than {LINES_MAX} lines"));
        }
        let mut found = Secret::zeroed(CHARACTERS);
        let mut count = 0;
        for character in rest.chars().filter(|character| !matches!(character, ' ' | '\t' | '-')) {
            let Some(value) = value(character) else {
                return failed(format!("{character:?} is no character of a share"));
            };
            if let Some(place) = found.as_mut_slice().get_mut(count) {
                *place = value;
            }
            count += 1;
        }
        if count != CHARACTERS {
            return failed(format!("it has {count} characters and not {CHARACTERS}"));
        }
        let (data, told) = found.as_slice().split_at(DATA_CHARACTERS);
        let room = &mut self.bytes.as_mut_slice()[(line - 1) * LINE_BYTES..];
        // Eight characters are five bytes.
        for (room, characters) in room.chunks_exact_mut(5).zip(data.chunks_exact(8)) {
            let bits = characters.iter().fold(0u64, |bits, value| bits << 5 | u64::from(*value));
            room.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        if check(self.bytes.as_slice(), line - 1) == told {
            self.count = line;
            return Ok(());
        }
        failed("its check does not fit: a character is wrong, or it is a line of another page".to_owned())
    }
}

/// The value of a character; a table of what is on paper, not of secrets: whoever reads the page has the share.
fn value(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|known| char::from(*known) == upper).map(|place| place as u8)
}
