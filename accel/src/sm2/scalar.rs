//! Arithmetic modulo the group order `n` (GB/T 32918.5). Constant time but where a method says otherwise.

use super::limbs::{self, Limbs, mac};
use zeroize::Zeroize;

/// The order of the group.
pub(super) const N: Limbs = [0x53bbf40939d54123, 0x7203df6b21c6052b, 0xffffffffffffffff, 0xfffffffeffffffff];

/// `-n⁻¹ mod 2^64`, by Newton's iteration.
const N_INVERSE: u64 = {
    let mut x = 1u64;
    let mut i = 0;
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(N[0].wrapping_mul(x)));
        i += 1;
    }
    x.wrapping_neg()
};

/// An integer below `n`.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(crate) struct Scalar(Limbs);

impl Scalar {
    pub(super) const ONE: Self = Self([1, 0, 0, 0]);
    const R: Self = Self(limbs::power_of_two_mod(256, &N));
    const R_SQUARED: Self = Self(limbs::power_of_two_mod(512, &N));

    /// `None` at `n` or above; which of the two is public.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let value = limbs::from_be_bytes(bytes);
        (limbs::sub(&value, &N).1 == 1).then_some(Self(value))
    }

    /// Any 256-bit integer modulo `n` (one subtraction suffices: `2^256 < 2n`).
    pub(super) fn reduce(value: &Limbs) -> Self {
        Self(limbs::reduce_once(value, 0, &N))
    }

    /// [`Self::reduce`] of big-endian bytes.
    pub(super) fn reduce_be_bytes(bytes: &[u8; 32]) -> Self {
        Self::reduce(&limbs::from_be_bytes(bytes))
    }

    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        limbs::to_be_bytes(&self.0)
    }

    pub(super) fn limbs(&self) -> &Limbs {
        &self.0
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &N))
    }

    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(limbs::sub_mod(&self.0, &other.0, &N))
    }

    pub(super) fn negate(&self) -> Self {
        Self([0; 4]).sub(self)
    }

    /// `a` under an all-ones mask, `b` under zero.
    pub(super) fn choose(mask: u64, a: &Self, b: &Self) -> Self {
        Self(limbs::choose(mask, &a.0, &b.0))
    }

    /// Whether this is zero; the answer becomes public, the value does not.
    pub(super) fn is_zero(&self) -> bool {
        limbs::mask_is_zero(&self.0) != 0
    }

    /// `self · other / 2^256`.
    pub(super) fn montgomery_multiply(&self, other: &Self) -> Self {
        Self(reduce(&limbs::multiply(&self.0, &other.0)))
    }

    /// `self · 2^256`.
    pub(super) fn to_montgomery(self) -> Self {
        self.montgomery_multiply(&Self::R_SQUARED)
    }

    pub(super) fn multiply(&self, other: &Self) -> Self {
        self.to_montgomery().montgomery_multiply(other)
    }

    /// `self⁻¹ · 2^256` by `self^(n - 2)`; zero for zero. The exponent is public.
    pub(super) fn invert_to_montgomery(&self) -> Self {
        let base = self.to_montgomery();
        let mut powers = [Self::R; 16];
        for i in 1..16 {
            powers[i] = powers[i - 1].montgomery_multiply(&base);
        }
        let (exponent, _) = limbs::sub(&N, &[2, 0, 0, 0]);
        let inverse = (0..64).rev().fold(Self::R, |mut x, i| {
            for _ in 0..4 {
                x = x.montgomery_multiply(&x);
            }
            x.montgomery_multiply(&powers[(exponent[i / 16] >> (4 * (i % 16)) & 15) as usize])
        });
        powers.zeroize();
        inverse
    }
}

/// The steps of a Montgomery reduction, on 64-bit words or on a model of them, which the tests take to check the bounds stated here.
macro_rules! montgomery_steps {
    ($t:expr, $zero:expr, $quotient:path, $mac:path, $adc:path) => {{
        let (mut t, mut top) = ($t, $zero);
        for i in 0..4 {
            // Adds q·n·2^64i, which makes limb i zero. Any q: each `mac` stays below 2^128, so each c is a word.
            let q = $quotient(t[i]);
            let (_, c) = $mac(t[i], q, N[0], $zero);
            let (r, c) = $mac(t[i + 1], q, N[1], c);
            t[i + 1] = r;
            let (r, c) = $mac(t[i + 2], q, N[2], c);
            t[i + 2] = r;
            let (r, c) = $mac(t[i + 3], q, N[3], c);
            t[i + 3] = r;
            // The carry beyond limb i + 4, one bit, waits for the next step.
            (t[i + 4], top) = $adc(t[i + 4], c, top);
        }
        ([t[4], t[5], t[6], t[7]], top)
    }};
}

