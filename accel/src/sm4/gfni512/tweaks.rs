//! The tweaks of XTS, four in a register, each step a multiplication by `x^4`.

use core::arch::x86_64::*;

use crate::cpu::Gfni512;
use crate::sm4::xts::TweakOrder;
use crate::sm4::{BLOCK_BYTES, PARALLEL_BLOCKS};

/// Fills `out` with the tweaks from `value` on and returns the one after them. `value` is the field element as an integer, in the
/// order's own reading of a block.
pub(in crate::sm4) fn fill(
    _token: Gfni512,
    order: TweakOrder,
    value: u128,
    out: &mut [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS],
) -> u128 {
    // SAFETY: the token exists only where AVX-512 F and BW were detected.
    unsafe { fill_vectors(order, value, out) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn fill_vectors(order: TweakOrder, value: u128, out: &mut [[u8; BLOCK_BYTES]; PARALLEL_BLOCKS]) -> u128 {
    let mut first = [value; 4];
    for i in 1..4 {
        first[i] = order.step(first[i - 1]);
    }
    // SAFETY: any four numbers are a vector.
    let mut tweaks = unsafe { core::mem::transmute::<[u128; 4], __m512i>(first) };
    let (groups, _) = out.as_chunks_mut::<4>();
    match order {
        TweakOrder::Gbt17964 => {
            let mirror = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
            for group in groups {
                write(group, _mm512_shuffle_epi8(tweaks, mirror));
                tweaks = times_x4_mirrored(tweaks);
            }
        }
        TweakOrder::Ieee1619 => {
            for group in groups {
                write(group, tweaks);
                tweaks = times_x4(tweaks);
            }
        }
    }
    // SAFETY: a vector is four numbers.
    unsafe { core::mem::transmute::<__m512i, [u128; 4]>(tweaks)[0] }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn write(group: &mut [[u8; BLOCK_BYTES]; 4], tweaks: __m512i) {
    // SAFETY: a vector is 64 bytes.
    *group = unsafe { core::mem::transmute::<__m512i, [[u8; BLOCK_BYTES]; 4]>(tweaks) };
}

/// `t ≪ 4`, the four bits that leave added again times `x^128 = x^7 + x^2 + x + 1`.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_x4(t: __m512i) -> __m512i {
    const XOR3: i32 = 0x96;
    // In the upper half the bits that come over from the lower one, in the lower half those that leave.
    let over = _mm512_srli_epi64::<60>(_mm512_shuffle_epi32::<0b01_00_11_10>(t));
    let folded = _mm512_ternarylogic_epi64::<XOR3>(
        _mm512_slli_epi64::<1>(over),
        _mm512_slli_epi64::<2>(over),
        _mm512_slli_epi64::<7>(over),
    );
    let folded = _mm512_maskz_mov_epi64(0b0101_0101, folded);
    _mm512_ternarylogic_epi64::<XOR3>(_mm512_slli_epi64::<4>(t), over, folded)
}

/// The same where the coefficient of `x^0` is the top bit: `t ≫ 4`, and the bits that leave at the bottom times
/// `x^128 = 1 + x + x^2 + x^7` at the top.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_x4_mirrored(t: __m512i) -> __m512i {
    const XOR3: i32 = 0x96;
    let other = _mm512_shuffle_epi32::<0b01_00_11_10>(t);
    // The lower half gets the upper one's bits; the upper half gets those that leave, times 1, in the same place.
    let over = _mm512_slli_epi64::<60>(other);
    let leaving = _mm512_and_si512(other, _mm512_set1_epi64(0xf));
    let folded = _mm512_ternarylogic_epi64::<XOR3>(
        _mm512_slli_epi64::<59>(leaving),
        _mm512_slli_epi64::<58>(leaving),
        _mm512_slli_epi64::<53>(leaving),
    );
    let folded = _mm512_maskz_mov_epi64(0b1010_1010, folded);
    _mm512_ternarylogic_epi64::<XOR3>(_mm512_srli_epi64::<4>(t), over, folded)
}
