//! Percent encoding with the character sets of RFC 7512 section 2.3.

use std::fmt::{self, Write as _};

/// An attribute in the path part.
pub(super) struct Path<'a>(pub(super) &'a [u8]);
/// An attribute in the query part.
pub(super) struct Query<'a>(pub(super) &'a [u8]);
/// Every byte escaped, as RFC 7512 asks for ids.
pub(super) struct Full<'a>(pub(super) &'a [u8]);

fn common(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=".contains(&byte)
}

fn path(byte: u8) -> bool {
    common(byte) || byte == b'&'
}

fn query(byte: u8) -> bool {
    common(byte) || b"/?|".contains(&byte)
}

fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8], plain: fn(u8) -> bool) -> fmt::Result {
    bytes.iter().try_for_each(|&byte| if plain(byte) { f.write_char(byte.into()) } else { write!(f, "%{byte:02X}") })
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, path)
    }
}

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, query)
    }
}

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, |_| false)
    }
}

/// Decodes; `None` on a broken escape or a byte that must be escaped.
pub(super) fn decode(raw: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push((high * 16 + low) as u8);
            }
            plain if path(plain) || query(plain) => bytes.push(plain),
            _ => return None,
        }
    }
    Some(bytes)
}
