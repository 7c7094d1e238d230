//! The part of the Solidity ABI that system contracts speak: selectors, `uint256`, `bytes32`, `string`, `bytes`, `bool`, `address`.
//!
//! Invariants: decoding never reads outside the call data, never allocates more than the call data holds, and refuses what it
//! does not understand; encoding is the canonical one (Solidity ABI specification, "Formal Specification of the Encoding").

pub(crate) use bixi_types::abi::selector;
use bixi_types::{Address, EvmHash, H256};
use revm::primitives::U256;

/// Call data that does not follow the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AbiError {
    #[error("call data ends before its arguments do")]
    Truncated,
    #[error("an offset or a length in the call data points outside of it")]
    OutOfRange,
    #[error("a string in the call data is not UTF-8")]
    NotUtf8,
}

/// Splits call data into selector and arguments.
pub(crate) fn split_selector(input: &[u8]) -> Result<([u8; 4], &[u8]), AbiError> {
    let (selector, arguments) = input.split_first_chunk::<4>().ok_or(AbiError::Truncated)?;
    Ok((*selector, arguments))
}

/// Reads arguments from left to right.
pub(crate) struct Arguments<'a> {
    data: &'a [u8],
    next: usize,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, next: 0 }
    }

    pub(crate) fn word(&mut self) -> Result<&'a [u8; 32], AbiError> {
        let word = word_at(self.data, self.next)?;
        self.next += 32;
        Ok(word)
    }

    pub(crate) fn uint(&mut self) -> Result<U256, AbiError> {
        Ok(U256::from_be_bytes(*self.word()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], AbiError> {
        let offset = usize_word(self.word()?)?;
        let length = usize_word(word_at(self.data, offset)?)?;
        let start = offset + 32;
        let end = start.checked_add(length).ok_or(AbiError::OutOfRange)?;
        self.data.get(start..end).ok_or(AbiError::OutOfRange)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, AbiError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AbiError::NotUtf8)
    }
}

fn word_at(data: &[u8], offset: usize) -> Result<&[u8; 32], AbiError> {
    let tail = data.get(offset..).ok_or(AbiError::OutOfRange)?;
    tail.first_chunk::<32>().ok_or(AbiError::Truncated)
}

fn usize_word(word: &[u8; 32]) -> Result<usize, AbiError> {
    u32::try_from(U256::from_be_bytes(*word)).map(|value| value as usize).map_err(|_| AbiError::OutOfRange)
}

/// Builds a tuple of return values.
#[derive(Default)]
pub(crate) struct Encoder {
    values: Vec<Value>,
}

enum Value {
    Word([u8; 32]),
    Bytes(Vec<u8>),
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn word(mut self, word: [u8; 32]) -> Self {
        self.values.push(Value::Word(word));
        self
    }

    pub(crate) fn hash(self, hash: H256) -> Self {
        self.word(hash.0)
    }

    pub(crate) fn uint(self, value: U256) -> Self {
        self.word(value.to_be_bytes())
    }

    /// `int256` or any smaller signed type: sign-extended.
    pub(crate) fn int(self, value: i64) -> Self {
        let mut word = [if value < 0 { 0xff } else { 0 }; 32];
        word[24..].copy_from_slice(&value.to_be_bytes());
        self.word(word)
    }

    pub(crate) fn boolean(self, value: bool) -> Self {
        self.uint(U256::from(u8::from(value)))
    }

    pub(crate) fn address(self, address: Address) -> Self {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&address.0);
        self.word(word)
    }

    pub(crate) fn string(mut self, text: &str) -> Self {
        self.values.push(Value::Bytes(text.as_bytes().to_vec()));
        self
    }

    /// Heads first, then the dynamic values in order.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut heads = Vec::with_capacity(self.values.len() * 32);
        let mut tails = Vec::new();
        let heads_bytes = self.values.len() * 32;
        for value in &self.values {
            match value {
                Value::Word(word) => heads.extend_from_slice(word),
                Value::Bytes(bytes) => {
                    heads.extend_from_slice(&length_word(heads_bytes + tails.len()));
                    tails.extend_from_slice(&length_word(bytes.len()));
                    tails.extend_from_slice(bytes);
                    tails.resize(tails.len().next_multiple_of(32), 0);
                }
            }
        }
        heads.append(&mut tails);
        heads
    }
}

fn length_word(length: usize) -> [u8; 32] {
    U256::from(length).to_be_bytes()
}

/// `Error(string)`: the data of a revert with a reason.
pub(crate) fn error(hash: EvmHash, reason: &str) -> Vec<u8> {
    let mut data = selector(hash, "Error(string)").to_vec();
    data.extend_from_slice(&Encoder::new().string(reason).finish());
    data
}

/// The reason in the data of a revert, if it is an `Error(string)`.
pub(crate) fn error_reason(hash: EvmHash, data: &[u8]) -> Option<String> {
    let (found, arguments) = split_selector(data).ok()?;
    if found != selector(hash, "Error(string)") {
        return None;
    }
    Arguments::new(arguments).string().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_follow_the_hash_of_the_chain() {
        // keccak: Solidity documentation's own example; SM3: FISCO BCOS's `Error(string)` of solc-gm.
        assert_eq!(selector(EvmHash::Keccak256, "transfer(address,uint256)"), [0xa9, 0x05, 0x9c, 0xbb]);
        assert_eq!(selector(EvmHash::Keccak256, "Error(string)"), [0x08, 0xc3, 0x79, 0xa0]);
        assert_eq!(selector(EvmHash::Sm3, "Error(string)"), [0xc7, 0x03, 0xcb, 0x12]);
    }

    #[test]
    fn encodes_dynamic_values_after_the_heads() {
        let data = Encoder::new().string("abc").int(-1).finish();
        assert_eq!(data.len(), 4 * 32);
        assert_eq!(data[31], 64);
        assert_eq!(data[32..64], [0xff; 32]);
        assert_eq!(data[95], 3);
        assert_eq!(&data[96..99], b"abc");
        assert_eq!(data[99..], [0; 29]);
    }

    #[test]
    fn decodes_what_it_encodes() {
        let data = Encoder::new().string("from").string("").uint(U256::from(7)).finish();
        let mut arguments = Arguments::new(&data);
        assert_eq!(arguments.string(), Ok("from"));
        assert_eq!(arguments.string(), Ok(""));
        assert_eq!(arguments.uint(), Ok(U256::from(7)));
        assert_eq!(arguments.uint(), Ok(U256::from(4)), "the next word is the first tail");
    }

    #[test]
    fn refuses_offsets_and_lengths_outside_the_data() {
        let mut huge = Encoder::new().uint(U256::MAX).finish();
        assert_eq!(Arguments::new(&huge).bytes(), Err(AbiError::OutOfRange));
        huge = Encoder::new().uint(U256::from(32)).uint(U256::from(u32::MAX)).finish();
        assert_eq!(Arguments::new(&huge).bytes(), Err(AbiError::OutOfRange));
        assert_eq!(Arguments::new(&[0; 31]).word(), Err(AbiError::Truncated));
        assert_eq!(Arguments::new(&Encoder::new().uint(U256::from(33)).finish()).bytes(), Err(AbiError::OutOfRange));
        let latin = [&Encoder::new().uint(U256::from(32)).uint(U256::from(1)).finish()[..], &[0xff]].concat();
        assert_eq!(Arguments::new(&latin).string(), Err(AbiError::NotUtf8));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            let mut arguments = Arguments::new(&data);
            let _ = (arguments.string(), arguments.bytes(), arguments.uint(), arguments.word());
        }
    }
}
