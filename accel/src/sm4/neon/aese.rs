//! SM4 with AESE: sixteen blocks side by side.
//!
//! AESE adds two registers and gives AES's S-box and ShiftRows of the sum. The state stays behind `A` ([`matrix`]), so that it goes into
//! the S-box as it is; a shuffle undoes ShiftRows, and two affine maps, each a pair of lookups of half bytes in a register, undo AES's
//! own map and give the byte parts of `L` behind `A` again. A round of four blocks is 17.5 instructions: AESE, seven shuffles, a shift
//! and simple ones. Tables are registers: no address, branch or timing depends on data.

use super::super::matrix::{self, ENTER, KEPT, LEAVE, MOVED, Nibbles, after_aes, nibbles};
use crate::cpu::NeonAes;

super::sm4_on_neon!("neon-aes", NeonAes, "neon,aes", 4 groups);

/// In memory's byte order behind `A`, with its constant.
fn round_key(word: u32) -> u32 {
    matrix::enter(word.swap_bytes())
}

/// What a round needs beside its input.
struct Constants {
    kept: Tables,
    moved: Tables,
    /// Order of bytes that undoes ShiftRows.
    unshift: uint8x16_t,
    turn_24: uint8x16_t,
}

#[target_feature(enable = "neon")]
#[inline]
fn constants() -> Constants {
    const UNSHIFT: [u8; 16] = {
        let mut order = [0; 16];
        let mut i = 0;
        while i < 16 {
            // ShiftRows took byte `row` of column `c` to column `c - row`.
            let (column, row) = (i as u8 / 4, i as u8 % 4);
            order[i] = (column + 4 - row) % 4 * 4 + row;
            i += 1;
        }
        order
    };
    Constants {
        kept: Tables::new(const { after_aes(KEPT) }),
        moved: Tables::new(const { after_aes(MOVED) }),
        unshift: vector(UNSHIFT),
        turn_24: vector(super::TURN_24),
    }
}

/// `A`, without its constant, which the round keys carry.
#[target_feature(enable = "neon")]
#[inline]
fn enter(_: &Constants, words: uint8x16_t) -> uint8x16_t {
    map(halves(words), &Tables::new(const { nibbles(ENTER, 0) }))
}

#[target_feature(enable = "neon")]
#[inline]
fn leave(_: &Constants, words: uint8x16_t) -> uint8x16_t {
    map(halves(words), &Tables::new(const { nibbles(LEAVE, 0) }))
}

/// The byte parts of `L` of `S(x ⊕ y)`.
#[target_feature(enable = "neon,aes")]
#[inline]
fn substitute(constants: &Constants, x: uint8x16_t, y: uint8x16_t) -> [uint8x16_t; 2] {
    let halves = halves(vqtbl1q_u8(vaeseq_u8(x, y), constants.unshift));
    [map(halves, &constants.kept), map(halves, &constants.moved)]
}

/// The lower and the upper half of every byte.
#[target_feature(enable = "neon")]
#[inline]
fn halves(x: uint8x16_t) -> [uint8x16_t; 2] {
    [vandq_u8(x, vdupq_n_u8(0x0f)), vshrq_n_u8::<4>(x)]
}

/// An affine map on bytes, for shuffles.
struct Tables {
    low: uint8x16_t,
    high: uint8x16_t,
}

impl Tables {
    #[target_feature(enable = "neon")]
    #[inline]
    fn new(map: Nibbles) -> Self {
        Self { low: vector(map.low), high: vector(map.high) }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn map([low, high]: [uint8x16_t; 2], tables: &Tables) -> uint8x16_t {
    veorq_u8(vqtbl1q_u8(tables.low, low), vqtbl1q_u8(tables.high, high))
}
