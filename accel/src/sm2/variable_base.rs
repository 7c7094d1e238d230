//! Multiplication of any point by a scalar.
//!
//! [`secret_multiple`] serves key agreement and encryption. Its scalar is secret and its point public: the scalar is recoded
//! into windows of five digits `±1`, so that each selects one of the odd multiples `±P, ±3P, … ±31P` and never infinity, and all
//! sixteen are read for each window. The pattern of operations is 255 doublings and 51 additions for every scalar.

#[cfg(test)]
mod tests;

use super::PublicKey;
use super::comb::{Digits, Entry, Scan};
use super::field::{Arithmetic, with_field};
#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::limbs::{self, Limbs};
use super::point::{Affine, Jacobian, Projective};
use super::scalar::Scalar;
use super::verify::{KEY_ODD_MULTIPLES, KEY_WIDTH};
use super::wnaf;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Ifma512;
use zeroize::{Zeroize, Zeroizing};

/// Products from which on lanes are faster, the others of a group being idle.
#[cfg(target_arch = "x86_64")]
const LANES_MIN: usize = 2;

/// Digits of a window.
const WIDTH: usize = 5;
/// Windows below the scalar's top digit, which is always 1: 51 windows hold the other 255.
const WINDOWS: usize = 255 / WIDTH;
const ENTRIES: usize = 1 << (WIDTH - 1);

/// `x ‖ y` of `[k]P` for a secret `k` other than zero, in constant time. The curve has prime order, so the product is finite.
pub(super) fn secret_multiple(point: &Affine, k: &Scalar) -> Zeroizing<[u8; 64]> {
    let mut product = PublicKey { point: with_field!(field => secret_multiple_on(field, Scan::selected(), point, k)) };
    let coordinates = Zeroizing::new(product.to_bytes());
    product.point.x.zeroize();
    product.point.y.zeroize();
    coordinates
}

/// [`secret_multiple`] of every pair of a point and its scalar, in lanes where there are any.
pub(super) fn secret_multiples(pairs: &[(&Affine, &Scalar)]) -> Vec<Zeroizing<[u8; 64]>> {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = Ifma512::selected().filter(|_| pairs.len() >= LANES_MIN) {
        let mut products = Zeroizing::new(vec![None; pairs.len()]);
        ifma::secret_multiples(token, pairs, &mut products);
        let coordinates = products.iter().zip(pairs).map(|(product, (point, k))| match product {
            Some([x, y]) => Zeroizing::new(to_bytes(x, y)),
            None => secret_multiple(point, k),
        });
        return coordinates.collect();
    }
    pairs.iter().map(|(point, k)| secret_multiple(point, k)).collect()
}

#[cfg(target_arch = "x86_64")]
fn to_bytes(x: &Limbs, y: &Limbs) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&limbs::to_be_bytes(x));
    bytes[32..].copy_from_slice(&limbs::to_be_bytes(y));
    bytes
}

/// Whether the fast formulas met an exception shows. That is a property of `k` alone, the order of every point being `n`; a
/// random scalar has it with probability about 2^-250. The complete formulas serve it then.
pub(super) fn secret_multiple_on<F: Arithmetic>(field: F, scan: Scan, point: &Affine, k: &Scalar) -> Affine {
    let table = odd_entries(field, point);
    let product = Zeroizing::new(walk::<F, Jacobian<F>>(field, scan, point, &table, k));
    if product.is_infinity() {
        return Zeroizing::new(walk::<F, Projective<F>>(field, scan, point, &table, k)).to_affine();
    }
    product.to_affine()
}

/// Formulas a secret sum may be computed by.
trait Sum<F>: Copy + Zeroize {
    fn start(field: F, point: &Affine) -> Self;
    fn double(&self) -> Self;
    fn add(&self, point: &Affine) -> Self;
}

/// Fast; a sum that meets an exception becomes infinity and stays so.
impl<F: Arithmetic> Sum<F> for Jacobian<F> {
    #[inline(always)]
    fn start(field: F, point: &Affine) -> Self {
        Self::from_affine(field, point)
    }

    #[inline(always)]
    fn double(&self) -> Self {
        Jacobian::double(self)
    }

    #[inline(always)]
    fn add(&self, point: &Affine) -> Self {
        self.add_affine_distinct(point)
    }
}

/// Complete.
impl<F: Arithmetic> Sum<F> for Projective<F> {
    fn start(field: F, point: &Affine) -> Self {
        Self::infinity(field).add_affine(point)
    }

    fn double(&self) -> Self {
        Projective::double(self)
    }

    fn add(&self, point: &Affine) -> Self {
        self.add_affine(point)
    }
}

/// With `bᵢ` the bits of [`Digits`], `k = 2^255 + Σ (2bᵢ - 1)·2^i` over `i < 255`: a window of value `v` is the odd digit
/// `2v - 31`.
fn walk<F: Arithmetic, S: Sum<F>>(field: F, scan: Scan, point: &Affine, table: &[Entry; ENTRIES], k: &Scalar) -> S {
    let digits = Zeroizing::new(Digits::new(k));
    let (bits, negate) = digits.parts();
    let mut sum = S::start(field, &point.negate_if(negate));
    for window in (0..WINDOWS).rev() {
        for _ in 0..WIDTH {
            sum = sum.double();
        }
        let value = limbs::window(bits, WIDTH * window, WIDTH);
        // The upper half holds 1, 3, … 31, the lower half -31, … -3, -1.
        let negative = (value >> (WIDTH - 1)).wrapping_sub(1);
        let index = (value ^ negative) & (ENTRIES as u64 - 1);
        sum = sum.add(&scan.entry(table, index).negate_if(negative ^ negate));
    }
    sum
}

/// `P, 3P, … 31P`. The point is public, so variable time will do.
fn odd_entries<F: Arithmetic>(field: F, point: &Affine) -> [Entry; ENTRIES] {
    let multiples = Jacobian::odd_multiples::<ENTRIES>(field, point).map(|multiple| multiple.point());
    let multiples = Jacobian::batch_to_affine(&multiples);
    core::array::from_fn(|i| Entry::from(&multiples[i]))
}

/// `P + [k]Q` for public values, in variable time; `None` at infinity.
pub(super) fn public_sum(p: &Affine, k: &Limbs, q: &Affine) -> Option<Affine> {
    with_field!(field => {
        let sum = public_multiple(field, k, q).add_affine(p);
        (!sum.is_infinity()).then(|| sum.to_affine())
    })
}

/// `[k]Q` for public values, in variable time.
pub(super) fn public_multiple<F: Arithmetic>(field: F, k: &Limbs, q: &Affine) -> Jacobian<F> {
    let odd = Jacobian::odd_multiples::<KEY_ODD_MULTIPLES>(field, q);
    let digits = wnaf::digits(k, KEY_WIDTH);
    let significant = digits.iter().rev().skip_while(|digit| **digit == 0);
    significant.fold(Jacobian::infinity(field), |sum, &digit| sum.double().add_digit(digit, &odd))
}
