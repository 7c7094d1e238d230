//! Logs: each flush seals what was appended as one frame; acknowledged bytes are never rewritten.
//!
//! A frame is `length 4 ‖ counter 4 ‖ synced-through 8 ‖ ciphertext ‖ tag 16`; its 16 leading bytes and its offset are
//! associated data. *Synced-through* is the file offset the writer knew to be durable when it sealed the frame, so a
//! reader can tell damage below it (tampering) from damage above it (the torn tail of a crash).
//!
//! ```text
//! append* ─► flush (one frame, write) ─► sync (fdatasync; the mark moves)
//! ```

mod reader;
mod resync;
mod writer;

pub use reader::{End, Reader, read_all};
pub use writer::{Limits, Reopened, Writer};

use crate::{aead::TAG_BYTES, header::array};

/// Largest plaintext of one frame; an append beyond it flushes what is pending first.
pub const FRAME_PLAINTEXT_BYTES_MAX: usize = 16 << 20;

const HEAD_BYTES: usize = 16;
const FRAME_OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// The bytes of a frame that are not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: u32,
    counter: u32,
    synced_through: u64,
}

impl Head {
    fn encode(self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..4].copy_from_slice(&self.length.to_le_bytes());
        out[4..8].copy_from_slice(&self.counter.to_le_bytes());
        out[8..].copy_from_slice(&self.synced_through.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEAD_BYTES]) -> Self {
        Self {
            length: u32::from_le_bytes(array(&bytes[..4])),
            counter: u32::from_le_bytes(array(&bytes[4..8])),
            synced_through: u64::from_le_bytes(array(&bytes[8..])),
        }
    }

    /// Bytes of the whole frame on disk, if the length is within the bound.
    fn frame_bytes(self) -> Option<usize> {
        let length = self.length as usize;
        (length <= FRAME_PLAINTEXT_BYTES_MAX).then_some(length + FRAME_OVERHEAD_BYTES)
    }

    /// `head ‖ offset`.
    fn associated(self, offset: u64) -> [u8; HEAD_BYTES + 8] {
        let mut out = [0; HEAD_BYTES + 8];
        out[..HEAD_BYTES].copy_from_slice(&self.encode());
        out[HEAD_BYTES..].copy_from_slice(&offset.to_le_bytes());
        out
    }
}

#[cfg(test)]
mod tests;
