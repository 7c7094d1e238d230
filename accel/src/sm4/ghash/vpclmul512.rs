//! GHASH with VPCLMULQDQ on 512-bit registers: 32 blocks in registers of four. Three products are 6 cycles for 64 bytes.
#![allow(unsafe_code)]

use super::wide::mirrored;
use crate::cpu::Vpclmul512;
use core::arch::x86_64::*;

super::wide::ghash_on_registers! {
    Vpclmul512, "avx512f,avx512bw,vpclmulqdq,pclmulqdq", 4, 32, __m512i,
    zero _mm512_setzero_si512, xor _mm512_xor_si512, product _mm512_clmulepi64_epi128, swap halves _mm512_shuffle_epi32, mirror mirror,
    from lane _mm512_zextsi128_si512, sum of lanes sum_of_lanes
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn mirror(x: __m512i) -> __m512i {
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(mirrored()))
}

/// Up to three blocks.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_part(blocks: &[[u8; 16]]) -> __m512i {
    let present = (1 << (2 * blocks.len())) - 1;
    // SAFETY: the mask keeps the load inside `blocks`; it needs no alignment.
    unsafe { _mm512_maskz_loadu_epi64(present, blocks.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum_of_lanes(x: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
