//! The curve `y² = x³ - 3x + b` (GB/T 32918.5).
//!
//! [`Projective`] serves secrets: complete formulas (Renes, Costello, Batina 2015, algorithms 5 and 6), no exceptional
//! case, no branch. [`Jacobian`] serves verification: fewer multiplications, exceptional cases found by comparison,
//! time depends on the (public) values.

use super::field::Element;

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
}

/// `(X : Y : Z)` with `x = X/Z`, `y = Y/Z`; infinity is `(0 : 1 : 0)`.
#[derive(Clone, Copy)]
pub(super) struct Projective {
    x: Element,
    y: Element,
    z: Element,
}

impl zeroize::Zeroize for Projective {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.z.zeroize();
    }
}

impl Projective {
    pub(super) const INFINITY: Self = Self { x: Element::ZERO, y: Element::ONE, z: Element::ZERO };

    /// Algorithm 5: complete for every first operand, the second being finite. Step numbers follow the paper.
    pub(super) fn add_affine(&self, other: &Affine) -> Self {
        let t0 = self.x.multiply(&other.x); // 1
        let t1 = self.y.multiply(&other.y); // 2
        let t3 = other.x.add(&other.y).multiply(&self.x.add(&self.y)).sub(&t0.add(&t1)); // 3-7
        let t4 = other.y.multiply(&self.z).add(&self.y); // 8, 9
        let y3 = other.x.multiply(&self.z).add(&self.x); // 10, 11
        let x3 = y3.sub(&B.multiply(&self.z)); // 12, 13
        let x3 = x3.double().add(&x3); // 14, 15
        let z3 = t1.sub(&x3); // 16
        let x3 = t1.add(&x3); // 17
        let t2 = self.z.double().add(&self.z); // 19, 20
        let y3 = B.multiply(&y3).sub(&t2).sub(&t0); // 18, 21, 22
        let y3 = y3.double().add(&y3); // 23, 24
        let t0 = t0.double().add(&t0).sub(&t2); // 25-27
        Self {
            x: t3.multiply(&x3).sub(&t4.multiply(&y3)), // 28, 32, 33
            y: x3.multiply(&z3).add(&t0.multiply(&y3)), // 29-31
            z: t4.multiply(&z3).add(&t3.multiply(&t0)), // 34-36
        }
    }

    /// Algorithm 6: complete.
    pub(super) fn double(&self) -> Self {
        let t0 = self.x.square(); // 1
        let t1 = self.y.square(); // 2
        let t2 = self.z.square(); // 3
        let t3 = self.x.multiply(&self.y).double(); // 4, 5
        let z3 = self.x.multiply(&self.z).double(); // 6, 7
        let y3 = B.multiply(&t2).sub(&z3); // 8, 9
        let y3 = y3.double().add(&y3); // 10, 11
        let x3 = t1.sub(&y3); // 12
        let y3 = x3.multiply(&t1.add(&y3)); // 13, 14
        let x3 = x3.multiply(&t3); // 15
        let t2 = t2.double().add(&t2); // 16, 17
        let z3 = B.multiply(&z3).sub(&t2).sub(&t0); // 18-20
        let z3 = z3.double().add(&z3); // 21, 22
        let t0 = t0.double().add(&t0).sub(&t2); // 23-25
        let y3 = y3.add(&t0.multiply(&z3)); // 26, 27
        let t0 = self.y.multiply(&self.z).double(); // 28, 29
        Self {
            x: x3.sub(&t0.multiply(&z3)), // 30, 31
            y: y3,
            z: t0.multiply(&t1).double().double(), // 32-34
        }
    }

    /// The affine point. Infinity, which no caller can reach, would give `(0, 0)`.
    pub(super) fn to_affine(self) -> Affine {
        let inverse = self.z.invert();
        Affine { x: self.x.multiply(&inverse), y: self.y.multiply(&inverse) }
    }
}

/// `(X, Y, Z)` with `x = X/Z²`, `y = Y/Z³`; infinity has `Z = 0`. For public values only.
#[derive(Clone, Copy)]
pub(super) struct Jacobian {
    x: Element,
    y: Element,
    z: Element,
}

