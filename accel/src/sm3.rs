//! SM3 (GB/T 32905-2016), and what is built from it: HMAC, HKDF and the key derivation function of SM2.
//!
//! Messages may be secret: time depends on lengths only. A [`Hasher`] wipes its state when dropped.

#[cfg(target_arch = "aarch64")]
mod armv8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bmi2;
pub mod hkdf;
mod hmac;
mod kdf;
mod lanes;
pub mod lthash;
mod many;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod ni;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod rounds;
mod single;
#[cfg(test)]
mod tests;

pub use hmac::Hmac;
pub(crate) use kdf::SHORT_BYTES as KDF_SHORT_BYTES;
pub use kdf::kdf;

use lanes::{Cut, Start, Whole};

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
        Self::resume(&Start::IV)
    }

    fn resume(start: &Start) -> Self {
        Self { state: start.state, block: [0; BLOCK_BYTES], filled: 0, length_bytes: start.bytes }
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
            single::compress(&mut self.state, &[self.block]);
            self.filled = 0;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        single::compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// The state after whole blocks, and the bytes of the block begun.
    fn at_last_block(&self) -> (Start, &[u8]) {
        let bytes = self.length_bytes - self.filled as u64;
        (Start { state: self.state, bytes }, &self.block[..self.filled])
    }

    /// Pads (GB/T 32905 5.2) and returns the digest.
    pub fn finalize(mut self) -> [u8; 32] {
        fold_end(&mut self.state, &self.block[..self.filled], self.length_bytes);
        to_bytes(&self.state)
    }
}

/// Bytes that fit in two blocks with their padding.
const END_BYTES_MAX: usize = 2 * BLOCK_BYTES - 9;

/// Folds the end of a message of `length_bytes` bytes, at most [`END_BYTES_MAX`], with its padding (GB/T 32905 5.2).
fn fold_end(state: &mut [u32; 8], rest: &[u8], length_bytes: u64) {
    let mut end = [[0; BLOCK_BYTES]; 2];
    let count = (rest.len() + 9).div_ceil(BLOCK_BYTES);
    let bytes = end.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    bytes[count * BLOCK_BYTES - 8..][..8].copy_from_slice(&(length_bytes << 3).to_be_bytes());
    single::compress(state, &end[..count]);
    wipe(&mut end, [0; BLOCK_BYTES]);
}

fn to_bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (out, word) in digest.chunks_exact_mut(4).zip(state) {
        out.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// Overwrites plain data, as `zeroize` does one element at a time.
fn wipe<T: Copy>(data: &mut [T], zero: T) {
    data.fill(zero);
    zeroize::optimization_barrier(data);
}

impl Drop for Hasher {
    fn drop(&mut self) {
        wipe(&mut self.state, 0);
        wipe(&mut self.block, 0);
    }
}

impl core::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sm3::Hasher({} bytes)", self.length_bytes)
    }
}

/// Digest of one message.
pub fn digest(data: &[u8]) -> [u8; 32] {
    let mut state = IV;
    // A short message is folded in one call with its padding.
    let (blocks, rest) = if data.len() <= END_BYTES_MAX { (&[][..], data) } else { data.as_chunks() };
    single::compress(&mut state, blocks);
    fold_end(&mut state, rest, data.len() as u64);
    let digest = to_bytes(&state);
    wipe(&mut state, 0);
    digest
}

/// Digests of many messages of any lengths: `out[i]` becomes the digest of `messages[i]`.
///
/// # Panics
/// When the slices differ in length.
pub fn digest_many(messages: &[&[u8]], out: &mut [[u8; 32]]) {
    many::digests(&Start::IV, &Whole(messages), out);
}

/// [`digest_many`] of messages in parts: `out[i]` becomes the digest of the concatenation of the parts of `messages[i]`.
///
/// # Panics
/// When the slices differ in length.
pub fn digest_many_parts<'a, M: AsRef<[&'a [u8]]>>(messages: &[M], out: &mut [[u8; 32]]) {
    many::digests(&Start::IV, &Cut::new(messages), out);
}

/// Names of the selected kernels.
pub(crate) struct KernelNames {
    pub(crate) single: &'static str,
    pub(crate) many: &'static str,
}

pub(crate) fn kernel_names() -> KernelNames {
    KernelNames { single: single::kernel_name(), many: many::kernel_name() }
}
