//! The field of SM2 in eight lanes: five limbs of 52 bits, Montgomery form with R = 2^260.
//!
//! Three forms, so that carries run once per multiplication and not once per operation:
//!
//! * [`Element`]: five limbs of which the low 52 bits count, a value in `[0, 2^260)`, that is below `16p`. The only form
//!   IFMA may read, and IFMA is what ignores the bits above; sums mask them first.
//! * [`Product`]: ten signed columns of weight `2^(52 i)`. One product's columns are below `10 · 2^52 < 2^56`.
//! * [`Columns`]: five signed columns, the reduced product; sums and differences of them need no carry.
//!
//! `p ≡ -1 mod 2^52`, so the multiple of `p` that clears the lowest column is that column itself, and
//! `q·p = -q + 2^52·q·(2^52 - 2^44 + 2^12) - 2^104·q + 2^208·q·(2^48 - 2^16)` costs four IFMA.
//!
//! Formulas are written once against [`Field`]; the tests run them on intervals too and so check every bound stated.

use super::vector::{LOW52, Mask, Vector, fence};

/// What the formulas of the curve need. Values are tracked in multiples of `p`: products of `a·p` and `b·p` reduce to
/// less than `(ab/16 + 1)·p`.
pub(super) trait Field: Copy {
    type Product: Product<Columns = Self::Columns>;
    type Columns: Columns<Element = Self, Mask = Self::Mask>;
    type Mask: Copy;

    fn times(&self, other: &Self) -> Self::Product;
    fn squared(&self) -> Self::Product;
    fn columns(&self) -> Self::Columns;

    #[inline(always)]
    fn multiply(&self, other: &Self) -> Self::Columns {
        self.times(other).reduce()
    }

    #[inline(always)]
    fn square(&self) -> Self::Columns {
        self.squared().reduce()
    }
}

pub(super) trait Product: Copy {
    type Columns;

    fn minus(self, other: Self) -> Self;
    /// Montgomery reduction: division by 2^260 modulo `p`.
    fn reduce(self) -> Self::Columns;
}

pub(super) trait Columns: Copy {
    type Element;
    /// Which of the values an operation is for.
    type Mask: Copy;

    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn negate_where(self, mask: Self::Mask) -> Self;
    /// Adds `K·p`, which must make the value non-negative, and carries. The result must be below `16p`.
    fn carry<const K: u64>(self) -> Self::Element;
    /// Carries a value of any sign of at most `64p` in size into `(0.99p, 2.01p)`.
    fn carry_small(self) -> Self::Element;

    #[inline(always)]
    fn twice(self) -> Self {
        self.plus(self)
    }
}

/// Five limbs of 52 bits; what lies above them has no meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element(pub(super) [Vector; 5]);

/// Ten signed columns.
#[derive(Clone, Copy)]
pub(super) struct TenColumns([Vector; 10]);

/// Five signed columns.
#[derive(Clone, Copy)]
pub(super) struct FiveColumns([Vector; 5]);

/// Limb 1 of `p + 1`; limbs 2 and 3 are those of `-2^104`.
pub(super) const P_LIMB1: u64 = (1 << 52) - (1 << 44) + (1 << 12);
/// Limb 4 of `p + 1`.
pub(super) const P_LIMB4: u64 = (1 << 48) - (1 << 16);

/// Row `$i` of a product, added to the columns.
macro_rules! row {
    ($t:ident, $a:ident, $b:ident, $i:literal: $($j:literal)+) => {$(
        $t[$i + $j] = $t[$i + $j].add_low($a[$i], $b[$j]);
        $t[$i + $j + 1] = $t[$i + $j + 1].add_high($a[$i], $b[$j]);
    )+};
}

/// Adds `q·p` for the `q` that clears column `$i`, and moves what is above its 52 bits up.
macro_rules! reduce_step {
    ($t:ident, $low:ident, $p1:ident, $p4:ident, $i:literal) => {
        let q = $t[$i];
        $t[$i + 1] = $t[$i + 1].add_low(q, $p1).add(q.shift_right_signed::<52>());
        $t[$i + 2] = $t[$i + 2].sub(q.and($low)).add_high(q, $p1);
        $t[$i + 4] = $t[$i + 4].add_low(q, $p4);
        $t[$i + 5] = $t[$i + 5].add_high(q, $p4);
    };
}

