mod codec;
pub(super) mod field;
mod scheme;

use crate::{Random, RandomError};

/// Deterministic bytes for tests: SM3 of a counter.
pub(super) struct Counter(pub(super) u64);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for chunk in out.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&crate::sm3::digest(&self.0.to_be_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}

pub(super) fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text.replace(' ', "")).expect("hex").try_into().expect("length")
}
