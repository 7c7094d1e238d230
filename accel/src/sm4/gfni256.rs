//! SM4 with AVX2 and GFNI: 32 blocks side by side.
//!
//! The idea is that of the kernel on 512 bits: the state stays behind `A`, and the map back, the byte part of `L` and `A` again are
//! merged with the inversion, three matrices for three rotations. AVX2 rotates bytes by a shuffle and adds two at a time, so a round
//! of eight blocks is three inversions, three shuffles and seven XORs. No address, branch or timing depends on data.
#![allow(unsafe_code)]

use super::matrix::{self, BOTH, KEPT, MOVED};
use crate::cpu::Gfni256;
use core::arch::x86_64::*;
use core::hint::black_box;

super::words::sm4_on_words!("gfni256", Gfni256, "avx2,gfni", avx2);

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

/// What a round needs beside its input.
struct Constants {
    kept: __m256i,
    moved: __m256i,
    both: __m256i,
    /// Orders of bytes that turn every word: to the left in the standard's order, to the right in memory's.
    turn_1: __m256i,
    turn_2: __m256i,
    turn_3: __m256i,
}

#[target_feature(enable = "avx2")]
#[inline]
fn constants() -> Constants {
    // Opaque: of an order of bytes that it knows, the compiler may make two shuffles.
    black_box(Constants {
        kept: _mm256_set1_epi64x(KEPT.matrix),
        moved: _mm256_set1_epi64x(MOVED.matrix),
        both: _mm256_set1_epi64x(BOTH.matrix),
        turn_1: every_lane(const { turn(1) }),
        turn_2: every_lane(const { turn(2) }),
        turn_3: every_lane(const { turn(3) }),
    })
}

/// `L(τ(input))` (F of GB/T 32907 6.1) behind `A`, in two parts to be added; the same whether `ALONE` or not.
#[target_feature(enable = "avx2,gfni")]
#[inline]
fn transform<const ALONE: bool>(constants: &Constants, input: __m256i) -> [__m256i; 2] {
    let kept = _mm256_gf2p8affineinv_epi64_epi8::<{ KEPT.constant }>(input, constants.kept);
    let moved = _mm256_gf2p8affineinv_epi64_epi8::<{ MOVED.constant }>(input, constants.moved);
    let both = _mm256_gf2p8affineinv_epi64_epi8::<{ BOTH.constant }>(input, constants.both);
    let near = _mm256_xor_si256(kept, _mm256_shuffle_epi8(moved, constants.turn_1));
    let far =
        _mm256_xor_si256(_mm256_shuffle_epi8(moved, constants.turn_2), _mm256_shuffle_epi8(both, constants.turn_3));
    [near, far]
}

const fn turn(bytes: u8) -> [u8; 16] {
    let mut order = [0; 16];
    let mut i = 0;
    while i < 16 {
        order[i] = (i as u8 & !3) | ((i as u8 + bytes) & 3);
        i += 1;
    }
    order
}
