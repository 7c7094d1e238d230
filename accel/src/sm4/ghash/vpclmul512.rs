//! GHASH with VPCLMULQDQ on 512-bit registers: 32 blocks, each times its power of `H`, reduced together.
//!
//! Karatsuba: three products for each register of four blocks. The instruction runs once in two cycles whatever its width, so that
//! is 6 cycles for 64 bytes. The register that waits for the reduction of the blocks before comes last.
#![allow(unsafe_code)]

use super::pclmul::{integer, powers, reduce, vector};
use crate::cpu::Vpclmul512;
use core::arch::x86_64::*;
use zeroize::ZeroizeOnDrop;

/// Blocks reduced together.
const BLOCKS: usize = 32;
/// Blocks of one register.
const LANES: usize = 4;

/// Powers of `H`, each divided by `x` as in [`super::pclmul`], with the proof that they may be used here.
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
        let mut table = [0; BLOCKS + LANES];
        // SAFETY: `token` exists only where PCLMULQDQ was detected too.
        table[..BLOCKS].copy_from_slice(&unsafe { powers::<BLOCKS>(h) });
        let sums = table.map(|power| {
            let sum = (power >> 64) as u64 ^ power as u64;
            u128::from(sum) << 64 | u128::from(sum)
        });
        Self { powers: table, sums, _token: token }
    }

    /// The hash after `blocks`.
    pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        // SAFETY: `_token` exists only where AVX-512 F and BW, VPCLMULQDQ and PCLMULQDQ were detected.
        unsafe { absorb(self, y, blocks) }
    }
}

/// Each group of up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq,pclmulqdq")]
fn absorb(table: &Powers, y: u128, blocks: &[[u8; 16]]) -> u128 {
    let (groups, rest) = blocks.as_chunks::<BLOCKS>();
    let mut y = vector(y);
    for blocks in groups {
        y = absorb_group::<true>(table, y, blocks);
    }
    if !rest.is_empty() {
        y = absorb_group::<false>(table, y, rest);
    }
    integer(y)
}

#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq,pclmulqdq")]
#[inline]
fn absorb_group<const FULL: bool>(table: &Powers, y: __m128i, blocks: &[[u8; 16]]) -> __m128i {
    let zero = _mm512_setzero_si512();
    let mut sums = Sums { high: zero, middle: zero, low: zero };
    let count = if FULL { BLOCKS } else { blocks.len() };
    let (blocks, first) = (&blocks[..count], BLOCKS - count);
    for i in 1..count.div_ceil(LANES) {
        sums.add(table, first + LANES * i, load::<FULL>(&blocks[LANES * i..]));
    }
    sums.add(table, first, _mm512_xor_si512(load::<FULL>(blocks), _mm512_zextsi128_si512(y)));
    let [high, middle, low] = [sums.high, sums.middle, sums.low].map(|x| sum_of_lanes(x));
    reduce(high, _mm_xor_si128(middle, _mm_xor_si128(high, low)), low)
}

/// Sums of products; `middle` is Karatsuba's and still contains the other two.
struct Sums {
    high: __m512i,
    middle: __m512i,
    low: __m512i,
}

impl Sums {
    /// Adds four blocks, times the powers from place `power` on.
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    #[inline]
    fn add(&mut self, table: &Powers, power: usize, a: __m512i) {
        let (b, b_sum) = (lanes(&table.powers, power), lanes(&table.sums, power));
        let a_sum = _mm512_xor_si512(a, _mm512_shuffle_epi32::<0b01_00_11_10>(a));
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(a, b));
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(a, b));
        self.middle = _mm512_xor_si512(self.middle, _mm512_clmulepi64_epi128::<0x00>(a_sum, b_sum));
    }
}

/// Four entries of a table.
///
/// # Panics
/// When the table ends before; every power from which a group is read is followed by `LANES` entries or more.
#[target_feature(enable = "avx512f")]
#[inline]
fn lanes(table: &[u128; BLOCKS + LANES], from: usize) -> __m512i {
    let entries = table[from..].first_chunk::<LANES>().expect("the table is longer by a register");
    // SAFETY: any four numbers are a vector.
    unsafe { core::mem::transmute::<[u128; LANES], __m512i>(*entries) }
}

/// The first four blocks as field elements; zeros where there are fewer, unless `FULL`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load<const FULL: bool>(blocks: &[[u8; 16]]) -> __m512i {
    let mirror = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    let vector = match blocks.first_chunk::<LANES>() {
        // SAFETY: any 64 bytes are a vector.
        Some(blocks) => unsafe { core::mem::transmute::<[[u8; 16]; LANES], __m512i>(*blocks) },
        None => {
            assert!(!FULL, "a full group of blocks");
            let present = (1 << (2 * blocks.len())) - 1;
            // SAFETY: the mask keeps the load inside `blocks`; it needs no alignment.
            unsafe { _mm512_maskz_loadu_epi64(present, blocks.as_ptr().cast()) }
        }
    };
    _mm512_shuffle_epi8(vector, mirror)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum_of_lanes(x: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
