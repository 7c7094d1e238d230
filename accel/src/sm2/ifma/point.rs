//! Points in Jacobian coordinates, eight at a time. The formulas are exact except where an addition meets infinity or
//! operands with the same x: then, and only then, the result has `Z = 0`, and every later sum and double keeps it. A
//! single look at the last `Z` therefore finds all exceptional cases, and true infinity with them.
//!
//! Bounds are in units of `p`: X and Y in `(0, 2.01)`, Z in `[0, 2.7)`; so says each line, and so checks the interval
//! model in the tests.

use super::field::{Columns, Element, Field, Product};
use super::vector::Mask;

/// `x = X/Z²`, `y = Y/Z³`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<F = Element> {
    pub(super) x: F,
    pub(super) y: F,
    pub(super) z: F,
}

/// A point with `Z²` and `Z³`, to be added many times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached<F = Element> {
    pub(super) x: F,
    pub(super) y: F,
    pub(super) z: F,
    pub(super) zz: F,
    pub(super) zzz: F,
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
    pub(super) fn add_affine(&self, x2: &F, y2: &F, negative: Mask) -> Self {
        let zz = self.z.square().carry::<0>(); // < 1.5
        let u2 = x2.multiply(&zz); // < 2.5
        let zzz = self.z.multiply(&zz).carry::<0>(); // < 1.3
        let h = u2.minus(self.x.columns()).carry::<3>(); // < 5.5
        let hh = h.square().carry::<0>(); // < 3
        let s2 = y2.multiply(&zzz).negate_where(negative); // (-2.3, 2.3)
        let z3 = self.z.multiply(&h).carry::<0>(); // < 2
        let r = s2.minus(self.y.columns()).carry::<5>(); // < 7.3
        finish((&self.x, &self.y), &h, &hh, &r, z3)
    }

    /// 12M + 3S: 970 IFMA.
    #[inline(always)]
    pub(super) fn add_cached(&self, other: &Cached<F>, negative: Mask) -> Self {
        let zz = self.z.square().carry::<0>(); // < 1.5
        let u1 = self.x.multiply(&other.zz).carry::<0>(); // < 1.2
        let u2 = other.x.multiply(&zz); // < 1.2
        let zzz = self.z.multiply(&zz).carry::<0>(); // < 1.3
        let h = u2.minus(u1.columns()).carry::<2>(); // < 3.2
        let s1 = self.y.multiply(&other.zzz).carry::<0>(); // < 1.2
        let s2 = other.y.multiply(&zzz).negate_where(negative); // (-1.2, 1.2)
        let z = self.z.multiply(&other.z).carry::<0>(); // < 1.5
        let hh = h.square().carry::<0>(); // < 1.7
        let r = s2.minus(s1.columns()).carry::<3>(); // < 4.2
        let z3 = z.multiply(&h).carry::<0>(); // < 1.3
        finish((&u1, &s1), &h, &hh, &r, z3)
    }

    #[inline(always)]
    pub(super) fn cached(&self) -> Cached<F> {
        let zz = self.z.square().carry::<0>();
        let zzz = self.z.multiply(&zz).carry::<0>();
        Cached { x: self.x, y: self.y, z: self.z, zz, zzz }
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

    /// Adds the step to the sum: 5M + 2S. Coordinates stay in `(0, 2.01)`, Z below 2.
    #[inline(always)]
    pub(super) fn add(&self) -> Self {
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
        Self { step: (w1.carry::<0>(), a1.carry::<0>()), sum: (x, y), z }
    }

    #[inline(always)]
    pub(super) fn sum(&self) -> Point<F> {
        Point { x: self.sum.0, y: self.sum.1, z: self.z }
    }
}

/// What both additions share, operands over one denominator: the first is `(u1, s1)`, the second differs by `h` and `r`.
#[inline(always)]
fn finish<F: Field>((u1, s1): (&F, &F), h: &F, hh: &F, r: &F, z: F) -> Point<F> {
    let hhh = h.multiply(hh); // < 2.1
    let v = u1.multiply(hh); // < 1.6
    let rr = r.square(); // < 4.4
    let hhh_carried = hhh.carry::<0>();
    let fixed = rr.minus(hhh);
    // V - X3 = 3V + H³ - R², without waiting for X3 to carry; < 12
    let drop = v.twice().plus(v).minus(fixed).carry::<5>();
    let tail = s1.times(&hhh_carried);
    let x = fixed.minus(v.twice()).carry_small();
    let y = r.times(&drop).minus(tail).reduce().carry_small();
    Point { x, y, z }
}
