//! Messages of equal block counts, started and ended together: no lane ever waits for another.

use super::super::{BLOCK_BYTES, wipe};
use super::{ALONE_MAX, Kernel, Messages, Start, States, Tail, padded_blocks};

/// Where block counts differ, only messages of so few blocks are collected for waves.
const BLOCKS_MAX: usize = 4;

/// Room to concatenate a message in.
type Gathered = [u8; BLOCKS_MAX * BLOCK_BYTES];

/// Messages that found no wave.
pub(super) struct Leftovers<const N: usize> {
    waiting: [[usize; N]; BLOCKS_MAX],
    counts: [usize; BLOCKS_MAX],
    /// Whether some of more blocks were passed over.
    has_long: bool,
    /// Of messages that all have one block count: the first left over.
    rest: usize,
}

impl<const N: usize> Leftovers<N> {
    const NONE: Self =
        Self { waiting: [[0; N]; BLOCKS_MAX], counts: [0; BLOCKS_MAX], has_long: false, rest: usize::MAX };

    /// Their indices, longest first as far as that costs nothing: a long one begun late would run alone.
    pub(super) fn indices<M: Messages>(&self, messages: &M) -> impl Iterator<Item = usize> {
        let scanned = if self.has_long { messages.count() } else { 0 };
        let long = (0..scanned).filter(|index| padded_blocks(messages.bytes(*index)) > BLOCKS_MAX);
        let short = self.waiting.iter().zip(&self.counts).rev().flat_map(|(waiting, count)| &waiting[..*count]);
        long.chain(short.copied()).chain(self.rest..messages.count())
    }
}

/// Digests the messages that fill waves.
pub(super) fn run<const N: usize, M: Messages>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    messages: &M,
    out: &mut [[u8; 32]],
) -> Leftovers<N> {
    if M::CUT {
        let mut room = [[0; BLOCKS_MAX * BLOCK_BYTES]; N];
        let left = Waves { kernel, start, messages, room: &mut room }.run(out);
        wipe(room.as_flattened_mut(), 0);
        left
    } else {
        Waves { kernel, start, messages, room: &mut [] }.run(out)
    }
}

struct Waves<'w, K, M> {
    kernel: &'w mut K,
    start: &'w Start,
    messages: &'w M,
    /// One entry per lane, if messages may have parts.
    room: &'w mut [Gathered],
}

