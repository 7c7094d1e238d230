//! SM4 with AVX2 and GFNI: 24 blocks in twelve registers.
//!
//! The idea is that of the kernel on 512 bits: the state stays behind `A`, and the map back, the byte part of `L` and `A` again are
//! merged with the inversion, three matrices for three rotations. AVX2 rotates bytes by a shuffle and adds two at a time, so a round
//! of eight blocks is three inversions, three shuffles and seven XORs. No address, branch or timing depends on data.
#![allow(unsafe_code)]

use super::matrix::{self, BOTH, KEPT, MOVED};
use crate::cpu::Gfni256;

super::avx2::sm4_on_256_bits!("gfni256", Gfni256, "avx2,gfni");

/// `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx2,gfni")]
#[inline]
fn enter(x: __m256i) -> __m256i {
    _mm256_gf2p8affine_epi64_epi8::<0>(x, _mm256_set1_epi64x(matrix::ENTER))
}

#[target_feature(enable = "avx2,gfni")]
#[inline]
fn leave(x: __m256i) -> __m256i {
    _mm256_gf2p8affine_epi64_epi8::<0>(x, _mm256_set1_epi64x(matrix::LEAVE))
}

/// `x0 ⊕ L(τ(input))` (F of GB/T 32907 6.1) behind `A`.
#[target_feature(enable = "avx2,gfni")]
#[inline]
fn round(x0: __m256i, input: __m256i) -> __m256i {
    let kept = _mm256_gf2p8affineinv_epi64_epi8::<{ KEPT.constant }>(input, _mm256_set1_epi64x(KEPT.matrix));
    let moved = _mm256_gf2p8affineinv_epi64_epi8::<{ MOVED.constant }>(input, _mm256_set1_epi64x(MOVED.matrix));
    let both = _mm256_gf2p8affineinv_epi64_epi8::<{ BOTH.constant }>(input, _mm256_set1_epi64x(BOTH.matrix));
    let near = _mm256_xor_si256(_mm256_xor_si256(x0, kept), turn::<1>(moved));
    _mm256_xor_si256(near, _mm256_xor_si256(turn::<2>(moved), turn::<3>(both)))
}

/// Every word turned by `BYTES` bytes: to the left in the standard's order, to the right in memory's.
#[target_feature(enable = "avx2")]
#[inline]
fn turn<const BYTES: u8>(x: __m256i) -> __m256i {
    const { assert!(BYTES < 4) };
    let order = const {
        let mut order = [0; 16];
        let mut i = 0;
        while i < 16 {
            order[i] = (i as u8 & !3) | ((i as u8 + BYTES) & 3);
            i += 1;
        }
        order
    };
    _mm256_shuffle_epi8(x, twice(order))
}
