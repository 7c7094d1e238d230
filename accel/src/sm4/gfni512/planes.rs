//! The state of 64 blocks in sixteen registers, one for each byte of a block.
//!
//! Rotations by bytes are nothing but other names of registers, so a round is 26 instructions for 1,024 bytes: for each of the four
//! bytes three inversions merged with a matrix each, two XORs of three to gather them, one to make the input, and half of one for
//! what two rounds' inputs have in common. A register's lane `l` holds at place `j` the byte of block `4·j + l`.

use super::blocks::Blocks;
use crate::sm4::matrix::{self, BOTH, KEPT, MOVED};
use crate::stack;
use core::arch::x86_64::*;

/// Four words of four registers, in memory's order.
pub(super) type Planes = [Word; 4];
pub(super) type Word = [__m512i; 4];

/// Registers of a state.
pub(super) const REGISTERS: usize = 16;
/// Blocks of a state.
pub(super) const BLOCKS: usize = 64;
/// Bytes of a state.
pub(super) const BYTES: usize = 1024;

/// Each byte of a round key four times, as instructions read it from memory for all blocks.
pub(super) type RoundKeys = [[u32; 4]; 32];

/// States of one kernel call, on lines of the cache.
#[repr(align(64))]
pub(super) struct States(pub(super) [Planes; 2]);

impl States {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new() -> Self {
        Self([[[_mm512_setzero_si512(); 4]; 4]; 2])
    }

    /// Overwrites what was computed in them.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn wipe(&mut self) {
        for vector in self.0.as_flattened_mut().as_flattened_mut() {
            // SAFETY: a plain reference; volatile, so that the compiler keeps a store nobody reads.
            unsafe { core::ptr::write_volatile(vector, _mm512_setzero_si512()) };
        }
    }
}

/// All 32 rounds on one state behind `A`. It waits for its own results: what the word of the round before is added to is there before
/// that word is.
///
/// Not inlined, nor is the other: they are most of the code, and states pass through memory on the way in and out anyway.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline(never)]
pub(super) fn rounds_of_one(round_keys: &RoundKeys, states: &mut States) {
    stack::align();
    let [[mut a, mut b, mut c, mut d], _] = states.0;
    for keys in round_keys.as_chunks::<4>().0 {
        a = round(a, sum(input(b, c, keys[0]), d));
        b = round(b, sum(input(c, d, keys[1]), a));
        c = round(c, sum(input(d, a, keys[2]), b));
        d = round(d, sum(input(a, b, keys[3]), c));
    }
    states.0[0] = [a, b, c, d];
}

/// All 32 rounds on two states behind `A`, round by round, so that each fills what the other leaves idle. Instructions are what there is
/// too little of: two rounds share the sum of two words.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline(never)]
pub(super) fn rounds_of_two(round_keys: &RoundKeys, states: &mut States) {
    stack::align();
    let [[mut a, mut b, mut c, mut d], [mut e, mut f, mut g, mut h]] = states.0;
    for keys in round_keys.as_chunks::<4>().0 {
        let cd = sum(c, d);
        a = round(a, input(cd, b, keys[0]));
        let gh = sum(g, h);
        e = round(e, input(gh, f, keys[0]));
        b = round(b, input(cd, a, keys[1]));
        f = round(f, input(gh, e, keys[1]));
        let ab = sum(a, b);
        c = round(c, input(ab, d, keys[2]));
        let ef = sum(e, f);
        g = round(g, input(ef, h, keys[2]));
        d = round(d, input(ab, c, keys[3]));
        h = round(h, input(ef, g, keys[3]));
    }
    states.0 = [[a, b, c, d], [e, f, g, h]];
}

