//! One stream with BMI2: a rotation keeps its source (RORX), `¬x ∧ y` is one instruction (ANDN).
//!
//! A step waits for the one before it: `E' = P0(GG + H + W + ((A <<< 12) + E + T) <<< 7)` is six instructions in a row from `E` and,
//! through `A'`, six every step as well, 384 cycles a block. All else has to fit beside that chain: sums are ordered so that what is known
//! first is added first, and [`steps`] finds the expanded words in memory where a vector unit put them.
#![allow(unsafe_code)]

use super::BLOCK_BYTES;
use super::portable::{self, T};
use crate::cpu::Bmi2;

/// Folds whole blocks into the state.
pub(super) fn compress(_token: Bmi2, state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    // SAFETY: the token exists only where BMI1 and BMI2 were detected.
    unsafe { compress_blocks(state, blocks) }
}

#[target_feature(enable = "bmi1,bmi2")]
fn compress_blocks(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    portable::compress_inline(state, blocks);
}

/// Expanded messages of sixteen blocks: entry `i` of row `j` is `W_j` of block `i`.
pub(super) type Words = [[u32; 16]; 68];

/// The same value, of which the optimiser knows nothing: else it would put the sum of `A <<< 12`, `E` and `T` in an order, or into one
/// slow instruction, that lengthens the chain.
#[inline(always)]
fn opaque(mut x: u32) -> u32 {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0:e} */", inout(reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// FF of steps 0 to 15 as a sum of two terms.
#[inline(always)]
fn parity(x: u32, y: u32, z: u32) -> (u32, u32) {
    (x ^ y ^ z, 0)
}

/// FF of the other steps; the terms have no bit in common.
#[inline(always)]
fn majority(x: u32, y: u32, z: u32) -> (u32, u32) {
    (x & y, (x ^ y) & z)
}

/// GG of the other steps; the terms have no bit in common.
#[inline(always)]
fn choose(x: u32, y: u32, z: u32) -> (u32, u32) {
    (x & y, !x & z)
}

macro_rules! step {
    ($j:expr, $ff:ident $gg:ident, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $w:ident $block:ident) => {
        let a12 = $a.rotate_left(12);
        let ss1 = opaque(a12.wrapping_add(T[$j])).wrapping_add($e).rotate_left(7);
        let (ff, gg) = ($ff($a, $b, $c), $gg($e, $f, $g));
        let tt1 = $d
            .wrapping_add($w[$j][$block] ^ $w[$j + 4][$block])
            .wrapping_add(ff.0)
            .wrapping_add(ff.1)
            .wrapping_add(ss1 ^ a12);
        let tt2 = $h.wrapping_add($w[$j][$block]).wrapping_add(gg.0).wrapping_add(gg.1).wrapping_add(ss1);
        $b = $b.rotate_left(9);
        $d = tt1;
        $f = $f.rotate_left(19);
        $h = portable::p0(tt2);
    };
}

macro_rules! four_steps {
    ($ff:ident $gg:ident $r:ident $w:ident $block:ident: $($j:literal)+) => {$(
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $r;
        step!($j, $ff $gg, a b c d e f g h, $w $block);
        step!($j + 1, $ff $gg, d a b c h e f g, $w $block);
        step!($j + 2, $ff $gg, c d a b g h e f, $w $block);
        step!($j + 3, $ff $gg, b c d a f g h e, $w $block);
        $r = [a, b, c, d, e, f, g, h];
    )+};
}

/// Folds block `block`, expanded, into the state.
#[target_feature(enable = "bmi1,bmi2")]
pub(super) fn steps(state: &mut [u32; 8], w: &Words, block: usize) {
    let block = block % 16;
    let mut r = *state;
    four_steps!(parity parity r w block: 0 4 8 12);
    four_steps!(majority choose r w block: 16 20 24 28 32 36 40 44 48 52 56 60);
    for (s, v) in state.iter_mut().zip(r) {
        *s ^= v;
    }
}
