//! The tweaks of XTS, four in a register, four registers side by side, each step a multiplication by `x^16`.

use core::arch::x86_64::*;

use crate::cpu::Gfni512;
use crate::sm4::xts::TweakOrder;
use crate::sm4::{BLOCK_BYTES, PARALLEL_BLOCKS};

/// Tweaks of one step of all registers.
const STEP: usize = 16;

/// Puts `count` tweaks from `value` on, and perhaps some more, at the start of `out`; returns the one after `count`. `value` is the
/// field element as an integer, in the order's own reading of a block.
pub(in crate::sm4) fn fill(
    _token: Gfni512,
    order: TweakOrder,
    value: u128,
    count: usize,
    out: &mut [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS],
) -> u128 {
    let steps = out.len().min(count + 1).div_ceil(STEP);
    let filled = &mut out.as_chunks_mut::<STEP>().0[..steps];
    // SAFETY: the token exists only where AVX-512 F and BW were detected.
    let next = unsafe {
        match order {
            TweakOrder::Gbt17964 => fill_steps::<true>(value, filled),
            TweakOrder::Ieee1619 => fill_steps::<false>(value, filled),
        }
    };
    out.get(count).map_or(next, |block| order.element(block))
}

/// Fills `out` and returns the tweak after it.
#[target_feature(enable = "avx512f,avx512bw")]
fn fill_steps<const MIRRORED: bool>(value: u128, out: &mut [[[u8; BLOCK_BYTES]; STEP]]) -> u128 {
    let order = if MIRRORED { TweakOrder::Gbt17964 } else { TweakOrder::Ieee1619 };
    let mut first = [value; 4];
    for i in 1..4 {
        first[i] = order.step(first[i - 1]);
    }
    // SAFETY: any four numbers are a vector.
    let mut tweaks = [unsafe { core::mem::transmute::<[u128; 4], __m512i>(first) }; 4];
    for i in 1..4 {
        tweaks[i] = times_x_to::<4, MIRRORED>(tweaks[i - 1]);
    }
    let mirror = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    for step in out {
        for (group, tweaks) in step.as_chunks_mut::<4>().0.iter_mut().zip(&mut tweaks) {
            write(group, if MIRRORED { _mm512_shuffle_epi8(*tweaks, mirror) } else { *tweaks });
            *tweaks = times_x_to::<16, MIRRORED>(*tweaks);
        }
    }
    // SAFETY: a vector is four numbers.
    unsafe { core::mem::transmute::<__m512i, [u128; 4]>(tweaks[0])[0] }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn write(group: &mut [[u8; BLOCK_BYTES]; 4], tweaks: __m512i) {
    // SAFETY: a vector is 64 bytes.
    *group = unsafe { core::mem::transmute::<__m512i, [[u8; BLOCK_BYTES]; 4]>(tweaks) };
}

/// `t · x^N` for `N` up to 16; `MIRRORED` where the coefficient of `x^0` is the top bit.
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
