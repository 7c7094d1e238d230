//! SM4 with AVX-512 and GFNI: up to 96 blocks in 24 registers, one word of sixteen blocks per register.
//!
//! The S-box is an affine map `A` into the field of AES, the inversion there, and an affine map back. Two ideas make a round ten
//! instructions:
//! - the state stays behind `A`: it is mapped once on the way in and once on the way out, and `A` of the round keys, with the
//!   constant, is computed with the key. `A` works on bytes, so it commutes with rotations by bytes;
//! - `L(B) = M·B ⊕ R·B⋘8 ⊕ R·B⋘16 ⊕ (M⊕R)·B⋘24` with byte matrices `M = I ⊕ (x≪2)` and `R = (x⋘2)`, because what a rotation by
//!   two moves over the edge of a byte, a rotation by eight brings to its place. So the map back, `L`'s byte part and the map in
//!   again are one matrix, and each is merged with the inversion in one instruction: three of those, three rotations, four XORs.
//!
//! Words stay in memory's byte order, so rotations to the left run to the right and nothing is swapped but round keys and
//! counters. No address, branch or timing depends on data.
#![allow(unsafe_code)]

pub(super) mod tweaks;

use super::schedule::Engine;
use super::{BLOCK_BYTES, matrix};
use crate::cpu::Gfni512;
use crate::transpose::words_512 as transpose;
use core::arch::x86_64::*;

/// Blocks of one group of registers.
const GROUP: usize = 16;
/// Groups computed side by side: their state fills the registers and hides every latency.
const WIDE: usize = 6;
/// Registers' worth of bytes in the blocks of one kernel call.
const VECTORS: usize = WIDE * 4;

/// Key stream of one kernel call.
type Stream = [__m512i; VECTORS];

impl Engine for Gfni512 {
    const NAME: &'static str = "gfni512";

