//! What kernels share that compute a fixed number of blocks at a time: pieces of that size, and the rest through a buffer.

use super::schedule::Engine;
use super::{BLOCK_BYTES, add, count};
use crate::ct;
use core::panic::{RefUnwindSafe, UnwindSafe};

/// One block.
pub(super) type Block = [u8; BLOCK_BYTES];

/// A kernel of `N` blocks; implemented by the token that proves that its instructions are there. Round keys are as
/// [`Batch::round_key`] made them, in the order of use.
pub(super) trait Batch<const N: usize>: Copy + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// The kernel's name, by instruction set.
    const NAME: &'static str;

    /// A round key as the kernel wants it.
    fn round_key(word: u32) -> u32;

    /// Encrypts or decrypts the first `live` blocks; what becomes of the others does not matter.
    fn crypt(self, round_keys: &[u32; 32], blocks: &mut [Block; N], live: usize);

    /// [`Batch::crypt`] with `masks` added before and after.
    fn crypt_masked(self, round_keys: &[u32; 32], blocks: &mut [Block; N], masks: &[Block; N], live: usize);

    /// Adds the encryption of `counter` and of its successors (the last four bytes count, modulo 2^32) to the first `live` blocks.
    fn add_stream(self, round_keys: &[u32; 32], counter: &Block, blocks: &mut [Block; N], live: usize);
}

/// The token of a [`Batch`] as an [`Engine`], which takes any number of blocks.
#[derive(Clone, Copy)]
pub(super) struct Batched<T, const N: usize>(pub(super) T);

impl<T: Batch<N>, const N: usize> Engine for Batched<T, N> {
    type Keys = [u32; 32];

    const NAME: &'static str = T::NAME;

    fn round_key(word: u32) -> u32 {
        T::round_key(word)
    }

    fn keys(round_keys: &[u32; 32]) -> [u32; 32] {
        *round_keys
    }

    fn crypt(self, round_keys: &[u32; 32], blocks: &mut [Block]) {
        let (pieces, rest) = blocks.as_chunks_mut::<N>();
        for piece in pieces {
            self.0.crypt(round_keys, piece, N);
        }
        if !rest.is_empty() {
            let mut buffer = Buffer::new(rest);
            self.0.crypt(round_keys, &mut buffer.0, rest.len());
            rest.copy_from_slice(&buffer.0[..rest.len()]);
        }
    }

    fn crypt_masked(self, round_keys: &[u32; 32], blocks: &mut [Block], masks: &[Block]) {
        let (pieces, rest) = blocks.as_chunks_mut::<N>();
        let (masks, rest_masks) = masks.as_chunks::<N>();
        for (piece, masks) in pieces.iter_mut().zip(masks) {
            self.0.crypt_masked(round_keys, piece, masks, N);
        }
        if !rest.is_empty() {
            let (mut buffer, masks) = (Buffer::new(rest), Buffer::new(rest_masks));
            self.0.crypt_masked(round_keys, &mut buffer.0, &masks.0, rest.len());
            rest.copy_from_slice(&buffer.0[..rest.len()]);
        }
    }

    fn add_stream(self, round_keys: &[u32; 32], counter: &Block, first: Option<&mut Block>, mut data: &mut [u8]) {
        let mut next = *counter;
        if let Some(first) = first {
            let head;
            (head, data) = data.split_at_mut(data.len().min((N - 1) * BLOCK_BYTES));
            let stream = self.stream(round_keys, &next, 1 + head.len().div_ceil(BLOCK_BYTES));
            *first = stream.0[0];
            add(head, stream.0[1..].as_flattened());
            count(&mut next, N as u32);
        }
        let (blocks, _) = data.as_chunks_mut::<BLOCK_BYTES>();
        let (pieces, _) = blocks.as_chunks_mut::<N>();
        for piece in &mut *pieces {
            self.0.add_stream(round_keys, &next, piece, N);
            count(&mut next, N as u32);
        }
        let done = pieces.len() * N * BLOCK_BYTES;
        let rest = &mut data[done..];
        if !rest.is_empty() {
            add(rest, self.stream(round_keys, &next, rest.len().div_ceil(BLOCK_BYTES)).0.as_flattened());
        }
    }
}

impl<T: Batch<N>, const N: usize> Batched<T, N> {
    /// The first `live` blocks of the key stream from `counter` on.
    fn stream(self, round_keys: &[u32; 32], counter: &Block, live: usize) -> Buffer<N> {
        let mut stream = Buffer::new(&[]);
        self.0.add_stream(round_keys, counter, &mut stream.0, live);
        stream
    }
}

/// Blocks of one kernel call, wiped when dropped.
struct Buffer<const N: usize>([Block; N]);

impl<const N: usize> Buffer<N> {
    /// `blocks`, then zeros.
    fn new(blocks: &[Block]) -> Self {
        let mut buffer = [[0; BLOCK_BYTES]; N];
        buffer[..blocks.len()].copy_from_slice(blocks);
        Self(buffer)
    }
}

impl<const N: usize> Drop for Buffer<N> {
    fn drop(&mut self) {
        ct::wipe(self.0.as_flattened_mut());
    }
}
