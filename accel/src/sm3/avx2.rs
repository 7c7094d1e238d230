//! SM3 in two groups of eight lanes of AVX2, so that one works while the other waits.
//!
//! As [`super::avx512`], but a rotation takes three instructions and the Boolean functions four; `P0` and `P1` turn twice by amounts eight
//! apart, which a byte shuffle makes `x ⊕ (x ⊕ x⋘8)⋘n`: 38 a step and 17 a word of expansion, about 3,400 for eight blocks, and half as
//! many moves, for two groups have state for all sixteen registers. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{Block, Kernel, States};
use super::portable;
use super::rounds::{Expanded, Room, sm3_compression, sm3_expansion};
use crate::cpu::Avx2;
use crate::transpose::words_256;
use core::arch::x86_64::*;
use core::mem::transmute;

/// Lanes of one register.
const GROUP: usize = 8;
/// Groups of the kernel.
const GROUPS: usize = 2;
/// Lanes of the kernel.
pub(super) const LANES: usize = GROUPS * GROUP;

sm3_expansion!("avx2", __m256i);
sm3_compression!("avx2", __m256i);

/// The kernel with room for its expanded messages.
pub(super) struct Lanes {
    _token: Avx2,
    room: Room<__m256i, GROUPS>,
}

// SAFETY: a vector of integers may have any bits, all zero among them.
const ZERO: __m256i = unsafe { core::mem::zeroed() };

impl Lanes {
    #[inline(always)]
    pub(super) fn new(token: Avx2) -> Self {
        Self { _token: token, room: Room::new(ZERO) }
    }
}

impl Kernel<LANES> for Lanes {
    fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, live: usize) {
        assert!(data.iter().all(|blocks| blocks.len() >= count), "every lane has {count} blocks");
        // SAFETY: `_token` exists only where AVX2 was detected.
        unsafe {
            if live <= GROUP {
                blocks::<1>(self.room.expanded(), states, data, count);
            } else {
                blocks::<GROUPS>(self.room.expanded(), states, data, count);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn blocks<const G: usize>(
    w: &mut Expanded<__m256i, G>,
    states: &mut States<LANES>,
    data: &[&[Block]; LANES],
    count: usize,
) {
    let mut state = [[_mm256_setzero_si256(); 8]; G];
    for (group, state) in state.iter_mut().enumerate() {
        for (word, row) in state.iter_mut().zip(&states.0) {
            *word = vector(&row.as_chunks::<GROUP>().0[group]);
        }
    }
    for block in 0..count {
        for (group, data) in data.as_chunks::<GROUP>().0.iter().take(G).enumerate() {
            for half in 0..2 {
                let mut x = [_mm256_setzero_si256(); GROUP];
                for (x, blocks) in x.iter_mut().zip(data) {
                    let halves: &[[u8; 32]] = blocks[block].as_chunks().0;
                    *x = swap_bytes(vector(&halves[half]));
                }
                for (row, word) in w[half * 8..].iter_mut().zip(transpose(x)) {
                    row[group] = word;
                }
            }
        }
        expand(w);
        compress(&mut state, w);
    }
    for (group, state) in state.iter().enumerate() {
        for (word, row) in state.iter().zip(&mut states.0) {
            // SAFETY: a vector is eight words.
            row.as_chunks_mut().0[group] = unsafe { transmute::<__m256i, [u32; GROUP]>(*word) };
        }
    }
}

/// Eight words, or 32 bytes, as they lie in memory. (A load by intrinsic would be checked for overlap in builds with debug assertions.)
#[target_feature(enable = "avx2")]
#[inline]
fn vector<T: Copy>(data: &T) -> __m256i {
    const { assert!(size_of::<T>() == 32) };
    // SAFETY: as large as a vector, which may have any bits; `T` is words or bytes, all of them initialised.
    unsafe { core::mem::transmute_copy(data) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_bytes(x: __m256i) -> __m256i {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(swap))
}

/// Row `i`, word `j` becomes row `j`, word `i`.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(x: [__m256i; 8]) -> [__m256i; 8] {
    let low = words_256([x[0], x[1], x[2], x[3]]);
    let high = words_256([x[4], x[5], x[6], x[7]]);
    let mut out = x;
    for k in 0..4 {
        out[k] = _mm256_permute2x128_si256::<0x20>(low[k], high[k]);
        out[4 + k] = _mm256_permute2x128_si256::<0x31>(low[k], high[k]);
    }
    out
}

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    const { assert!(LEFT + RIGHT == 32) };
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(x: u32) -> __m256i {
    _mm256_set1_epi32(x as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: __m256i, y: __m256i) -> __m256i {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(x: __m256i, y: __m256i) -> __m256i {
    _mm256_xor_si256(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(xor(x, y), z)
}

/// `x ⊕ (x ⋘ 8)`.
#[target_feature(enable = "avx2")]
#[inline]
fn with_next_byte(x: __m256i) -> __m256i {
    let turn = _mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3);
    xor(x, _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(turn)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn p0(x: __m256i) -> __m256i {
    xor(x, rotate::<9, 23>(with_next_byte(x)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn p1(x: __m256i) -> __m256i {
    xor(x, rotate::<15, 17>(with_next_byte(x)))
}

/// Where both others differ from `y`, they are the majority.
#[target_feature(enable = "avx2")]
#[inline]
fn majority(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(y, _mm256_and_si256(xor(x, y), xor(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(x: __m256i, y: __m256i, z: __m256i) -> __m256i {
    xor(z, _mm256_and_si256(xor(y, z), x))
}
