//! SM4 with the S-box as a table in sixteen registers, for processors without AES: eight blocks side by side.
//!
//! TBL looks up among 64 bytes in four registers and gives zero beyond; TBX leaves what it finds beyond. Four of them, with 64 taken
//! from the indices between, are the S-box on sixteen bytes, in the same time for all. The byte parts of `L` are two shifts and an XOR.
//! A round of four blocks is 18.5 instructions.

use super::super::sbox;
use crate::cpu::Neon;

super::sm4_on_neon!("neon", Neon, "neon", 2 groups);

/// In memory's byte order.
fn round_key(word: u32) -> u32 {
    word.swap_bytes()
}

/// What a round needs beside its input.
struct Constants {
    /// The S-box, 64 entries in each part.
    table: [uint8x16x4_t; 4],
    turn_24: uint8x16_t,
}

#[target_feature(enable = "neon")]
#[inline]
fn constants() -> Constants {
    static TABLE: [[[u8; 16]; 4]; 4] = table();
    let part = |rows: &[[u8; 16]; 4]| {
        let [a, b, c, d] = rows.map(vector);
        uint8x16x4_t(a, b, c, d)
    };
    Constants { table: TABLE.each_ref().map(part), turn_24: vector(super::TURN_24) }
}

/// The S-box in the order of TBL's registers.
const fn table() -> [[[u8; 16]; 4]; 4] {
    let mut table = [[[0; 16]; 4]; 4];
    let mut x = 0;
    while x < 256 {
        table[x / 64][x / 16 % 4][x % 16] = sbox::substitute(x as u8);
        x += 1;
    }
    table
}

#[target_feature(enable = "neon")]
#[inline]
fn enter(_: &Constants, words: uint8x16_t) -> uint8x16_t {
    words
}

#[target_feature(enable = "neon")]
#[inline]
fn leave(_: &Constants, words: uint8x16_t) -> uint8x16_t {
    words
}

/// The byte parts of `L` of `S(x ⊕ y)`.
#[target_feature(enable = "neon")]
#[inline]
fn substitute(constants: &Constants, x: uint8x16_t, y: uint8x16_t) -> [uint8x16_t; 2] {
    let [first, others @ ..] = constants.table;
    let mut index = veorq_u8(x, y);
    let mut b = vqtbl4q_u8(first, index);
    for part in others {
        index = vsubq_u8(index, vdupq_n_u8(64));
        b = vqtbx4q_u8(b, part, index);
    }
    let shifted = vshlq_n_u8::<2>(b);
    [veorq_u8(b, shifted), vsriq_n_u8::<6>(shifted, b)]
}
