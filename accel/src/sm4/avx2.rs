//! What SM4 kernels on 256-bit registers share: one word of eight blocks per register, four groups side by side.
//!
//! [`sm4_on_256_bits`] writes everything around the round; a kernel brings `enter` (the map its states stay behind), `leave` (back),
//! `constants` and `round` for its instructions. A macro, because a function compiled for one set of instructions cannot be inlined into one
//! compiled for fewer, which is what a trait's method would have to be.
#![allow(unsafe_code)]

pub(super) use crate::transpose::words_256 as transpose;
use core::arch::x86_64::*;

/// Blocks of one group of registers.
pub(super) const GROUP: usize = 8;
/// Bytes of one group.
pub(super) const GROUP_BYTES: usize = GROUP * super::BLOCK_BYTES;
/// Groups computed side by side. Their state is all the registers there are, so some of it waits in the stack; that costs less than
/// what three groups leave idle.
pub(super) const WIDE: usize = 4;
/// Bytes of one kernel call.
pub(super) const WIDE_BYTES: usize = WIDE * GROUP_BYTES;

/// The four registers of a group.
pub(super) type State = [__m256i; 4];

/// Makes `$token`, whose proof covers `$features`, an [`Engine`](super::schedule::Engine), from `enter`, `leave`, `constants` and
/// `round` of the calling module.
macro_rules! sm4_on_256_bits {
    ($name:literal, $token:ty, $features:tt) => {
        use super::BLOCK_BYTES;
        use super::avx2::*;
        use super::schedule::Engine;
        use crate::ct;
        use core::arch::x86_64::*;

        impl Engine for $token {
            type Keys = [u32; 32];
            const NAME: &'static str = $name;

            fn keys(entered: &[u32; 32]) -> [u32; 32] {
                *entered
            }

            fn crypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]) {
                // SAFETY: the token exists only where these instructions were detected.
                unsafe { crypt(round_keys, blocks.as_flattened_mut()) }
            }

            fn crypt_masked(
                self,
                round_keys: &[u32; 32],
                blocks: &mut [[u8; BLOCK_BYTES]],
                masks: &[[u8; BLOCK_BYTES]],
            ) {
                // SAFETY: as in `crypt`.
                unsafe { crypt_masked(round_keys, blocks.as_flattened_mut(), masks.as_flattened()) }
            }

            fn add_stream(
                self,
                round_keys: &[u32; 32],
                counter: &[u8; BLOCK_BYTES],
                first: Option<&mut [u8; BLOCK_BYTES]>,
                data: &mut [u8],
            ) {
                // SAFETY: as in `crypt`.
                unsafe { add_stream(round_keys, counter, first, data) }
            }
        }

        #[target_feature(enable = $features)]
        fn crypt(round_keys: &[u32; 32], data: &mut [u8]) {
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            for data in wide {
                crypt_groups::<WIDE, false>(round_keys, data, &[0; WIDE_BYTES]);
            }
            if !rest.is_empty() {
                crypt_rest::<false>(round_keys, rest, &[]);
            }
        }

        #[target_feature(enable = $features)]
        fn crypt_masked(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            let (wide_masks, rest_masks) = masks.as_chunks::<WIDE_BYTES>();
            for (data, masks) in wide.iter_mut().zip(wide_masks) {
                crypt_groups::<WIDE, true>(round_keys, data, masks);
            }
            if !rest.is_empty() {
                crypt_rest::<true>(round_keys, rest, rest_masks);
            }
        }

        /// Fewer blocks than a kernel call takes, through a buffer.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_rest<const MASKED: bool>(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            let (mut buffer, mut mask_buffer) = ([0; WIDE_BYTES], [0; WIDE_BYTES]);
            buffer[..data.len()].copy_from_slice(data);
            mask_buffer[..masks.len()].copy_from_slice(masks);
            match data.len().div_ceil(GROUP_BYTES) {
                1 => crypt_groups::<1, MASKED>(round_keys, &mut buffer, &mask_buffer),
                2 => crypt_groups::<2, MASKED>(round_keys, &mut buffer, &mask_buffer),
                3 => crypt_groups::<3, MASKED>(round_keys, &mut buffer, &mask_buffer),
                _ => crypt_groups::<WIDE, MASKED>(round_keys, &mut buffer, &mask_buffer),
            }
            data.copy_from_slice(&buffer[..data.len()]);
            ct::wipe(&mut buffer);
            ct::wipe(&mut mask_buffer);
        }

        /// The first `G` groups of `data`, all in the registers at once.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_groups<const G: usize, const MASKED: bool>(
            round_keys: &[u32; 32],
            data: &mut [u8; WIDE_BYTES],
            masks: &[u8; WIDE_BYTES],
        ) {
            let mut x = [[_mm256_setzero_si256(); 4]; G];
            for (group, x) in x.iter_mut().enumerate() {
                let mut state = load(data, group);
                if MASKED {
                    state = sum(state, load(masks, group));
                }
                *x = transpose(state).map(|x| enter(x));
            }
            let x = rounds(round_keys, x);
            for (group, x) in x.iter().enumerate() {
                let mut state = finish(*x);
                if MASKED {
                    state = sum(state, load(masks, group));
                }
                store(data, group, state);
            }
        }

        #[target_feature(enable = $features)]
        fn add_stream(
            round_keys: &[u32; 32],
            counter: &[u8; BLOCK_BYTES],
            first: Option<&mut [u8; BLOCK_BYTES]>,
            mut data: &mut [u8],
        ) {
            let mut counters = Counters::new(counter);
            let mut stream = [0; WIDE_BYTES];
            if let Some(first) = first {
                let head;
                (head, data) = data.split_at_mut(data.len().min(WIDE_BYTES - BLOCK_BYTES));
                counters.stream(round_keys, head.len() + BLOCK_BYTES, &mut stream);
                first.copy_from_slice(&stream[..BLOCK_BYTES]);
                super::add(head, &stream[BLOCK_BYTES..]);
            }
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            for data in wide {
                counters.add_groups::<WIDE>(round_keys, data);
            }
            if !rest.is_empty() {
                counters.stream(round_keys, rest.len(), &mut stream);
                super::add(rest, &stream);
            }
            ct::wipe(&mut stream);
        }

        /// Counter blocks, born as words behind `A`.
        struct Counters {
            /// The words that do not count.
            fixed: [__m256i; 3],
            /// The word that counts, of the next block.
            next: u32,
        }

        impl Counters {
            #[target_feature(enable = $features)]
            fn new(counter: &[u8; BLOCK_BYTES]) -> Self {
                let (words, _) = counter.as_chunks::<4>();
                let fixed = core::array::from_fn(|i| enter(_mm256_set1_epi32(i32::from_le_bytes(words[i]))));
                Self { fixed, next: u32::from_be_bytes(words[3]) }
            }

            /// Adds the next `G * GROUP` blocks of key stream to the start of `data`.
            #[target_feature(enable = $features)]
            #[inline]
            fn add_groups<const G: usize>(&mut self, round_keys: &[u32; 32], data: &mut [u8; WIDE_BYTES]) {
                let mut x = [[_mm256_setzero_si256(); 4]; G];
                for x in &mut x {
                    let [a, b, c] = self.fixed;
                    *x = [a, b, c, enter(counting(self.next))];
                    self.next = self.next.wrapping_add(GROUP as u32);
                }
                let x = rounds(round_keys, x);
                for (group, x) in x.iter().enumerate() {
                    let state = sum(finish(*x), load(data, group));
                    store(data, group, state);
                }
            }

            /// Writes the next `bytes` of key stream, at most one kernel call's, to the start of `stream`.
            #[target_feature(enable = $features)]
            fn stream(&mut self, round_keys: &[u32; 32], bytes: usize, stream: &mut [u8; WIDE_BYTES]) {
                stream.fill(0);
                match bytes.div_ceil(GROUP_BYTES) {
                    1 => self.add_groups::<1>(round_keys, stream),
                    2 => self.add_groups::<2>(round_keys, stream),
                    3 => self.add_groups::<3>(round_keys, stream),
                    _ => self.add_groups::<WIDE>(round_keys, stream),
                }
            }
        }

        /// All 32 rounds on states behind `A`.
        #[target_feature(enable = $features)]
        #[inline]
        fn rounds<const G: usize>(round_keys: &[u32; 32], mut x: [State; G]) -> [State; G] {
            let constants = &constants();
            let (quads, _) = round_keys.as_chunks::<4>();
            for keys in quads {
                let keys = keys.map(|key| _mm256_set1_epi32(key as i32));
                for [a, b, c, d] in &mut x {
                    *a = round(constants, *a, sum_of_four(*b, *c, keys[0], *d));
                }
                for [a, b, c, d] in &mut x {
                    *b = round(constants, *b, sum_of_four(*c, *d, keys[1], *a));
                }
                for [a, b, c, d] in &mut x {
                    *c = round(constants, *c, sum_of_four(*d, *a, keys[2], *b));
                }
                for [a, b, c, d] in &mut x {
                    *d = round(constants, *d, sum_of_four(*a, *b, keys[3], *c));
                }
            }
            x
        }

        /// Eight blocks in memory's order: the words reversed (R of GB/T 32907 7.1), in front of `A` again.
        #[target_feature(enable = $features)]
        #[inline]
        fn finish(x: State) -> State {
            transpose([x[3], x[2], x[1], x[0]].map(|x| leave(x)))
        }
    };
}

