//! SM4-GCM (RFC 8998 section 2, SP 800-38D) with 12-byte nonces and 16-byte tags.
//!
//! A nonce must never repeat under a key; choosing nonces is the caller's duty.
//! [`seal_many`] and [`open_many`] fill the kernel with blocks of many short messages at once.

use super::ghash::HashKey;
use super::{BLOCK_BYTES, KEY_BYTES, PARALLEL_BLOCKS};
use crate::ct;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
        let cipher = super::Key::new(key);
        let mut h = [[0; BLOCK_BYTES]];
        cipher.encrypt_blocks(&mut h);
        let hash = HashKey::new(&h[0]);
        h.zeroize();
        Self { cipher, hash }
    }

    #[cfg(test)]
    pub(super) fn portable(key: &[u8; KEY_BYTES]) -> Self {
        let cipher = super::Key::portable(key);
        let mut h = [[0; BLOCK_BYTES]];
        cipher.encrypt_blocks(&mut h);
        Self { cipher, hash: HashKey::portable(&h[0]) }
    }

    fn ghash(&self, aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
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

/// One message of a batch.
#[derive(Debug)]
pub struct Message<'a> {
    /// Unique under the key.
    pub nonce: [u8; NONCE_BYTES],
    /// Authenticated, not encrypted.
    pub aad: &'a [u8],
    /// Plaintext or ciphertext, replaced by the other.
    pub data: &'a mut [u8],
    /// Written by [`seal_many`], read by [`open_many`].
    pub tag: [u8; TAG_BYTES],
}

/// Encrypts `data` in place and returns the tag.
///
/// # Panics
/// When `data` is longer than [`MESSAGE_BYTES_MAX`].
pub fn seal(key: &Key, nonce: &[u8; NONCE_BYTES], aad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
    let mut message = [Message { nonce: *nonce, aad, data, tag: [0; TAG_BYTES] }];
    seal_many(key, &mut message);
    message[0].tag
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
    let mut message = [Message { nonce: *nonce, aad, data, tag: *tag }];
    if open_each(key, &mut message, |_, _| ()) { Ok(()) } else { Err(TagMismatch) }
}

/// Seals every message; the nonces must differ from each other and from all earlier ones.
///
/// # Panics
/// When a message is longer than [`MESSAGE_BYTES_MAX`].
pub fn seal_many(key: &Key, messages: &mut [Message<'_>]) {
    let mut tag_masks = vec![[0; TAG_BYTES]; messages.len()];
    apply_many(key, messages, &mut tag_masks);
    for (message, mask) in messages.iter_mut().zip(&tag_masks) {
        message.tag = add(key.ghash(message.aad, message.data), mask);
    }
    tag_masks.zeroize();
}

/// Opens every message; `false` marks those whose tag was wrong, and their data is wiped.
///
/// # Panics
/// When a message is longer than [`MESSAGE_BYTES_MAX`].
pub fn open_many(key: &Key, messages: &mut [Message<'_>]) -> Vec<bool> {
    let mut verdicts = vec![false; messages.len()];
    open_each(key, messages, |index, verdict| verdicts[index] = verdict);
    verdicts
}

/// Opens all, reports each verdict, returns whether all were right.
fn open_each(key: &Key, messages: &mut [Message<'_>], mut report: impl FnMut(usize, bool)) -> bool {
    let hashes: Vec<_> = messages.iter().map(|message| key.ghash(message.aad, message.data)).collect();
    let mut tag_masks = vec![[0; TAG_BYTES]; messages.len()];
    apply_many(key, messages, &mut tag_masks);
    let mut all = true;
    for (index, (message, (hash, mask))) in messages.iter_mut().zip(hashes.into_iter().zip(&tag_masks)).enumerate() {
        let right = ct::eq(&add(hash, mask), &message.tag);
        if !right {
            message.data.zeroize();
        }
        all &= right;
        report(index, right);
    }
    tag_masks.zeroize();
    all
}

fn add(a: [u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> [u8; TAG_BYTES] {
    core::array::from_fn(|i| a[i] ^ b[i])
}

/// From this many blocks on a message fills kernel calls by itself.
const LONG_BLOCKS: usize = 24;

/// Adds each message's key stream to its data and writes each tag mask, `E(J₀)`; kernel calls are filled across short messages.
fn apply_many(key: &Key, messages: &mut [Message<'_>], tag_masks: &mut [[u8; TAG_BYTES]]) {
    let mut stream = KeyStream::new();
    for index in 0..messages.len() {
        let data_bytes = messages[index].data.len();
        assert!(data_bytes as u64 <= MESSAGE_BYTES_MAX, "SM4-GCM: message longer than {MESSAGE_BYTES_MAX} bytes");
        if data_bytes > LONG_BLOCKS * BLOCK_BYTES {
            let message = &mut messages[index];
            key.cipher.add_stream(&first_counter(&message.nonce), Some(&mut tag_masks[index]), message.data);
            continue;
        }
        for block in 0..=data_bytes.div_ceil(BLOCK_BYTES) {
            stream.push(index, block, &messages[index].nonce);
            if stream.filled == PARALLEL_BLOCKS {
                stream.flush(key, messages, tag_masks);
            }
        }
    }
    stream.flush(key, messages, tag_masks);
}

/// `J₀` of SP 800-38D 7.1.
fn first_counter(nonce: &[u8; NONCE_BYTES]) -> [u8; BLOCK_BYTES] {
    let mut counter = [0; BLOCK_BYTES];
    counter[..NONCE_BYTES].copy_from_slice(nonce);
    counter[BLOCK_BYTES - 1] = 1;
    counter
}

/// Counter blocks of one kernel call and where their encryption goes. Block 0 of a message is `J₀`, the tag's mask.
#[derive(ZeroizeOnDrop)]
struct KeyStream {
    blocks: [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS],
    places: [(usize, usize); PARALLEL_BLOCKS],
    filled: usize,
}

impl KeyStream {
    fn new() -> Self {
        Self { blocks: [[0; BLOCK_BYTES]; PARALLEL_BLOCKS], places: [(0, 0); PARALLEL_BLOCKS], filled: 0 }
    }

    fn push(&mut self, message: usize, block: usize, nonce: &[u8; NONCE_BYTES]) {
        let counter = &mut self.blocks[self.filled];
        counter[..NONCE_BYTES].copy_from_slice(nonce);
        counter[NONCE_BYTES..].copy_from_slice(&(block as u32 + 1).to_be_bytes());
        self.places[self.filled] = (message, block);
        self.filled += 1;
    }

    fn flush(&mut self, key: &Key, messages: &mut [Message<'_>], tag_masks: &mut [[u8; TAG_BYTES]]) {
        key.cipher.encrypt_blocks(&mut self.blocks[..self.filled]);
        for (pad, &(message, block)) in self.blocks.iter().zip(&self.places[..self.filled]) {
            match block.checked_sub(1) {
                None => tag_masks[message] = *pad,
                Some(position) => {
                    for (byte, pad) in messages[message].data[position * BLOCK_BYTES..].iter_mut().zip(pad) {
                        *byte ^= pad;
                    }
                }
            }
        }
        self.filled = 0;
    }
}
