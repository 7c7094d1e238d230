//! Many messages side by side, one per lane of a vector kernel.
//!
//! ```text
//! messages ── at most 4 blocks, grouped by number of blocks ──▶ waves: all lanes begin and end together
//!          └─ longer ones, and what was too few for a wave ───▶ jobs: a lane that ends takes the next message
//! ```
//!
//! Both work in space that does not grow with the number of messages. Grouping looks at lengths only, never at contents.

mod jobs;
mod messages;
mod waves;

pub(super) use messages::{Cut, Messages, Whole};

use super::{BLOCK_BYTES, IV, single};

/// One block of a message.
pub(super) type Block = [u8; BLOCK_BYTES];

/// Lanes that are cheaper one after the other than side by side.
pub(super) const ALONE_MAX: usize = 3;

/// Chaining values: row `i` holds word `i` of every lane.
#[derive(Clone)]
#[repr(align(64))]
pub(super) struct States<const N: usize>(pub(super) [[u32; N]; 8]);

impl<const N: usize> States<N> {
    fn splat(state: &[u32; 8]) -> Self {
        Self(state.map(|word| [word; N]))
    }

    pub(super) fn lane(&self, lane: usize) -> [u32; 8] {
        core::array::from_fn(|word| self.0[word][lane])
    }

    pub(super) fn set_lane(&mut self, lane: usize, state: &[u32; 8]) {
        for (row, word) in self.0.iter_mut().zip(state) {
            row[lane] = *word;
        }
    }
}

impl<const N: usize> Drop for States<N> {
    fn drop(&mut self) {
        super::wipe(self.0.as_flattened_mut(), 0);
    }
}

/// What a lane folds as one block: bytes, then perhaps padding (GB/T 32905 5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail<'a> {
    /// The first 64 bytes count, if there are more.
    pub(super) data: &'a [u8],
    /// Whether 0x80 follows `data`; only where `data` is shorter than a block.
    pub(super) mark: bool,
    /// The message's length, for its last block; else 0.
    pub(super) length_bits: u64,
}

impl Tail<'_> {
    /// The block in memory, for kernels that cannot build it in registers.
    pub(super) fn block(&self) -> Block {
        let mut block = [0; BLOCK_BYTES];
        let bytes = self.data.len().min(BLOCK_BYTES);
        block[..bytes].copy_from_slice(&self.data[..bytes]);
        if self.mark {
            block[bytes] = 0x80;
        }
        if self.length_bits > 0 {
            block[BLOCK_BYTES - 8..].copy_from_slice(&self.length_bits.to_be_bytes());
        }
        block
    }
}

/// A compression function on `N` lanes. Only the first `live` lanes need be computed; data of the others is valid and ignored.
pub(super) trait Kernel<const N: usize> {
    /// Folds `count` whole blocks of every lane.
    ///
    /// # Panics
    /// When a lane has fewer.
    fn blocks(&mut self, states: &mut States<N>, data: &[&[Block]; N], count: usize, live: usize);

    /// Folds one block of every lane.
    fn tails(&mut self, states: &mut States<N>, tails: &[Tail<'_>; N], live: usize) {
        let mut blocks: [Block; N] = core::array::from_fn(|lane| tails[lane].block());
        self.blocks(states, &core::array::from_fn(|lane| &blocks[lane..=lane]), 1, live);
        super::wipe(blocks.as_flattened_mut(), 0);
    }

    /// Folds a block of padding alone into every lane: the end of messages of whole blocks, all equally long.
    fn padding(&mut self, states: &mut States<N>, length_bits: u64, live: usize) {
        let block = Tail { data: &[], mark: true, length_bits }.block();
        self.blocks(states, &[core::slice::from_ref(&block); N], 1, live);
    }

    /// The chaining values as bytes.
    fn digests(&self, states: &States<N>, out: &mut [[u8; 32]; N]) {
        for (lane, out) in out.iter_mut().enumerate() {
            *out = super::to_bytes(&states.lane(lane));
        }
    }
}

/// Where hashing starts: the standard's initial value, or the state after whole blocks common to all messages.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) state: [u32; 8],
    /// Bytes folded into `state`, a multiple of the block.
    pub(super) bytes: u64,
}

impl Drop for Start {
    fn drop(&mut self) {
        super::wipe(&mut self.state, 0);
    }
}

impl Start {
    /// The standard's initial value.
    pub(super) const IV: Self = Self { state: IV, bytes: 0 };
}

/// Digests of all messages, each appended to what `start` stands for.
pub(super) fn digest_all<const N: usize>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    messages: &impl Messages,
    out: &mut [[u8; 32]],
) {
    assert_eq!(messages.count(), out.len(), "one digest per message");
    if messages.count() <= ALONE_MAX {
        return digest_alone(start, messages, out);
    }
    let leftovers = waves::run(kernel, start, messages, out);
    jobs::run(kernel, start, messages, leftovers.indices(messages), out);
}

/// One message after the other.
pub(super) fn digest_alone(start: &Start, messages: &impl Messages, out: &mut [[u8; 32]]) {
    for (index, out) in out.iter_mut().enumerate() {
        let mut hasher = super::Hasher::resume(start);
        messages.parts(index).iter().for_each(|part| hasher.update(part));
        *out = hasher.finalize();
    }
}

/// Folds whole blocks of one lane.
fn fold_alone(state: &mut [u32; 8], blocks: &[Block]) {
    single::compress(state, blocks);
}

/// Blocks of a message of `bytes` bytes, its padding included.
fn padded_blocks(bytes: usize) -> usize {
    (bytes + 8) / BLOCK_BYTES + 1
}
