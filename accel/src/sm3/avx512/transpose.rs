//! Between sixteen blocks of sixteen words and sixteen words of sixteen lanes.

use crate::transpose::words_512;
use core::arch::x86_64::*;

/// The mask of `_mm512_shuffle_epi8` that swaps the bytes of every 32-bit word.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn swap_bytes(x: __m512i) -> __m512i {
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    _mm512_shuffle_epi8(x, swap)
}

/// 128-bit quarters 0 and 2 of `x`, then of `y`.
const EVEN: i32 = 0b10_00_10_00;
/// 128-bit quarters 1 and 3 of `x`, then of `y`.
const ODD: i32 = 0b11_01_11_01;

/// Row `i`, word `j` becomes row `j`, word `i`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn square(x: [__m512i; 16]) -> [__m512i; 16] {
    let quads: [[__m512i; 4]; 4] = [
        words_512([x[0], x[1], x[2], x[3]]),
        words_512([x[4], x[5], x[6], x[7]]),
        words_512([x[8], x[9], x[10], x[11]]),
        words_512([x[12], x[13], x[14], x[15]]),
    ];
    let mut out = x;
    for k in 0..4 {
        let low_even = _mm512_shuffle_i32x4::<EVEN>(quads[0][k], quads[1][k]);
        let low_odd = _mm512_shuffle_i32x4::<ODD>(quads[0][k], quads[1][k]);
        let high_even = _mm512_shuffle_i32x4::<EVEN>(quads[2][k], quads[3][k]);
        let high_odd = _mm512_shuffle_i32x4::<ODD>(quads[2][k], quads[3][k]);
        out[k] = _mm512_shuffle_i32x4::<EVEN>(low_even, high_even);
        out[4 + k] = _mm512_shuffle_i32x4::<EVEN>(low_odd, high_odd);
        out[8 + k] = _mm512_shuffle_i32x4::<ODD>(low_even, high_even);
        out[12 + k] = _mm512_shuffle_i32x4::<ODD>(low_odd, high_odd);
    }
    out
}

/// Eight words of sixteen lanes to eight words per lane, in lane order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn to_lanes(x: [__m512i; 8]) -> [__m256i; 16] {
    // Quarter `q` of `first[k]` and `second[k]`: words 0..4 and 4..8 of lane `4q + k`.
    let first = words_512([x[0], x[1], x[2], x[3]]);
    let second = words_512([x[4], x[5], x[6], x[7]]);
    let low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    let high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    let mut out = [_mm256_setzero_si256(); 16];
    for k in 0..4 {
        let lanes01 = _mm512_permutex2var_epi64(first[k], low, second[k]);
        let lanes23 = _mm512_permutex2var_epi64(first[k], high, second[k]);
        out[k] = _mm512_castsi512_si256(lanes01);
        out[4 + k] = _mm512_extracti64x4_epi64::<1>(lanes01);
        out[8 + k] = _mm512_castsi512_si256(lanes23);
        out[12 + k] = _mm512_extracti64x4_epi64::<1>(lanes23);
    }
    out
}
