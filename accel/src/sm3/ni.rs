//! One stream with Intel's SM3 instructions (SDM volume 2: VSM3MSG1, VSM3MSG2, VSM3RNDS2).
//!
//! The state is two registers, `ABEF` and `CDGH`, highest word first. VSM3RNDS2 does two steps and rotates `C`, `D`, `G` and `H` itself,
//! on the way in: the `ABEF` of two steps ago serves as `CDGH` unchanged. On the way in and out of this function the four are
//! rotated back and forth. Two instructions of steps and two of expansion a quad of words. No address and no branch depends on data.
//!
//! The schedule is generic over the instructions: the tests run it on the manual's pseudo-code, so that what no test machine may
//! have is three lines, [`Native`].
#![allow(unsafe_code)]

use super::BLOCK_BYTES;
use crate::cpu::Sm3Ni;
use core::arch::x86_64::*;
use core::mem::transmute;

/// The three instructions, operands in the order of the intrinsics.
pub(super) trait Instructions {
    /// `P1(W_0 ⊕ W_7 ⊕ W_13 <<< 15)` of four words: of `w7`, `w13` (three words) and `w0`.
    ///
    /// # Safety
    /// The processor has the instruction.
    unsafe fn msg1(w7: __m128i, w13: __m128i, w0: __m128i) -> __m128i;

    /// The next four words: from [`Self::msg1`]'s result, `w3` and `w10`.
    ///
    /// # Safety
    /// The processor has the instruction.
    unsafe fn msg2(partial: __m128i, w3: __m128i, w10: __m128i) -> __m128i;

    /// Steps `STEP` and the one after it: `ABEF` after them, given `CDGH`, `ABEF` and `W_j, W_{j+1}, W_{j+4}, W_{j+5}`.
    ///
    /// # Safety
    /// The processor has the instruction.
    unsafe fn rnds2<const STEP: i32>(cdgh: __m128i, abef: __m128i, words: __m128i) -> __m128i;
}

/// The processor's own.
struct Native;

impl Instructions for Native {
    #[inline(always)]
    unsafe fn msg1(w7: __m128i, w13: __m128i, w0: __m128i) -> __m128i {
        // SAFETY: the caller's promise.
        unsafe { _mm_sm3msg1_epi32(w7, w13, w0) }
    }

    #[inline(always)]
    unsafe fn msg2(partial: __m128i, w3: __m128i, w10: __m128i) -> __m128i {
        // SAFETY: the caller's promise.
        unsafe { _mm_sm3msg2_epi32(partial, w3, w10) }
    }

    #[inline(always)]
    unsafe fn rnds2<const STEP: i32>(cdgh: __m128i, abef: __m128i, words: __m128i) -> __m128i {
        // SAFETY: the caller's promise.
        unsafe { _mm_sm3rnds2_epi32::<STEP>(cdgh, abef, words) }
    }
}

/// Folds whole blocks into the state.
pub(super) fn compress(_token: Sm3Ni, state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    // SAFETY: the token exists only where SM3 and AVX were detected.
    unsafe { compress_native(state, blocks) }
}

#[target_feature(enable = "sm3,avx")]
fn compress_native(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    // SAFETY: the features are those of `Native` and of SSSE3.
    unsafe { compress_with::<Native>(state, blocks) }
}

/// # Safety
/// The processor has SSSE3 and the instructions of `I`.
#[inline(always)]
pub(super) unsafe fn compress_with<I: Instructions>(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    let [a, b, c, d, e, f, g, h] = *state;
    let rotated = [c.rotate_right(9), d.rotate_right(9), g.rotate_right(19), h.rotate_right(19)];
    // SAFETY: the caller's promise.
    let ([a, b, e, f], [c, d, g, h]) = unsafe {
        let (mut abef, mut cdgh) = (highest_first([a, b, e, f]), highest_first(rotated));
        for block in blocks {
            let before = (abef, cdgh);
            fold::<I>(&mut abef, &mut cdgh, load(block));
            // Both sides of the second sum lack the same rotations, which commute with XOR.
            (abef, cdgh) = (_mm_xor_si128(abef, before.0), _mm_xor_si128(cdgh, before.1));
        }
        (words(abef), words(cdgh))
    };
    *state = [a, b, c.rotate_left(9), d.rotate_left(9), e, f, g.rotate_left(19), h.rotate_left(19)];
}

/// CF without its last sum, GB/T 32905 5.3.3, on the words of one block.
///
/// # Safety
/// The processor has SSSE3 and the instructions of `I`.
#[inline(always)]
unsafe fn fold<I: Instructions>(abef: &mut __m128i, cdgh: &mut __m128i, mut w: [__m128i; 4]) {
    macro_rules! quads {
        ($($quad:literal)+) => {$(
            let now = w[$quad % 4];
            if $quad >= 3 {
                let before = [w[($quad + 1) % 4], w[($quad + 2) % 4], w[($quad + 3) % 4], now];
                // SAFETY: the caller's promise.
                w[($quad + 1) % 4] = unsafe { next_quad::<I>(before) };
            }
            let next = w[($quad + 1) % 4];
            // SAFETY: the caller's promise.
            unsafe {
                *cdgh = I::rnds2::<{ 4 * $quad }>(*cdgh, *abef, _mm_unpacklo_epi64(now, next));
                *abef = I::rnds2::<{ 4 * $quad + 2 }>(*abef, *cdgh, _mm_unpackhi_epi64(now, next));
            }
        )+};
    }
    quads!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Message expansion, GB/T 32905 5.3.2 a): four words from the sixteen before them.
///
/// # Safety
/// The processor has SSSE3 and the instructions of `I`.
#[inline(always)]
unsafe fn next_quad<I: Instructions>(w: [__m128i; 4]) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let w3 = _mm_alignr_epi8::<12>(w[1], w[0]);
        let w7 = _mm_alignr_epi8::<12>(w[2], w[1]);
        let w10 = _mm_alignr_epi8::<8>(w[3], w[2]);
        let w13 = _mm_srli_si128::<4>(w[3]);
        I::msg2(I::msg1(w7, w13, w[0]), w3, w10)
    }
}

/// The words of a block.
///
/// # Safety
/// The processor has SSSE3.
#[inline(always)]
unsafe fn load(block: &[u8; BLOCK_BYTES]) -> [__m128i; 4] {
    let (quads, _) = block.as_chunks::<16>();
    // SAFETY: SSSE3 is the caller's promise; any sixteen bytes are a register. (A load by intrinsic would be checked for overlap in
    // builds with debug assertions.)
    unsafe {
        let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        [
            _mm_shuffle_epi8(transmute::<[u8; 16], __m128i>(quads[0]), swap),
            _mm_shuffle_epi8(transmute::<[u8; 16], __m128i>(quads[1]), swap),
            _mm_shuffle_epi8(transmute::<[u8; 16], __m128i>(quads[2]), swap),
            _mm_shuffle_epi8(transmute::<[u8; 16], __m128i>(quads[3]), swap),
        ]
    }
}

/// A register of four words, the first one highest.
#[inline(always)]
fn highest_first([w3, w2, w1, w0]: [u32; 4]) -> __m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_set_epi32(w3 as i32, w2 as i32, w1 as i32, w0 as i32) }
}

/// The words of a register, the highest one first.
#[inline(always)]
pub(super) fn words(x: __m128i) -> [u32; 4] {
    // SAFETY: both are 16 bytes and may have any bits.
    let [w0, w1, w2, w3]: [u32; 4] = unsafe { transmute(x) };
    [w3, w2, w1, w0]
}