impl<K, M: Messages> Waves<'_, K, M> {
    fn run<const N: usize>(&mut self, out: &mut [[u8; 32]]) -> Leftovers<N>
    where
        K: Kernel<N>,
    {
        let blocks = padded_blocks(self.messages.bytes(0));
        let fits = |index| padded_blocks(self.messages.bytes(index)) == blocks && self.messages.parts(index).len() == 1;
        if (0..self.messages.count()).all(fits) { self.run_equal(blocks, out) } else { self.run_sorted(out) }
    }

    /// All messages have `blocks` blocks and lie in one part.
    fn run_equal<const N: usize>(&mut self, blocks: usize, out: &mut [[u8; 32]]) -> Leftovers<N>
    where
        K: Kernel<N>,
    {
        let count = self.messages.count();
        for first in (0..count).step_by(N) {
            let live = N.min(count - first);
            if live <= ALONE_MAX {
                return Leftovers { rest: first, ..Leftovers::NONE };
            }
            // Lanes without a message of their own repeat the first.
            let data = core::array::from_fn(|lane| self.messages.parts(first + if lane < live { lane } else { 0 })[0]);
            let out = &mut out[first..first + live];
            if let Ok(out) = out.try_into() {
                self.digest(&data, blocks, live, out);
            } else {
                let mut digests = [[0; 32]; N];
                self.digest(&data, blocks, live, &mut digests);
                out.copy_from_slice(&digests[..live]);
                wipe_keyed::<M>(&mut digests);
            }
        }
        Leftovers::NONE
    }

    /// Short messages wait until a wave of their block count is full.
    fn run_sorted<const N: usize>(&mut self, out: &mut [[u8; 32]]) -> Leftovers<N>
    where
        K: Kernel<N>,
    {
        let mut left = Leftovers::NONE;
        for index in 0..self.messages.count() {
            let blocks = padded_blocks(self.messages.bytes(index));
            if blocks > BLOCKS_MAX {
                left.has_long = true;
                continue;
            }
            let (waiting, count) = (&mut left.waiting[blocks - 1], &mut left.counts[blocks - 1]);
            waiting[*count] = index;
            *count += 1;
            if *count == N {
                self.wave(waiting, blocks, out);
                *count = 0;
            }
        }
        for (class, count) in left.counts.iter_mut().enumerate() {
            // Worth lanes of their own.
            if *count >= N / 8 {
                self.wave::<N>(&left.waiting[class][..*count], class + 1, out);
                *count = 0;
            }
        }
        left
    }

    /// Digests messages `indices`, at most `N` and all of `blocks` blocks.
    fn wave<const N: usize>(&mut self, indices: &[usize], blocks: usize, out: &mut [[u8; 32]])
    where
        K: Kernel<N>,
    {
        let room = core::mem::take(&mut self.room);
        let mut lengths = [None; N];
        for ((buffer, length), index) in room.iter_mut().zip(&mut lengths).zip(indices) {
            let parts = self.messages.parts(*index);
            *length = (parts.len() != 1).then(|| gather(parts, buffer));
        }
        let data = core::array::from_fn(|lane| {
            let lane = if lane < indices.len() { lane } else { 0 };
            lengths[lane].map_or_else(|| self.messages.parts(indices[lane])[0], |length| &room[lane][..length])
        });
        let mut digests = [[0; 32]; N];
        self.digest(&data, blocks, indices.len(), &mut digests);
        for (index, digest) in indices.iter().zip(&digests) {
            out[*index] = *digest;
        }
        wipe_keyed::<M>(&mut digests);
        self.room = room;
    }

    /// Digests one message of `blocks` blocks per lane.
    fn digest<const N: usize>(&mut self, data: &[&[u8]; N], blocks: usize, live: usize, digests: &mut [[u8; 32]; N])
    where
        K: Kernel<N>,
    {
        let mut states = States::splat(&self.start.state);
        let (shortest, longest) =
            data.iter().fold((usize::MAX, 0), |(min, max), data| (min.min(data.len()), max.max(data.len())));
        let whole = shortest / BLOCK_BYTES;
        if whole > 0 {
            self.kernel.blocks(&mut states, &data.map(|data| data.as_chunks().0), whole, live);
        }
        if shortest == longest && shortest % BLOCK_BYTES == 0 {
            self.kernel.padding(&mut states, self.length_bits(shortest), live);
        } else {
            for block in whole..blocks {
                let at = block * BLOCK_BYTES;
                let tails = data.map(|data| Tail {
                    data: data.get(at..).unwrap_or_default(),
                    mark: (at..at + BLOCK_BYTES).contains(&data.len()),
                    length_bits: if block + 1 == blocks { self.length_bits(data.len()) } else { 0 },
                });
                self.kernel.tails(&mut states, &tails, live);
            }
        }
        self.kernel.digests(&states, digests);
    }

    fn length_bits(&self, bytes: usize) -> u64 {
        (self.start.bytes + bytes as u64) << 3
    }
}

/// Messages in parts begin with keys: their digests are key stream, or keys themselves.
fn wipe_keyed<M: Messages>(digests: &mut [[u8; 32]]) {
    if M::CUT {
        wipe(digests.as_flattened_mut(), 0);
    }
}

/// Concatenates `parts`; returns their length.
fn gather(parts: &[&[u8]], buffer: &mut Gathered) -> usize {
    let mut filled = 0;
    for part in parts {
        copy_short(&mut buffer[filled..filled + part.len()], part);
        filled += part.len();
    }
    filled
}

/// Copies a few bytes in place, where a call would take longer than the copy: two overlapping words do for most lengths.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    fn ends<const W: usize>(to: &mut [u8], from: &[u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<W>(), from.last_chunk::<W>()) else { return false };
        let (first, last) = (*first, *last);
        if let Some(to) = to.first_chunk_mut() {
            *to = first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = last;
        }
        from.len() <= 2 * W
    }
    if from.len() > 64 {
        to.copy_from_slice(from);
    } else if from.len() > 32 {
        ends::<32>(to, from);
    } else if !(from.len() >= 16 && ends::<16>(to, from)
        || from.len() >= 8 && ends::<8>(to, from)
        || ends::<4>(to, from))
    {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
}
