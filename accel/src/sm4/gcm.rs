//! SM4-GCM (RFC 8998 section 2, SP 800-38D) with 12-byte nonces and 16-byte tags.
//!
//! A nonce must never repeat under a key; choosing nonces is the caller's duty.
//! [`seal_many`] and [`open_many`] fill the kernel with blocks of many short messages at once.

mod many;

use super::ghash::HashKey;
use super::{BLOCK_BYTES, KEY_BYTES, PARALLEL_BLOCKS, STACK_BYTES};
use crate::ct;
use core::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use many::{Message, open_many, seal_many};

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// SP 800-38D 5.2.1.1: the most data one message may carry.
pub const MESSAGE_BYTES_MAX: u64 = (1 << 36) - 32;

/// The tag does not belong to this key, nonce, associated data and ciphertext; the data was wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SM4-GCM: the tag does not match; the data was altered or another key, nonce or associated data was used")]
pub struct TagMismatch;

/// An SM4 key with its hash key, wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct Key {
    cipher: super::Key,
    hash: HashKey,
}

impl Key {
    /// Expands a key.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self::with(super::Key::new(key))
    }

    /// A key of an expanded one.
    pub(super) fn with(cipher: super::Key) -> Self {
        let hash = ct::on_wiped_stack::<STACK_BYTES, _>(|| {
            let mut h = [[0; BLOCK_BYTES]];
            cipher.encrypt_blocks(&mut h);
            let hash = HashKey::new(&h[0]);
            h.zeroize();
            hash
        });
        Self { cipher, hash }
    }

    #[cfg(test)]
    pub(super) fn portable(key: &[u8; KEY_BYTES]) -> Self {
        let cipher = super::Key::portable(key);
        let mut h = [[0; BLOCK_BYTES]];
        cipher.encrypt_blocks(&mut h);
        Self { cipher, hash: HashKey::portable(&h[0]) }
    }

    /// Adds a message's key stream and returns the tag, a piece after the other, so that the second pass over a piece finds it in
    /// the cache. `mask` is the tag's, `E(J₀)`, where it was computed before.
    fn pass(
        &self,
        hash: Hash,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        data: &mut [u8],
        mask: Option<&[u8; TAG_BYTES]>,
    ) -> [u8; TAG_BYTES] {
        /// A whole number of kernel calls; half of the smallest first-level cache.
        const PIECE_BYTES: usize = 8 * PARALLEL_BLOCKS * BLOCK_BYTES;
        let mut counter = first_counter(nonce);
        let mut own_mask = [0; TAG_BYTES];
        // Where no mask came along, the first block of key stream is one.
        let mut first = Some(&mut own_mask);
        if let Some(mask) = mask {
            *first.take().expect("set above") = *mask;
            super::count(&mut counter, 1);
        }
        let mut running = self.hash.start();
        running.update_padded(aad);
        let (aad_bytes, data_bytes, mut left) = (aad.len(), data.len(), data);
        while first.is_some() || !left.is_empty() {
            let (piece, later) = left.split_at_mut(left.len().min(PIECE_BYTES));
            if hash == Hash::Before {
                running.update_padded(piece);
            }
            let first = first.take();
            let used = (PIECE_BYTES / BLOCK_BYTES) as u32 + u32::from(first.is_some());
            self.cipher.kernel.add_stream(&counter, first, piece);
            if hash == Hash::After {
                running.update_padded(piece);
            }
            super::count(&mut counter, used);
            left = later;
        }
        let tag = add(running.finalize(aad_bytes, data_bytes), &own_mask);
        ct::wipe(&mut own_mask);
        tag
    }

    /// The hash of a whole message.
    fn ghash(&self, aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
        if let Some(hash) = self.hash.of_short(aad, ciphertext) {
            return hash;
        }
        let mut hash = self.hash.start();
        hash.update_padded(aad);
        hash.update_padded(ciphertext);
        hash.finalize(aad.len(), ciphertext.len())
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sm4::gcm::Key(..)")
    }
}

/// Which side of the key stream is hashed: the ciphertext's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    /// Opening.
    Before,
    /// Sealing.
    After,
}

/// Encrypts `data` in place and returns the tag.
///
/// # Panics
/// When `data` is longer than [`MESSAGE_BYTES_MAX`].
pub fn seal(key: &Key, nonce: &[u8; NONCE_BYTES], aad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
    check_length(data);
    key.pass(Hash::After, nonce, aad, data, None)
}

/// Decrypts `data` in place when `tag` is right; otherwise `data` is wiped.
///
/// # Panics
/// When `data` is longer than [`MESSAGE_BYTES_MAX`].
pub fn open(
    key: &Key,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Result<(), TagMismatch> {
    check_length(data);
    let expected = key.pass(Hash::Before, nonce, aad, data, None);
    if keep_if_right(&expected, tag, data) { Ok(()) } else { Err(TagMismatch) }
}

/// [`open`] that decrypts only the blocks `part` touches: all of `data` is authenticated, what lies outside stays ciphertext. For a
/// short read from a long message.
///
/// # Panics
/// When `data` is longer than [`MESSAGE_BYTES_MAX`] or `part` is not within it.
pub fn open_part(
    key: &Key,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_BYTES],
    part: Range<usize>,
) -> Result<(), TagMismatch> {
    assert!(part.start <= part.end && part.end <= data.len(), "SM4-GCM: a part outside the message");
    let blocks = part.start / BLOCK_BYTES..part.end.div_ceil(BLOCK_BYTES);
    if blocks.len() == data.len().div_ceil(BLOCK_BYTES) {
        return open(key, nonce, aad, data, tag);
    }
    check_length(data);
    let mut counter = first_counter(nonce);
    let mut mask = [counter];
    key.cipher.encrypt_blocks(&mut mask);
    let expected = add(key.ghash(aad, data), &mask[0]);
    ct::wipe(mask.as_flattened_mut());
    if !keep_if_right(&expected, tag, data) {
        return Err(TagMismatch);
    }
    super::count(&mut counter, 1 + blocks.start as u32);
    let end = data.len().min(blocks.end * BLOCK_BYTES);
    key.cipher.kernel.add_stream(&counter, None, &mut data[blocks.start * BLOCK_BYTES..end]);
    Ok(())
}

/// Whether the tags are equal; wipes `data` when they are not. Not inlined: the test of the flow of secrets knows it by its name.
#[inline(never)]
fn keep_if_right(expected: &[u8; TAG_BYTES], tag: &[u8; TAG_BYTES], data: &mut [u8]) -> bool {
    let right = ct::eq(expected, tag);
    if !right {
        ct::wipe(data);
    }
    right
}

fn check_length(data: &[u8]) {
    assert!(data.len() as u64 <= MESSAGE_BYTES_MAX, "SM4-GCM: message longer than {MESSAGE_BYTES_MAX} bytes");
}

fn add(a: [u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> [u8; TAG_BYTES] {
    core::array::from_fn(|i| a[i] ^ b[i])
}

/// `J₀` of SP 800-38D 7.1.
fn first_counter(nonce: &[u8; NONCE_BYTES]) -> [u8; BLOCK_BYTES] {
    let mut counter = [0; BLOCK_BYTES];
    counter[..NONCE_BYTES].copy_from_slice(nonce);
    counter[BLOCK_BYTES - 1] = 1;
    counter
}