/// F of GB/T 32907 6.1 behind `A`: what `L` turns by `n` bytes comes from the `n`-th byte further on.
#[target_feature(enable = "avx512f,gfni")]
#[inline]
fn round(mut x: Word, input: Word) -> Word {
    let (mut kept, mut moved, mut both) = (input, input, input);
    for i in 0..4 {
        kept[i] = _mm512_gf2p8affineinv_epi64_epi8::<{ KEPT.constant }>(input[i], _mm512_set1_epi64(KEPT.matrix));
        moved[i] = _mm512_gf2p8affineinv_epi64_epi8::<{ MOVED.constant }>(input[i], _mm512_set1_epi64(MOVED.matrix));
        both[i] = _mm512_gf2p8affineinv_epi64_epi8::<{ BOTH.constant }>(input[i], _mm512_set1_epi64(BOTH.matrix));
    }
    for i in 0..4 {
        let near = xor3(x[i], kept[i], moved[(i + 1) % 4]);
        x[i] = xor3(near, moved[(i + 2) % 4], both[(i + 3) % 4]);
    }
    x
}

/// A round's input: two words' sum, a third word and the key.
#[target_feature(enable = "avx512f")]
#[inline]
fn input(mut x: Word, y: Word, key: [u32; 4]) -> Word {
    for i in 0..4 {
        x[i] = xor3(x[i], y[i], _mm512_set1_epi32(key[i] as i32));
    }
    x
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum(mut x: Word, y: Word) -> Word {
    for i in 0..4 {
        x[i] = _mm512_xor_si512(x[i], y[i]);
    }
    x
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn xor3(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(x, y, z)
}

/// Blocks in memory's order, four in a register, as planes behind `A`, without its constant, which the round keys carry.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
pub(super) fn enter(blocks: Blocks<REGISTERS>) -> Planes {
    let bytes = transpose(blocks);
    let mut x = [[bytes[0]; 4]; 4];
    for word in 0..4 {
        for i in 0..4 {
            x[word][i] = enter_byte(bytes[4 * word + i]);
        }
    }
    x
}

#[target_feature(enable = "avx512f,gfni")]
#[inline]
pub(super) fn enter_byte(x: __m512i) -> __m512i {
    _mm512_gf2p8affine_epi64_epi8::<0>(x, _mm512_set1_epi64(matrix::ENTER))
}

/// Blocks in memory's order: the words reversed (R of GB/T 32907 7.1), in front of `A` again.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
#[inline]
pub(super) fn leave(x: &Planes) -> Blocks<REGISTERS> {
    let mut bytes = [x[0][0]; REGISTERS];
    for word in 0..4 {
        for i in 0..4 {
            let matrix = _mm512_set1_epi64(matrix::LEAVE);
            bytes[4 * word + i] = _mm512_gf2p8affine_epi64_epi8::<0>(x[3 - word][i], matrix);
        }
    }
    transpose(bytes)
}

/// In every lane, register `i`, byte `j` becomes register `j`, byte `i`.
///
/// Unpacking registers `i` and `i + 8` turns the eight bits of a byte's place, register and byte within the lane, by one; four
/// times make a transposition.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(x: Blocks<REGISTERS>) -> Blocks<REGISTERS> {
    turn(turn(turn(turn(x))))
}

/// Written out: of a loop over registers the compiler makes a loop over memory.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn turn(x: Blocks<REGISTERS>) -> Blocks<REGISTERS> {
    let ([a0, b0], [a1, b1]) = (unpack(x[0], x[8]), unpack(x[1], x[9]));
    let ([a2, b2], [a3, b3]) = (unpack(x[2], x[10]), unpack(x[3], x[11]));
    let ([a4, b4], [a5, b5]) = (unpack(x[4], x[12]), unpack(x[5], x[13]));
    let ([a6, b6], [a7, b7]) = (unpack(x[6], x[14]), unpack(x[7], x[15]));
    [a0, b0, a1, b1, a2, b2, a3, b3, a4, b4, a5, b5, a6, b6, a7, b7]
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn unpack(x: __m512i, y: __m512i) -> [__m512i; 2] {
    [_mm512_unpacklo_epi8(x, y), _mm512_unpackhi_epi8(x, y)]
}

/// At each place of a plane the number of the block it belongs to.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn numbers() -> __m512i {
    const NUMBERS: [u8; 64] = {
        let mut numbers = [0; 64];
        let mut place = 0;
        while place < 64 {
            numbers[place] = (place % 16 * 4 + place / 16) as u8;
            place += 1;
        }
        numbers
    };
    // SAFETY: any 64 bytes are a vector.
    unsafe { core::mem::transmute::<[u8; 64], __m512i>(NUMBERS) }
}