    fn crypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]) {
        // SAFETY: the token exists only where AVX-512 F and BW and GFNI were detected.
        unsafe { crypt(round_keys, blocks.as_flattened_mut()) }
    }

    fn crypt_masked(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
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

/// Runs `$call` with the const `$groups` for `$blocks` blocks, 1 to 96.
macro_rules! for_groups {
    ($blocks:expr, $groups:ident, $call:expr) => {
        match usize::div_ceil($blocks, GROUP) {
            1 => {
                const $groups: usize = 1;
                $call
            }
            2 => {
                const $groups: usize = 2;
                $call
            }
            3 => {
                const $groups: usize = 3;
                $call
            }
            4 => {
                const $groups: usize = 4;
                $call
            }
            5 => {
                const $groups: usize = 5;
                $call
            }
            _ => {
                const $groups: usize = WIDE;
                $call
            }
        }
    };
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt(round_keys: &[u32; 32], data: &mut [u8]) {
    let (wide, rest) = data.as_chunks_mut::<{ VECTORS * 64 }>();
    for data in wide {
        crypt_groups::<WIDE, true, false>(round_keys, data, &[]);
    }
    if !rest.is_empty() {
        for_groups!(rest.len() / BLOCK_BYTES, G, crypt_groups::<G, false, false>(round_keys, rest, &[]));
    }
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn crypt_masked(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
    let (wide, rest) = data.as_chunks_mut::<{ VECTORS * 64 }>();
    let (wide_masks, masks) = masks.as_chunks::<{ VECTORS * 64 }>();
    for (data, masks) in wide.iter_mut().zip(wide_masks) {
        crypt_groups::<WIDE, true, true>(round_keys, data, masks);
    }
    if !rest.is_empty() {
        for_groups!(rest.len() / BLOCK_BYTES, G, crypt_groups::<G, false, true>(round_keys, rest, masks));
    }
}

/// At most `G * GROUP` blocks, all in the registers at once; exactly as many when `FULL`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn crypt_groups<const G: usize, const FULL: bool, const MASKED: bool>(
    round_keys: &[u32; 32],
    data: &mut [u8],
    masks: &[u8],
) {
    let mut x = [[_mm512_setzero_si512(); 4]; G];
    for (group, x) in x.iter_mut().enumerate() {
        for (word, x) in x.iter_mut().enumerate() {
            let at = (group * 4 + word) * 64;
            *x = load::<FULL>(data, at);
            if MASKED {
                *x = _mm512_xor_si512(*x, load::<FULL>(masks, at));
            }
        }
        *x = transpose(*x).map(|x| enter(x));
    }
    rounds(round_keys, &mut x);
    for (group, x) in x.iter().enumerate() {
        let out = leave(*x);
        for (word, x) in out.iter().enumerate() {
            let at = (group * 4 + word) * 64;
            let x = if MASKED { _mm512_xor_si512(*x, load::<FULL>(masks, at)) } else { *x };
            store::<FULL>(data, at, x);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn add_stream(
    round_keys: &[u32; 32],
    counter: &[u8; BLOCK_BYTES],
    first: Option<&mut [u8; BLOCK_BYTES]>,
    mut data: &mut [u8],
) {
    let mut counters = Counters::new(counter);
    let mut buffer = None;
    if let Some(first) = first {
        let bytes = data.len().min(VECTORS * 64 - BLOCK_BYTES);
        let stream: &mut Stream = buffer.insert([_mm512_setzero_si512(); VECTORS]);
        let blocks = bytes.div_ceil(BLOCK_BYTES) + 1;
        for_groups!(blocks, G, counters.stream::<G>(round_keys, stream));
        let stream = as_bytes(stream);
        first.copy_from_slice(&stream[..BLOCK_BYTES]);
        let head;
        (head, data) = data.split_at_mut(bytes);
        add(head, &stream[BLOCK_BYTES..]);
    }
    let (wide, rest) = data.as_chunks_mut::<{ VECTORS * 64 }>();
    for data in wide {
        counters.add_wide(round_keys, data);
    }
    if !rest.is_empty() {
        let stream = buffer.get_or_insert([_mm512_setzero_si512(); VECTORS]);
        for_groups!(rest.len().div_ceil(BLOCK_BYTES), G, counters.stream::<G>(round_keys, stream));
        add(rest, as_bytes(stream));
    }
    if let Some(stream) = &mut buffer {
        wipe(stream);
    }
}

/// Counter blocks, born as words behind `A`.
struct Counters {
    /// The words that do not count.
    fixed: [__m512i; 3],
    /// The word that counts, of the next block.
    next: u32,
}

impl Counters {
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn new(counter: &[u8; BLOCK_BYTES]) -> Self {
        let (words, _) = counter.as_chunks::<4>();
        let fixed = core::array::from_fn(|i| enter(_mm512_set1_epi32(i32::from_le_bytes(words[i]))));
        Self { fixed, next: u32::from_be_bytes(words[3]) }
    }

    /// The states of the next `G * GROUP` blocks.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    #[inline]
    fn take<const G: usize>(&mut self) -> [[__m512i; 4]; G] {
        // Place `4·lane + word` of a register comes from block `4·word + lane` after the transposition.
        let offsets = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
        let mut x = [[_mm512_setzero_si512(); 4]; G];
        for x in &mut x {
            let numbers = _mm512_add_epi32(_mm512_set1_epi32(self.next as i32), offsets);
            let [a, b, c] = self.fixed;
            *x = [a, b, c, enter(_mm512_shuffle_epi8(numbers, swap))];
            self.next = self.next.wrapping_add(GROUP as u32);
        }
        x
    }

    /// Writes the next `G * GROUP` blocks of key stream to the start of `stream`.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    #[inline]
    fn stream<const G: usize>(&mut self, round_keys: &[u32; 32], stream: &mut Stream) {
        let mut x = self.take::<G>();
        rounds(round_keys, &mut x);
        for (x, stream) in x.iter().zip(stream.chunks_exact_mut(4)) {
            stream.copy_from_slice(&leave(*x));
        }
    }

    /// Adds as much key stream as one kernel call makes.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    #[inline]
    fn add_wide(&mut self, round_keys: &[u32; 32], data: &mut [u8; VECTORS * 64]) {
        let mut x = self.take::<WIDE>();
        rounds(round_keys, &mut x);
        for (group, x) in x.iter().enumerate() {
            for (word, x) in leave(*x).iter().enumerate() {
                let at = (group * 4 + word) * 64;
                let sum = _mm512_xor_si512(*x, load::<true>(data, at));
                store::<true>(data, at, sum);
            }
        }
    }
}

/// All 32 rounds on states behind `A`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn rounds<const G: usize>(round_keys: &[u32; 32], x: &mut [[__m512i; 4]; G]) {
    let (quads, _) = round_keys.as_chunks::<4>();
    for keys in quads {
        for j in 0..4 {
            let key = _mm512_set1_epi32(keys[j] as i32);
            for x in &mut *x {
                x[j] = round(x[j], x[(j + 1) % 4], x[(j + 2) % 4], x[(j + 3) % 4], key);
            }
        }
    }
}

/// F of GB/T 32907 6.1 on sixteen blocks behind `A`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn round(x0: __m512i, x1: __m512i, x2: __m512i, x3: __m512i, key: __m512i) -> __m512i {
    use matrix::{BOTH, KEPT, MOVED};
    const XOR3: i32 = 0x96;
    let input = _mm512_xor_si512(_mm512_ternarylogic_epi32::<XOR3>(x1, x2, x3), key);
    let kept = _mm512_gf2p8affineinv_epi64_epi8::<{ KEPT.constant }>(input, _mm512_set1_epi64(KEPT.matrix));
    let moved = _mm512_gf2p8affineinv_epi64_epi8::<{ MOVED.constant }>(input, _mm512_set1_epi64(MOVED.matrix));
    let both = _mm512_gf2p8affineinv_epi64_epi8::<{ BOTH.constant }>(input, _mm512_set1_epi64(BOTH.matrix));
    let sum = _mm512_ternarylogic_epi32::<XOR3>(x0, kept, _mm512_ror_epi32::<8>(moved));
    _mm512_ternarylogic_epi32::<XOR3>(sum, _mm512_ror_epi32::<16>(moved), _mm512_ror_epi32::<24>(both))
}

/// `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn enter(x: __m512i) -> __m512i {
    _mm512_gf2p8affine_epi64_epi8::<0>(x, _mm512_set1_epi64(matrix::ENTER))
}

/// Sixteen blocks in memory's order: the words reversed (R of GB/T 32907 7.1), in front of `A` again.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
fn leave(x: [__m512i; 4]) -> [__m512i; 4] {
    let x = [x[3], x[2], x[1], x[0]].map(|x| _mm512_gf2p8affine_epi64_epi8::<0>(x, _mm512_set1_epi64(matrix::LEAVE)));
    transpose(x)
}

/// Which of the 64 bytes at `at` exist.
fn present(bytes: &[u8], at: usize) -> __mmask64 {
    match bytes.len().saturating_sub(at) {
        64.. => u64::MAX,
        left => (1 << left) - 1,
    }
}

/// The 64 bytes at `at`; zeros where `bytes` has ended.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load<const FULL: bool>(bytes: &[u8], at: usize) -> __m512i {
    if FULL && let Some(bytes) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        // SAFETY: any 64 bytes are a vector.
        return unsafe { core::mem::transmute::<[u8; 64], __m512i>(*bytes) };
    }
    // SAFETY: the mask keeps the access inside `bytes`; masked-out bytes are not touched, so the address need not exist.
    unsafe { _mm512_maskz_loadu_epi8(present(bytes, at), bytes.as_ptr().wrapping_add(at).cast()) }
}

