//! SM3 with the instructions of Armv8.2-SM3, for one stream and for lanes, two streams side by side.
//!
//! A step is three instructions, each of which waits for the one before (SM3SS1, SM3TT1, SM3TT2), and four steps share an expansion of
//! seven: 84 instructions for sixteen steps. Two streams fill the time one waits. The intrinsics are not stable, so each
//! instruction is one `asm!`, which leaves registers and order to the compiler. No data-dependent address or branch.
#![allow(unsafe_code)]

use super::lanes::{self, Block, States};
use super::portable::T;
use crate::cpu::NeonSm;
use core::arch::aarch64::*;
use core::arch::asm;

/// Lanes offered to the scheduler of messages.
pub(super) const LANES: usize = 8;
/// Streams computed side by side: their states, sums and messages fill the registers.
const STREAMS: usize = 2;

/// The kernel for lanes.
pub(super) struct Lanes {
    _token: NeonSm,
}

impl Lanes {
    pub(super) fn new(token: NeonSm) -> Self {
        Self { _token: token }
    }
}

impl lanes::Kernel<LANES> for Lanes {
    fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, live: usize) {
        for first in (0..live).step_by(STREAMS) {
            // The last lane has a neighbour, live or not.
            let mut pair: [[u32; 8]; STREAMS] = core::array::from_fn(|i| states.lane(first + i));
            let data = core::array::from_fn(|i| &data[first + i][..count]);
            // SAFETY: `_token` exists only where the SM3 instructions were detected.
            unsafe { compress_streams(&mut pair, data) };
            for (i, state) in pair.iter().enumerate() {
                states.set_lane(first + i, state);
            }
            super::wipe(pair.as_flattened_mut(), 0);
        }
    }
}

/// Folds whole blocks into the state.
pub(super) fn compress(_token: NeonSm, state: &mut [u32; 8], blocks: &[Block]) {
    // SAFETY: the token exists only where the SM3 instructions were detected.
    unsafe { compress_streams(core::array::from_mut(state), [blocks]) }
}

/// `ABCD` and `EFGH`, `A` and `E` in the last lane.
type State = [uint32x4_t; 2];

/// The four instructions of a step, FF and GG with them.
macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident = $template:literal) => {
        $(#[$doc])*
        #[target_feature(enable = "neon,sm4")]
        #[inline]
        fn $name<const LANE: i32>(mut state: uint32x4_t, sum: uint32x4_t, words: uint32x4_t) -> uint32x4_t {
            // SAFETY: registers only; the caller has the instruction.
            unsafe {
                asm!($template, inout(vreg) state, in(vreg) sum, in(vreg) words, lane = const LANE,
                     options(pure, nomem, nostack, preserves_flags));
            }
            state
        }
    };
}

instruction!(
    /// TT1 with the parity function; `words` are `W' = W_j ⊕ W_{j+4}`.
    tt1_parity = "sm3tt1a {0:v}.4s, {1:v}.4s, {2:v}.s[{lane}]"
);
instruction!(
    /// TT1 with the majority function.
    tt1_majority = "sm3tt1b {0:v}.4s, {1:v}.4s, {2:v}.s[{lane}]"
);
instruction!(
    /// P0(TT2) with the parity function; `words` are `W_j`.
    tt2_parity = "sm3tt2a {0:v}.4s, {1:v}.4s, {2:v}.s[{lane}]"
);
instruction!(
    /// P0(TT2) with the choice function.
    tt2_choose = "sm3tt2b {0:v}.4s, {1:v}.4s, {2:v}.s[{lane}]"
);

