//! GHASH by carry-less multiplication on registers of any width: many blocks, each times its power of `H`, reduced together.
//!
//! The powers are kept divided by `x`. A carry-less product of mirrored elements stands one bit to the right of its place; with
//! one factor divided by `x` it stands in its place, and the reduction is two products with the constant of the field.
//! Karatsuba: three products for each register, of one to four blocks. The instruction runs once in two cycles whatever its width.
//! The register that waits for the reduction of the blocks before comes last.

use core::arch::x86_64::*;

/// Defines `Powers` for `$token`, whose proof covers `$features`: registers of `$lanes` blocks, `$blocks` reduced together, from the
/// instructions named.
macro_rules! ghash_on_registers {
    (
        $token:ty, $features:tt, $lanes:literal, $blocks:literal, $vector:ty,
        zero $zero:path, xor $xor:path, product $product:ident, swap halves $swap:ident, mirror $mirror:path,
        from lane $from_lane:path, sum of lanes $sum_of_lanes:path
    ) => {
        use super::wide::{integer, powers, reduce, vector};
        use zeroize::ZeroizeOnDrop;

        /// Blocks reduced together.
        const BLOCKS: usize = $blocks;
        /// Blocks of one register.
        const LANES: usize = $lanes;

        /// Powers of `H`, each divided by `x`, with the proof that they may be used here.
        #[derive(ZeroizeOnDrop)]
        pub(in crate::sm4) struct Powers {
            /// `H^BLOCKS, …, H^1`, then zeros: a register read from power `n` on holds none that do not exist.
            powers: [u128; BLOCKS + LANES],
            /// Both halves of each power added, in both halves.
            sums: [u128; BLOCKS + LANES],
            #[zeroize(skip)]
            _token: $token,
        }

        impl Powers {
            pub(super) fn new(token: $token, h: u128) -> Self {
                let mut table = [0; BLOCKS + LANES];
                // SAFETY: `token` exists only where PCLMULQDQ was detected.
                table[..BLOCKS].copy_from_slice(&unsafe { powers::<BLOCKS>(h) });
                let sums = table.map(|power| {
                    let sum = (power >> 64) as u64 ^ power as u64;
                    u128::from(sum) << 64 | u128::from(sum)
                });
                Self { powers: table, sums, _token: token }
            }

            /// The hash after `blocks`.
            pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
                // SAFETY: `_token` exists only where these instructions were detected.
                unsafe { absorb(self, y, blocks) }
            }
        }

        /// Each group of up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
        #[target_feature(enable = $features)]
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

        #[target_feature(enable = $features)]
        #[inline]
        fn absorb_group<const FULL: bool>(table: &Powers, y: __m128i, blocks: &[[u8; 16]]) -> __m128i {
            let zero = $zero();
            let mut sums = Sums { high: zero, middle: zero, low: zero };
            let count = if FULL { BLOCKS } else { blocks.len() };
            let (blocks, first) = (&blocks[..count], BLOCKS - count);
            for i in 1..count.div_ceil(LANES) {
                sums.add(table, first + LANES * i, load::<FULL>(&blocks[LANES * i..]));
            }
            sums.add(table, first, $xor(load::<FULL>(blocks), $from_lane(y)));
            let (high, low) = ($sum_of_lanes(sums.high), $sum_of_lanes(sums.low));
            let middle = $sum_of_lanes(sums.middle);
            reduce(high, _mm_xor_si128(middle, _mm_xor_si128(high, low)), low)
        }

        /// Sums of products; `middle` is Karatsuba's and still contains the other two.
        struct Sums {
            high: $vector,
            middle: $vector,
            low: $vector,
        }

        impl Sums {
            /// Adds a register of blocks, times the powers from place `power` on.
            #[target_feature(enable = $features)]
            #[inline]
            fn add(&mut self, table: &Powers, power: usize, a: $vector) {
                let (b, b_sum) = (lanes(&table.powers, power), lanes(&table.sums, power));
                let a_sum = $xor(a, $swap::<0b01_00_11_10>(a));
                self.high = $xor(self.high, $product::<0x11>(a, b));
                self.low = $xor(self.low, $product::<0x00>(a, b));
                self.middle = $xor(self.middle, $product::<0x00>(a_sum, b_sum));
            }
        }

        /// A register of entries of a table.
        ///
        /// # Panics
        /// When the table ends before; every power from which a group is read is followed by `LANES` entries or more.
        #[target_feature(enable = $features)]
        #[inline]
        fn lanes(table: &[u128; BLOCKS + LANES], from: usize) -> $vector {
            let entries = table[from..].first_chunk::<LANES>().expect("the table is longer by a register");
            // SAFETY: as many numbers are a vector.
            unsafe { core::mem::transmute::<[u128; LANES], $vector>(*entries) }
        }

        /// The first blocks, as many as a register holds, as field elements; zeros where there are fewer, unless `FULL`.
        #[target_feature(enable = $features)]
        #[inline]
        fn load<const FULL: bool>(blocks: &[[u8; 16]]) -> $vector {
            let vector = match blocks.first_chunk::<LANES>() {
                // SAFETY: as many blocks are a vector.
                Some(blocks) => unsafe { core::mem::transmute::<[[u8; 16]; LANES], $vector>(*blocks) },
                None => {
                    assert!(!FULL, "a full group of blocks");
                    load_part(blocks)
                }
            };
            $mirror(vector)
        }
    };
}

pub(super) use ghash_on_registers;

/// `H^N, …, H^1`, each divided by `x`.
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn powers<const N: usize>(h: u128) -> [u128; N] {
    let h = super::divided_by_x(h);
    let mut powers = [h; N];
    // Each power is the product of two that lie half as far from the end: the longest path is a few products, not N.
    for n in 2..=N {
        let (a, b) = (powers[N - n / 2], powers[N - n.div_ceil(2)]);
        powers[N - n] = integer(product(vector(a), vector(b)));
    }
    powers
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

/// The order of bytes that turns a block into a field element.
#[target_feature(enable = "sse2")]
#[inline]
pub(super) fn mirrored() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}
