//! Many messages at once: short ones share kernel calls, and so do the tag masks of all.

use super::{BLOCK_BYTES, Hash, Key, NONCE_BYTES, PARALLEL_BLOCKS, TAG_BYTES, add, check_length, keep_if_right};
use crate::ct;

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

/// Longest message that shares kernel calls with others; a longer one fills calls by itself.
const SHORT_BYTES_MAX: usize = 63 * BLOCK_BYTES;

impl Message<'_> {
    fn is_short(&self) -> bool {
        self.data.len() <= SHORT_BYTES_MAX
    }

    fn hash(&self, key: &Key) -> [u8; TAG_BYTES] {
        key.ghash(self.aad, self.data)
    }

    /// Adds a long message's key stream and returns its tag.
    fn pass(&mut self, key: &Key, hash: Hash, mask: &[u8; TAG_BYTES]) -> [u8; TAG_BYTES] {
        key.pass(hash, &self.nonce, self.aad, self.data, Some(mask))
    }
}

/// Seals every message; the nonces must differ from each other and from all earlier ones.
///
/// # Panics
/// When a message is longer than [`super::MESSAGE_BYTES_MAX`].
pub fn seal_many(key: &Key, messages: &mut [Message<'_>]) {
    let mut masks = KeyStream::add_all(key, messages);
    for (message, mask) in messages.iter_mut().zip(&masks) {
        let short = message.is_short();
        message.tag = if short { add(message.hash(key), mask) } else { message.pass(key, Hash::After, mask) };
    }
    ct::wipe(masks.as_flattened_mut());
}

/// Opens every message; `false` marks those whose tag was wrong, and their data is wiped.
///
/// # Panics
/// When a message is longer than [`super::MESSAGE_BYTES_MAX`].
pub fn open_many(key: &Key, messages: &mut [Message<'_>]) -> Vec<bool> {
    let hash = |message: &Message<'_>| if message.is_short() { message.hash(key) } else { [0; TAG_BYTES] };
    let mut hashes: Vec<_> = messages.iter().map(hash).collect();
    let mut masks = KeyStream::add_all(key, messages);
    let open = |((message, hash), mask): ((&mut Message<'_>, &[u8; TAG_BYTES]), &_)| {
        let short = message.is_short();
        let expected = if short { add(*hash, mask) } else { message.pass(key, Hash::Before, mask) };
        keep_if_right(&expected, &message.tag, message.data)
    };
    let verdicts = messages.iter_mut().zip(&hashes).zip(&masks).map(open).collect();
    ct::wipe(masks.as_flattened_mut());
    // With the tag each is a mask again, and an equation for the hash key.
    ct::wipe(hashes.as_flattened_mut());
    verdicts
}

/// Counter blocks of one kernel call and where their encryption goes.
struct KeyStream {
    blocks: [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS],
    filled: usize,
    runs: [Run; PARALLEL_BLOCKS],
    runs_filled: usize,
}

/// Neighbouring blocks of one message. Block 0 is `J₀`, the tag's mask.
#[derive(Clone, Copy)]
struct Run {
    message: usize,
    first: usize,
    count: usize,
}

impl KeyStream {
    /// Adds each short message's key stream to its data and returns the tag masks of all.
    fn add_all(key: &Key, messages: &mut [Message<'_>]) -> Vec<[u8; TAG_BYTES]> {
        messages.iter().for_each(|message| check_length(message.data));
        let mut masks = vec![[0; TAG_BYTES]; messages.len()];
        let mut stream = Self {
            blocks: [[0; BLOCK_BYTES]; PARALLEL_BLOCKS],
            filled: 0,
            runs: [Run { message: 0, first: 0, count: 0 }; PARALLEL_BLOCKS],
            runs_filled: 0,
        };
        for index in 0..messages.len() {
            let message = &messages[index];
            let blocks = if message.is_short() { message.data.len().div_ceil(BLOCK_BYTES) } else { 0 };
            let mut first = 0;
            while first <= blocks {
                let count = (blocks + 1 - first).min(PARALLEL_BLOCKS - stream.filled);
                stream.push(&messages[index].nonce, Run { message: index, first, count });
                first += count;
                if stream.filled == PARALLEL_BLOCKS {
                    stream.flush(key, messages, &mut masks);
                }
            }
        }
        stream.flush(key, messages, &mut masks);
        ct::wipe(stream.blocks.as_flattened_mut());
        masks
    }

    fn push(&mut self, nonce: &[u8; NONCE_BYTES], run: Run) {
        let mut counter = [0; BLOCK_BYTES];
        counter[..NONCE_BYTES].copy_from_slice(nonce);
        for (i, block) in self.blocks[self.filled..][..run.count].iter_mut().enumerate() {
            counter[NONCE_BYTES..].copy_from_slice(&((run.first + i) as u32 + 1).to_be_bytes());
            *block = counter;
        }
        self.filled += run.count;
        self.runs[self.runs_filled] = run;
        self.runs_filled += 1;
    }

    /// Encrypts what is filled and gives every run its part.
    fn flush(&mut self, key: &Key, messages: &mut [Message<'_>], masks: &mut [[u8; TAG_BYTES]]) {
        key.cipher.encrypt_blocks(&mut self.blocks[..self.filled]);
        let mut left = &self.blocks[..self.filled];
        for run in &self.runs[..self.runs_filled] {
            let pads;
            (pads, left) = left.split_at(run.count);
            let pads = match pads {
                [mask, pads @ ..] if run.first == 0 => {
                    masks[run.message] = *mask;
                    pads
                }
                pads => pads,
            };
            let data = &mut messages[run.message].data[run.first.saturating_sub(1) * BLOCK_BYTES..];
            crate::sm4::add(data, pads.as_flattened());
        }
        (self.filled, self.runs_filled) = (0, 0);
    }
}
