//! Multiples of public points by secret scalars, one in each lane, and their affine coordinates.
//!
//! The digits are those of verification, 255 doublings and 51 additions of odd multiples, but every multiple is read for each
//! digit and masks keep one. Constant time but for the formulas' exceptional cases: a lane that meets one, which depends on
//! its scalar alone and happens to one in 2^250, is reported.

use super::super::comb::Entry;
use super::super::limbs::Limbs;
use super::super::point;
use super::super::scalar::Scalar;
use super::convert::{invert_lanes, lanes, load_affine};
use super::digits::{Digit, ODD_MULTIPLES, Recoded, WIDTH, WINDOWS};
use super::field::{Columns, Element, Field};
use super::point::{Affine, Point};
use super::table::{self, Multiples};
use super::vector::{Mask, Vector};
use super::verify::{Bundle, add_affine, double, start};
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;
use zeroize::{Zeroize, Zeroizing};

/// A point and its scalar.
pub(in super::super) type Pair<'a> = (&'a point::Affine, &'a Scalar);
/// The coordinates of a product; `None` where the formulas met an exceptional case.
pub(in super::super) type Coordinates = Option<[Limbs; 2]>;

/// `P, 3P, … 31P` of eight points, 10 KiB: every lane's limb of an entry side by side.
struct Table([[[u64; 8]; 10]; ODD_MULTIPLES]);

impl Multiples for Table {
    fn new() -> Self {
        Self([[[0; 8]; 10]; ODD_MULTIPLES])
    }

    #[inline(always)]
    fn put(&mut self, index: usize, x: &Element, y: &Element) {
        for (row, limb) in self.0[index].iter_mut().zip([x.0, y.0].as_flattened()) {
            limb.store(row);
        }
    }
}

impl Table {
    /// The entries at eight secret indices; every entry is read.
    #[inline(always)]
    fn scan(&self, token: Ifma512, digit: &Digit) -> Affine {
        let index = Vector::load_narrow(token, &digit.index);
        let mut found = self.entry(token, 0);
        for i in 1..ODD_MULTIPLES {
            let wanted = index.equals(index.constant(i as u64));
            let entry = self.entry(token, i);
            found = Affine { x: found.x.blend(wanted, &entry.x), y: found.y.blend(wanted, &entry.y) };
        }
        found
    }

    #[inline(always)]
    fn entry(&self, token: Ifma512, index: usize) -> Affine {
        let [x0, x1, x2, x3, x4, y0, y1, y2, y3, y4] = &self.0[index];
        let load = Vector::load;
        let x = [load(token, x0), load(token, x1), load(token, x2), load(token, x3), load(token, x4)];
        let y = [load(token, y0), load(token, y1), load(token, y2), load(token, y3), load(token, y4)];
        Affine { x: Element(x), y: Element(y) }
    }
}

/// A group's table and digits.
struct Group<'a> {
    table: &'a Table,
    digits: Zeroizing<[Digit; WINDOWS]>,
    /// Lanes whose topmost digit, always in size 1, is negative.
    negative: Mask,
}

impl<'a> Group<'a> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn new(token: Ifma512, pairs: &[Pair<'_>], table: &'a Table) -> Self {
        let mut recoded = Recoded::new(pairs.iter().map(|(_, scalar)| *scalar));
        let group = Self { table, digits: Zeroizing::new(recoded.windows(token)), negative: recoded.negate };
        recoded.zeroize();
        group
    }
}

/// `[k]P` for each pair, scalars other than zero and points finite; one inversion for all. Groups go two by two.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn multiples(token: Ifma512, pairs: &[Pair<'_>], out: &mut [Coordinates]) {
    let points: Vec<Affine> = pairs.chunks(8).map(|group| load_points(token, group)).collect();
    let mut tables: Vec<Table> = Vec::new();
    table::fill(token, &points, &mut tables);
    let groups = pairs.chunks(8).zip(&tables).map(|(pairs, table)| Group::new(token, pairs, table));
    let groups: Vec<Group<'_>> = groups.collect();
    let (twos, rest) = groups.as_chunks::<2>();
    let mut products = Vec::with_capacity(groups.len());
    twos.iter().for_each(|[first, second]| products.extend(walk(token, [first, second])));
    rest.iter().for_each(|group| products.extend(walk(token, [group])));
    write(token, &mut products, out);
    products.iter_mut().for_each(|point| point.wipe(&Element::one(token)));
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn load_points(token: Ifma512, pairs: &[Pair<'_>]) -> Affine {
    let entries: [Entry; 8] = core::array::from_fn(|lane| Entry::from(pairs.get(lane).unwrap_or(&pairs[0]).0));
    load_affine(token, entries.each_ref().map(|entry| &entry.0))
}

/// The products of `N` groups, computed side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn walk<const N: usize>(token: Ifma512, groups: [&Group<'_>; N]) -> [Point; N]
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    let mut points = groups.map(|group| group.table.entry(token, 0));
    let mut sum: Bundle<N> = start(token, &Affine::bundle(&points), groups.map(|group| group.negative));
    for window in (0..WINDOWS).rev() {
        double(&mut sum, WIDTH as u32);
        for (point, group) in points.iter_mut().zip(groups) {
            *point = scan(token, group.table, &group.digits[window]);
        }
        add_affine(&mut sum, &Affine::bundle(&points), groups.map(|group| group.digits[window].negative));
    }
    core::array::from_fn(|i| sum.get(i))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn scan(token: Ifma512, table: &Table, digit: &Digit) -> Affine {
    align_stack();
    table.scan(token, digit)
}

/// Brings the products to affine form. `Z = 0` is an exceptional case, as no product is infinite.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn write(token: Ifma512, products: &mut [Point], out: &mut [Coordinates]) {
    let mut prefixes = Vec::with_capacity(products.len());
    let mut product = Element::one(token);
    for point in products.iter_mut() {
        let zero = point.z.is_zero();
        point.z = point.z.blend(zero, &Element::one(token));
        prefixes.push((product, zero));
        product = product.multiply(&point.z).carry::<0>();
    }
    let mut inverse = invert_lanes(token, &product);
    for ((point, (prefix, zero)), out) in products.iter().zip(&prefixes).zip(out.chunks_mut(8)).rev() {
        let (x, y) = table::divide(&point.x, &point.y, &inverse.multiply(prefix).carry::<0>());
        inverse = inverse.multiply(&point.z).carry::<0>();
        let (xs, ys) = (Zeroizing::new(lanes(&x)), Zeroizing::new(lanes(&y)));
        for (lane, out) in out.iter_mut().enumerate() {
            *out = (zero >> lane & 1 == 0).then_some([xs[lane], ys[lane]]);
        }
    }
    prefixes.iter_mut().for_each(|(prefix, _)| *prefix = core::hint::black_box(Element::one(token)));
}
