//! Digits of eight public or secret scalars at once, without a branch or an address that depends on them.
//!
//! The recoding is that of [`comb`](super::super::comb): an odd `k` is `Σ dᵢ·2^i` with `dᵢ = ±1`, and bit `i` of
//! `(k + 2^256 - 1) / 2` says which. A window of five such digits is odd and between -31 and 31.

use super::super::comb::{self, Digits};
use super::super::scalar::Scalar;
use super::vector::{Mask, Vector};
use crate::cpu::Ifma512;
use zeroize::Zeroize;

/// Window width for keys.
pub(super) const WIDTH: usize = 5;
/// Odd multiples a window may select.
pub(super) const ODD_MULTIPLES: usize = 1 << (WIDTH - 1);
/// Windows of a scalar below the topmost, which holds bit 255 alone and is always the digit 1.
pub(super) const WINDOWS: usize = 255 / WIDTH;

/// A table index for each lane, and the lanes whose entry is to be negated.
#[derive(Clone, Copy, Default, Zeroize)]
pub(super) struct Digit {
    pub(super) index: [u16; 8],
    pub(super) negative: Mask,
}

/// Eight recoded scalars, limb by limb over the lanes.
#[derive(Zeroize)]
pub(super) struct Recoded {
    bits: [[u64; 8]; 4],
    pub(super) negate: Mask,
}

impl Recoded {
    /// Recodes scalars other than zero; lanes left over are zero, of no use to anybody.
    pub(super) fn new<'a>(scalars: impl Iterator<Item = &'a Scalar>) -> Self {
        let mut recoded = Self { bits: [[0; 8]; 4], negate: 0 };
        for (lane, scalar) in scalars.enumerate() {
            let mut digits = Digits::new(scalar);
            let (bits, negate) = digits.parts();
            for (limb, bits) in recoded.bits.iter_mut().zip(bits) {
                limb[lane] = *bits;
            }
            recoded.negate |= (negate as Mask & 1) << lane;
            digits.zeroize();
        }
        recoded
    }

    #[inline(always)]
    fn vectors(&self, token: Ifma512) -> [Vector; 4] {
        let [a, b, c, d] = &self.bits;
        [Vector::load(token, a), Vector::load(token, b), Vector::load(token, c), Vector::load(token, d)]
    }

    /// The comb's digits: `out[position]`, position `comb::STEPS · block + step`.
    #[inline(always)]
    pub(super) fn comb(&self, token: Ifma512) -> [Digit; comb::SPACING] {
        let limbs = self.vectors(token);
        let mut out = [Digit::default(); comb::SPACING];
        for (position, out) in out.iter_mut().enumerate() {
            // Teeth 2i and 2i + 1 are bits `position` and `position + 32` of limb i.
            let teeth = Vector::splat(token, 1 | 1 << comb::SPACING);
            let pair = |limb: Vector| limb.shift_right_by(position as u64).and(teeth);
            let [a, b, c, d] = limbs;
            let pairs = pair(a).or(pair(b).shift_left::<2>());
            let pairs = pairs.or(pair(c).shift_left::<4>()).or(pair(d).shift_left::<6>());
            *out = self.digit::<7>(pairs.or(pairs.shift_right::<31>()));
        }
        out
    }

    /// The digits of the base point's wide comb, positions as above. Its 264 digits have bit 263 set and bits 255 to
    /// 262 clear in the place of bit 255.
    #[inline(always)]
    pub(super) fn wide_comb(&self, token: Ifma512) -> [Digit; comb::WIDE_SPACING] {
        let limbs = self.vectors(token);
        let mut out = [Digit::default(); comb::WIDE_SPACING];
        for (position, out) in out.iter_mut().enumerate() {
            let mut bits =
                Vector::splat(token, u64::from(position == comb::WIDE_SPACING - 1) << (comb::WIDE_TEETH - 1));
            for tooth in 0..comb::WIDE_TEETH {
                let bit = comb::WIDE_SPACING * tooth + position;
                if bit < 255 {
                    let tooth_bit = limbs[bit / 64].shift_right_by(bit as u64 % 64).and(bits.constant(1));
                    bits = bits.or(tooth_bit.shift_left_by(tooth as u64));
                }
            }
            *out = self.digit::<{ comb::WIDE_TEETH as u32 - 1 }>(bits);
        }
        out
    }

    /// The windows below the topmost, lowest first.
    #[inline(always)]
    pub(super) fn windows(&self, token: Ifma512) -> [Digit; WINDOWS] {
        let limbs = self.vectors(token);
        let mut out = [Digit::default(); WINDOWS];
        for (window, out) in out.iter_mut().enumerate() {
            let (limb, shift) = (WIDTH * window / 64, (WIDTH * window % 64) as u64);
            let low = limbs[limb].shift_right_by(shift);
            // A count of 64 or more gives zero.
            let high = limbs[(limb + 1) & 3].shift_left_by(64 - shift);
            *out = self.digit::<4>(low.or(high));
        }
        out
    }

    /// The digit of `BITS + 1` bits: the top one set means positive, the others count from the middle outwards.
    #[inline(always)]
    fn digit<const BITS: u32>(&self, bits: Vector) -> Digit {
        let low = bits.constant((1 << BITS) - 1);
        let positive = bits.test(bits.constant(1 << BITS));
        let mut index = [0; 8];
        bits.xor(low).blend(positive, bits).and(low).store_narrow(&mut index);
        Digit { index, negative: !positive ^ self.negate }
    }
}