/// Writes those of the 64 bytes at `at` that exist.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store<const FULL: bool>(bytes: &mut [u8], at: usize, x: __m512i) {
    if FULL && let Some(bytes) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<64>) {
        // SAFETY: as in `load`.
        *bytes = unsafe { core::mem::transmute::<__m512i, [u8; 64]>(x) };
        return;
    }
    // SAFETY: as in `load`.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().wrapping_add(at).cast(), present(bytes, at), x) }
}

/// `data ^= stream`, the stream at least as long.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add(data: &mut [u8], stream: &[u8]) {
    let (vectors, rest) = data.as_chunks_mut::<64>();
    let (stream, stream_rest) = stream.split_at(vectors.len() * 64);
    for (data, stream) in vectors.iter_mut().zip(stream.as_chunks::<64>().0) {
        let sum = _mm512_xor_si512(load::<true>(data, 0), load::<true>(stream, 0));
        store::<true>(data, 0, sum);
    }
    let sum = _mm512_xor_si512(load::<false>(rest, 0), load::<false>(stream_rest, 0));
    store::<false>(rest, 0, sum);
}

fn as_bytes(stream: &Stream) -> &[u8; VECTORS * 64] {
    // SAFETY: the same bytes, all of them initialised; an array of bytes needs no alignment.
    unsafe { &*core::ptr::from_ref(stream).cast() }
}

/// Overwrites key stream, a register at a time: byte by byte it would cost as much as the cipher.
#[target_feature(enable = "avx512f")]
#[inline]
fn wipe(stream: &mut Stream) {
    for vector in stream {
        // SAFETY: a plain reference; volatile, so that the compiler keeps a store nobody reads.
        unsafe { core::ptr::write_volatile(vector, _mm512_setzero_si512()) };
    }
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}
