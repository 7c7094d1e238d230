//! Cipher block chaining (GB/T 17964-2021, SP 800-38A 6.2) of whole blocks; padding is the caller's.
//!
//! Nothing authenticates: a change of the ciphertext decrypts to something. It is here for interfaces that prescribe it.

use super::{BLOCK_BYTES, Direction, Key, PARALLEL_BLOCKS};

/// Encrypts in place. `chain` is the initialisation vector, unpredictable and new for each message; it becomes what the next call
/// for the same message needs. One block waits for the other, so no kernel is wide here.
pub fn encrypt(key: &Key, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
    for block in blocks {
        super::add(block, chain);
        key.kernel.crypt(Direction::Encrypt, core::slice::from_mut(block));
        *chain = *block;
    }
}

/// Inverse of [`encrypt`], as fast as any mode.
pub fn decrypt(key: &Key, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
    key.kernel.decrypt_chained(chain, blocks);
}

/// Decryption for kernels that add nothing themselves: `crypt` decrypts blocks on their own, their ciphertext is kept aside.
pub(super) fn decrypt_by_copies(
    chain: &mut [u8; BLOCK_BYTES],
    blocks: &mut [[u8; BLOCK_BYTES]],
    crypt: impl Fn(&mut [[u8; BLOCK_BYTES]]),
) {
    let mut before = [[0; BLOCK_BYTES]; PARALLEL_BLOCKS + 1];
    for group in blocks.chunks_mut(PARALLEL_BLOCKS) {
        before[0] = *chain;
        before[1..=group.len()].copy_from_slice(group);
        crypt(group);
        super::add(group.as_flattened_mut(), before.as_flattened());
        *chain = before[group.len()];
    }
}
