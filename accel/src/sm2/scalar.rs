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

/// Montgomery reduction `t / 2^256 mod n`.
fn reduce(t: &[u64; 8]) -> Limbs {
    let mut t = *t;
    let mut top = 0;
    for i in 0..4 {
        let q = t[i].wrapping_mul(N_INVERSE);
        let (_, c) = mac(t[i], q, N[0], 0);
        let (r, c) = mac(t[i + 1], q, N[1], c);
        t[i + 1] = r;
        let (r, c) = mac(t[i + 2], q, N[2], c);
        t[i + 2] = r;
        let (r, c) = mac(t[i + 3], q, N[3], c);
        t[i + 3] = r;
        (t[i + 4], top) = limbs::adc(t[i + 4], c, top);
    }
    limbs::reduce_once(&[t[4], t[5], t[6], t[7]], top, &N)
}