/// Twice the products of different limbs.
macro_rules! cross_products {
    ($a:ident) => {{
        let mut t = [$a[0].constant(0); 10];
        row!(t, $a, $a, 0: 1 2 3 4);
        row!(t, $a, $a, 1: 2 3 4);
        row!(t, $a, $a, 2: 3 4);
        row!(t, $a, $a, 3: 4);
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9] = t;
        [
            t0,
            t1.add(t1),
            t2.add(t2),
            t3.add(t3),
            t4.add(t4),
            t5.add(t5),
            t6.add(t6),
            t7.add(t7),
            t8.add(t8),
            t9,
        ]
    }};
}

/// The reduced product, each step of the reduction as soon as its column is complete. (Macros, so that the tests run the same
/// steps on intervals.)
macro_rules! interleaved_product {
    ($a:ident, $b:ident) => {{
        let mut t = [$a[0].constant(0); 10];
        let (low, p1, p4) = ($a[0].constant(LOW52), $a[0].constant(P_LIMB1), $a[0].constant(P_LIMB4));
        row!(t, $a, $b, 0: 0 1 2 3 4);
        reduce_step!(t, low, p1, p4, 0);
        row!(t, $a, $b, 1: 0 1 2 3 4);
        reduce_step!(t, low, p1, p4, 1);
        row!(t, $a, $b, 2: 0 1 2 3 4);
        reduce_step!(t, low, p1, p4, 2);
        row!(t, $a, $b, 3: 0 1 2 3 4);
        reduce_step!(t, low, p1, p4, 3);
        row!(t, $a, $b, 4: 0 1 2 3 4);
        reduce_step!(t, low, p1, p4, 4);
        [t[5], t[6], t[7], t[8], t[9]]
    }};
}

/// The reduced square, as [`interleaved_product`].
macro_rules! interleaved_square {
    ($a:ident) => {{
        let (low, p1, p4) = ($a[0].constant(LOW52), $a[0].constant(P_LIMB1), $a[0].constant(P_LIMB4));
        let mut t = cross_products!($a);
        row!(t, $a, $a, 0: 0);
        reduce_step!(t, low, p1, p4, 0);
        row!(t, $a, $a, 1: 1);
        reduce_step!(t, low, p1, p4, 1);
        reduce_step!(t, low, p1, p4, 2);
        row!(t, $a, $a, 2: 2);
        reduce_step!(t, low, p1, p4, 3);
        row!(t, $a, $a, 3: 3);
        reduce_step!(t, low, p1, p4, 4);
        row!(t, $a, $a, 4: 4);
        [t[5], t[6], t[7], t[8], t[9]]
    }};
}

#[cfg(test)]
pub(super) use {cross_products, interleaved_product, interleaved_square, reduce_step, row};

impl Field for Element {
    type Product = TenColumns;
    type Columns = FiveColumns;
    type Mask = Mask;

    /// 50 IFMA.
    #[inline(always)]
    fn times(&self, other: &Self) -> TenColumns {
        let (a, b) = (&self.0, &other.0);
        let mut t = [a[0].constant(0); 10];
        row!(t, a, b, 0: 0 1 2 3 4);
        row!(t, a, b, 1: 0 1 2 3 4);
        row!(t, a, b, 2: 0 1 2 3 4);
        row!(t, a, b, 3: 0 1 2 3 4);
        row!(t, a, b, 4: 0 1 2 3 4);
        TenColumns(t)
    }

    /// 30 IFMA: products of different limbs once, doubled, and then the squares.
    #[inline(always)]
    fn squared(&self) -> TenColumns {
        let a = &self.0;
        let mut t = cross_products!(a);
        row!(t, a, a, 0: 0);
        row!(t, a, a, 1: 1);
        row!(t, a, a, 2: 2);
        row!(t, a, a, 3: 3);
        row!(t, a, a, 4: 4);
        TenColumns(t)
    }

    #[inline(always)]
    fn columns(&self) -> FiveColumns {
        FiveColumns(self.limbs())
    }

    #[inline(always)]
    fn multiply(&self, other: &Self) -> FiveColumns {
        let (a, b) = (&self.0, &other.0);
        FiveColumns(fence(interleaved_product!(a, b)))
    }

    #[inline(always)]
    fn square(&self) -> FiveColumns {
        let a = &self.0;
        FiveColumns(fence(interleaved_square!(a)))
    }
}

