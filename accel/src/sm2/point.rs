//! The curve `y² = x³ - 3x + b` (GB/T 32918.5). Formulas are generic over the field's backend, stored points are not.
//!
//! [`Projective`] serves secrets where exceptions may be met: complete formulas, no branch. [`Jacobian`] has fewer multiplications:
//! for public points exceptional cases are found by comparison and time depends on the values; for secrets
//! [`Jacobian::add_affine_distinct`] has no branch, and the last `Z` shows whether there was an exception.

mod projective;

use super::field::{Arithmetic, Element};
use crate::cpu::Portable;
pub(super) use projective::Projective;

/// The coefficient `b`.
pub(super) const B: Element =
    Element::from_limbs(&[0xddbcbd414d940e93, 0xf39789f515ab8f92, 0x4d5a9e4bcf6509a7, 0x28e9fa9e9d9f5e34]);

/// The base point.
pub(super) const G: Affine = Affine {
    x: Element::from_limbs(&[0x715a4589334c74c7, 0x8fe30bbff2660be1, 0x5f9904466a39c994, 0x32c4ae2c1f198119]),
    y: Element::from_limbs(&[0x02df32e52139f0a0, 0xd0a9877cc62a4740, 0x59bdcee36b692153, 0xbc3736a2f4f6779c]),
};

/// A point of the curve other than infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Affine {
    pub(super) x: Element,
    pub(super) y: Element,
}

/// `x³ - 3x + b`.
pub(super) fn curve_polynomial(x: &Element) -> Element {
    let three = Element::ONE.double().add(&Element::ONE);
    x.square().sub(&three).multiply(x).add(&B)
}

impl Affine {
    pub(super) fn is_on_curve(&self) -> bool {
        self.y.square() == curve_polynomial(&self.x)
    }

    /// The negative under an all-ones mask.
    #[inline(always)]
    pub(super) fn negate_if(&self, mask: u64) -> Self {
        Self { x: self.x, y: Element::choose(mask, &self.y.negate(), &self.y) }
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        Self { x: self.x, y: self.y.negate() }
    }

    /// The sum of each pair with one inversion for all: 5M + 1S a pair. For public points.
    ///
    /// # Panics
    /// When the two points of a pair have the same x.
    pub(super) fn add_each<F: Arithmetic>(field: F, left: &[Self], right: &[Self]) -> Vec<Self> {
        let difference = |(a, b): (&Self, &Self)| b.x.on(field).sub(&a.x.on(field));
        let mut inverses: Vec<Element<F>> = left.iter().zip(right).map(difference).collect();
        assert!(inverses.iter().all(|dx| !dx.is_zero()), "an affine sum is of points with different x");
        Element::batch_invert(&mut inverses);
        let add = |((a, b), inverse): ((&Self, &Self), &Element<F>)| {
            let ((x1, y1), (x2, y2)) = (a.on(field), b.on(field));
            let slope = y2.sub(&y1).multiply(inverse);
            let x = slope.square().sub(&x1).sub(&x2);
            Self::stored(x, slope.multiply(&x1.sub(&x)).sub(&y1))
        };
        left.iter().zip(right).zip(&inverses).map(add).collect()
    }

    /// The coordinates on another backend.
    #[inline(always)]
    fn on<F>(&self, field: F) -> (Element<F>, Element<F>)
    where
        F: Copy,
    {
        (self.x.on(field), self.y.on(field))
    }

    #[inline(always)]
    fn stored<F: Copy>(x: Element<F>, y: Element<F>) -> Self {
        Self { x: x.on(Portable::TOKEN), y: y.on(Portable::TOKEN) }
    }
}

/// `(X, Y, Z)` with `x = X/Z²`, `y = Y/Z³`; infinity has `Z = 0`.
#[derive(Clone, Copy)]
pub(super) struct Jacobian<F = Portable> {
    x: Element<F>,
    y: Element<F>,
    z: Element<F>,
}

/// A finite point with the powers of its Z, to be added many times.
#[derive(Clone, Copy)]
pub(super) struct Cached<F> {
    point: Jacobian<F>,
    zz: Element<F>,
    zzz: Element<F>,
}

/// What is left of an addition once both operands have the denominator `z`: the first is `(u, s)`, the second
/// `(u + h, s + r)`.
struct Sum<F> {
    u: Element<F>,
    s: Element<F>,
    h: Element<F>,
    r: Element<F>,
    z: Element<F>,
}

impl From<&Affine> for Jacobian {
    fn from(point: &Affine) -> Self {
        Self::from_affine(Portable::TOKEN, point)
    }
}