/// Montgomery reduction `t / 2^256 mod n` of `t < 2^256·n`. The sum of `t` and all `q·n·2^64i` is below `2^256·n + (2^256 - 1)·n`, so
/// what is left of it is below `2n`, and one subtraction suffices.
fn reduce(t: &[u64; 8]) -> Limbs {
    let (limbs, top) = montgomery_steps!(*t, 0, quotient, mac, limbs::adc);
    limbs::reduce_once(&limbs, top, &N)
}

/// `-t / n mod 2^64`.
#[inline(always)]
fn quotient(t: u64) -> u64 {
    t.wrapping_mul(N_INVERSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The largest that a word may be.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Word(u128);

    const ZERO: Word = Word(0);
    const ANY: Word = Word(u64::MAX as u128);

    fn any_quotient(_: Word) -> Word {
        ANY
    }

    /// Overflows, and so panics, where the sum could leave 128 bits.
    fn mac_max(acc: Word, a: Word, b: u64, carry: Word) -> (Word, Word) {
        let sum = acc.0 + a.0 * u128::from(b) + carry.0;
        (Word(sum.min(ANY.0)), Word(sum >> 64))
    }

    fn adc_max(a: Word, b: Word, carry: Word) -> (Word, Word) {
        assert!(a.0 <= ANY.0 && b.0 <= ANY.0 && carry.0 <= 1, "{a:?} + {b:?} + {carry:?}");
        let sum = a.0 + b.0 + carry.0;
        (Word(sum.min(ANY.0)), Word(sum >> 64))
    }

    #[test]
    fn no_step_of_a_reduction_leaves_its_word_whatever_is_reduced() {
        let (limbs, top) = montgomery_steps!([ANY; 8], ZERO, any_quotient, mac_max, adc_max);
        assert!(limbs.iter().all(|limb| limb.0 <= ANY.0) && top.0 <= 1);
    }

    /// `a < b`, lowest limb first.
    fn is_below(a: &[u64], b: &[u64]) -> bool {
        a.iter().rev().lt(b.iter().rev())
    }

    /// Nine limbs of `a + b·2^256·shift`.
    fn add_at<const SHIFT: usize>(a: [u64; 9], b: &[u64]) -> [u64; 9] {
        let mut sum = a;
        let mut carry = 0;
        for i in SHIFT..9 {
            (sum[i], carry) = limbs::adc(a[i], b.get(i - SHIFT).copied().unwrap_or(0), carry);
        }
        assert_eq!(carry, 0);
        sum
    }

    #[test]
    fn what_is_left_of_the_largest_sum_is_below_twice_the_order() {
        let largest = limbs::sub(&N, &[1, 0, 0, 0]).0;
        // Operands below n have a product below 2^256·n.
        let product = add_at::<0>([0; 9], &limbs::multiply(&largest, &largest));
        assert!(is_below(&product, &add_at::<4>([0; 9], &N)));
        // And the largest t that is allowed, 2^256·n - 1, with the largest multiple of n.
        let allowed = add_at::<0>(add_at::<4>([0; 9], &largest), &[u64::MAX; 4]);
        let sum = add_at::<0>(allowed, &limbs::multiply(&[u64::MAX; 4], &N));
        let twice = add_at::<4>(add_at::<4>([0; 9], &N), &N);
        assert!(is_below(&sum, &twice), "{sum:x?}");
        assert!(!is_below(&add_at::<4>(sum, &[1, 0, 0, 0]), &twice), "and not by more than there is to give");
    }

    proptest! {
        /// The sum is a multiple of 2^256: what comes back times 2^256 is what was reduced.
        #[test]
        fn a_reduction_undoes_a_multiplication_by_the_radix(value in any::<[u64; 4]>()) {
            let value = Scalar::reduce(&value);
            let mut shifted = [0; 8];
            shifted[4..].copy_from_slice(&value.0);
            prop_assert_eq!(reduce(&shifted), value.0);
        }
    }
}
