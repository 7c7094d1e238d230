//! GHASH with PCLMULQDQ: eight blocks, each times its power of `H`, reduced together.
//!
//! The powers are kept divided by `x`. A carry-less product of mirrored elements stands one bit to the right of its place; with
//! one factor divided by `x` it stands in its place, and the reduction is two products with the constant of the field.
#![allow(unsafe_code)]

use crate::cpu::Pclmul;
use core::arch::x86_64::*;
use zeroize::ZeroizeOnDrop;

/// Blocks reduced together.
const BLOCKS: usize = 8;

/// `H^8, …, H^1`, each divided by `x`, with the proof that they may be used here.
#[derive(ZeroizeOnDrop)]
pub(in crate::sm4) struct Powers {
    powers: [u128; BLOCKS],
    #[zeroize(skip)]
    _token: Pclmul,
}

impl Powers {
    pub(super) fn new(token: Pclmul, h: u128) -> Self {
        // SAFETY: `token` exists only where PCLMULQDQ and SSSE3 were detected.
        let powers = unsafe { powers(h) };
        Self { powers, _token: token }
    }

    /// The hash after `blocks`.
    pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        // SAFETY: `_token` exists only where PCLMULQDQ and SSSE3 were detected.
        unsafe { absorb(&self.powers, y, blocks) }
    }
}

/// `H^N, …, H^1`, each divided by `x`.
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn powers<const N: usize>(h: u128) -> [u128; N] {
    /// `x^-1 = x^127 + x^6 + x + 1`, mirrored.
    const INVERSE_OF_X: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;
    let h = (h << 1) ^ ((h >> 127).wrapping_neg() & INVERSE_OF_X);
    let mut powers = [h; N];
    for i in (0..N - 1).rev() {
        powers[i] = integer(product(vector(powers[i + 1]), vector(h)));
    }
    powers
}

/// Each group of up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
#[target_feature(enable = "pclmulqdq,ssse3")]
fn absorb(powers: &[u128; BLOCKS], y: u128, blocks: &[[u8; 16]]) -> u128 {
    let mirror = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut y = vector(y);
    for blocks in blocks.chunks(BLOCKS) {
        let zero = _mm_setzero_si128();
        let (mut high, mut middle, mut low) = (zero, zero, zero);
        let mut carried = y;
        for (block, power) in blocks.iter().zip(&powers[BLOCKS - blocks.len()..]) {
            // SAFETY: any sixteen bytes are a vector.
            let block = unsafe { core::mem::transmute::<[u8; 16], __m128i>(*block) };
            let (a, b) = (_mm_xor_si128(_mm_shuffle_epi8(block, mirror), carried), vector(*power));
            carried = zero;
            high = _mm_xor_si128(high, _mm_clmulepi64_si128::<0x11>(a, b));
            low = _mm_xor_si128(low, _mm_clmulepi64_si128::<0x00>(a, b));
            let cross = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
            middle = _mm_xor_si128(middle, cross);
        }
        y = reduce(high, middle, low);
    }
    integer(y)
}

/// `a · b · x`.
#[target_feature(enable = "pclmulqdq,sse2")]
#[inline]
fn product(a: __m128i, b: __m128i) -> __m128i {
    let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    reduce(_mm_clmulepi64_si128::<0x11>(a, b), middle, _mm_clmulepi64_si128::<0x00>(a, b))
}

/// The field element of `high·2^128 + middle·2^64 + low`, whose bit 255 is the coefficient of `x^0`.
///
/// `x^128 = 1 + x + x^2 + x^7`: each half of the lower 128 bits is added 128 bits higher, and there once more 1, 2 and 7 bits to
/// the right, which is its product with `0xc2 ≪ 56`, 64 bits higher.
#[target_feature(enable = "pclmulqdq,sse2")]
#[inline]
pub(super) fn reduce(high: __m128i, middle: __m128i, low: __m128i) -> __m128i {
    let field = _mm_set_epi64x(0, 0xc2_u64.rotate_right(8) as i64);
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let fold = |x| _mm_xor_si128(_mm_shuffle_epi32::<0b01_00_11_10>(x), _mm_clmulepi64_si128::<0x00>(x, field));
    _mm_xor_si128(high, fold(fold(low)))
}

#[target_feature(enable = "sse2")]
#[inline]
pub(super) fn vector(x: u128) -> __m128i {
    _mm_set_epi64x((x >> 64) as i64, x as i64)
}

#[target_feature(enable = "sse2")]
#[inline]
pub(super) fn integer(x: __m128i) -> u128 {
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(x, x)) as u64;
    (u128::from(high) << 64) | u128::from(_mm_cvtsi128_si64(x) as u64)
}
