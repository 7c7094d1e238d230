//! Registers of 256 bits: a word of eight blocks.
#![allow(unsafe_code)]

pub(super) use crate::transpose::words_256 as transpose;
use core::arch::x86_64::*;

super::words::registers! {
    __m256i, 8, "avx2",
    zero _mm256_setzero_si256, every word _mm256_set1_epi32, xor _mm256_xor_si256, and _mm256_and_si256, add _mm256_add_epi32,
    shuffle _mm256_shuffle_epi8, shift right _mm256_srli_epi32, every lane _mm256_broadcastsi128_si256
}