/// SS1 in the last lane, of `A`, `E` and `T_j ⋘ j` in theirs.
#[target_feature(enable = "neon,sm4")]
#[inline]
fn ss1(abcd: uint32x4_t, efgh: uint32x4_t, t: uint32x4_t) -> uint32x4_t {
    let sum;
    // SAFETY: registers only; the caller has the instruction.
    unsafe {
        asm!("sm3ss1 {0:v}.4s, {1:v}.4s, {2:v}.4s, {3:v}.4s", lateout(vreg) sum, in(vreg) abcd, in(vreg) t, in(vreg) efgh,
             options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Words `j..j+4` of the expansion (GB/T 32905 5.3.2 a), from words `j-16`, `j-12`, `j-8` and `j-4` on.
#[target_feature(enable = "neon,sm4")]
#[inline]
fn expand(w16: uint32x4_t, w12: uint32x4_t, w8: uint32x4_t, w4: uint32x4_t) -> uint32x4_t {
    let (w9, w13, w6) = (vextq_u32::<3>(w12, w8), vextq_u32::<3>(w16, w12), vextq_u32::<2>(w8, w4));
    let mut next = w9;
    // SAFETY: registers only; the caller has the instructions.
    unsafe {
        asm!("sm3partw1 {0:v}.4s, {1:v}.4s, {2:v}.4s", inout(vreg) next, in(vreg) w16, in(vreg) w4,
             options(pure, nomem, nostack, preserves_flags));
        asm!("sm3partw2 {0:v}.4s, {1:v}.4s, {2:v}.4s", inout(vreg) next, in(vreg) w6, in(vreg) w13,
             options(pure, nomem, nostack, preserves_flags));
    }
    next
}

/// `T` behind three words that do not count: loaded from entry `j` on, `T_j ⋘ j` is in the last lane.
static PADDED_T: [u32; 67] = {
    let mut padded = [0; 67];
    let mut j = 0;
    while j < 64 {
        padded[j + 3] = T[j];
        j += 1;
    }
    padded
};

/// Four steps of each stream (GB/T 32905 5.3.3), with words `j..j+4` and `j+4..j+8`.
macro_rules! four_steps {
    ($tt1:ident $tt2:ident, $t:ident[$j:expr], $states:ident, $w:ident[$now:literal, $next:literal]) => {
        four_steps!(@one 0, $tt1 $tt2, $t[$j], $states, $w[$now, $next]);
        four_steps!(@one 1, $tt1 $tt2, $t[$j], $states, $w[$now, $next]);
        four_steps!(@one 2, $tt1 $tt2, $t[$j], $states, $w[$now, $next]);
        four_steps!(@one 3, $tt1 $tt2, $t[$j], $states, $w[$now, $next]);
    };
    (@one $i:literal, $tt1:ident $tt2:ident, $t:ident[$j:expr], $states:ident, $w:ident[$now:literal, $next:literal]) => {
        let t = vector(*$t[$j + $i..].first_chunk().expect("three words before each"));
        for ([abcd, efgh], w) in $states.iter_mut().zip(&$w) {
            let sum = ss1(*abcd, *efgh, t);
            *abcd = $tt1::<$i>(*abcd, sum, veorq_u32(w[$now], w[$next]));
            *efgh = $tt2::<$i>(*efgh, sum, w[$now]);
        }
    };
}

/// Replaces the oldest four words of each stream, at `$at`, by the next four.
macro_rules! next_words {
    ($w:ident[$at:literal $w12:literal $w8:literal $w4:literal]) => {
        for w in &mut $w {
            w[$at] = expand(w[$at], w[$w12], w[$w8], w[$w4]);
        }
    };
}

#[target_feature(enable = "neon,sm4")]
fn compress_streams<const S: usize>(states: &mut [[u32; 8]; S], data: [&[Block]; S]) {
    // Opaque: of a table that it knows, the compiler would make 64 constants, each with an address to compute.
    let t = core::hint::black_box(&PADDED_T);
    let mut folded: [State; S] = states.each_ref().map(|state| lanes_of(state));
    for block in 0..data[0].len() {
        let mut w: [[uint32x4_t; 4]; S] = data.each_ref().map(|blocks| words_of(&blocks[block]));
        let mut r = folded;
        // Steps 12 to 15 need words 16 to 19, and so on: words are made four steps before they are folded.
        four_steps!(tt1_parity tt2_parity, t[0], r, w[0, 1]);
        four_steps!(tt1_parity tt2_parity, t[4], r, w[1, 2]);
        four_steps!(tt1_parity tt2_parity, t[8], r, w[2, 3]);
        next_words!(w[0 1 2 3]);
        four_steps!(tt1_parity tt2_parity, t[12], r, w[3, 0]);
        macro_rules! sixteen_steps {
            ($j:literal) => {
                next_words!(w[1 2 3 0]);
                four_steps!(tt1_majority tt2_choose, t[$j], r, w[0, 1]);
                next_words!(w[2 3 0 1]);
                four_steps!(tt1_majority tt2_choose, t[$j + 4], r, w[1, 2]);
                next_words!(w[3 0 1 2]);
                four_steps!(tt1_majority tt2_choose, t[$j + 8], r, w[2, 3]);
                next_words!(w[0 1 2 3]);
                four_steps!(tt1_majority tt2_choose, t[$j + 12], r, w[3, 0]);
            };
        }
        sixteen_steps!(16);
        sixteen_steps!(32);
        sixteen_steps!(48);
        for (folded, r) in folded.iter_mut().zip(r) {
            *folded = [veorq_u32(folded[0], r[0]), veorq_u32(folded[1], r[1])];
        }
    }
    *states = folded.map(|state| words_in(state));
}

/// `A` to `D` and `E` to `H`, the last lane first.
fn lanes_of(state: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = *state;
    [vector([d, c, b, a]), vector([h, g, f, e])]
}

/// Inverse of [`lanes_of`].
fn words_in(state: State) -> [u32; 8] {
    // SAFETY: two vectors are eight words.
    let [d, c, b, a, h, g, f, e] = unsafe { core::mem::transmute::<State, [u32; 8]>(state) };
    [a, b, c, d, e, f, g, h]
}

#[target_feature(enable = "neon")]
#[inline]
fn words_of(block: &Block) -> [uint32x4_t; 4] {
    // SAFETY: 64 bytes are four vectors.
    let quarters = unsafe { core::mem::transmute::<Block, [uint8x16_t; 4]>(*block) };
    quarters.map(|quarter| vreinterpretq_u32_u8(vrev32q_u8(quarter)))
}

fn vector(words: [u32; 4]) -> uint32x4_t {
    // SAFETY: any four words are a vector.
    unsafe { core::mem::transmute::<[u32; 4], uint32x4_t>(words) }
}
