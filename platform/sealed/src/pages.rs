//! Tables: fixed pages, each sealed alone, so that a random read opens only the pages it touches.
//!
//! ```text
//! 0        128      4096              4096 + P          …
//! prologue │ zeros  │ page 0: P−16 ‖ tag │ page 1 │ … │ final page: 0..=P−16 ‖ tag
//! ```
//! A page's associated data is its index and whether it is the final one. Each table has one segment and is written
//! once: there is no appending after [`Writer::finish`], no reopening, no rewriting.

mod reader;
mod writer;

pub use reader::Reader;
pub(crate) use reader::scrub::scrub;
pub use writer::Writer;

use crate::aead::TAG_BYTES;

/// Where the first page starts: a multiple of every file system's block, so that pages stay aligned.
const PAGES_START: u64 = 4096;

/// Most bytes of plaintext in one table: one key seals no more.
pub const PLAINTEXT_BYTES_MAX: u64 = 1 << 36;

/// Size of a page on disk, tag included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB on disk: the default.
    pub const KIB_4: Self = Self(12);
    /// 64 KiB on disk.
    pub const KIB_64: Self = Self(16);

    /// A size by its binary logarithm, 12 to 16.
    pub fn from_log2(log2: u8) -> Option<Self> {
        (12..=16).contains(&log2).then_some(Self(log2))
    }

    /// Binary logarithm of the size.
    pub fn log2(self) -> u8 {
        self.0
    }

    /// Bytes on disk.
    pub fn bytes(self) -> usize {
        1 << self.0
    }

    /// Plaintext bytes.
    pub fn payload_bytes(self) -> usize {
        self.bytes() - TAG_BYTES
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self::KIB_4
    }
}

/// Counter of a page: 0 is the segment's own.
fn counter(index: u64) -> u64 {
    index + 1
}

/// `index ‖ final`.
fn associated(index: u64, is_final: bool) -> [u8; 9] {
    let mut out = [0; 9];
    out[..8].copy_from_slice(&index.to_le_bytes());
    out[8] = u8::from(is_final);
    out
}

#[cfg(test)]
mod tests;
