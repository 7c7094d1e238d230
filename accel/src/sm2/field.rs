//! Arithmetic modulo `p = 2^256 - 2^224 - 2^96 + 2^64 - 1` (GB/T 32918.5), in Montgomery form with R = 2^256.
//!
//! Every element is kept below `p`, so equality is equality of limbs and every backend gives the same limbs. All operations but
//! [`Element::batch_invert`] (whose time shows which inputs are zero) take the same time for all values.
//!
//! An element carries the CPU token of the instructions that multiply it. Formulas over `Element<F>` are therefore written once,
//! and an element of a backend proves that its instructions are there. A token has no size: changing the backend is free.

#[cfg(target_arch = "x86_64")]
mod adx;

use super::limbs::{self, Limbs, adc, sbb};
use crate::cpu::Portable;
use zeroize::Zeroize;

/// The prime of the field.
pub(super) const P: Limbs = [0xffffffffffffffff, 0xffffffff00000000, 0xffffffffffffffff, 0xfffffffeffffffff];

/// Arithmetic on limbs below `p`, by the instructions a token stands for.
pub(crate) trait Arithmetic: Copy + 'static {
    /// The backend's name, by instruction set.
    const NAME: &'static str;

    /// `a · b / 2^256 mod p`.
    fn multiply(self, a: &Limbs, b: &Limbs) -> Limbs;

    /// `a² / 2^256 mod p`.
    fn square(self, a: &Limbs) -> Limbs;

    /// `a + b mod p`.
    #[inline(always)]
    fn add(self, a: &Limbs, b: &Limbs) -> Limbs {
        limbs::add_mod(a, b, &P)
    }

    /// `a - b mod p`.
    #[inline(always)]
    fn sub(self, a: &Limbs, b: &Limbs) -> Limbs {
        limbs::sub_mod(a, b, &P)
    }

    /// `a / 2 mod p`.
    #[inline(always)]
    fn halve(self, a: &Limbs) -> Limbs {
        // An odd value becomes even with p, and the sum's carry is the quotient's top bit.
        let odd = (a[0] & 1).wrapping_neg();
        let ([r0, r1, r2, r3], carry) = limbs::add(a, &P.map(|limb| limb & odd));
        [r0 >> 1 | r1 << 63, r1 >> 1 | r2 << 63, r2 >> 1 | r3 << 63, r3 >> 1 | carry << 63]
    }
}

impl Arithmetic for Portable {
    const NAME: &'static str = "portable";

    #[inline]
    fn multiply(self, a: &Limbs, b: &Limbs) -> Limbs {
        reduce(&limbs::multiply(a, b))
    }

    #[inline]
    fn square(self, a: &Limbs) -> Limbs {
        reduce(&limbs::square(a))
    }
}

/// A backend whose products are calls. Where code of many products runs seldom between loops of few, written out it would push
/// those out of the processor's cache of decoded instructions.
#[derive(Clone, Copy)]
pub(crate) struct Calls<F>(pub(super) F);

impl<F: Arithmetic> Arithmetic for Calls<F> {
    const NAME: &'static str = F::NAME;

    #[inline(never)]
    fn multiply(self, a: &Limbs, b: &Limbs) -> Limbs {
        self.0.multiply(a, b)
    }

    #[inline(never)]
    fn square(self, a: &Limbs) -> Limbs {
        self.0.square(a)
    }

    #[inline(always)]
    fn add(self, a: &Limbs, b: &Limbs) -> Limbs {
        self.0.add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: &Limbs, b: &Limbs) -> Limbs {
        self.0.sub(a, b)
    }

    #[inline(always)]
    fn halve(self, a: &Limbs) -> Limbs {
        self.0.halve(a)
    }
}

/// Evaluates an expression with the backend selected for this process.
macro_rules! with_field {
    ($field:ident => $body:expr) => {{
        #[cfg(target_arch = "x86_64")]
        let adx = crate::cpu::Bmi2Adx::selected();
        #[cfg(not(target_arch = "x86_64"))]
        let adx = None::<crate::cpu::Portable>;
        if let Some($field) = adx {
            $body
        } else {
            let $field = crate::cpu::Portable::TOKEN;
            $body
        }
    }};
}
pub(super) use with_field;

/// The name of the selected backend.
pub(crate) fn kernel_name() -> &'static str {
    fn name<F: Arithmetic>(_: F) -> &'static str {
        F::NAME
    }
    with_field!(field => name(field))
}

/// An element of the field.
#[derive(Clone, Copy)]
pub(crate) struct Element<F = Portable> {
    limbs: Limbs,
    field: F,
}

impl<F> PartialEq for Element<F> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.limbs == other.limbs
    }
}

impl<F> Eq for Element<F> {}

impl<F> Zeroize for Element<F> {
    fn zeroize(&mut self) {
        self.limbs.zeroize();
    }
}

