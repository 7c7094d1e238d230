//! The formulas on intervals: every carry must see a non-negative value below 16p, no column may leave 62 bits, and
//! results must lie within the bounds the next formula assumes.

use super::super::field::{Columns, Field, P_LIMB1, P_LIMB4, Product};
use super::super::field::{cross_products, interleaved_product, interleaved_square, reduce_step, row};
use super::super::point::{Affine, CoPoints, Point};
use super::super::table::divide;
use super::super::vector::{LOW52, Mask};

const TWO_52: f64 = (1u64 << 52) as f64;
const TWO_32: f64 = (1u64 << 32) as f64;
const COLUMN_MAX: f64 = (1u64 << 61) as f64;

/// An element's value, in units of `p`.
#[derive(Clone, Copy)]
struct Bound(f64, f64);

/// A product's value in units of `p²`, or a reduced one's in units of `p`, and the largest size of a column.
#[derive(Clone, Copy)]
struct Wide(Bound, f64);

/// [`Wide`] before reduction.
#[derive(Clone, Copy)]
struct Ten(Wide);

impl Wide {
    fn new(low: f64, high: f64, column: f64) -> Self {
        assert!(low <= high && column < COLUMN_MAX, "a column of {column:e}");
        Self(Bound(low, high), column)
    }
}

impl Field for Bound {
    type Product = Ten;
    type Columns = Wide;
    type Mask = Mask;

    fn times(&self, other: &Self) -> Ten {
        assert!(self.0 >= 0.0 && other.0 >= 0.0 && self.1 <= 16.0 && other.1 <= 16.0, "an operand of IFMA");
        Ten(Wide::new(self.0 * other.0, self.1 * other.1, 10.0 * TWO_52))
    }

    fn squared(&self) -> Ten {
        self.times(self)
    }

    fn columns(&self) -> Wide {
        Wide::new(self.0, self.1, TWO_52)
    }
}

impl Product for Ten {
    type Columns = Wide;

    fn minus(self, other: Self) -> Self {
        let (Wide(Bound(a, b), m), Wide(Bound(c, d), n)) = (self.0, other.0);
        Self(Wide::new(a - d, b - c, m + n))
    }

    /// `(T + q·p) / 2^260` with `0 <= q < 2^260`. A step adds to a column two products, a carry and minus a limb.
    fn reduce(self) -> Wide {
        let Wide(Bound(low, high), column) = self.0;
        Wide::new(low / 16.0, high / 16.0 + 1.0, column * (1.0 + 1.0 / TWO_52) + 10.0 * TWO_52)
    }
}

impl Columns for Wide {
    type Element = Bound;
    type Mask = Mask;

    fn plus(self, other: Self) -> Self {
        let (Self(Bound(a, b), m), Self(Bound(c, d), n)) = (self, other);
        Self::new(a + c, b + d, m + n)
    }

    fn minus(self, other: Self) -> Self {
        let (Self(Bound(a, b), m), Self(Bound(c, d), n)) = (self, other);
        Self::new(a - d, b - c, m + n)
    }

    fn negate_where(self, mask: Mask) -> Self {
        let Self(Bound(low, high), column) = self;
        if mask == 0 { self } else { Self::new(low.min(-high), high.max(-low), column) }
    }

    fn carry<const K: u64>(self) -> Bound {
        let Self(Bound(low, high), column) = self;
        let (low, high) = (low + K as f64, high + K as f64);
        assert!(low >= 0.0 && high <= 16.0, "carry::<{K}> of [{low}, {high}]");
        assert!(column + K as f64 * TWO_52 < COLUMN_MAX);
        Bound(low, high)
    }

    /// With `U = 2^256` the value is `(f + r)·U` and what the lower four columns weigh, `f` being whole, read off the top column, and
    /// `0 <= r < 1`. Without `(f - 1)·p` that is `p + f·(U - p) + r·U` and the same rest.
    fn carry_small(self) -> Bound {
        let Self(Bound(low, high), column) = self;
        assert!(low > -64.0 && high < 64.0);
        // What is taken away, spread over the columns.
        assert!(column + 67.0 * TWO_52 < COLUMN_MAX);
        let unit = 1.0 / (1.0 - TWO_32.recip());
        let rest = column / TWO_52.powi(2) * 16.0 * (1.0 + 2.0 / TWO_52);
        let f = |value: f64| value / unit;
        let least = 1.0 + (f(low) - rest - 1.0).min(0.0) * (unit - 1.0) - rest;
        let most = 1.0 + (f(high) + rest).max(0.0) * (unit - 1.0) + unit + rest;
        assert!(least > 0.99 && most < 2.01, "carry_small of [{low}, {high}] gives [{least}, {most}]");
        Bound(0.99, 2.01)
    }
}

/// What every formula may assume and must give back.
const ANY: Point<Bound> = Point { x: Bound(0.0, 2.01), y: Bound(0.0, 2.01), z: Bound(0.0, 2.7) };

fn assert_within_any(point: &Point<Bound>) {
    for (bound, any) in [(point.x, ANY.x), (point.y, ANY.y), (point.z, ANY.z)] {
        assert!(bound.0 >= any.0 && bound.1 <= any.1, "[{}, {}]", bound.0, bound.1);
    }
}

