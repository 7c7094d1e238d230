//! Points in Jacobian coordinates, eight at a time. The formulas are exact except where an addition meets infinity or
//! operands with the same x: then, and only then, the result has `Z = 0`, and every later sum and double keeps it. A
//! single look at the last `Z` therefore finds all exceptional cases, and true infinity with them.
//!
//! Bounds are in units of `p`: X and Y in `(0, 2.01)`, Z in `[0, 2.7)`; so says each line, and so checks the interval
//! model in the tests.

use super::field::{Columns, Element, Field, Product};

/// `x = X/Z²`, `y = Y/Z³`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<F = Element> {
    pub(super) x: F,
    pub(super) y: F,
    pub(super) z: F,
}

/// A point other than infinity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine<F = Element> {
    pub(super) x: F,
    pub(super) y: F,
}

impl<F: Field> Affine<F> {
    /// `x2 - x1`, whose inverse [`Self::add`] wants; zero exactly for equal and opposite points. In `(0.99, 2.01)`.
    #[inline(always)]
    pub(super) fn run(&self, other: &Self) -> F {
        other.x.columns().minus(self.x.columns()).carry_small()
    }

    /// The sum by its chord, 2M + 1S, given `1/run`. Operands have coordinates up to `16p` and count negative under the
    /// masks; the sum's are in `(0.99, 2.01)`.
    #[inline(always)]
    pub(super) fn add(&self, other: &Self, negative: (F::Mask, F::Mask), inverse: &F) -> Self {
        let (x1, x2) = (self.x.columns(), other.x.columns());
        let y1 = self.y.columns().negate_where(negative.0);
        let rise = other.y.columns().negate_where(negative.1).minus(y1).carry_small(); // < 2.01
        let slope = rise.multiply(inverse).carry::<0>(); // < 1.3
        let square = slope.square(); // < 1.2
        // x1 - x3, without waiting for x3 to carry.
        let drop = x1.twice().plus(x2).minus(square).carry_small();
        let x = square.minus(x1).minus(x2).carry_small();
        let y = slope.multiply(&drop).minus(y1).carry_small();
        Self { x, y }
    }

    /// The point, negated under the mask, within the bounds of a sum.
    #[inline(always)]
    pub(super) fn signed(&self, negative: F::Mask) -> Self {
        Self { x: self.x.columns().carry_small(), y: self.y.columns().negate_where(negative).carry_small() }
    }

    /// The point, negated under the mask, in Jacobian form: over `Z = 1`.
    #[inline(always)]
    pub(super) fn over_one(&self, negative: F::Mask, one: F) -> Point<F> {
        let Self { x, y } = self.signed(negative);
        Point { x, y, z: one }
    }
}

impl Point {
    /// Overwrites a secret point.
    pub(super) fn wipe(&mut self, with: &Element) {
        *self = core::hint::black_box(Self { x: *with, y: *with, z: *with });
    }
}

impl<F: Field> Point<F> {
    /// 4M + 4S, the last two products reduced as one: 460 IFMA. (With `a = -3`; no point has order two.)
    #[inline(always)]
    pub(super) fn double(&self) -> Self {
        let Self { x, y, z } = self;
        let delta = z.square(); // Z² < 1.5
        let gamma2 = y.square().twice().carry::<0>(); // 2Y² < 2.6
        let sum = x.columns().plus(delta);
        let sum3 = sum.twice().plus(sum).carry::<0>(); // 3(X + Z²) < 10.5
        let difference = x.columns().minus(delta).carry::<2>(); // X - Z² < 4.1
        let alpha = sum3.multiply(&difference).carry::<0>(); // 3(X² - Z⁴) < 3.7
        let beta4 = x.multiply(&gamma2).twice(); // 4XY² < 2.7
        let alpha_squared = alpha.square(); // < 1.9
        // 4XY² - X3 = 12XY² - α², without waiting for X3 to carry; < 10.1
        let drop = beta4.twice().plus(beta4).minus(alpha_squared).carry::<2>();
        let tail = gamma2.squared(); // 4Y⁴, less than 6.8 p²
        let z3 = y.multiply(z).twice().carry::<0>(); // < 2.7
        let x3 = alpha_squared.minus(beta4.twice()).carry_small();
        let y3 = alpha.times(&drop).minus(tail).minus(tail).reduce().carry_small();
        Self { x: x3, y: y3, z: z3 }
    }