pub(super) use sm4_on_256_bits;

/// The words that count, of eight blocks from number `next` on.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn counting(next: u32) -> __m256i {
    // Place `4·lane + word` of a register comes from block `2·word + lane` after the transposition.
    let offsets = _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0);
    let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    _mm256_shuffle_epi8(_mm256_add_epi32(_mm256_set1_epi32(next as i32), offsets), swap)
}

/// The last comes last: it is the one a round waits for.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_of_four(a: __m256i, b: __m256i, c: __m256i, last: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(_mm256_xor_si256(a, b), c), last)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum(a: State, b: State) -> State {
    core::array::from_fn(|i| _mm256_xor_si256(a[i], b[i]))
}

/// One group of `bytes`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load(bytes: &[u8; WIDE_BYTES], group: usize) -> State {
    let (groups, _) = bytes.as_chunks::<GROUP_BYTES>();
    // SAFETY: any 128 bytes are four vectors.
    unsafe { core::mem::transmute::<[u8; GROUP_BYTES], State>(groups[group]) }
}

/// Inverse of [`load`].
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn store(bytes: &mut [u8; WIDE_BYTES], group: usize, state: State) {
    let (groups, _) = bytes.as_chunks_mut::<GROUP_BYTES>();
    // SAFETY: four vectors are 128 bytes.
    groups[group] = unsafe { core::mem::transmute::<State, [u8; GROUP_BYTES]>(state) };
}

/// Both lanes hold `bytes`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn twice(bytes: [u8; 16]) -> __m256i {
    // SAFETY: any sixteen bytes are a vector.
    _mm256_broadcastsi128_si256(unsafe { core::mem::transmute::<[u8; 16], __m128i>(bytes) })
}
