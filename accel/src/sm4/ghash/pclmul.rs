//! GHASH with PCLMULQDQ: eight blocks, each times its power of `H`, reduced together.
#![allow(unsafe_code)]

use super::reduce;
use crate::cpu::Pclmul;
use core::arch::x86_64::*;
use zeroize::ZeroizeOnDrop;

/// Blocks reduced together.
const BLOCKS: usize = 8;

/// `H^8, …, H^1`, with the proof that they may be used here.
#[derive(ZeroizeOnDrop)]
pub(in crate::sm4) struct Powers {
    powers: [u128; BLOCKS],
    #[zeroize(skip)]
    _token: Pclmul,
}

impl Powers {
    pub(super) fn new(token: Pclmul, h: u128) -> Self {
        let mut powers = [h; BLOCKS];
        for i in (0..BLOCKS - 1).rev() {
            // SAFETY: `token` exists only where PCLMULQDQ was detected.
            powers[i] = unsafe { multiply(powers[i + 1], h) };
        }
        Self { powers, _token: token }
    }

    /// The hash after `blocks`.
    pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        // SAFETY: `_token` exists only where PCLMULQDQ was detected.
        blocks.chunks(BLOCKS).fold(y, |y, blocks| unsafe { absorb_few(&self.powers, y, blocks) })
    }
}

/// Up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
#[target_feature(enable = "pclmulqdq,sse2")]
fn absorb_few(powers: &[u128; BLOCKS], y: u128, blocks: &[[u8; 16]]) -> u128 {
    let zero = _mm_setzero_si128();
    let (mut high, mut middle, mut low) = (zero, zero, zero);
    let mut y = y;
    for (block, power) in blocks.iter().zip(&powers[BLOCKS - blocks.len()..]) {
        let (a, b) = (vector(u128::from_be_bytes(*block) ^ y), vector(*power));
        y = 0;
        high = _mm_xor_si128(high, _mm_clmulepi64_si128::<0x11>(a, b));
        low = _mm_xor_si128(low, _mm_clmulepi64_si128::<0x00>(a, b));
        let cross = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
        middle = _mm_xor_si128(middle, cross);
    }
    reduce(integer(high), integer(middle), integer(low))
}

/// Product in the field.
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn multiply(a: u128, b: u128) -> u128 {
    let (a, b) = (vector(a), vector(b));
    let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    let (high, low) = (_mm_clmulepi64_si128::<0x11>(a, b), _mm_clmulepi64_si128::<0x00>(a, b));
    reduce(integer(high), integer(middle), integer(low))
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
