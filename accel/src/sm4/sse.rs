//! Registers of 128 bits: a word of four blocks.
#![allow(unsafe_code)]

pub(super) use crate::transpose::words_128 as transpose;
use core::arch::x86_64::*;
use core::convert::identity;

super::words::registers! {
    __m128i, 4, "ssse3",
    zero _mm_setzero_si128, every word _mm_set1_epi32, xor _mm_xor_si128, and _mm_and_si128, add _mm_add_epi32,
    shuffle _mm_shuffle_epi8, shift right _mm_srli_epi32, every lane identity
}
