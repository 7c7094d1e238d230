//! Bitsliced SM4: sixteen blocks in parallel in plain 64-bit words.
//!
//! A word of sixteen blocks is eight planes: bit `16j + b` of plane `i` is bit `i` of byte `j` (0 is the lowest) of
//! block `b`'s word. A rotation by a multiple of eight turns every plane by a multiple of sixteen; a rotation by two
//! renames planes.

use super::{BLOCK_BYTES, Direction, Kernel, sbox};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks computed together.
const BLOCKS: usize = 16;

type Word = [u64; 8];

/// Round keys as planes, the inner constant of the S-box added.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedule {
    rounds: [Word; 32],
}

impl Schedule {
    pub(super) fn new(round_keys: &[u32; 32]) -> Self {
        Self { rounds: round_keys.map(|key| broadcast(key ^ u32::from_ne_bytes([sbox::INPUT_CONSTANT; 4]))) }
    }
}

impl Kernel for Schedule {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn crypt(&self, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
        for group in blocks.chunks_mut(BLOCKS) {
            crypt(self, direction, group);
        }
    }
}

/// Encrypts or decrypts up to [`BLOCKS`] blocks in place.
fn crypt(schedule: &Schedule, direction: Direction, blocks: &mut [[u8; BLOCK_BYTES]]) {
    debug_assert!(blocks.len() <= BLOCKS);
    let mut x: [Word; 4] = core::array::from_fn(|word| pack(blocks, word));
    for i in (0..32).step_by(4) {
        let key = |j: usize| match direction {
            Direction::Encrypt => &schedule.rounds[i + j],
            Direction::Decrypt => &schedule.rounds[31 - i - j],
        };
        let [x0, x1, x2, x3] = &mut x;
        round(x0, x1, x2, x3, key(0));
        round(x1, x2, x3, x0, key(1));
        round(x2, x3, x0, x1, key(2));
        round(x3, x0, x1, x2, key(3));
    }
    // R of GB/T 32907 7.1: the words leave in reverse order.
    for (word, planes) in x.iter_mut().enumerate() {
        unpack(planes, blocks, 3 - word);
    }
}

/// F of GB/T 32907 6.1: `x0 ^= L(τ(x1 ⊕ x2 ⊕ x3 ⊕ rk))`.
#[inline(always)]
fn round(x0: &mut Word, x1: &Word, x2: &Word, x3: &Word, key: &Word) {
    let mut b = sbox::circuit(&core::array::from_fn(|i| x1[i] ^ x2[i] ^ x3[i] ^ key[i]));
    for (i, plane) in b.iter_mut().enumerate() {
        if sbox::OUTPUT_CONSTANT >> i & 1 == 1 {
            *plane = !*plane;
        }
    }
    // L(B) = B ⊕ B<<<24 ⊕ (B ⊕ B<<<8 ⊕ B<<<16)<<<2.
    let t: Word = core::array::from_fn(|i| b[i] ^ b[i].rotate_left(16) ^ b[i].rotate_left(32));
    for i in 0..8 {
        let turned = if i >= 2 { t[i - 2] } else { t[i + 6].rotate_left(16) };
        x0[i] ^= b[i] ^ b[i].rotate_left(48) ^ turned;
    }
}

/// The planes of sixteen copies of `value`.
fn broadcast(value: u32) -> Word {
    core::array::from_fn(|bit| {
        (0..4).fold(0, |plane, byte| {
            let set = u64::from(value >> (8 * byte + bit) & 1);
            plane | (set.wrapping_neg() & 0xffff) << (16 * byte)
        })
    })
}

/// Planes of word `word` of every block; missing blocks are zero.
#[inline(always)]
fn pack(blocks: &[[u8; BLOCK_BYTES]], word: usize) -> Word {
    let load = |block: usize| {
        blocks.get(block).map_or(0, |bytes| {
            u32::from_be_bytes([bytes[4 * word], bytes[4 * word + 1], bytes[4 * word + 2], bytes[4 * word + 3]])
        })
    };
    let mut planes = core::array::from_fn(|k| spread(load(k)) | spread(load(k + 8)) << 8);
    transpose(&mut planes);
    planes
}

/// Inverse of [`pack`]; consumes the planes.
#[inline(always)]
fn unpack(planes: &mut Word, blocks: &mut [[u8; BLOCK_BYTES]], word: usize) {
    transpose(planes);
    for (block, bytes) in blocks.iter_mut().enumerate() {
        let value = gather(planes[block % 8] >> (8 * (block / 8)));
        bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// Moves byte `j` to byte `2j`.
#[inline(always)]
fn spread(value: u32) -> u64 {
    let x = u64::from(value);
    let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    (x | x << 8) & 0x00ff_00ff_00ff_00ff
}

/// Inverse of [`spread`]; odd bytes are ignored.
#[inline(always)]
fn gather(value: u64) -> u32 {
    let x = value & 0x00ff_00ff_00ff_00ff;
    let x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// Transposes the 8×8 bit matrices at every byte position: bit `k` of byte `m` of word `i` trades places with bit `i` of byte `m` of word `k`.
#[inline(always)]
fn transpose(q: &mut Word) {
    for (shift, mask) in [(1, 0x5555_5555_5555_5555), (2, 0x3333_3333_3333_3333), (4, 0x0f0f_0f0f_0f0f_0f0f)] {
        for low in (0..8).filter(|i| i & shift == 0) {
            let (a, b) = (q[low], q[low + shift]);
            q[low] = (a & mask) | (b & mask) << shift;
            q[low + shift] = (a >> shift & mask) | (b & !mask);
        }
    }
}
