//! Between 64-bit limbs of one value and 52-bit limbs of eight.

use super::super::field::{Arithmetic, Element as Scalar, P, with_field};
use super::super::limbs::{self, Limbs};
use super::super::point;
use super::field::{Columns, Element, Field};
use super::point::Affine;
use super::vector::{LOW52, Mask, Vector, transpose};
use crate::cpu::Ifma512;

/// `2^260 mod p`: one in Montgomery form.
const ONE: Limbs = limbs::power_of_two_mod(260, &P);
/// `2^520 mod p`: brings an integer to Montgomery form.
const R_SQUARED: Limbs = limbs::power_of_two_mod(520, &P);
/// `2^516 mod p`: 2^256 in Montgomery form.
const TABLE_R: Limbs = limbs::power_of_two_mod(516, &P);

/// The 52-bit limbs of `value · 2^SHIFT`; each holds garbage above its 52 bits, which IFMA does not read.
#[inline(always)]
fn spread_loose<const SHIFT: bool>(v: [Vector; 4]) -> [Vector; 5] {
    let [v0, v1, v2, v3] = v;
    if SHIFT {
        // Bits 0, 48, 100, 152, 204 of the value begin the limbs of the shifted one.
        [
            v0.shift_left::<4>(),
            v0.shift_right::<48>().or(v1.shift_left::<16>()),
            v1.shift_right::<36>().or(v2.shift_left::<28>()),
            v2.shift_right::<24>().or(v3.shift_left::<40>()),
            v3.shift_right::<12>(),
        ]
    } else {
        [
            v0,
            v0.shift_right::<52>().or(v1.shift_left::<12>()),
            v1.shift_right::<40>().or(v2.shift_left::<24>()),
            v2.shift_right::<28>().or(v3.shift_left::<36>()),
            v3.shift_right::<16>(),
        ]
    }
}

/// `1/x` in each lane, none of them zero, in constant time: products of the lanes, one inversion by the scalar field, and
/// back. Below `1.1p`.
#[inline(always)]
pub(super) fn invert_lanes(token: Ifma512, x: &Element) -> Element {
    let inverses = with_field!(field => invert_eight(field, &lanes(x)));
    let limbs = core::array::from_fn(|limb| core::array::from_fn(|lane| inverses[lane][limb]));
    Element::from_integers(token, &limbs)
}

fn invert_eight<F: Arithmetic>(field: F, lanes: &[Limbs; 8]) -> [Limbs; 8] {
    let lanes = lanes.map(|lane| Scalar::from_limbs(&lane).on(field));
    let mut products = [Scalar::ONE.on(field); 8];
    for lane in 1..8 {
        products[lane] = products[lane - 1].multiply(&lanes[lane - 1]);
    }
    let mut inverse = products[7].multiply(&lanes[7]).invert();
    let mut inverses = [[0; 4]; 8];
    for lane in (0..8).rev() {
        inverses[lane] = inverse.multiply(&products[lane]).to_limbs();
        inverse = inverse.multiply(&lanes[lane]);
    }
    inverses
}

/// The integer below `p` of each lane.
#[inline(always)]
pub(super) fn lanes(x: &Element) -> [Limbs; 8] {
    let integers = x.to_integers();
    core::array::from_fn(|lane| limbs::reduce_once(&core::array::from_fn(|limb| integers[limb][lane]), 0, &P))
}

const fn spread(v: &Limbs) -> [u64; 5] {
    [
        v[0] & LOW52,
        (v[0] >> 52 | v[1] << 12) & LOW52,
        (v[1] >> 40 | v[2] << 24) & LOW52,
        (v[2] >> 28 | v[3] << 36) & LOW52,
        v[3] >> 16,
    ]
}

/// The same constant in every lane.
#[inline(always)]
fn constant(beside: Vector, value: &Limbs) -> Element {
    let [a, b, c, d, e] = spread(value);
    Element([beside.constant(a), beside.constant(b), beside.constant(c), beside.constant(d), beside.constant(e)])
}

