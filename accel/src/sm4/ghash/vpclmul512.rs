//! GHASH with VPCLMULQDQ on 512-bit registers: 32 blocks, each times its power of `H`, reduced together.
//!
//! Karatsuba: three products for each register of four blocks. The instruction runs once in two cycles whatever its width, so that
//! is 6 cycles for 64 bytes, and the reduction, in integers, is shared by 512 bytes.
#![allow(unsafe_code)]

use super::pclmul::{integer, multiply, vector};
use super::reduce;
use crate::cpu::Vpclmul512;
use core::arch::x86_64::*;
use zeroize::ZeroizeOnDrop;

/// Blocks reduced together.
const BLOCKS: usize = 32;
/// Blocks of one register.
const LANES: usize = 4;

/// Powers of `H`, with the proof that they may be used here.
#[derive(ZeroizeOnDrop)]
pub(in crate::sm4) struct Powers {
    /// `H^32, …, H^1`, then zeros: a register read from power `n` on holds none that do not exist.
    powers: [u128; BLOCKS + LANES],
    /// Both halves of each power added, in both halves.
    sums: [u128; BLOCKS + LANES],
    #[zeroize(skip)]
    _token: Vpclmul512,
}

impl Powers {
    pub(super) fn new(token: Vpclmul512, h: u128) -> Self {
        let mut powers = [0; BLOCKS + LANES];
        powers[BLOCKS - 1] = h;
        for i in (0..BLOCKS - 1).rev() {
            // SAFETY: `token` exists only where VPCLMULQDQ was detected, which comes with PCLMULQDQ.
            powers[i] = unsafe { multiply(powers[i + 1], h) };
        }
        let sums = powers.map(|power| {
            let sum = (power >> 64) as u64 ^ power as u64;
            u128::from(sum) << 64 | u128::from(sum)
        });
        Self { powers, sums, _token: token }
    }

    /// The hash after `blocks`.
    pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        // SAFETY: `_token` exists only where AVX-512 F and BW and VPCLMULQDQ were detected.
        blocks.chunks(BLOCKS).fold(y, |y, blocks| unsafe { absorb_few(self, y, blocks) })
    }
}

/// Up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
fn absorb_few(table: &Powers, y: u128, blocks: &[[u8; 16]]) -> u128 {
    let mirror = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    let zero = _mm512_setzero_si512();
    let (mut high, mut middle, mut low) = (zero, zero, zero);
    let mut y = _mm512_zextsi128_si512(vector(y));
    let first = BLOCKS - blocks.len();
    for (i, blocks) in blocks.chunks(LANES).enumerate() {
        let present = ((1u16 << (2 * blocks.len())) - 1) as __mmask8;
        let power = first + LANES * i;
        assert!(power + LANES <= BLOCKS + LANES);
        // SAFETY: the mask keeps the first load inside `blocks`; the other two were just checked to end inside the tables, which
        // are longer by a register. No load needs alignment.
        let (a, b, b_sum) = unsafe {
            (
                _mm512_maskz_loadu_epi64(present, blocks.as_ptr().cast()),
                _mm512_loadu_si512(table.powers.as_ptr().add(power).cast()),
                _mm512_loadu_si512(table.sums.as_ptr().add(power).cast()),
            )
        };
        let a = _mm512_xor_si512(_mm512_shuffle_epi8(a, mirror), y);
        y = zero;
        let a_sum = _mm512_xor_si512(a, _mm512_shuffle_epi32::<0b01_00_11_10>(a));
        high = _mm512_xor_si512(high, _mm512_clmulepi64_epi128::<0x11>(a, b));
        low = _mm512_xor_si512(low, _mm512_clmulepi64_epi128::<0x00>(a, b));
        middle = _mm512_xor_si512(middle, _mm512_clmulepi64_epi128::<0x00>(a_sum, b_sum));
    }
    let [high, middle, low] = [high, middle, low].map(|x| sum_of_lanes(x));
    reduce(high, middle ^ high ^ low, low)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum_of_lanes(x: __m512i) -> u128 {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    integer(_mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half)))
}