impl Element {
    /// The limbs without the bits above.
    #[inline(always)]
    pub(super) fn limbs(&self) -> [Vector; 5] {
        let [a0, a1, a2, a3, a4] = self.0;
        let low = a0.constant(LOW52);
        [a0.and(low), a1.and(low), a2.and(low), a3.and(low), a4.and(low)]
    }
}

impl Product for TenColumns {
    type Columns = FiveColumns;

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        let (mut t, o) = (self.0, other.0);
        t[0] = t[0].sub(o[0]);
        t[1] = t[1].sub(o[1]);
        t[2] = t[2].sub(o[2]);
        t[3] = t[3].sub(o[3]);
        t[4] = t[4].sub(o[4]);
        t[5] = t[5].sub(o[5]);
        t[6] = t[6].sub(o[6]);
        t[7] = t[7].sub(o[7]);
        t[8] = t[8].sub(o[8]);
        t[9] = t[9].sub(o[9]);
        Self(t)
    }

    /// 20 IFMA. Columns below 2^61 in size stay so: a step adds less than 2^54 to any of them.
    #[inline(always)]
    fn reduce(self) -> FiveColumns {
        let mut t = self.0;
        let low = t[0].constant(LOW52);
        let p1 = t[0].constant(P_LIMB1);
        let p4 = t[0].constant(P_LIMB4);
        reduce_step!(t, low, p1, p4, 0);
        reduce_step!(t, low, p1, p4, 1);
        reduce_step!(t, low, p1, p4, 2);
        reduce_step!(t, low, p1, p4, 3);
        reduce_step!(t, low, p1, p4, 4);
        FiveColumns(fence([t[5], t[6], t[7], t[8], t[9]]))
    }
}

/// The carry pass of a non-negative value below 2^260: four dependent steps, the last limb taking the rest.
#[inline(always)]
fn propagate(c: [Vector; 5]) -> Element {
    let c1 = c[1].add(c[0].shift_right_signed::<52>());
    let c2 = c[2].add(c1.shift_right_signed::<52>());
    let c3 = c[3].add(c2.shift_right_signed::<52>());
    let c4 = c[4].add(c3.shift_right_signed::<52>());
    Element(fence([c[0], c1, c2, c3, c4]))
}

impl Columns for FiveColumns {
    type Element = Element;
    type Mask = Mask;

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        let ([a0, a1, a2, a3, a4], [b0, b1, b2, b3, b4]) = (self.0, other.0);
        Self([a0.add(b0), a1.add(b1), a2.add(b2), a3.add(b3), a4.add(b4)])
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        let ([a0, a1, a2, a3, a4], [b0, b1, b2, b3, b4]) = (self.0, other.0);
        Self([a0.sub(b0), a1.sub(b1), a2.sub(b2), a3.sub(b3), a4.sub(b4)])
    }

    #[inline(always)]
    fn negate_where(self, mask: Mask) -> Self {
        let [c0, c1, c2, c3, c4] = self.0;
        Self([
            c0.negate_where(mask),
            c1.negate_where(mask),
            c2.negate_where(mask),
            c3.negate_where(mask),
            c4.negate_where(mask),
        ])
    }

    #[inline(always)]
    fn carry<const K: u64>(self) -> Element {
        let [c0, c1, c2, c3, c4] = self.0;
        if K == 0 {
            return propagate(self.0);
        }
        // K·p = -K + 2^52·K·(2^12 - 2^44) + 2^208·K·(2^48 - 2^16).
        let c0 = c0.sub(c0.constant(K));
        let c1 = c1.sub(c1.constant(K * ((1 << 44) - (1 << 12))));
        let c4 = c4.add(c4.constant(K * P_LIMB4));
        propagate([c0, c1, c2, c3, c4])
    }

    /// Subtracts `h·p`, `h + 1` being the value's multiples of 2^256, read off the top column alone: the others weigh
    /// less than 2^-40 of that unit.
    #[inline(always)]
    fn carry_small(self) -> Element {
        let [c0, c1, c2, c3, c4] = self.0;
        let h = c4.shift_right_signed::<48>().sub(c4.constant(1));
        // -h·p = h + 2^64·h·(2^32 - 1) - 2^224·h·(2^32 - 1).
        let e = h.shift_left::<32>().sub(h);
        let c0 = c0.add(h);
        let c1 = c1.add(e.shift_left::<12>());
        let c4 = c4.sub(e.shift_left::<16>());
        propagate([c0, c1, c2, c3, c4])
    }
}