/// Eight points of a table, each eight words `x ‖ y` with R = 2^256. The coordinates have R = 2^260 and are below `16p`.
#[inline(always)]
pub(super) fn load_affine(token: Ifma512, rows: [&[u64; 8]; 8]) -> Affine {
    spread_table_words(transpose(rows.map(|row| Vector::load(token, row))))
}

/// [`load_affine`] of words that are side by side already.
#[inline(always)]
pub(super) fn spread_table_words([x0, x1, x2, x3, y0, y1, y2, y3]: [Vector; 8]) -> Affine {
    Affine { x: Element(spread_loose::<true>([x0, x1, x2, x3])), y: Element(spread_loose::<true>([y0, y1, y2, y3])) }
}

/// Eight points as [`load_affine`] reads them.
#[inline(always)]
pub(super) fn store_affine(point: &Affine) -> [point::Affine; 8] {
    let factor = constant(point.x.0[0], &TABLE_R);
    let x = lanes(&point.x.multiply(&factor).carry::<0>());
    let y = lanes(&point.y.multiply(&factor).carry::<0>());
    core::array::from_fn(|lane| point::Affine { x: Scalar::from_raw(x[lane]), y: Scalar::from_raw(y[lane]) })
}

impl Element {
    /// One, in every lane.
    #[inline(always)]
    pub(super) fn one(token: Ifma512) -> Self {
        constant(Vector::splat(token, 0), &ONE)
    }

    /// Integers below 2^256, limb by limb over the lanes, in Montgomery form; below `1.1p`.
    #[inline(always)]
    pub(super) fn from_integers(token: Ifma512, limbs: &[[u64; 8]; 4]) -> Self {
        let [a, b, c, d] = limbs;
        let words = [Vector::load(token, a), Vector::load(token, b), Vector::load(token, c), Vector::load(token, d)];
        let loose = Self(spread_loose::<false>(words));
        loose.multiply(&constant(words[0], &R_SQUARED)).carry::<0>()
    }

    /// Below `2p`, the same modulo `p`.
    #[cfg(test)]
    #[inline(always)]
    pub(super) fn settle(&self) -> Self {
        self.multiply(&constant(self.0[0], &ONE)).carry::<0>()
    }

    /// Lanes that hold a multiple of `p`: divided by 2^260 modulo `p` they are 0 or `p` itself.
    #[inline(always)]
    pub(super) fn is_zero(&self) -> Mask {
        let quotient = self.multiply(&constant(self.0[0], &[1, 0, 0, 0])).carry::<0>();
        quotient.equals(&constant(self.0[0], &[0; 4])) | quotient.equals(&constant(self.0[0], &P))
    }

    /// `self` where the mask has no bit, `other` where it has one.
    #[inline(always)]
    pub(super) fn blend(&self, mask: Mask, other: &Self) -> Self {
        let ([a0, a1, a2, a3, a4], [b0, b1, b2, b3, b4]) = (self.0, other.0);
        Self([a0.blend(mask, b0), a1.blend(mask, b1), a2.blend(mask, b2), a3.blend(mask, b3), a4.blend(mask, b4)])
    }

    /// Lanes with the same limbs.
    #[inline(always)]
    fn equals(&self, other: &Self) -> Mask {
        let ([a0, a1, a2, a3, a4], [b0, b1, b2, b3, b4]) = (self.limbs(), other.limbs());
        a0.equals(b0) & a1.equals(b1) & a2.equals(b2) & a3.equals(b3) & a4.equals(b4)
    }

    /// The integers below 2^256 these elements stand for, limb by limb over the lanes, each below `p + 1`: `p` may
    /// stand for zero.
    #[inline(always)]
    pub(super) fn to_integers(self) -> [[u64; 8]; 4] {
        let integer = self.multiply(&constant(self.0[0], &[1, 0, 0, 0])).carry::<0>();
        let [a, b, c, d, e] = integer.limbs();
        let mut out = [[0; 8]; 4];
        a.or(b.shift_left::<52>()).store(&mut out[0]);
        b.shift_right::<12>().or(c.shift_left::<40>()).store(&mut out[1]);
        c.shift_right::<24>().or(d.shift_left::<28>()).store(&mut out[2]);
        d.shift_right::<36>().or(e.shift_left::<16>()).store(&mut out[3]);
        out
    }
}
