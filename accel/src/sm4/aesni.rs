//! SM4 with AVX2 and AES-NI: 32 blocks side by side, for processors without GFNI.
//!
//! AESENCLAST with a zero key is AES's S-box and ShiftRows. The state stays behind `A`, so that it goes into the S-box as it is; what
//! comes out passes through two affine maps, each a pair of shuffles that look up halves of bytes in a register: AES's map undone,
//! the map back, the byte part of `L` and `A` again. ShiftRows is undone by the shuffles that rotate. A round of eight blocks is
//! two AESENCLAST, two moves between halves, eight shuffles and thirteen simple operations. Tables are registers: no address,
//! branch or timing depends on data.
#![allow(unsafe_code)]

use super::matrix::{ENTER, KEPT, LEAVE, MOVED, Nibbles, after_aes, nibbles};
use crate::cpu::{AesNi, Avx2};
use core::hint::black_box;

super::avx2::sm4_on_256_bits!("aesni", (Avx2, AesNi), "avx2,aes");

/// `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx2")]
#[inline]
fn enter(x: __m256i) -> __m256i {
    map(halves(x, _mm256_set1_epi8(0x0f)), &Tables::new(const { nibbles(ENTER, 0) }))
}

#[target_feature(enable = "avx2")]
#[inline]
fn leave(x: __m256i) -> __m256i {
    map(halves(x, _mm256_set1_epi8(0x0f)), &Tables::new(const { nibbles(LEAVE, 0) }))
}

/// What a round needs beside its input.
struct Constants {
    low_half: __m256i,
    kept: Tables,
    moved: Tables,
    /// Orders of bytes that undo ShiftRows and turn every word by 0 to 3 bytes: to the left in the standard's order, to the right
    /// in memory's.
    turn: [__m256i; 4],
}

#[target_feature(enable = "avx2")]
#[inline]
fn constants() -> Constants {
    Constants {
        low_half: _mm256_set1_epi8(0x0f),
        kept: Tables::new(const { after_aes(KEPT) }),
        moved: Tables::new(const { after_aes(MOVED) }),
        turn: [twice(turn(0)), twice(turn(1)), twice(turn(2)), twice(turn(3))],
    }
}

/// `x0 ⊕ L(τ(input))` (F of GB/T 32907 6.1) behind `A`.
#[target_feature(enable = "avx2,aes")]
#[inline]
fn round(constants: &Constants, x0: __m256i, input: __m256i) -> __m256i {
    // Opaque: each constant is read from memory where it is needed, and registers are left to the state.
    let constants = black_box(constants);
    let substituted = halves(substitute(input), constants.low_half);
    let kept = map(substituted, &constants.kept);
    let moved = map(substituted, &constants.moved);
    let both = _mm256_xor_si256(kept, moved);
    let [turn_0, turn_1, turn_2, turn_3] = constants.turn;
    let near = _mm256_xor_si256(_mm256_shuffle_epi8(kept, turn_0), _mm256_shuffle_epi8(moved, turn_1));
    let far = _mm256_xor_si256(_mm256_shuffle_epi8(moved, turn_2), _mm256_shuffle_epi8(both, turn_3));
    _mm256_xor_si256(_mm256_xor_si256(x0, near), far)
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
fn halves(x: __m256i, low_half: __m256i) -> [__m256i; 2] {
    [_mm256_and_si256(x, low_half), _mm256_and_si256(_mm256_srli_epi32::<4>(x), low_half)]
}

/// An affine map on bytes, for shuffles.
struct Tables {
    low: __m256i,
    high: __m256i,
}

impl Tables {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(map: Nibbles) -> Self {
        Self { low: twice(map.low), high: twice(map.high) }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn map([low, high]: [__m256i; 2], tables: &Tables) -> __m256i {
    _mm256_xor_si256(_mm256_shuffle_epi8(tables.low, low), _mm256_shuffle_epi8(tables.high, high))
}

const fn turn(bytes: u8) -> [u8; 16] {
    let mut order = [0; 16];
    let mut i = 0;
    while i < 16 {
        // ShiftRows took byte `row` of column `c` to column `c - row`.
        let (column, row) = (i as u8 / 4, (i as u8 + bytes) % 4);
        order[i] = (column + 4 - row) % 4 * 4 + row;
        i += 1;
    }
    order
}
