//! SM4 with the instructions of Armv8.2-SM4: eight blocks side by side.
//!
//! SM4E is four rounds of one block, so a block is eight of them beside three byte orders; eight blocks hide the time one takes.
//! SM4EKEY is four steps of the key schedule. The intrinsics are not stable, so each instruction is one `asm!`, which leaves
//! registers and order to the compiler. No address, branch or timing depends on data.
#![allow(unsafe_code)]

use super::batch::{Batch, Block};
use super::{CK, FK, KEY_BYTES};
use crate::cpu::NeonSm;
use core::arch::aarch64::*;
use core::arch::asm;

/// Blocks side by side: with the round keys they fill half of the registers.
const BLOCKS: usize = 8;

/// The round keys, four to a register.
type RoundKeys = [uint32x4_t; 8];

impl Batch<BLOCKS> for NeonSm {
    const NAME: &'static str = "armv8-sm4";

    fn round_key(word: u32) -> u32 {
        word
    }

    fn crypt(self, round_keys: &[u32; 32], blocks: &mut [Block; BLOCKS], live: usize) {
        // SAFETY: the token exists only where the SM4 instructions were detected.
        unsafe {
            match live {
                1 => crypt(round_keys, core::array::from_mut(&mut blocks[0])),
                _ => crypt(round_keys, blocks),
            }
        }
    }

    fn crypt_masked(self, round_keys: &[u32; 32], blocks: &mut [Block; BLOCKS], masks: &[Block; BLOCKS], live: usize) {
        // SAFETY: as in `crypt`.
        unsafe {
            match live {
                1 => crypt_masked(round_keys, core::array::from_mut(&mut blocks[0]), core::array::from_ref(&masks[0])),
                _ => crypt_masked(round_keys, blocks, masks),
            }
        }
    }

    fn add_stream(self, round_keys: &[u32; 32], counter: &Block, blocks: &mut [Block; BLOCKS], live: usize) {
        // SAFETY: as in `crypt`.
        unsafe {
            match live {
                1 => add_stream(round_keys, counter, core::array::from_mut(&mut blocks[0])),
                _ => add_stream(round_keys, counter, blocks),
            }
        }
    }
}

/// The round keys of a key, GB/T 32907 7.3.
pub(super) fn expand(_token: NeonSm, key: &[u8; KEY_BYTES]) -> [u32; 32] {
    // SAFETY: the token exists only where the SM4 instructions were detected.
    unsafe { expand_key(key) }
}

#[target_feature(enable = "neon,sm4")]
fn expand_key(key: &[u8; KEY_BYTES]) -> [u32; 32] {
    let mut keys = veorq_u32(load(key), vector(FK));
    let mut round_keys = [0; 32];
    for (round_keys, ck) in round_keys.as_chunks_mut().0.iter_mut().zip(CK.as_chunks().0) {
        keys = sm4ekey(keys, vector(*ck));
        *round_keys = words(keys);
    }
    round_keys
}

#[target_feature(enable = "neon,sm4")]
#[inline]
fn crypt<const N: usize>(round_keys: &[u32; 32], blocks: &mut [Block; N]) {
    let mut x = [vdupq_n_u32(0); N];
    for (x, block) in x.iter_mut().zip(&*blocks) {
        *x = load(block);
    }
    for (block, x) in blocks.iter_mut().zip(rounds(round_keys, x)) {
        *block = bytes(finish(x));
    }
}

#[target_feature(enable = "neon,sm4")]
#[inline]
fn crypt_masked<const N: usize>(round_keys: &[u32; 32], blocks: &mut [Block; N], masks: &[Block; N]) {
    let mut x = [vdupq_n_u32(0); N];
    for ((x, block), mask) in x.iter_mut().zip(&*blocks).zip(masks) {
        *x = words_of(veorq_u8(from_bytes(block), from_bytes(mask)));
    }
    for ((block, mask), x) in blocks.iter_mut().zip(masks).zip(rounds(round_keys, x)) {
        *block = bytes(veorq_u8(finish(x), from_bytes(mask)));
    }
}

#[target_feature(enable = "neon,sm4")]
#[inline]
fn add_stream<const N: usize>(round_keys: &[u32; 32], counter: &Block, blocks: &mut [Block; N]) {
    let mut next = load(counter);
    let mut x = [next; N];
    for x in &mut x {
        *x = next;
        next = vaddq_u32(next, vector([0, 0, 0, 1]));
    }
    for (block, x) in blocks.iter_mut().zip(rounds(round_keys, x)) {
        *block = bytes(veorq_u8(finish(x), from_bytes(block)));
    }
}

/// All 32 rounds on blocks of words.
#[target_feature(enable = "neon,sm4")]
#[inline]
fn rounds<const N: usize>(round_keys: &[u32; 32], mut x: [uint32x4_t; N]) -> [uint32x4_t; N] {
    // SAFETY: 32 words are eight vectors.
    let round_keys = unsafe { core::mem::transmute::<[u32; 32], RoundKeys>(*round_keys) };
    for keys in round_keys {
        for x in &mut x {
            *x = sm4e(*x, keys);
        }
    }
    x
}

/// Four rounds of one block.
#[target_feature(enable = "neon,sm4")]
#[inline]
fn sm4e(mut x: uint32x4_t, round_keys: uint32x4_t) -> uint32x4_t {
    // SAFETY: registers only; the caller has the instruction.
    unsafe {
        asm!("sm4e {0:v}.4s, {1:v}.4s", inout(vreg) x, in(vreg) round_keys,
             options(pure, nomem, nostack, preserves_flags));
    }
    x
}

/// The next four round keys.
#[target_feature(enable = "neon,sm4")]
#[inline]
fn sm4ekey(keys: uint32x4_t, ck: uint32x4_t) -> uint32x4_t {
    let next;
    // SAFETY: registers only; the caller has the instruction.
    unsafe {
        asm!("sm4ekey {0:v}.4s, {1:v}.4s, {2:v}.4s", lateout(vreg) next, in(vreg) keys, in(vreg) ck,
             options(pure, nomem, nostack, preserves_flags));
    }
    next
}

/// A block in memory's order: the words reversed (R of GB/T 32907 7.1), which with the bytes of each is all bytes.
#[target_feature(enable = "neon")]
#[inline]
fn finish(x: uint32x4_t) -> uint8x16_t {
    let halves = vrev64q_u8(vreinterpretq_u8_u32(x));
    vextq_u8::<8>(halves, halves)
}

/// The words of a block.
#[target_feature(enable = "neon")]
#[inline]
fn load(block: &Block) -> uint32x4_t {
    words_of(from_bytes(block))
}

#[target_feature(enable = "neon")]
#[inline]
fn words_of(bytes: uint8x16_t) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(bytes))
}

fn from_bytes(block: &Block) -> uint8x16_t {
    // SAFETY: any sixteen bytes are a vector.
    unsafe { core::mem::transmute::<Block, uint8x16_t>(*block) }
}

fn bytes(vector: uint8x16_t) -> Block {
    // SAFETY: a vector is sixteen bytes.
    unsafe { core::mem::transmute::<uint8x16_t, Block>(vector) }
}

fn vector(words: [u32; 4]) -> uint32x4_t {
    // SAFETY: any four words are a vector.
    unsafe { core::mem::transmute::<[u32; 4], uint32x4_t>(words) }
}

fn words(vector: uint32x4_t) -> [u32; 4] {
    // SAFETY: a vector is four words.
    unsafe { core::mem::transmute::<uint32x4_t, [u32; 4]>(vector) }
}
