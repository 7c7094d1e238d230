//! Arithmetic modulo `p = 2^256 - 2^224 - 2^96 + 2^64 - 1` (GB/T 32918.5), in Montgomery form with R = 2^256.
//!
//! Every element is kept below `p`, so equality is equality of limbs. All operations but [`Element::batch_invert`]
//! (whose time shows which inputs are zero) take the same time for all values.

use super::limbs::{self, Limbs, adc, sbb};
use zeroize::Zeroize;

/// The prime of the field.
pub(super) const P: Limbs = [0xffffffffffffffff, 0xffffffff00000000, 0xffffffffffffffff, 0xfffffffeffffffff];

/// An element of the field.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(crate) struct Element(Limbs);

impl Element {
    pub(super) const ZERO: Self = Self([0; 4]);
    pub(super) const ONE: Self = Self(limbs::power_of_two_mod(256, &P));
    const R_SQUARED: Self = Self(limbs::power_of_two_mod(512, &P));

    /// The element of a reduced integer.
    pub(super) const fn from_limbs(value: &Limbs) -> Self {
        Self(reduce(&limbs::multiply(value, &Self::R_SQUARED.0)))
    }

    /// The element of 32 big-endian bytes; `None` at `p` or above.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let value = limbs::from_be_bytes(bytes);
        (limbs::sub(&value, &P).1 == 1).then(|| Self::from_limbs(&value))
    }

    /// The integer below `p`.
    pub(super) fn to_limbs(self) -> Limbs {
        let [a, b, c, d] = self.0;
        reduce(&[a, b, c, d, 0, 0, 0, 0])
    }

    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        limbs::to_be_bytes(&self.to_limbs())
    }

    /// The Montgomery limbs, for masked table scans.
    #[inline(always)]
    pub(super) fn raw(&self) -> &Limbs {
        &self.0
    }

    /// Inverse of [`Self::raw`].
    #[inline(always)]
    pub(super) fn from_raw(limbs: Limbs) -> Self {
        Self(limbs)
    }

    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &P))
    }

    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(limbs::sub_mod(&self.0, &other.0, &P))
    }

    #[inline(always)]
    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    #[inline]
    pub(super) fn multiply(&self, other: &Self) -> Self {
        Self(reduce(&limbs::multiply(&self.0, &other.0)))
    }

    #[inline]
    pub(super) fn square(&self) -> Self {
        Self(reduce(&limbs::square(&self.0)))
    }

    /// `a` under an all-ones mask, `b` under zero.
    #[inline(always)]
    pub(super) fn choose(mask: u64, a: &Self, b: &Self) -> Self {
        Self(limbs::choose(mask, &a.0, &b.0))
    }

    /// For public values only.
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    pub(super) fn is_odd(self) -> bool {
        self.to_limbs()[0] & 1 == 1
    }

    fn square_times(&self, count: usize) -> Self {
        (0..count).fold(*self, |x, _| x.square())
    }

    /// `x^(2^30 - 1)`, `x^(2^31 - 1)`, `x^(2^32 - 1)`.
    fn runs_of_ones(&self) -> (Self, Self, Self) {
        let x2 = self.square().multiply(self);
        let x4 = x2.square_times(2).multiply(&x2);
        let x6 = x4.square_times(2).multiply(&x2);
        let x12 = x6.square_times(6).multiply(&x6);
        let x24 = x12.square_times(12).multiply(&x12);
        let x30 = x24.square_times(6).multiply(&x6);
        let x31 = x30.square().multiply(self);
        let x32 = x31.square().multiply(self);
        (x30, x31, x32)
    }

    /// The exponent's upper 160 bits common to `p - 2` and `(p + 1) / 4`: 31 ones, a zero, 128 ones.
    fn common_power(x31: &Self, x32: &Self) -> Self {
        (0..3).fold(x31.square_times(33).multiply(x32), |x, _| x.square_times(32).multiply(x32))
    }

    /// `x^(p - 2)`: the inverse, and zero for zero.
    pub(super) fn invert(&self) -> Self {
        let (x30, x31, x32) = self.runs_of_ones();
        let x = Self::common_power(&x31, &x32);
        let x = x.square_times(64).multiply(&x32);
        x.square_times(30).multiply(&x30).square_times(2).multiply(self)
    }

    /// A square root `x^((p + 1) / 4)`, if there is one.
    pub(super) fn square_root(&self) -> Option<Self> {
        let (_, x31, x32) = self.runs_of_ones();
        let root = Self::common_power(&x31, &x32).square_times(32).multiply(self).square_times(62);
        (root.square() == *self).then_some(root)
    }

    /// Inverts all in place with one inversion (Montgomery's trick); zeros stay. For public values.
    pub(super) fn batch_invert(values: &mut [Self]) {
        let mut product = Self::ONE;
        let mut prefixes = Vec::with_capacity(values.len());
        for value in values.iter() {
            prefixes.push(product);
            if !value.is_zero() {
                product = product.multiply(value);
            }
        }
        let mut inverse = product.invert();
        for (value, prefix) in values.iter_mut().zip(&prefixes).rev() {
            if !value.is_zero() {
                let next = inverse.multiply(value);
                *value = inverse.multiply(prefix);
                inverse = next;
            }
        }
    }
}

/// Montgomery reduction `t / 2^256 mod p`.
///
/// `p ≡ -1 mod 2^64`, so each step's multiple is the lowest limb itself, and `q·p` is shifts and additions:
/// `(t + q·p) / 2^64 = t / 2^64 + q·2^192 + q - (q·2^160 + q·2^32)`, the last four terms forming `d ≥ 0`.
#[inline(always)]
const fn reduce(t: &[u64; 8]) -> Limbs {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = *t;
    let ([r1, r2, r3, r4], c) = reduce_step(t0, [t1, t2, t3, t4]);
    let (t5, c5) = adc(t5, 0, c);
    let ([r2, r3, r4, r5], c) = reduce_step(r1, [r2, r3, r4, t5]);
    let (t6, c6) = adc(t6, c5, c);
    let ([r3, r4, r5, r6], c) = reduce_step(r2, [r3, r4, r5, t6]);
    let (t7, c7) = adc(t7, c6, c);
    let ([r4, r5, r6, r7], c) = reduce_step(r3, [r4, r5, r6, t7]);
    // The result is below 2p, so at most one of the two carries is set.
    limbs::reduce_once(&[r4, r5, r6, r7], c | c7, &P)
}

/// Adds `d(q)` to the four limbs above the one being cleared.
#[inline(always)]
const fn reduce_step(q: u64, t: Limbs) -> (Limbs, u64) {
    let (low, high) = (q << 32, q >> 32);
    let (d0, b) = sbb(q, low, 0);
    let (d1, b) = sbb(0, high, b);
    let (d2, b) = sbb(0, low, b);
    let (d3, _) = sbb(q, high, b);
    limbs::add(&t, &[d0, d1, d2, d3])
}
