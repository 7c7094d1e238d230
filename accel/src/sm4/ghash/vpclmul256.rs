//! GHASH with VPCLMULQDQ on 256-bit registers: sixteen blocks in registers of two, for processors without AVX-512.
#![allow(unsafe_code)]

use super::wide::mirrored;
use crate::cpu::Vpclmul256;
use core::arch::x86_64::*;

super::wide::ghash_on_registers! {
    Vpclmul256, "avx2,vpclmulqdq,pclmulqdq", 2, 16, __m256i,
    zero _mm256_setzero_si256, xor _mm256_xor_si256, product _mm256_clmulepi64_epi128, swap halves _mm256_shuffle_epi32, mirror mirror,
    from lane _mm256_zextsi128_si256, sum of lanes sum_of_lanes
}

#[target_feature(enable = "avx2")]
#[inline]
fn mirror(x: __m256i) -> __m256i {
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(mirrored()))
}

/// One block or none.
#[target_feature(enable = "avx2")]
#[inline]
fn load_part(blocks: &[[u8; 16]]) -> __m256i {
    let block = blocks.first().map_or(0, |block| u128::from_ne_bytes(*block));
    _mm256_zextsi128_si256(vector(block))
}

#[target_feature(enable = "avx2")]
#[inline]
fn sum_of_lanes(x: __m256i) -> __m128i {
    _mm_xor_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x))
}
