//! SM4 with AVX2 and AES-NI: 24 blocks in twelve registers, for processors without GFNI.
//!
//! AESENCLAST with a zero key is AES's S-box and ShiftRows. The state stays behind `A`, so that it goes into the S-box as it is; what
//! comes out passes through two affine maps, each a pair of shuffles that look up halves of bytes in a register: AES's map undone,
//! the map back, the byte part of `L` and `A` again. ShiftRows is undone by the shuffles that rotate. A round of eight blocks is
//! two AESENCLAST, two moves between halves, eight shuffles and thirteen simple operations. Tables are registers: no address,
//! branch or timing depends on data.
#![allow(unsafe_code)]

use super::matrix::{ENTER, KEPT, LEAVE, MOVED, Nibbles, after_aes, nibbles};
use crate::cpu::{AesNi, Avx2};

super::avx2::sm4_on_256_bits!("aesni", (Avx2, AesNi), "avx2,aes");

/// `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx2")]
#[inline]
fn enter(x: __m256i) -> __m256i {
    map(halves(x), const { nibbles(ENTER, 0) })
}

#[target_feature(enable = "avx2")]
#[inline]
fn leave(x: __m256i) -> __m256i {
    map(halves(x), const { nibbles(LEAVE, 0) })
}

/// `x0 ⊕ L(τ(input))` (F of GB/T 32907 6.1) behind `A`.
#[target_feature(enable = "avx2,aes")]
#[inline]
fn round(x0: __m256i, input: __m256i) -> __m256i {
    let substituted = halves(substitute(input));
    let kept = map(substituted, const { after_aes(KEPT) });
    let moved = map(substituted, const { after_aes(MOVED) });
    let both = _mm256_xor_si256(kept, moved);
    let near = _mm256_xor_si256(_mm256_xor_si256(x0, turn::<0>(kept)), turn::<1>(moved));
    _mm256_xor_si256(near, _mm256_xor_si256(turn::<2>(moved), turn::<3>(both)))
}

/// AES's S-box on every byte, then ShiftRows in each lane.
#[target_feature(enable = "avx2,aes")]
#[inline]
fn substitute(x: __m256i) -> __m256i {
    let zero = _mm_setzero_si128();
    let low = _mm_aesenclast_si128(_mm256_castsi256_si128(x), zero);
    let high = _mm_aesenclast_si128(_mm256_extracti128_si256::<1>(x), zero);
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

/// The lower and the upper half of every byte.
#[target_feature(enable = "avx2")]
#[inline]
fn halves(x: __m256i) -> [__m256i; 2] {
    let mask = _mm256_set1_epi8(0x0f);
    [_mm256_and_si256(x, mask), _mm256_and_si256(_mm256_srli_epi32::<4>(x), mask)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn map([low, high]: [__m256i; 2], tables: Nibbles) -> __m256i {
    _mm256_xor_si256(_mm256_shuffle_epi8(twice(tables.low), low), _mm256_shuffle_epi8(twice(tables.high), high))
}

/// ShiftRows undone, then every word turned by `BYTES` bytes: to the left in the standard's order, to the right in memory's.
#[target_feature(enable = "avx2")]
#[inline]
fn turn<const BYTES: u8>(x: __m256i) -> __m256i {
    const { assert!(BYTES < 4) };
    let order = const {
        let mut order = [0; 16];
        let mut i = 0;
        while i < 16 {
            // ShiftRows took byte `row` of column `c` to column `c - row`.
            let (column, row) = (i as u8 / 4, (i as u8 + BYTES) % 4);
            order[i] = (column + 4 - row) % 4 * 4 + row;
            i += 1;
        }
        order
    };
    _mm256_shuffle_epi8(x, twice(order))
}
