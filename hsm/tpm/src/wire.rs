//! Bytes of commands and responses (part 2): big endian, buffers behind their length. Reading never goes past
//! the end, and what is left over is refused.

use zeroize::Zeroizing;

/// Longest command and longest response: what every TPM of the PC client profile takes and gives.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// Builds a message. Its memory is reserved at once and wiped at the end, for a message may hold a PIN.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MESSAGE_BYTES_MAX)))
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// # Panics
    /// When a message grows too long: everything that is put into one is bounded before.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        assert!(self.0.len() + bytes.len() <= MESSAGE_BYTES_MAX, "a command of ours is longer than any may be");
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `TPM2B`: the bytes behind their length.
    pub(crate) fn sized(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("shorter than a message");
        self.u16(length).bytes(bytes)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// What a response holds is not what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed at {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Takes a message apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A `TPM2B` of at most `bytes_max`.
    pub(crate) fn sized(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u16(what)?);
        if length > bytes_max { Err(Malformed(what)) } else { self.take(length, what) }
    }

    /// One of the values that may stand here.
    pub(crate) fn expect(&mut self, wanted: u16, what: &'static str) -> Result<(), Malformed> {
        if self.u16(what)? == wanted { Ok(()) } else { Err(Malformed(what)) }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may follow.
    pub(crate) fn end(self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}

/// An unsigned number right-aligned in 32 bytes: a TPM may drop its leading zeros, or add one.
pub(crate) fn number(bytes: &[u8], what: &'static str) -> Result<[u8; 32], Malformed> {
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut number = [0; 32];
    let start = number.len().checked_sub(significant.len()).ok_or(Malformed(what))?;
    number[start..].copy_from_slice(significant);
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_more() {
        let written = Writer::new().u8(1).u16(2).u32(3).sized(b"four").bytes(&5u64.to_be_bytes());
        let mut reader = Reader::new(written.as_slice());
        assert_eq!((reader.u8("a"), reader.u16("b"), reader.u32("c")), (Ok(1), Ok(2), Ok(3)));
        assert_eq!(reader.sized(4, "d"), Ok(&b"four"[..]));
        assert_eq!(reader.end("e"), Err(Malformed("e")));
        assert_eq!(reader.u64("f"), Ok(5));
        assert_eq!((reader.u8("g"), reader.end("h")), (Err(Malformed("g")), Ok(())));
    }

    #[test]
    fn a_length_beyond_the_end_or_the_bound_is_refused() {
        assert_eq!(Reader::new(&[0, 5, 1, 2]).sized(9, "x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0, 2, 1, 2]).sized(1, "x"), Err(Malformed("x")));
        assert_eq!(Reader::new(&[0]).sized(9, "x"), Err(Malformed("x")));
    }

    #[test]
    fn numbers_keep_their_value_whatever_zeros_stand_before_them() {
        let mut one = [0; 32];
        one[31] = 1;
        for zeros in [0, 1, 31, 40] {
            let bytes = [vec![0; zeros], vec![1]].concat();
            assert_eq!(number(&bytes, "r"), Ok(one));
        }
        assert_eq!(number(&[], "r"), Ok([0; 32]));
        assert_eq!(number(&[1; 33], "r"), Err(Malformed("r")));
    }
}