impl Jacobian {
    pub(super) const INFINITY: Self = Self { x: Element::ONE, y: Element::ONE, z: Element::ZERO };
}

impl<F> zeroize::Zeroize for Jacobian<F> {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.z.zeroize();
    }
}

impl<F: Arithmetic> Jacobian<F> {
    /// A point to be computed with on this backend.
    #[inline(always)]
    pub(super) fn from_affine(field: F, point: &Affine) -> Self {
        let (x, y) = point.on(field);
        Self { x, y, z: Element::ONE.on(field) }
    }

    /// Infinity, on this backend.
    #[inline(always)]
    pub(super) fn infinity(field: F) -> Self {
        let Jacobian { x, y, z } = Jacobian::INFINITY;
        Self { x: x.on(field), y: y.on(field), z: z.on(field) }
    }

    /// The same point on another backend.
    #[inline(always)]
    pub(super) fn on<G: Copy>(self, field: G) -> Jacobian<G> {
        Jacobian { x: self.x.on(field), y: self.y.on(field), z: self.z.on(field) }
    }

    #[inline(always)]
    pub(super) fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// 4M + 4S, using `a = -3`. Infinity stays; no point of the curve has order two. No branch.
    #[inline(always)]
    pub(super) fn double(&self) -> Self {
        let delta = self.z.square(); // Z²
        let y2 = self.y.double();
        let difference = self.x.sub(&delta);
        let product = difference.multiply(&self.x.add(&delta));
        let gamma4 = y2.square(); // 4Y²
        let z = y2.multiply(&self.z); // 2YZ
        let alpha = product.triple(); // 3(X² - Z⁴)
        let beta4 = self.x.multiply(&gamma4); // 4XY²
        let alpha2 = alpha.square();
        let tail = gamma4.square(); // 16Y⁴
        let x = alpha2.sub(&beta4).sub(&beta4);
        let tail = tail.halve();
        let y = alpha.multiply(&beta4.sub(&x)).sub(&tail);
        Self { x, y, z }
    }

    /// 8M + 3S. Time shows whether an operand is infinity and whether the two have the same x: for public points.
    #[inline(always)]
    pub(super) fn add_affine(&self, other: &Affine) -> Self {
        if self.is_infinity() {
            return Self::from_affine(self.z.field(), other);
        }
        self.difference(other).add(self)
    }

    /// The same in constant time, for finite points of different x. Otherwise the result has `Z = 0`, and so has every sum and
    /// double made of it: one look at the last `Z` finds all exceptional cases.
    #[inline(always)]
    pub(super) fn add_affine_distinct(&self, other: &Affine) -> Self {
        self.difference(other).add_distinct()
    }

    #[inline(always)]
    fn difference(&self, other: &Affine) -> Sum<F> {
        let (x, y) = other.on(self.z.field());
        let zz = self.z.square();
        let zzz = self.z.multiply(&zz);
        let u2 = x.multiply(&zz);
        let s2 = y.multiply(&zzz);
        let (h, r) = (u2.sub(&self.x), s2.sub(&self.y));
        Sum { u: self.x, s: self.y, h, r, z: self.z }
    }

    /// 12M + 4S. Variable time.
    pub(super) fn add(&self, other: &Self) -> Self {
        if other.is_infinity() {
            return *self;
        }
        self.add_cached(&other.cached())
    }

    /// 11M + 3S. Variable time.
    #[inline(always)]
    pub(super) fn add_cached(&self, other: &Cached<F>) -> Self {
        if self.is_infinity() {
            return other.point;
        }
        let zz = self.z.square();
        let u = self.x.multiply(&other.zz);
        let zzz = self.z.multiply(&zz);
        let u2 = other.point.x.multiply(&zz);
        let s = self.y.multiply(&other.zzz);
        let s2 = other.point.y.multiply(&zzz);
        let z = self.z.multiply(&other.point.z);
        let (h, r) = (u2.sub(&u), s2.sub(&s));
        Sum { u, s, h, r, z }.add(self)
    }

    /// Adds a window's digit, zero or odd, of the point whose odd multiples these are. Variable time.
    #[inline(always)]
    pub(super) fn add_digit(&self, digit: i16, odd: &[Cached<F>]) -> Self {
        if digit == 0 {
            return *self;
        }
        let multiple = &odd[usize::from(digit.unsigned_abs() / 2)];
        if digit < 0 { self.add_cached(&multiple.negate()) } else { self.add_cached(multiple) }
    }

    #[inline(always)]
    fn cached(&self) -> Cached<F> {
        let zz = self.z.square();
        Cached { point: *self, zz, zzz: self.z.multiply(&zz) }
    }

