//! Counter mode (GB/T 17964-2021, SP 800-38A 6.5) with a 128-bit big-endian counter.

use super::{BLOCK_BYTES, Key, PARALLEL_BLOCKS};
use zeroize::Zeroize;

/// Adds the key stream that starts at `counter` to `data`; encryption and decryption are the same.
/// The counter wraps at 2^128.
pub fn apply(key: &Key, counter: &[u8; BLOCK_BYTES], data: &mut [u8]) {
    let mut next = u128::from_be_bytes(*counter);
    let mut stream = [[0; BLOCK_BYTES]; PARALLEL_BLOCKS];
    for chunk in data.chunks_mut(BLOCK_BYTES * PARALLEL_BLOCKS) {
        let blocks = &mut stream[..chunk.len().div_ceil(BLOCK_BYTES)];
        for block in &mut *blocks {
            *block = next.to_be_bytes();
            next = next.wrapping_add(1);
        }
        key.encrypt_blocks(blocks);
        add(chunk, blocks);
    }
    stream.zeroize();
}

/// `data ^= stream`, the stream at least as long.
pub(super) fn add(data: &mut [u8], stream: &[[u8; BLOCK_BYTES]]) {
    for (byte, pad) in data.iter_mut().zip(stream.as_flattened()) {
        *byte ^= pad;
    }
}
