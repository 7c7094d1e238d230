//! The tweaks of XTS, four in a register, eight registers side by side, each step a multiplication by `x^32`.

use core::arch::x86_64::*;

use crate::sm4::xts::TweakOrder;
use crate::sm4::{BLOCK_BYTES, PARALLEL_BLOCKS};

/// Tweaks of one step of all registers.
const STEP: usize = 4 * REGISTERS;
const REGISTERS: usize = 8;

/// Tweaks of one kernel call, on lines of the cache: a vector that is written and read back across two lines waits.
#[repr(align(64))]
pub(super) struct Masks(pub(super) [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS]);

/// The next tweaks, as field elements; `MIRRORED` where the coefficient of `x^0` is the top bit (GB/T 17964).
pub(super) struct Chain<const MIRRORED: bool>([__m512i; REGISTERS]);

impl<const MIRRORED: bool> Chain<MIRRORED> {
    pub(super) const ORDER: TweakOrder = if MIRRORED { TweakOrder::Gbt17964 } else { TweakOrder::Ieee1619 };

    /// `value` comes first.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn new(value: u128) -> Self {
        let mut first = [value; 4];
        for i in 1..4 {
            first[i] = Self::ORDER.step(first[i - 1]);
        }
        // SAFETY: any four numbers are a vector.
        let mut registers = [unsafe { core::mem::transmute::<[u128; 4], __m512i>(first) }; REGISTERS];
        for i in 1..REGISTERS {
            registers[i] = times_x_to::<4, MIRRORED>(registers[i - 1]);
        }
        Self(registers)
    }

    /// Puts the next `count` tweaks, and perhaps some more, at the start of `masks`, and returns the one after them. Only the last call
    /// may ask for a number that is no multiple of [`STEP`].
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn fill(&mut self, count: usize, masks: &mut Masks) -> u128 {
        let mirror = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        for step in &mut masks.0.as_chunks_mut::<STEP>().0[..count.div_ceil(STEP)] {
            for (group, tweaks) in step.as_chunks_mut::<4>().0.iter_mut().zip(&mut self.0) {
                let blocks = if MIRRORED { _mm512_shuffle_epi8(*tweaks, mirror) } else { *tweaks };
                // SAFETY: a vector is 64 bytes.
                *group = unsafe { core::mem::transmute::<__m512i, [[u8; BLOCK_BYTES]; 4]>(blocks) };
                *tweaks = times_x_to::<{ STEP as u32 }, MIRRORED>(*tweaks);
            }
        }
        if count.is_multiple_of(STEP) {
            // SAFETY: a vector is four numbers.
            unsafe { core::mem::transmute::<__m512i, [u128; 4]>(self.0[0])[0] }
        } else {
            Self::ORDER.element(&masks.0[count])
        }
    }
}

/// `t · x^N` for `N` up to 57; `MIRRORED` where the coefficient of `x^0` is the top bit.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_x_to<const N: u32, const MIRRORED: bool>(t: __m512i) -> __m512i {
    if MIRRORED { times_mirrored::<N>(t) } else { times::<N>(t) }
}

/// `t ≪ N`, the bits that leave added again times `x^128 = x^7 + x^2 + x + 1`.
#[target_feature(enable = "avx512f")]
#[inline]
fn times<const N: u32>(t: __m512i) -> __m512i {
    // In the upper half the bits that come over from the lower one, in the lower half those that leave.
    let over = right(_mm512_shuffle_epi32::<0b01_00_11_10>(t), 64 - N);
    let folded = _mm512_ternarylogic_epi64::<XOR3>(left(over, 1), left(over, 2), left(over, 7));
    let folded = _mm512_maskz_mov_epi64(0b0101_0101, folded);
    _mm512_ternarylogic_epi64::<XOR3>(left(t, N), over, folded)
}

/// `t ≫ N`, the bits that leave at the bottom added again times `x^128 = 1 + x + x^2 + x^7` at the top.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_mirrored<const N: u32>(t: __m512i) -> __m512i {
    let other = _mm512_shuffle_epi32::<0b01_00_11_10>(t);
    // The lower half gets the upper one's bits; the upper half gets those that leave, times 1, in the same place.
    let over = left(other, 64 - N);
    let folded = _mm512_ternarylogic_epi64::<XOR3>(right(over, 1), right(over, 2), right(over, 7));
    let folded = _mm512_maskz_mov_epi64(0b1010_1010, folded);
    _mm512_ternarylogic_epi64::<XOR3>(right(t, N), over, folded)
}

const XOR3: i32 = 0x96;

#[target_feature(enable = "avx512f")]
#[inline]
fn left(x: __m512i, bits: u32) -> __m512i {
    _mm512_sll_epi64(x, _mm_cvtsi32_si128(bits as i32))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn right(x: __m512i, bits: u32) -> __m512i {
    _mm512_srl_epi64(x, _mm_cvtsi32_si128(bits as i32))
}
