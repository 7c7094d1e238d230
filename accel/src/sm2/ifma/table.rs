//! Odd multiples of eight keys, affine, for windows of public scalars.

use super::convert::invert_lanes;
use super::digits::{Digit, ODD_MULTIPLES};
use super::field::{Columns, Element, Field};
use super::point::{Affine, CoPoints, Point};
use super::vector::{Vector, interleave_pairs, pairs, transpose};
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;

/// `P, 3P, … 31P` of eight keys, 10 KiB: ten limbs of each entry, eight in one line of the cache and two beside.
pub(super) struct OddMultiples(Box<[Lane; 8]>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lane {
    lines: [[u64; 8]; ODD_MULTIPLES],
    rests: [[u64; 2]; ODD_MULTIPLES],
}

/// Where [`fill`] writes the affine odd multiples of eight points.
pub(super) trait Multiples {
    fn new() -> Self;

    /// Writes entry `index` of all lanes.
    fn put(&mut self, index: usize, x: &Element, y: &Element);
}

/// A multiple on its way to affine form.
struct Link {
    x: Element,
    y: Element,
    /// Its `Z` in that of the link before.
    run: Element,
}

impl Multiples for OddMultiples {
    fn new() -> Self {
        Self(Box::new([Lane { lines: [[0; 8]; ODD_MULTIPLES], rests: [[0; 2]; ODD_MULTIPLES] }; 8]))
    }

    #[inline(always)]
    fn put(&mut self, index: usize, x: &Element, y: &Element) {
        let (Element(x), Element(y)) = (x, y);
        for (lane, row) in transpose([x[0], x[1], x[2], x[3], x[4], y[0], y[1], y[2]]).into_iter().enumerate() {
            row.store(&mut self.0[lane].lines[index]);
        }
        for (lane, pair) in pairs(y[3], y[4]).into_iter().enumerate() {
            self.0[lane].rests[index] = pair;
        }
    }
}

impl OddMultiples {
    /// Each lane's entry at its own index; an address depends on the digit, so for public scalars only.
    #[inline(always)]
    pub(super) fn get(&self, token: Ifma512, digit: &Digit) -> Affine {
        let index = |lane: usize| digit.index[lane] as usize % ODD_MULTIPLES;
        let line = |lane: usize| Vector::load(token, &self.0[lane].lines[index(lane)]);
        let rest = |lane: usize| &self.0[lane].rests[index(lane)];
        let lines = [line(0), line(1), line(2), line(3), line(4), line(5), line(6), line(7)];
        let [x0, x1, x2, x3, x4, y0, y1, y2] = transpose(lines);
        let rests = [rest(0), rest(1), rest(2), rest(3), rest(4), rest(5), rest(6), rest(7)];
        let (y3, y4) = interleave_pairs(token, rests);
        Affine { x: Element([x0, x1, x2, x3, x4]), y: Element([y0, y1, y2, y3, y4]) }
    }
}

/// The multiples of each vector of finite keys; one inversion for all.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn fill<M: Multiples>(token: Ifma512, keys: &[Affine], tables: &mut Vec<M>) {
    tables.resize_with(keys.len().max(tables.len()), M::new);
    let mut products = Vec::with_capacity(keys.len());
    let mut product = Element::one(token);
    let mut chains = Vec::with_capacity(keys.len());
    for key in keys {
        let Affine { x, y } = key.signed(0);
        let (links, z) = climb(&Point { x, y, z: Element::one(token) });
        products.push(product);
        product = product.multiply(&z).carry::<0>();
        chains.push((links, z));
    }
    // No Z is zero: the multiples are finite and differ from each other, the order being a large prime.
    let mut inverse = invert_lanes(token, &product);
    for (((links, z), product), table) in chains.iter().zip(&products).zip(tables).rev() {
        descend(links, &inverse.multiply(product).carry::<0>(), table);
        inverse = inverse.multiply(z).carry::<0>();
    }
}

/// `P, 3P, … 31P`, each over a `Z` of its own, the last of which is the second result.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn climb(point: &Point) -> (Vec<Link>, Element) {
    align_stack();
    let mut chain = CoPoints::new(point);
    let Point { x, y, z } = chain.sum();
    let mut links = Vec::with_capacity(ODD_MULTIPLES);
    links.push(Link { x, y, run: z });
    for _ in 1..ODD_MULTIPLES {
        let (next, run) = chain.add();
        chain = next;
        let Point { x, y, .. } = chain.sum();
        links.push(Link { x, y, run });
    }
    (links, chain.sum().z)
}

/// Divides the `Z` out, last first.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn descend<M: Multiples>(links: &[Link], inverse: &Element, table: &mut M) {
    align_stack();
    let mut inverse = *inverse;
    for (index, link) in links.iter().enumerate().rev() {
        let (x, y) = divide(&link.x, &link.y, &inverse);
        table.put(index, &x, &y);
        inverse = inverse.multiply(&link.run).carry::<0>();
    }
}

/// The affine coordinates of a point over `Z`, given `1/Z`. Below `1.2p`.
#[inline(always)]
pub(super) fn divide<F: Field>(x: &F, y: &F, inverse: &F) -> (F, F) {
    let inverse2 = inverse.square().carry::<0>();
    let inverse3 = inverse2.multiply(inverse).carry::<0>();
    (x.multiply(&inverse2).carry::<0>(), y.multiply(&inverse3).carry::<0>())
}