/// Constants and decoding, for the portable backend; [`Element::on`] leads to others.
impl Element {
    pub(super) const ZERO: Self = Self::from_raw([0; 4]);
    pub(super) const ONE: Self = Self::from_raw(limbs::power_of_two_mod(256, &P));
    const R_SQUARED: Self = Self::from_raw(limbs::power_of_two_mod(512, &P));

    /// The element of a reduced integer.
    pub(super) const fn from_limbs(value: &Limbs) -> Self {
        Self::from_raw(reduce(&limbs::multiply(value, &Self::R_SQUARED.limbs)))
    }

    /// The element of 32 big-endian bytes; `None` at `p` or above.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let value = limbs::from_be_bytes(bytes);
        (limbs::sub(&value, &P).1 == 1).then(|| Self::from_limbs(&value))
    }

    /// Inverse of [`Element::raw`].
    #[inline(always)]
    pub(super) const fn from_raw(limbs: Limbs) -> Self {
        Self { limbs, field: Portable::TOKEN }
    }
}

impl<F: Copy> Element<F> {
    /// The same element on another backend.
    #[inline(always)]
    pub(super) fn on<G>(self, field: G) -> Element<G> {
        Element { limbs: self.limbs, field }
    }

    /// The backend.
    #[inline(always)]
    pub(super) fn field(&self) -> F {
        self.field
    }

    /// The integer below `p`.
    pub(super) fn to_limbs(self) -> Limbs {
        let [a, b, c, d] = self.limbs;
        reduce(&[a, b, c, d, 0, 0, 0, 0])
    }

    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        limbs::to_be_bytes(&self.to_limbs())
    }

    /// The Montgomery limbs, for masked table scans.
    #[inline(always)]
    pub(super) fn raw(&self) -> &Limbs {
        &self.limbs
    }

    #[inline(always)]
    fn with(&self, limbs: Limbs) -> Self {
        Self { limbs, field: self.field }
    }

    /// `a` under an all-ones mask, `b` under zero.
    #[inline(always)]
    pub(super) fn choose(mask: u64, a: &Self, b: &Self) -> Self {
        a.with(limbs::choose(mask, &a.limbs, &b.limbs))
    }

    /// For public values only.
    #[inline(always)]
    pub(super) fn is_zero(&self) -> bool {
        self.limbs == [0; 4]
    }

    pub(super) fn is_odd(self) -> bool {
        self.to_limbs()[0] & 1 == 1
    }
}

impl<F: Arithmetic> Element<F> {
    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        self.with(self.field.add(&self.limbs, &other.limbs))
    }

    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        self.with(self.field.sub(&self.limbs, &other.limbs))
    }

    #[inline(always)]
    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) fn triple(&self) -> Self {
        self.double().add(self)
    }

    #[inline(always)]
    pub(super) fn halve(&self) -> Self {
        self.with(self.field.halve(&self.limbs))
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        self.with([0; 4]).sub(self)
    }

    #[inline(always)]
    pub(super) fn multiply(&self, other: &Self) -> Self {
        self.with(self.field.multiply(&self.limbs, &other.limbs))
    }

    #[inline(always)]
    pub(super) fn square(&self) -> Self {
        self.with(self.field.square(&self.limbs))
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
        let Some(first) = values.first() else { return };
        let mut product = Element::ONE.on(first.field);
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
/// `(t + q·p) / 2^64 = t / 2^64 + q·2^192 + q - (q·2^160 + q·2^32)`.
///
/// Four steps clear the lower half alone: below `2^256` before a step, it is below `2^192 + p < 2^256` after, and at most `p`
/// in the end. With the upper half, which is below `p`, the sum is below `2p`.
#[inline(always)]
const fn reduce(t: &[u64; 8]) -> Limbs {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = *t;
    let r = reduce_step(reduce_step(reduce_step(reduce_step([t0, t1, t2, t3]))));
    let (sum, carry) = limbs::add(&r, &[t4, t5, t6, t7]);
    limbs::reduce_once(&sum, carry, &P)
}

/// `(t + q·p) / 2^64` with `q` the lowest limb. What overflows the top limb on the way comes back.
#[inline(always)]
const fn reduce_step([q, t1, t2, t3]: Limbs) -> Limbs {
    let (low, high) = (q << 32, q >> 32);
    let (r0, c) = adc(t1, q, 0);
    let (r1, c) = adc(t2, 0, c);
    let (r2, c) = adc(t3, 0, c);
    let (r3, _) = adc(q, 0, c);
    let (r0, b) = sbb(r0, low, 0);
    let (r1, b) = sbb(r1, high, b);
    let (r2, b) = sbb(r2, low, b);
    let (r3, _) = sbb(r3, high, b);
    [r0, r1, r2, r3]
}
