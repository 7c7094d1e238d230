//! Homogeneous coordinates with complete formulas (Renes, Costello, Batina 2015): for secrets, where an exception must not show or
//! has been met.

use super::super::field::{Arithmetic, Element};
use super::{Affine, B};
use crate::cpu::Portable;

/// `(X : Y : Z)` with `x = X/Z`, `y = Y/Z`; infinity is `(0 : 1 : 0)`.
#[derive(Clone, Copy)]
pub(in super::super) struct Projective<F = Portable> {
    x: Element<F>,
    y: Element<F>,
    z: Element<F>,
}

impl<F> zeroize::Zeroize for Projective<F> {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.z.zeroize();
    }
}

impl Projective {
    pub(in super::super) const INFINITY: Self = Self { x: Element::ZERO, y: Element::ONE, z: Element::ZERO };
}

impl<F: Arithmetic> Projective<F> {
    /// Infinity, to be computed with on this backend.
    pub(in super::super) fn infinity(field: F) -> Self {
        let Projective { x, y, z } = Projective::INFINITY;
        Self { x: x.on(field), y: y.on(field), z: z.on(field) }
    }

    /// Algorithm 5: complete for every first operand, the second being finite. Step numbers follow the paper.
    pub(in super::super) fn add_affine(&self, other: &Affine) -> Self {
        let (other, b) = (other.on(self.x.field()), B.on(self.x.field()));
        let t0 = self.x.multiply(&other.0); // 1
        let t1 = self.y.multiply(&other.1); // 2
        let t3 = other.0.add(&other.1).multiply(&self.x.add(&self.y)).sub(&t0.add(&t1)); // 3-7
        let t4 = other.1.multiply(&self.z).add(&self.y); // 8, 9
        let y3 = other.0.multiply(&self.z).add(&self.x); // 10, 11
        let x3 = y3.sub(&b.multiply(&self.z)); // 12, 13
        let x3 = x3.triple(); // 14, 15
        let z3 = t1.sub(&x3); // 16
        let x3 = t1.add(&x3); // 17
        let t2 = self.z.triple(); // 19, 20
        let y3 = b.multiply(&y3).sub(&t2).sub(&t0); // 18, 21, 22
        let y3 = y3.triple(); // 23, 24
        let t0 = t0.triple().sub(&t2); // 25-27
        Self {
            x: t3.multiply(&x3).sub(&t4.multiply(&y3)), // 28, 32, 33
            y: x3.multiply(&z3).add(&t0.multiply(&y3)), // 29-31
            z: t4.multiply(&z3).add(&t3.multiply(&t0)), // 34-36
        }
    }

    /// Algorithm 6: complete.
    pub(in super::super) fn double(&self) -> Self {
        let b = B.on(self.x.field());
        let t0 = self.x.square(); // 1
        let t1 = self.y.square(); // 2
        let t2 = self.z.square(); // 3
        let t3 = self.x.multiply(&self.y).double(); // 4, 5
        let z3 = self.x.multiply(&self.z).double(); // 6, 7
        let y3 = b.multiply(&t2).sub(&z3); // 8, 9
        let y3 = y3.triple(); // 10, 11
        let x3 = t1.sub(&y3); // 12
        let y3 = x3.multiply(&t1.add(&y3)); // 13, 14
        let x3 = x3.multiply(&t3); // 15
        let t2 = t2.triple(); // 16, 17
        let z3 = b.multiply(&z3).sub(&t2).sub(&t0); // 18-20
        let z3 = z3.triple(); // 21, 22
        let t0 = t0.triple().sub(&t2); // 23-25
        let y3 = y3.add(&t0.multiply(&z3)); // 26, 27
        let t0 = self.y.multiply(&self.z).double(); // 28, 29
        Self {
            x: x3.sub(&t0.multiply(&z3)), // 30, 31
            y: y3,
            z: t0.multiply(&t1).double().double(), // 32-34
        }
    }

    /// The affine point. Infinity, which no caller can reach, would give `(0, 0)`.
    pub(in super::super) fn to_affine(self) -> Affine {
        let inverse = self.z.invert();
        Affine::stored(self.x.multiply(&inverse), self.y.multiply(&inverse))
    }
}
