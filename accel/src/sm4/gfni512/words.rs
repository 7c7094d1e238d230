//! Up to sixteen blocks in four registers, one for each word: for few blocks, where a round takes what its longest path takes.
//!
//! That path is an inversion (3 cycles), a rotation (2), the XOR of the three rotated (2) and the XOR that makes the next input of it,
//! of the word it will be added to and of what was there before (2): 9 cycles. Planes would need twelve inversions there, two a cycle.

use super::blocks::Blocks;
use super::planes::xor3;
use crate::sm4::BLOCK_BYTES;
use crate::sm4::matrix::{self, BOTH, KEPT, MOVED};
use crate::transpose::words_512 as transpose;
use core::arch::x86_64::*;

/// Blocks of the four registers.
pub(super) const BLOCKS: usize = 16;
/// Their bytes.
pub(super) const BYTES: usize = 256;

/// Four registers, of blocks or of words.
pub(super) type Words = Blocks<4>;

/// Blocks in memory's order as words behind `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx512f,gfni")]
#[inline]
pub(super) fn enter(blocks: &Words) -> Words {
    let mut x = transpose(*blocks);
    for x in &mut x {
        *x = _mm512_gf2p8affine_epi64_epi8::<0>(*x, _mm512_set1_epi64(matrix::ENTER));
    }
    x
}

/// The counter blocks `counter` and up to fifteen after it, as words behind `A`.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
pub(super) fn counters(counter: &[u8; BLOCK_BYTES]) -> Words {
    // Place `4·lane + word` of a register comes from block `4·word + lane` after the transposition.
    let offsets = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let (words, _) = counter.as_chunks::<4>();
    let next = _mm512_set1_epi32(i32::from_be_bytes(words[3]));
    let mut x = [_mm512_shuffle_epi8(_mm512_add_epi32(next, offsets), swap); 4];
    for i in 0..3 {
        x[i] = _mm512_set1_epi32(i32::from_le_bytes(words[i]));
    }
    for x in &mut x {
        *x = _mm512_gf2p8affine_epi64_epi8::<0>(*x, _mm512_set1_epi64(matrix::ENTER));
    }
    x
}

/// All 32 rounds, and the way out: blocks in memory's order, the words reversed (R of GB/T 32907 7.1).
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
pub(super) fn crypt(round_keys: &[u32; 32], x: &Words) -> Words {
    let [mut a, mut b, mut c, mut d] = *x;
    // The newest word is the sum of these two.
    let (mut near, mut far) = (d, _mm512_setzero_si512());
    for keys in round_keys.as_chunks::<4>().0 {
        (near, far) = round(a, input(b, c, keys[0], near, far));
        a = _mm512_xor_si512(near, far);
        (near, far) = round(b, input(c, d, keys[1], near, far));
        b = _mm512_xor_si512(near, far);
        (near, far) = round(c, input(d, a, keys[2], near, far));
        c = _mm512_xor_si512(near, far);
        (near, far) = round(d, input(a, b, keys[3], near, far));
        d = _mm512_xor_si512(near, far);
    }
    let mut out = [d, c, b, a];
    for x in &mut out {
        *x = _mm512_gf2p8affine_epi64_epi8::<0>(*x, _mm512_set1_epi64(matrix::LEAVE));
    }
    transpose(out)
}

/// The first sum is there before the newest word is.
#[target_feature(enable = "avx512f")]
#[inline]
fn input(x1: __m512i, x2: __m512i, key: u32, near: __m512i, far: __m512i) -> __m512i {
    xor3(xor3(x1, x2, _mm512_set1_epi32(key as i32)), near, far)
}

/// F of GB/T 32907 6.1 behind `A`, in two parts.
#[target_feature(enable = "avx512f,gfni")]
#[inline]
fn round(x0: __m512i, input: __m512i) -> (__m512i, __m512i) {
    let kept = _mm512_gf2p8affineinv_epi64_epi8::<{ KEPT.constant }>(input, _mm512_set1_epi64(KEPT.matrix));
    let moved = _mm512_gf2p8affineinv_epi64_epi8::<{ MOVED.constant }>(input, _mm512_set1_epi64(MOVED.matrix));
    let both = _mm512_gf2p8affineinv_epi64_epi8::<{ BOTH.constant }>(input, _mm512_set1_epi64(BOTH.matrix));
    let far = xor3(_mm512_ror_epi32::<8>(moved), _mm512_ror_epi32::<16>(moved), _mm512_ror_epi32::<24>(both));
    (_mm512_xor_si512(x0, kept), far)
}
