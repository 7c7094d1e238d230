//! SM3 (GB/T 32905-2016), and what is built from it: HMAC, HKDF and the key derivation function of SM2.
//!
//! Messages may be secret: time depends on lengths only. A [`Hasher`] wipes its state when dropped.

pub mod hkdf;
mod hmac;
mod kdf;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

pub use hmac::Hmac;
pub use kdf::kdf;

use zeroize::Zeroize;

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;
/// Bytes the compression function takes at once.
pub const BLOCK_BYTES: usize = 64;

/// GB/T 32905 4.1.
const IV: [u32; 8] = [0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e];

/// An incremental SM3 computation.
#[derive(Clone)]
pub struct Hasher {
    state: [u32; 8],
    block: [u8; BLOCK_BYTES],
    filled: usize,
    length_bytes: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// Starts with the standard's initial value.
    pub fn new() -> Self {
        Self { state: IV, block: [0; BLOCK_BYTES], filled: 0, length_bytes: 0 }
    }

    /// Appends `data` to the message. The standard bounds a message to fewer than 2^64 bits.
    pub fn update(&mut self, mut data: &[u8]) {
        self.length_bytes += data.len() as u64;
        if self.filled > 0 {
            let take = data.len().min(BLOCK_BYTES - self.filled);
            self.block[self.filled..self.filled + take].copy_from_slice(&data[..take]);
            self.filled += take;
            data = &data[take..];
            if self.filled < BLOCK_BYTES {
                return;
            }
            portable::compress(&mut self.state, &[self.block]);
            self.filled = 0;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        portable::compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// Pads (GB/T 32905 5.2) and returns the digest.
    pub fn finalize(mut self) -> [u8; 32] {
        let length_bits = self.length_bytes << 3;
        self.block[self.filled] = 0x80;
        self.block[self.filled + 1..].fill(0);
        if self.filled + 1 > BLOCK_BYTES - 8 {
            portable::compress(&mut self.state, &[self.block]);
            self.block.fill(0);
        }
        self.block[BLOCK_BYTES - 8..].copy_from_slice(&length_bits.to_be_bytes());
        portable::compress(&mut self.state, &[self.block]);
        let mut digest = [0; 32];
        for (out, word) in digest.chunks_exact_mut(4).zip(self.state) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.state.zeroize();
        self.block.zeroize();
    }
}

impl core::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sm3::Hasher({} bytes)", self.length_bytes)
    }
}

/// Digest of one message.
pub fn digest(data: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(data);
    hasher.finalize()
}

/// Digests of many messages of any lengths: `out[i]` becomes the digest of `messages[i]`.
///
/// # Panics
/// When the slices differ in length.
pub fn digest_many(messages: &[&[u8]], out: &mut [[u8; 32]]) {
    assert_eq!(messages.len(), out.len(), "digest_many: one digest per message");
    for (message, digest_out) in messages.iter().zip(out) {
        *digest_out = digest(message);
    }
}
