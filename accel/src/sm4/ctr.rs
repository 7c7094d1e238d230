//! Counter mode (GB/T 17964-2021, SP 800-38A 6.5) with a 128-bit big-endian counter.

use super::{BLOCK_BYTES, Key, PARALLEL_BLOCKS};
use crate::ct;

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

/// [`super::Kernel::add_stream`] for kernels that make no counters themselves: `encrypt` encrypts blocks on their own.
pub(super) fn add_by_blocks(
    counter: &[u8; BLOCK_BYTES],
    mut first: Option<&mut [u8; BLOCK_BYTES]>,
    mut data: &mut [u8],
    encrypt: impl Fn(&mut [[u8; BLOCK_BYTES]]),
) {
    let mut next = *counter;
    let mut buffer = [[0; BLOCK_BYTES]; PARALLEL_BLOCKS];
    while first.is_some() || !data.is_empty() {
        let needed = usize::from(first.is_some()) + data.len().div_ceil(BLOCK_BYTES);
        let stream = &mut buffer[..needed.min(PARALLEL_BLOCKS)];
        for block in &mut *stream {
            *block = next;
            super::count(&mut next, 1);
        }
        encrypt(stream);
        let mut stream = stream.as_flattened();
        if let Some(first) = first.take() {
            let (head, rest) = stream.split_at(BLOCK_BYTES);
            first.copy_from_slice(head);
            stream = rest;
        }
        let (now, later) = data.split_at_mut(data.len().min(stream.len()));
        super::add(now, stream);
        data = later;
    }
    ct::wipe(buffer.as_flattened_mut());
}
