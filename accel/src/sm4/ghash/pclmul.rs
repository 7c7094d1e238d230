//! GHASH with PCLMULQDQ: eight blocks in registers of one.
#![allow(unsafe_code)]

use super::wide::mirrored;
use crate::cpu::Pclmul;
use core::arch::x86_64::*;
use core::convert::identity;

super::wide::ghash_on_registers! {
    Pclmul, "pclmulqdq,ssse3", 1, 8, __m128i,
    zero _mm_setzero_si128, xor _mm_xor_si128, product _mm_clmulepi64_si128, swap halves _mm_shuffle_epi32, mirror mirror,
    from lane identity, sum of lanes identity
}

#[target_feature(enable = "ssse3")]
#[inline]
fn mirror(x: __m128i) -> __m128i {
    _mm_shuffle_epi8(x, mirrored())
}

/// A register of one block is whole or not there.
fn load_part(_blocks: &[[u8; 16]]) -> __m128i {
    unreachable!("a block, where one is asked for")
}
