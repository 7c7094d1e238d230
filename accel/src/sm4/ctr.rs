//! Counter mode (GB/T 17964-2021, SP 800-38A 6.5) with a 128-bit big-endian counter.

use super::{BLOCK_BYTES, Key};

/// Adds the key stream that starts at `counter` to `data`; encryption and decryption are the same.
/// The counter wraps at 2^128.
pub fn apply(key: &Key, counter: &[u8; BLOCK_BYTES], mut data: &mut [u8]) {
    let mut next = u128::from_be_bytes(*counter);
    while !data.is_empty() {
        // Kernels count in the last 32 bits: a piece ends where those wrap.
        let blocks = (1 << 32) - (next & 0xffff_ffff);
        let bytes = usize::try_from(blocks * BLOCK_BYTES as u128).unwrap_or(usize::MAX).min(data.len());
        let (now, later) = data.split_at_mut(bytes);
        key.kernel.add_stream(&next.to_be_bytes(), None, now);
        next = next.wrapping_add(blocks);
        data = later;
    }
}