#[test]
fn doubling_stays_within_its_bounds() {
    assert_within_any(&ANY.double());
}

#[test]
fn additions_stay_within_their_bounds() {
    let table = Bound(0.0, 16.0);
    assert_within_any(&ANY.add_affine(&table, &table, 0xff));
}

/// What additions of affine points may assume at first, and what they give back.
const TABLE: Affine<Bound> = Affine { x: Bound(0.0, 16.0), y: Bound(0.0, 16.0) };

/// An inverse is shared by products of differences: each factor and each product must be fit for the next.
fn shared_inverse(run: Bound) -> Bound {
    let chain = |factor: &Bound| (0..40).fold(Bound(0.0, 1.3), |product, _| product.multiply(factor).carry::<0>());
    let (product, inverse) = (chain(&run), chain(&run));
    inverse.multiply(&product).carry::<0>()
}

#[test]
fn affine_additions_stay_within_their_bounds() {
    let mut operand = TABLE;
    for level in 0..4 {
        let run = operand.run(&operand);
        let mask = if level == 0 { 0xff } else { 0 };
        let sum = operand.add(&operand, (mask, mask), &shared_inverse(run));
        let alone = operand.signed(mask);
        for bound in [sum.x, sum.y, alone.x, alone.y] {
            assert!(bound.0 >= 0.99 && bound.1 <= 2.01, "[{}, {}]", bound.0, bound.1);
        }
        operand = sum;
    }
    assert_within_any(&ANY.add_affine(&operand.x, &operand.y, 0xff));
}

#[test]
fn chains_over_one_z_stay_within_their_bounds() {
    let mut chain = CoPoints::new(&ANY);
    let mut links = vec![(chain.sum(), chain.sum().z)];
    for _ in 0..20 {
        assert_within_any(&chain.sum());
        let (next, run) = chain.add();
        chain = next;
        links.push((chain.sum(), run));
    }
    // From the last to the first, 1/Z is multiplied by each factor on the way.
    let mut inverse = Bound(0.0, 1.3);
    for (point, run) in links.iter().rev() {
        let (x, y) = divide(&point.x, &point.y, &inverse);
        assert!(x.1 < 1.3 && y.1 < 1.3 && inverse.1 < 1.6);
        inverse = inverse.multiply(run).carry::<0>();
    }
}

#[test]
fn what_a_walk_starts_from_is_within_the_bounds() {
    for mask in [0, 0xff] {
        assert_within_any(&TABLE.over_one(mask, Bound(0.0, 1.0)));
    }
}

/// An integer below 2^256 in Montgomery form, as conversion gives it.
const INTEGER: Bound = Bound(0.0, 1.1);

#[test]
fn comparisons_of_x_stay_within_their_bounds() {
    let distance = ANY.distance(&INTEGER, &ANY.z.square().carry::<0>());
    assert!(distance.0 >= 0.0 && distance.1 < 4.2, "[{}, {}]", distance.0, distance.1);
}

#[test]
fn affine_coordinates_by_a_shared_inversion_stay_within_their_bounds() {
    let x = ANY.affine_x(&shared_inverse(ANY.z));
    assert!(x.1 < 1.2, "{}", x.1);
}

/// What a column may hold, as a product's steps go on; the limbs multiplied are any of 52 bits.
#[derive(Clone, Copy)]
struct Column(i128, i128);

impl Column {
    fn new(low: i128, high: i128) -> Self {
        assert!(low <= high && low >= -(1 << 62) && high < 1 << 62, "a column in [{low}, {high}]");
        Self(low, high)
    }

    fn constant(self, value: u64) -> Self {
        Self::new(value.into(), value.into())
    }

    fn add(self, other: Self) -> Self {
        Self::new(self.0 + other.0, self.1 + other.1)
    }

    fn sub(self, other: Self) -> Self {
        Self::new(self.0 - other.1, self.1 - other.0)
    }

    fn and(self, mask: Self) -> Self {
        Self::new(0, mask.1)
    }

    fn add_low(self, _: Self, _: Self) -> Self {
        self.add(Self(0, LOW52.into()))
    }

    fn add_high(self, a: Self, b: Self) -> Self {
        self.add_low(a, b)
    }

    fn shift_right_signed<const BITS: u32>(self) -> Self {
        Self::new(self.0 >> BITS, self.1 >> BITS)
    }
}

/// The order of steps that the kernel takes, where the model of [`Field`] multiplies first and reduces after.
#[test]
fn interleaved_products_keep_to_the_columns_that_products_are_taken_for() {
    let a = [Column::new(0, LOW52.into()); 5];
    let taken = Bound(0.0, 16.0).times(&Bound(0.0, 16.0)).reduce().1;
    for column in interleaved_product!(a, a).into_iter().chain(interleaved_square!(a)) {
        assert!(column.0.abs().max(column.1) as f64 <= taken, "[{}, {}]", column.0, column.1);
    }
}

#[test]
#[should_panic(expected = "a column in")]
fn the_model_notices_a_full_column() {
    let full = Column::new(0, (1 << 62) - 1);
    let _ = full.add_low(full, full);
}

#[test]
#[should_panic(expected = "carry::<0>")]
fn the_model_notices_a_missing_multiple() {
    ANY.x.columns().minus(ANY.y.columns()).carry::<0>();
}