impl From<&Affine> for Jacobian {
    fn from(point: &Affine) -> Self {
        Self { x: point.x, y: point.y, z: Element::ONE }
    }
}

impl Jacobian {
    pub(super) const INFINITY: Self = Self { x: Element::ONE, y: Element::ONE, z: Element::ZERO };

    pub(super) fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// 3M + 5S, using `a = -3`. Infinity stays; no point of the curve has order two.
    pub(super) fn double(&self) -> Self {
        let delta = self.z.square();
        let gamma = self.y.square();
        let beta = self.x.multiply(&gamma);
        let alpha = self.x.sub(&delta).multiply(&self.x.add(&delta));
        let alpha = alpha.double().add(&alpha);
        let beta4 = beta.double().double();
        let x = alpha.square().sub(&beta4.double());
        let z = self.y.add(&self.z).square().sub(&gamma).sub(&delta);
        let gamma_squared8 = gamma.square().double().double().double();
        let y = alpha.multiply(&beta4.sub(&x)).sub(&gamma_squared8);
        Self { x, y, z }
    }

    /// 8M + 3S.
    pub(super) fn add_affine(&self, other: &Affine) -> Self {
        if self.is_infinity() {
            return Self::from(other);
        }
        let zz = self.z.square();
        let u = other.x.multiply(&zz);
        let s = other.y.multiply(&self.z.multiply(&zz));
        self.finish_addition(&self.x, &self.y, &u, &s, &self.z)
    }

    /// 12M + 4S.
    pub(super) fn add(&self, other: &Self) -> Self {
        if self.is_infinity() {
            return *other;
        }
        if other.is_infinity() {
            return *self;
        }
        let (zz1, zz2) = (self.z.square(), other.z.square());
        let u1 = self.x.multiply(&zz2);
        let u2 = other.x.multiply(&zz1);
        let s1 = self.y.multiply(&other.z).multiply(&zz2);
        let s2 = other.y.multiply(&self.z).multiply(&zz1);
        self.finish_addition(&u1, &s1, &u2, &s2, &self.z.multiply(&other.z))
    }

    /// The common part: operands brought to one denominator, `z` the product of their Z.
    #[inline(always)]
    fn finish_addition(&self, u1: &Element, s1: &Element, u2: &Element, s2: &Element, z: &Element) -> Self {
        let h = u2.sub(u1);
        let r = s2.sub(s1);
        if h.is_zero() {
            return if r.is_zero() { self.double() } else { Self::INFINITY };
        }
        let hh = h.square();
        let hhh = h.multiply(&hh);
        let v = u1.multiply(&hh);
        let x = r.square().sub(&hhh).sub(&v.double());
        let y = r.multiply(&v.sub(&x)).sub(&s1.multiply(&hhh));
        Self { x, y, z: z.multiply(&h) }
    }

    /// Whether the affine x coordinate is `x`, without an inversion; false at infinity.
    pub(super) fn has_x(&self, x: &Element) -> bool {
        !self.is_infinity() && x.multiply(&self.z.square()) == self.x
    }

    /// Affine forms with one inversion for all.
    ///
    /// # Panics
    /// When a point is infinity.
    pub(super) fn batch_to_affine(points: &[Self]) -> Vec<Affine> {
        let mut inverses: Vec<Element> = points.iter().map(|point| point.z).collect();
        Element::batch_invert(&mut inverses);
        let to_affine = |(point, inverse): (&Self, &Element)| {
            assert!(!point.is_infinity(), "table entries are finite");
            let inverse2 = inverse.square();
            Affine { x: point.x.multiply(&inverse2), y: point.y.multiply(&inverse2.multiply(inverse)) }
        };
        points.iter().zip(&inverses).map(to_affine).collect()
    }
}

/// The point with this x whose y has the given parity.
pub(super) fn decompress(x: &Element, odd: bool) -> Option<Affine> {
    let y = curve_polynomial(x).square_root()?;
    let y = if y.is_odd() == odd { y } else { y.negate() };
    // y = 0 has one root only, and no point of the curve has it.
    (y.is_odd() == odd).then_some(Affine { x: *x, y })
}