    /// Whether the affine x coordinate is `x`, without an inversion; false at infinity.
    pub(super) fn has_x(&self, x: &Element) -> bool {
        !self.is_infinity() && x.on(self.z.field()).multiply(&self.z.square()) == self.x
    }

    /// The affine point. Infinity gives `(0, 0)`.
    pub(super) fn to_affine(self) -> Affine {
        let inverse = self.z.invert();
        let inverse2 = inverse.square();
        Affine::stored(self.x.multiply(&inverse2), self.y.multiply(&inverse2.multiply(&inverse)))
    }

    /// Affine forms with one inversion for all.
    ///
    /// # Panics
    /// When a point is infinity.
    pub(super) fn batch_to_affine(points: &[Self]) -> Vec<Affine> {
        let mut inverses: Vec<Element<F>> = points.iter().map(|point| point.z).collect();
        Element::batch_invert(&mut inverses);
        let to_affine = |(point, inverse): (&Self, &Element<F>)| {
            assert!(!point.is_infinity(), "table entries are finite");
            let inverse2 = inverse.square();
            Affine::stored(point.x.multiply(&inverse2), point.y.multiply(&inverse2.multiply(inverse)))
        };
        points.iter().zip(&inverses).map(to_affine).collect()
    }

    /// `P, 3P, 5P, …` for a finite point: 6M + 3S each, by additions of `2P` over one shared Z (Meloni 2007). The multipliers
    /// are small and the order is a large prime: all are finite, and no two of a sum have the same x.
    pub(super) fn odd_multiples<const COUNT: usize>(field: F, point: &Affine) -> [Cached<F>; COUNT] {
        let mut sum = Self::from_affine(field, point);
        let mut step = sum.double();
        // P over the Z of 2P, which is 2Y.
        let zz = step.z.square();
        sum = Self { x: sum.x.multiply(&zz), y: sum.y.multiply(&step.z.multiply(&zz)), z: step.z };
        let mut multiples = [sum.cached(); COUNT];
        for multiple in &mut multiples[1..] {
            (step, sum) = step.add_over_one_z(&sum);
            *multiple = sum.cached();
        }
        multiples
    }

    /// `self` and the sum of both, over one new Z: 5M + 2S. For points with the same Z and different x.
    #[inline(always)]
    fn add_over_one_z(&self, other: &Self) -> (Self, Self) {
        let dx = self.x.sub(&other.x);
        let dy = self.y.sub(&other.y);
        let c = dx.square();
        let z = self.z.multiply(&dx);
        let w1 = self.x.multiply(&c);
        let w2 = other.x.multiply(&c);
        let y1 = self.y.multiply(&w1.sub(&w2));
        let x = dy.square().sub(&w1).sub(&w2);
        let y = dy.multiply(&w1.sub(&x)).sub(&y1);
        (Self { x: w1, y: y1, z }, Self { x, y, z })
    }
}

impl<F: Arithmetic> Cached<F> {
    /// The point alone.
    pub(super) fn point(&self) -> Jacobian<F> {
        self.point
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        let Self { point: Jacobian { x, y, z }, zz, zzz } = *self;
        Self { point: Jacobian { x, y: y.negate(), z }, zz, zzz }
    }
}

impl<F: Arithmetic> Sum<F> {
    /// Completes an addition to `first`, its first operand before it was rescaled. Variable time.
    #[inline(always)]
    fn add(&self, first: &Jacobian<F>) -> Jacobian<F> {
        if self.h.is_zero() {
            return if self.r.is_zero() { first.double() } else { Jacobian::infinity(self.z.field()) };
        }
        self.add_distinct()
    }

    /// The formula itself: 5M + 2S. `Z = 0` where the operands have the same x.
    #[inline(always)]
    fn add_distinct(&self) -> Jacobian<F> {
        let hh = self.h.square();
        let rr = self.r.square();
        let hhh = self.h.multiply(&hh);
        let v = self.u.multiply(&hh);
        let z = self.z.multiply(&self.h);
        let tail = self.s.multiply(&hhh);
        let x = rr.sub(&hhh).sub(&v).sub(&v);
        let y = self.r.multiply(&v.sub(&x)).sub(&tail);
        Jacobian { x, y, z }
    }
}

/// The point with this x whose y has the given parity.
pub(super) fn decompress(x: &Element, odd: bool) -> Option<Affine> {
    let y = curve_polynomial(x).square_root()?;
    let y = if y.is_odd() == odd { y } else { y.negate() };
    // y = 0 has one root only, and no point of the curve has it.
    (y.is_odd() == odd).then_some(Affine { x: *x, y })
}
