//! Messages of any lengths: a lane that ends takes the next message, until too few are left to go on side by side.

use super::super::{BLOCK_BYTES, to_bytes, wipe};
use super::{ALONE_MAX, Block, Kernel, Messages, Start, States, Tail, fold_alone};

/// One message on its way.
#[derive(Clone, Copy)]
struct Job<'m> {
    message: usize,
    /// What is left of the part being read; whole blocks of it are folded where they lie.
    rest: &'m [u8],
    /// The parts after it.
    parts: &'m [&'m [u8]],
    /// Bytes in this lane's buffer, to be read before `rest`: a block across parts, or the message's end.
    buffered: Option<usize>,
    length_bits: u64,
    /// Whether 0x80 has been folded.
    marked: bool,
    done: bool,
}

impl<'m> Job<'m> {
    fn new(message: usize, start: &Start, parts: &'m [&'m [u8]]) -> Self {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let length_bits = (start.bytes + bytes as u64) << 3;
        Self { message, rest: &[], parts, buffered: None, length_bits, marked: false, done: false }
    }

    /// Brings the next bytes into view: at least a block, or all that is left.
    fn refill(&mut self, buffer: &mut Block) {
        while self.rest.is_empty() && !self.parts.is_empty() {
            self.next_part();
        }
        if self.buffered.is_some() || self.rest.len() >= BLOCK_BYTES || self.parts.is_empty() {
            return;
        }
        let mut filled = 0;
        while filled < BLOCK_BYTES && !(self.rest.is_empty() && self.parts.is_empty()) {
            let take = self.rest.len().min(BLOCK_BYTES - filled);
            buffer[filled..filled + take].copy_from_slice(&self.rest[..take]);
            filled += take;
            self.rest = &self.rest[take..];
            if self.rest.is_empty() && !self.parts.is_empty() {
                self.next_part();
            }
        }
        self.buffered = Some(filled);
    }

    fn next_part(&mut self) {
        if let Some((part, parts)) = self.parts.split_first() {
            (self.rest, self.parts) = (part, parts);
        }
    }

    /// The bytes in view.
    fn view<'b>(&self, buffer: &'b Block) -> &'b [u8]
    where
        'm: 'b,
    {
        self.buffered.map_or(self.rest, |filled| &buffer[..filled])
    }

    /// Takes `bytes` of the bytes in view.
    fn advance(&mut self, bytes: usize) {
        if self.buffered.take().is_none() {
            self.rest = &self.rest[bytes..];
        }
    }

    /// The next block with its padding, if any. A view shorter than a block is the message's end.
    fn tail<'b>(&self, buffer: &'b Block) -> Tail<'b>
    where
        'm: 'b,
    {
        let data = self.view(buffer);
        let mark = data.len() < BLOCK_BYTES && !self.marked;
        let last = data.len() < BLOCK_BYTES && (self.marked || data.len() + 9 <= BLOCK_BYTES);
        Tail { data, mark, length_bits: if last { self.length_bits } else { 0 } }
    }

    /// Notes that [`Self::tail`] was folded.
    fn advance_tail(&mut self, buffer: &Block) {
        let bytes = self.view(buffer).len().min(BLOCK_BYTES);
        if bytes < BLOCK_BYTES {
            self.done = self.marked || bytes + 9 <= BLOCK_BYTES;
            self.marked = true;
        }
        self.advance(bytes);
    }
}

/// Digests messages `queue`.
pub(super) fn run<const N: usize, M: Messages>(
    kernel: &mut impl Kernel<N>,
    start: &Start,
    messages: &M,
    queue: impl Iterator<Item = usize>,
    out: &mut [[u8; 32]],
) {
    let mut queue = queue.map(|index| Job::new(index, start, messages.parts(index)));
    let Some(first) = queue.next() else { return };
    let mut lanes =
        Lanes { jobs: [first; N], buffers: [[0; BLOCK_BYTES]; N], states: States::splat(&start.state), live: 1 };
    for job in queue.by_ref().take(N - 1) {
        lanes.jobs[lanes.live] = job;
        lanes.live += 1;
    }
    while lanes.live > ALONE_MAX {
        lanes.step(kernel);
        lanes.replace_ended(start, &mut queue, out);
    }
    for lane in 0..lanes.live {
        out[lanes.jobs[lane].message] = lanes.finish_alone(lane);
    }
}

struct Lanes<'m, const N: usize> {
    /// Jobs from `live` on are leftovers.
    jobs: [Job<'m>; N],
    buffers: [Block; N],
    states: States<N>,
    live: usize,
}

impl<'m, const N: usize> Lanes<'m, N> {
    /// Folds as many blocks as all lanes have in view, or else one block of each with padding where it is due.
    fn step(&mut self, kernel: &mut impl Kernel<N>) {
        let live = self.live;
        for (job, buffer) in self.jobs.iter_mut().zip(&mut self.buffers).take(live) {
            job.refill(buffer);
        }
        // Lanes that are not live repeat the first.
        let source: [usize; N] = core::array::from_fn(|lane| if lane < live { lane } else { 0 });
        let views = source.map(|lane| self.jobs[lane].view(&self.buffers[lane]).as_chunks().0);
        let run = views.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        if run > 0 {
            kernel.blocks(&mut self.states, &views, run, live);
            self.jobs[..live].iter_mut().for_each(|job| job.advance(run * BLOCK_BYTES));
        } else {
            let tails = source.map(|lane| self.jobs[lane].tail(&self.buffers[lane]));
            kernel.tails(&mut self.states, &tails, live);
            for (job, buffer) in self.jobs.iter_mut().zip(&self.buffers).take(live) {
                job.advance_tail(buffer);
            }
        }
    }

    /// Writes the digests of lanes that ended; they take the next messages, or the last live lane moves there.
    fn replace_ended(&mut self, start: &Start, queue: &mut impl Iterator<Item = Job<'m>>, out: &mut [[u8; 32]]) {
        let mut lane = 0;
        while lane < self.live {
            if !self.jobs[lane].done {
                lane += 1;
                continue;
            }
            out[self.jobs[lane].message] = to_bytes(&self.states.lane(lane));
            if let Some(job) = queue.next() {
                self.jobs[lane] = job;
                self.states.set_lane(lane, &start.state);
                lane += 1;
            } else {
                self.live -= 1;
                self.jobs[lane] = self.jobs[self.live];
                self.buffers[lane] = self.buffers[self.live];
                let state = self.states.lane(self.live);
                self.states.set_lane(lane, &state);
            }
        }
    }

    /// The digest of one lane, without the others.
    fn finish_alone(&mut self, lane: usize) -> [u8; 32] {
        let (job, buffer) = (&mut self.jobs[lane], &mut self.buffers[lane]);
        let mut state = self.states.lane(lane);
        while !job.done {
            job.refill(buffer);
            let (blocks, _) = job.view(buffer).as_chunks();
            if blocks.is_empty() {
                fold_alone(&mut state, &[job.tail(buffer).block()]);
                job.advance_tail(buffer);
            } else {
                fold_alone(&mut state, blocks);
                job.advance(blocks.len() * BLOCK_BYTES);
            }
        }
        to_bytes(&state)
    }
}

impl<const N: usize> Drop for Lanes<'_, N> {
    fn drop(&mut self) {
        wipe(self.buffers.as_flattened_mut(), 0);
    }
}
