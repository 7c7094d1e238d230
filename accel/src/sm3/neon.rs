//! SM3 in eight lanes of NEON: two groups of four, so that one works while the other waits.
//!
//! A rotation takes two instructions (SHL, SRI), one by eight a shuffle, so `P0` and `P1`, which turn twice by amounts eight apart, are
//! five: `x ⊕ (x ⊕ x⋘8)⋘n`. BSL is GG, and FF after an XOR. About 30 instructions a step and 16 a word of expansion, 2,900 for four
//! blocks. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{Block, Kernel, States};
use super::portable;
use super::rounds::{Expanded, Room, sm3_compression, sm3_expansion};
use crate::cpu::Neon;
use crate::transpose::words_128;
use core::arch::aarch64::*;

/// Lanes of one register.
const GROUP: usize = 4;
/// Groups of the kernel.
const GROUPS: usize = 2;
/// Lanes of the kernel.
pub(super) const LANES: usize = GROUPS * GROUP;

sm3_expansion!("neon", uint32x4_t);
sm3_compression!("neon", uint32x4_t);

/// The kernel with room for its expanded messages.
pub(super) struct Lanes {
    _token: Neon,
    room: Room<uint32x4_t, GROUPS>,
}

// SAFETY: a vector of integers may have any bits, all zero among them.
const ZERO: uint32x4_t = unsafe { core::mem::zeroed() };

impl Lanes {
    pub(super) fn new(token: Neon) -> Self {
        Self { _token: token, room: Room::new(ZERO) }
    }
}

impl Kernel<LANES> for Lanes {
    fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, live: usize) {
        assert!(data.iter().all(|blocks| blocks.len() >= count), "every lane has {count} blocks");
        // SAFETY: `_token` exists only where NEON was detected.
        unsafe {
            if live <= GROUP {
                blocks::<1>(self.room.expanded(), states, data, count);
            } else {
                blocks::<GROUPS>(self.room.expanded(), states, data, count);
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn blocks<const G: usize>(
    w: &mut Expanded<uint32x4_t, G>,
    states: &mut States<LANES>,
    data: &[&[Block]; LANES],
    count: usize,
) {
    let mut state = [[ZERO; 8]; G];
    for (group, state) in state.iter_mut().enumerate() {
        for (word, row) in state.iter_mut().zip(&states.0) {
            *word = vector(row.as_chunks::<GROUP>().0[group]);
        }
    }
    for block in 0..count {
        for (group, data) in data.as_chunks::<GROUP>().0.iter().take(G).enumerate() {
            for quarter in 0..4 {
                let rows = words_128(data.map(|blocks| load(&blocks[block], quarter)));
                for (row, word) in w[4 * quarter..].iter_mut().zip(rows) {
                    row[group] = word;
                }
            }
        }
        expand(w);
        compress(&mut state, w);
    }
    for (group, state) in state.iter().enumerate() {
        for (word, row) in state.iter().zip(&mut states.0) {
            row.as_chunks_mut().0[group] = words(*word);
        }
    }
}

fn vector(words: [u32; GROUP]) -> uint32x4_t {
    // SAFETY: any four words are a vector.
    unsafe { core::mem::transmute::<[u32; GROUP], uint32x4_t>(words) }
}

fn words(vector: uint32x4_t) -> [u32; GROUP] {
    // SAFETY: a vector is four words.
    unsafe { core::mem::transmute::<uint32x4_t, [u32; GROUP]>(vector) }
}

fn bytes(bytes: [u8; 16]) -> uint8x16_t {
    // SAFETY: any sixteen bytes are a vector.
    unsafe { core::mem::transmute::<[u8; 16], uint8x16_t>(bytes) }
}

/// Words `4·quarter..` of a block.
#[target_feature(enable = "neon")]
#[inline]
fn load(block: &Block, quarter: usize) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(bytes(block.as_chunks().0[quarter])))
}

#[target_feature(enable = "neon")]
#[inline]
fn splat(x: u32) -> uint32x4_t {
    vdupq_n_u32(x)
}

#[target_feature(enable = "neon")]
#[inline]
fn add(x: uint32x4_t, y: uint32x4_t) -> uint32x4_t {
    vaddq_u32(x, y)
}

#[target_feature(enable = "neon")]
#[inline]
fn xor(x: uint32x4_t, y: uint32x4_t) -> uint32x4_t {
    veorq_u32(x, y)
}

#[target_feature(enable = "neon")]
#[inline]
fn xor3(x: uint32x4_t, y: uint32x4_t, z: uint32x4_t) -> uint32x4_t {
    xor(xor(x, y), z)
}

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "neon")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: uint32x4_t) -> uint32x4_t {
    const { assert!(LEFT + RIGHT == 32) };
    vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(x), x)
}

/// `x ⊕ (x ⋘ 8)`.
#[target_feature(enable = "neon")]
#[inline]
fn with_next_byte(x: uint32x4_t) -> uint32x4_t {
    let turn = bytes([3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14]);
    xor(x, vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), turn)))
}

#[target_feature(enable = "neon")]
#[inline]
fn p0(x: uint32x4_t) -> uint32x4_t {
    xor(x, rotate::<9, 23>(with_next_byte(x)))
}

#[target_feature(enable = "neon")]
#[inline]
fn p1(x: uint32x4_t) -> uint32x4_t {
    xor(x, rotate::<15, 17>(with_next_byte(x)))
}

/// Where `x` and `y` differ, `z` decides.
#[target_feature(enable = "neon")]
#[inline]
fn majority(x: uint32x4_t, y: uint32x4_t, z: uint32x4_t) -> uint32x4_t {
    vbslq_u32(xor(x, y), z, y)
}

#[target_feature(enable = "neon")]
#[inline]
fn choose(x: uint32x4_t, y: uint32x4_t, z: uint32x4_t) -> uint32x4_t {
    vbslq_u32(x, y, z)
}
