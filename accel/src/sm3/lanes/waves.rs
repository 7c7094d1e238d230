//! Short messages of equal block counts, started and ended together: no lane ever waits for another.

use super::super::{BLOCK_BYTES, wipe};
use super::{Kernel, Messages, Start, States, Tail, padded_blocks};

/// Messages of more blocks are left to [`super::jobs`].
const BLOCKS_MAX: usize = 8;

/// Messages that found no wave.
pub(super) struct Leftovers<const N: usize> {
    waiting: [[usize; N]; BLOCKS_MAX],
    counts: [usize; BLOCKS_MAX],
    has_long: bool,
}

impl<const N: usize> Leftovers<N> {
    /// Their indices, longest first as far as that costs nothing: a long one begun late would run alone.
    pub(super) fn indices<M: Messages>(&self, messages: &M) -> impl Iterator<Item = usize> {
        let scanned = if self.has_long { messages.count() } else { 0 };
        let long = (0..scanned).filter(|index| padded_blocks(messages.bytes(*index)) > BLOCKS_MAX);
        let short = self.waiting.iter().zip(&self.counts).rev().flat_map(|(waiting, count)| &waiting[..*count]);
        long.chain(short.copied())
    }
}

/// Digests the messages that fill waves.
pub(super) fn run<const N: usize, M: Messages>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    messages: &M,
    out: &mut [[u8; 32]],
) -> Leftovers<N> {
    let mut left = Leftovers { waiting: [[0; N]; BLOCKS_MAX], counts: [0; BLOCKS_MAX], has_long: false };
    for index in 0..messages.count() {
        let blocks = padded_blocks(messages.bytes(index));
        if blocks > BLOCKS_MAX {
            left.has_long = true;
            continue;
        }
        let (waiting, count) = (&mut left.waiting[blocks - 1], &mut left.counts[blocks - 1]);
        waiting[*count] = index;
        *count += 1;
        if *count == N {
            wave(kernel, start, messages, waiting, blocks, out);
            *count = 0;
        }
    }
    for (class, count) in left.counts.iter_mut().enumerate() {
        // A quarter of the lanes is worth a wave of its own.
        if *count >= N / 4 {
            wave(kernel, start, messages, &left.waiting[class][..*count], class + 1, out);
            *count = 0;
        }
    }
    left
}

/// Digests messages `indices`, at most `N` and all of `blocks` blocks.
fn wave<const N: usize, M: Messages>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    messages: &M,
    indices: &[usize],
    blocks: usize,
    out: &mut [[u8; 32]],
) {
    let mut digests = [[0; 32]; N];
    // Lanes without a message of their own repeat the first.
    let of_lane = |lane: usize| messages.parts(*indices.get(lane).unwrap_or(&indices[0]));
    if M::CUT {
        let mut gathered = [[0; BLOCKS_MAX * BLOCK_BYTES]; N];
        let lengths: [usize; N] = core::array::from_fn(|lane| gather(of_lane(lane), &mut gathered[lane]));
        let data = core::array::from_fn(|lane| &gathered[lane][..lengths[lane]]);
        digest_wave(kernel, start, &data, blocks, indices.len(), &mut digests);
        wipe(gathered.as_flattened_mut(), 0);
    } else {
        let data = core::array::from_fn(|lane| of_lane(lane)[0]);
        digest_wave(kernel, start, &data, blocks, indices.len(), &mut digests);
    }
    for (index, digest) in indices.iter().zip(digests) {
        out[*index] = digest;
    }
}

/// Concatenates `parts`; returns their length.
fn gather(parts: &[&[u8]], buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    for part in parts {
        buffer[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    filled
}

fn digest_wave<const N: usize>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    data: &[&[u8]; N],
    blocks: usize,
    live: usize,
    digests: &mut [[u8; 32]; N],
) {
    let mut states = States::splat(&start.state);
    let shortest = data.iter().map(|data| data.len()).min().unwrap_or(0);
    let whole = shortest / BLOCK_BYTES;
    if whole > 0 {
        kernel.blocks(&mut states, &data.map(|data| data.as_chunks().0), whole, live);
    }
    let equal = data.iter().all(|data| data.len() == shortest);
    if equal && shortest % BLOCK_BYTES == 0 {
        let padding = Tail { data: &[], mark: true, length_bits: length_bits(start, shortest) };
        kernel.same(&mut states, &padding.block(), live);
    } else {
        for block in whole..blocks {
            let tails = data.map(|data| {
                let at = block * BLOCK_BYTES;
                let last = block + 1 == blocks;
                Tail {
                    data: data.get(at..).unwrap_or_default(),
                    mark: (at..at + BLOCK_BYTES).contains(&data.len()),
                    length_bits: if last { length_bits(start, data.len()) } else { 0 },
                }
            });
            kernel.tails(&mut states, &tails, live);
        }
    }
    kernel.digests(&states, digests);
}

fn length_bits(start: &Start, bytes: usize) -> u64 {
    (start.bytes + bytes as u64) << 3
}