    /// 8M + 3S: 690 IFMA. The affine operand, negated where `negative` has a bit, may have coordinates up to `16p`.
    #[inline(always)]
    pub(super) fn add_affine(&self, x2: &F, y2: &F, negative: F::Mask) -> Self {
        let zz = self.z.square().carry::<0>(); // < 1.5
        let u2 = x2.multiply(&zz); // < 2.5
        let zzz = self.z.multiply(&zz).carry::<0>(); // < 1.3
        let h = u2.minus(self.x.columns()).carry::<3>(); // < 5.5
        let hh = h.square().carry::<0>(); // < 3
        let s2 = y2.multiply(&zzz).negate_where(negative); // (-2.3, 2.3)
        let z3 = self.z.multiply(&h).carry::<0>(); // < 2
        let r = s2.minus(self.y.columns()).carry::<5>(); // < 7.3
        let hhh = h.multiply(&hh); // < 2.1
        let v = self.x.multiply(&hh); // < 1.6
        let rr = r.square(); // < 4.4
        let hhh_carried = hhh.carry::<0>();
        let fixed = rr.minus(hhh);
        // V - X3 = 3V + H³ - R², without waiting for X3 to carry; < 12
        let drop = v.twice().plus(v).minus(fixed).carry::<5>();
        let tail = self.y.times(&hhh_carried);
        let x3 = fixed.minus(v.twice()).carry_small();
        let y3 = r.times(&drop).minus(tail).reduce().carry_small();
        Self { x: x3, y: y3, z: z3 }
    }
}

impl<F: Field> Point<F> {
    /// `x·Z² - X` for an `x` below 1.1, given `Z²`: a multiple of `p` exactly where `x` is the affine coordinate. Below 4.2.
    #[inline(always)]
    pub(super) fn distance(&self, x: &F, zz: &F) -> F {
        x.multiply(zz).minus(self.x.columns()).carry::<3>()
    }

    /// The affine coordinate `x`, given `1/Z`. Below 1.2.
    #[inline(always)]
    pub(super) fn affine_x(&self, inverse: &F) -> F {
        self.x.multiply(&inverse.square().carry::<0>()).carry::<0>()
    }
}

impl<F: Copy> Affine<F> {
    /// The points side by side.
    #[inline(always)]
    pub(super) fn bundle<const N: usize>(points: &[Self; N]) -> Affine<[F; N]> {
        let mut bundle = Affine { x: [points[0].x; N], y: [points[0].y; N] };
        for (i, point) in points.iter().enumerate() {
            (bundle.x[i], bundle.y[i]) = (point.x, point.y);
        }
        bundle
    }
}

impl<F: Copy> Point<F> {
    /// The points side by side.
    #[inline(always)]
    pub(super) fn bundle<const N: usize>(points: &[Self; N]) -> Point<[F; N]> {
        let mut bundle = Point { x: [points[0].x; N], y: [points[0].y; N], z: [points[0].z; N] };
        for (i, point) in points.iter().enumerate() {
            (bundle.x[i], bundle.y[i], bundle.z[i]) = (point.x, point.y, point.z);
        }
        bundle
    }
}

impl<F: Copy, const N: usize> Point<[F; N]> {
    /// Point `i` of the bundle.
    #[inline(always)]
    pub(super) fn get(&self, i: usize) -> Point<F> {
        Point { x: self.x[i], y: self.y[i], z: self.z[i] }
    }
}

/// Two points over one `Z`, for chains of additions of the same point (Meloni 2007).
#[derive(Clone, Copy, Debug)]
pub(super) struct CoPoints<F = Element> {
    step: (F, F),
    sum: (F, F),
    z: F,
}

impl<F: Field> CoPoints<F> {
    /// `2P` as the step and `P` as the sum, rescaled by `2Y`.
    #[inline(always)]
    pub(super) fn new(point: &Point<F>) -> Self {
        let Point { x, y, z } = point.double();
        let gamma2 = point.y.square().twice().carry::<0>(); // 2Y² < 2.6
        let sum = (point.x.multiply(&gamma2).twice().carry_small(), gamma2.square().twice().carry_small());
        Self { step: (x, y), sum, z }
    }

    /// Adds the step to the sum: 5M + 2S. Coordinates stay in `(0, 2.01)`, Z below 2. The second result is the factor
    /// by which Z has grown, below 5.1.
    #[inline(always)]
    pub(super) fn add(&self) -> (Self, F) {
        let Self { step: (x1, y1), sum: (x2, y2), z } = self;
        let dx = x1.columns().minus(x2.columns()).carry::<3>(); // < 5.1
        let dy = y1.columns().minus(y2.columns()).carry::<3>(); // < 5.1
        let c = dx.square().carry::<0>(); // < 2.7
        let d = dy.square(); // < 2.7
        let z = z.multiply(&dx).carry::<0>(); // < 1.9
        let w1 = x1.multiply(&c); // < 1.4
        let w2 = x2.multiply(&c); // < 1.4
        let difference = w1.minus(w2).carry::<2>(); // < 3.4
        // W1 - X3 = 2 W1 + W2 - D; < 7.2
        let drop = w1.twice().plus(w2).minus(d).carry::<3>();
        let a1 = y1.multiply(&difference); // < 1.5
        let x = d.minus(w1).minus(w2).carry_small();
        let y = dy.multiply(&drop).minus(a1).carry_small();
        (Self { step: (w1.carry::<0>(), a1.carry::<0>()), sum: (x, y), z }, dx)
    }

    /// The sum and its `Z`.
    #[inline(always)]
    pub(super) fn sum(&self) -> Point<F> {
        Point { x: self.sum.0, y: self.sum.1, z: self.z }
    }
}
