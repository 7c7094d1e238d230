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
        Self::with(super::Key::new(key))
    }

    /// A key of an expanded one.
    pub(super) fn with(cipher: super::Key) -> Self {
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

    /// Adds a long message's key stream and returns the tag, a piece after the other, so that the second pass over a piece
    /// finds it in the cache.
    fn pass(&self, hash: Hash, message: &mut Message<'_>) -> [u8; TAG_BYTES] {
        /// A whole number of kernel calls; half of the smallest first-level cache.
        const PIECE_BYTES: usize = 10 * PARALLEL_BLOCKS * BLOCK_BYTES;
        let mut mask = [0; TAG_BYTES];
        let mut running = self.hash.start();
        running.update_padded(message.aad);
        let mut counter = first_counter(&message.nonce);
        let mut first = Some(&mut mask);
        let mut left = &mut *message.data;
        while !left.is_empty() {
            let reserved = if first.is_some() { BLOCK_BYTES } else { 0 };
            let (piece, later) = left.split_at_mut(left.len().min(PIECE_BYTES - reserved));
            if hash == Hash::Before {
                running.update_padded(piece);
            }
            self.cipher.kernel.add_stream(&counter, first.take(), piece);
            if hash == Hash::After {
                running.update_padded(piece);
            }
            super::count(&mut counter, (PIECE_BYTES / BLOCK_BYTES) as u32);
            left = later;
        }
        let tag = add(running.finalize(message.aad.len(), message.data.len()), &mask);
        ct::wipe(&mut mask);
        tag
    }

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
    let mut message = Message { nonce: *nonce, aad, data, tag: [0; TAG_BYTES] };
    seal_each(key, core::slice::from_mut(&mut message), &mut [[0; TAG_BYTES]]);
    message.tag
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
    let mut message = Message { nonce: *nonce, aad, data, tag: *tag };
    let mut right = false;
    open_each(key, core::slice::from_mut(&mut message), &mut [[0; TAG_BYTES]], |_, verdict| right = verdict);
    if right { Ok(()) } else { Err(TagMismatch) }
}

/// Seals every message; the nonces must differ from each other and from all earlier ones.
///
/// # Panics
/// When a message is longer than [`MESSAGE_BYTES_MAX`].
pub fn seal_many(key: &Key, messages: &mut [Message<'_>]) {
    seal_each(key, messages, &mut vec![[0; TAG_BYTES]; messages.len()]);
}

/// Opens every message; `false` marks those whose tag was wrong, and their data is wiped.
///
/// # Panics
/// When a message is longer than [`MESSAGE_BYTES_MAX`].
pub fn open_many(key: &Key, messages: &mut [Message<'_>]) -> Vec<bool> {
    let mut verdicts = vec![false; messages.len()];
    let masks = &mut vec![[0; TAG_BYTES]; messages.len()];
    open_each(key, messages, masks, |index, verdict| verdicts[index] = verdict);
    verdicts
}

/// Seals all. `masks` has one place for each message, where the tag masks of short messages wait; wiped.
fn seal_each(key: &Key, messages: &mut [Message<'_>], masks: &mut [[u8; TAG_BYTES]]) {
    check_lengths(messages);
    add_short(key, messages, masks);
    for (message, mask) in messages.iter_mut().zip(&*masks) {
        message.tag = if is_short(message) {
            add(key.ghash(message.aad, message.data), mask)
        } else {
            key.pass(Hash::After, message)
        };
    }
    ct::wipe(masks.as_flattened_mut());
}

/// Opens all and reports each verdict. `masks` as for [`seal_each`].
fn open_each(
    key: &Key,
    messages: &mut [Message<'_>],
    masks: &mut [[u8; TAG_BYTES]],
    mut report: impl FnMut(usize, bool),
) {
    check_lengths(messages);
    let hash = |message: &Message<'_>| if is_short(message) { key.ghash(message.aad, message.data) } else { [0; 16] };
    // One hash waits beside its mask, so that a call for one message allocates nothing.
    let one = messages.first().map(hash).unwrap_or_default();
    let others: Vec<_> = messages.iter().skip(1).map(hash).collect();
    add_short(key, messages, masks);
    let hashes = core::iter::once(one).chain(others);
    for (index, ((message, hash), mask)) in messages.iter_mut().zip(hashes).zip(&*masks).enumerate() {
        let tag = if is_short(message) { add(hash, mask) } else { key.pass(Hash::Before, message) };
        let right = ct::eq(&tag, &message.tag);
        if !right {
            ct::wipe(message.data);
        }
        report(index, right);
    }
    ct::wipe(masks.as_flattened_mut());
}

fn check_lengths(messages: &[Message<'_>]) {
    let longest = messages.iter().map(|message| message.data.len() as u64).max().unwrap_or(0);
    assert!(longest <= MESSAGE_BYTES_MAX, "SM4-GCM: message longer than {MESSAGE_BYTES_MAX} bytes");
}

/// Longest message that shares kernel calls with others; a longer one fills calls by itself.
const SHORT_BYTES_MAX: usize = 24 * BLOCK_BYTES;

fn is_short(message: &Message<'_>) -> bool {
    message.data.len() <= SHORT_BYTES_MAX
}

fn add(a: [u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> [u8; TAG_BYTES] {
    core::array::from_fn(|i| a[i] ^ b[i])
}

/// Adds each short message's key stream to its data and writes its tag mask, `E(J₀)`; kernel calls are filled across messages.
fn add_short(key: &Key, messages: &mut [Message<'_>], masks: &mut [[u8; TAG_BYTES]]) {
    if !messages.iter().any(is_short) {
        return;
    }
    let mut stream = KeyStream::new();
    for index in 0..messages.len() {
        if !is_short(&messages[index]) {
            continue;
        }
        for block in 0..=messages[index].data.len().div_ceil(BLOCK_BYTES) {
            stream.push(index, block, &messages[index].nonce);
            if stream.filled == PARALLEL_BLOCKS {
                stream.flush(key, messages, masks);
            }
        }
    }
    stream.flush(key, messages, masks);
}

/// `J₀` of SP 800-38D 7.1.
fn first_counter(nonce: &[u8; NONCE_BYTES]) -> [u8; BLOCK_BYTES] {
    let mut counter = [0; BLOCK_BYTES];
    counter[..NONCE_BYTES].copy_from_slice(nonce);
    counter[BLOCK_BYTES - 1] = 1;
    counter
}

/// Counter blocks of one kernel call and where their encryption goes. Block 0 of a message is `J₀`, the tag's mask.
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
                    let data = &mut messages[message].data[position * BLOCK_BYTES..];
                    match data.first_chunk_mut::<BLOCK_BYTES>() {
                        Some(block) => *block = add(*block, pad),
                        None => super::add(data, pad),
                    }
                }
            }
        }
        ct::wipe(self.blocks[..self.filled].as_flattened_mut());
        self.filled = 0;
    }
}
