//! SM3 in eight lanes of NEON: two groups of four, so that one works while the other waits.
//!
//! A rotation takes two instructions (SHL, SRI), one by eight a shuffle, so `P0` and `P1`, which turn twice by amounts eight apart, are
//! five: `x ⊕ (x ⊕ x⋘8)⋘n`. BSL is GG, and FF after an XOR. About 30 instructions a step and 16 a word of expansion, 2,900 for four
//! blocks. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{Block, Kernel, States};
use super::portable;
use super::rounds::{Expanded, Room, sm3_compression, sm3_expansion, sm3_two_groups};
use crate::cpu::Neon;
use crate::transpose::words_128;
use core::arch::aarch64::*;

/// Lanes of one register.
const GROUP: usize = 4;
sm3_two_groups!("neon", uint32x4_t, Neon);

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

#[target_feature(enable = "neon")]
#[inline]
fn transpose(x: [uint32x4_t; GROUP]) -> [uint32x4_t; GROUP] {
    words_128(x)
}

/// Words `4 · part` and on of a block.
#[target_feature(enable = "neon")]
#[inline]
fn load(block: &Block, part: usize) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(bytes(block.as_chunks().0[part])))
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

/// Rotation to the left; `RIGHT` is 32 less `LEFT`.
#[target_feature(enable = "neon")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: uint32x4_t) -> uint32x4_t {
    const { assert!(LEFT + RIGHT == 32) };
    vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(x), x)
}

#[target_feature(enable = "neon")]
#[inline]
fn rotate_by_byte(x: uint32x4_t) -> uint32x4_t {
    let turn = bytes([3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14]);
    vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), turn))
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
