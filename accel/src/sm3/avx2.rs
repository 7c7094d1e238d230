//! SM3 in two groups of eight lanes of AVX2, so that one works while the other waits.
//!
//! As [`super::avx512`], but a rotation takes three instructions and the Boolean functions four; `P0` and `P1` turn twice by amounts eight
//! apart, which a byte shuffle makes `x ⊕ (x ⊕ x⋘8)⋘n`: 38 a step and 17 a word of expansion, about 3,400 for eight blocks, and half as
//! many moves, for two groups have state for all sixteen registers. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{Block, Kernel, States};
use super::portable;
use super::rounds::{Expanded, Room, sm3_compression, sm3_expansion, sm3_two_groups};
use crate::cpu::Avx2;
use crate::transpose::words_256;
use core::arch::x86_64::*;
use core::mem::transmute;

/// Lanes of one register.
const GROUP: usize = 8;
sm3_two_groups!("avx2", __m256i, Avx2);

#[target_feature(enable = "avx2")]
#[inline]
fn vector(words: [u32; GROUP]) -> __m256i {
    // SAFETY: any eight words are a vector. (A load by intrinsic would be checked for overlap in builds with debug assertions.)
    unsafe { transmute::<[u32; GROUP], __m256i>(words) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn words(vector: __m256i) -> [u32; GROUP] {
    // SAFETY: a vector is eight words.
    unsafe { transmute::<__m256i, [u32; GROUP]>(vector) }
}

/// Words `8 · part` and on of a block.
#[target_feature(enable = "avx2")]
#[inline]
fn load(block: &Block, part: usize) -> __m256i {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    // SAFETY: any 32 bytes are a vector.
    let bytes = unsafe { transmute::<[u8; 32], __m256i>(block.as_chunks().0[part]) };
    _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(swap))
}

/// Row `i`, word `j` becomes row `j`, word `i`.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(x: [__m256i; 8]) -> [__m256i; 8] {
    let low = words_256([x[0], x[1], x[2], x[3]]);
    let high = words_256([x[4], x[5], x[6], x[7]]);
    let mut out = x;
    for k in 0..4 {
        out[k] = _mm256_permute2x128_si256::<0x20>(low[k], high[k]);
        out[4 + k] = _mm256_permute2x128_si256::<0x31>(low[k], high[k]);
    }
    out
}

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    const { assert!(LEFT + RIGHT == 32) };
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(x: u32) -> __m256i {
    _mm256_set1_epi32(x as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: __m256i, y: __m256i) -> __m256i {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(x: __m256i, y: __m256i) -> __m256i {
    _mm256_xor_si256(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate_by_byte(x: __m256i) -> __m256i {
    let turn = _mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(turn))
}

/// Where both others differ from `y`, they are the majority.
#[target_feature(enable = "avx2")]
#[inline]
fn majority(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(y, _mm256_and_si256(xor(x, y), xor(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(z, _mm256_and_si256(xor(y, z), x))
}
