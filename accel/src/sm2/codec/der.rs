//! The part of DER (X.690) that SM2's structures need: elements below 16 MiB and non-negative integers of 256 bits.

use super::CodecError;

pub(in crate::sm2) const INTEGER: u8 = 0x02;
pub(in crate::sm2) const BIT_STRING: u8 = 0x03;
pub(in crate::sm2) const OCTET_STRING: u8 = 0x04;
pub(in crate::sm2) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(in crate::sm2) const SEQUENCE: u8 = 0x30;
/// `[number]`, constructed.
pub(in crate::sm2) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// What remains of one constructed element.
pub(in crate::sm2) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::sm2) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The content of the element that fills `der` from end to end.
    pub(in crate::sm2) fn whole(der: &'a [u8], tag: u8) -> Result<Self, CodecError> {
        let mut reader = Self(der);
        let content = reader.element(tag)?;
        reader.end()?;
        Ok(Self(content))
    }

    /// The content of the next element, which must have this tag.
    pub(in crate::sm2) fn element(&mut self, tag: u8) -> Result<&'a [u8], CodecError> {
        let (&first, rest) = self.0.split_first().ok_or(CodecError::Malformed)?;
        let (length, rest) = length(rest)?;
        if first != tag || length > rest.len() {
            return Err(CodecError::Malformed);
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Ok(content)
    }

    /// The content of the next element if it has this tag.
    pub(in crate::sm2) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, CodecError> {
        if self.0.first() == Some(&tag) { self.element(tag).map(Some) } else { Ok(None) }
    }

    /// An integer in `[0, 2^256)`, in its shortest form (X.690 8.3).
    pub(in crate::sm2) fn integer(&mut self) -> Result<[u8; 32], CodecError> {
        let digits = match self.element(INTEGER)? {
            [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return Err(CodecError::Malformed),
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let mut value = [0; 32];
        let start = value.len().checked_sub(digits.len()).ok_or(CodecError::Malformed)?;
        value[start..].copy_from_slice(digits);
        Ok(value)
    }

    /// Nothing may follow.
    pub(in crate::sm2) fn end(&self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Malformed) }
    }
}

/// A definite length in its shortest form (X.690 8.1.3, 10.1), and what follows it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), CodecError> {
    match *bytes {
        [short @ 0..=0x7f, ref rest @ ..] => Ok((short.into(), rest)),
        [0x81, low @ 0x80..=0xff, ref rest @ ..] => Ok((low.into(), rest)),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => Ok((u16::from_be_bytes([high, low]).into(), rest)),
        [0x83, top @ 1..=0xff, high, low, ref rest @ ..] => {
            Ok((usize::from(top) << 16 | usize::from(u16::from_be_bytes([high, low])), rest))
        }
        _ => Err(CodecError::Malformed),
    }
}

/// Longest tag and length.
pub(in crate::sm2) const HEADER_BYTES_MAX: usize = 5;

/// Appends tag and length.
pub(in crate::sm2) fn push_header(out: &mut Vec<u8>, tag: u8, content_bytes: usize) {
    assert!(content_bytes < 1 << 24, "DER: an element below 16 MiB");
    out.push(tag);
    let [.., top, high, low] = (content_bytes as u32).to_be_bytes();
    match content_bytes {
        0..=0x7f => out.push(low),
        0x80..=0xff => out.extend_from_slice(&[0x81, low]),
        0x100..=0xffff => out.extend_from_slice(&[0x82, high, low]),
        _ => out.extend_from_slice(&[0x83, top, high, low]),
    }
}

/// Appends a non-negative integer of 32 big-endian bytes.
pub(in crate::sm2) fn push_integer(out: &mut Vec<u8>, value: &[u8; 32]) {
    let zeros = value[..31].iter().take_while(|&&byte| byte == 0).count();
    let digits = &value[zeros..];
    let sign_bytes = usize::from(digits[0] >> 7);
    push_header(out, INTEGER, digits.len() + sign_bytes);
    out.extend(std::iter::repeat_n(0, sign_bytes));
    out.extend_from_slice(digits);
}

/// Appends an octet string.
pub(in crate::sm2) fn push_octets(out: &mut Vec<u8>, content: &[u8]) {
    push_header(out, OCTET_STRING, content.len());
    out.extend_from_slice(content);
}

/// A sequence around `body`.
pub(in crate::sm2) fn sequence(mut body: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + body.len());
    push_header(&mut out, SEQUENCE, body.len());
    out.append(&mut body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_one_form() {
        for bytes in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xff_ffff] {
            let mut header = Vec::new();
            push_header(&mut header, SEQUENCE, bytes);
            assert_eq!(length(&header[1..]), Ok((bytes, &[][..])), "{bytes}");
        }
        for refused in ["80", "8100", "817f", "820000", "8200ff", "83000000", "8300ffff", "8401000000", "ff", ""] {
            assert_eq!(length(&hex::decode(refused).unwrap()), Err(CodecError::Malformed), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn an_element_is_read_as_written(content in prop::collection::vec(any::<u8>(), 0..400), tail: Vec<u8>) {
            let mut der = Vec::new();
            push_octets(&mut der, &content);
            let whole = der.clone();
            for cut in 0..whole.len() {
                prop_assert!(Reader::new(&whole[..cut]).element(OCTET_STRING).is_err());
            }
            der.extend_from_slice(&tail);
            let mut reader = Reader::new(&der);
            prop_assert_eq!(reader.optional(SEQUENCE), Ok(None));
            prop_assert_eq!(reader.element(OCTET_STRING), Ok(&content[..]));
            prop_assert_eq!(reader.end().is_ok(), tail.is_empty());
        }
    }
}
