//! Odd multiples of eight keys, affine, for windows of public scalars.

use super::convert::invert_lanes;
use super::digits::{Digit, ODD_MULTIPLES};
use super::field::{Columns, Element, Field};
use super::point::{Affine, CoPoints, Point};
use super::vector::{Mask, Vector, interleave_pairs, pairs, transpose};
use super::verify::{Bundle, start};
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
struct Link<F> {
    x: F,
    y: F,
    /// Its `Z` in that of the link before.
    run: F,
}

/// `P, 3P, … 31P` for each of `N` vectors of points, side by side.
struct Chain<const N: usize> {
    links: Vec<Link<[Element; N]>>,
    /// The `Z` of the last link.
    z: [Element; N],
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

/// The multiples of each vector of finite keys, two vectors side by side; one inversion for all.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn fill<M: Multiples>(token: Ifma512, keys: &[Affine], tables: &mut Vec<M>) {
    tables.resize_with(keys.len().max(tables.len()), M::new);
    let (twos, rest) = keys.as_chunks::<2>();
    let pairs = climb_all(token, twos);
    let alone = climb_all(token, rest.as_chunks::<1>().0);
    let mut inverses = Vec::with_capacity(keys.len());
    pairs.iter().for_each(|chain| inverses.extend(chain.z));
    alone.iter().for_each(|chain| inverses.extend(chain.z));
    // No Z is zero: the multiples are finite and differ from each other, the order being a large prime.
    invert_all(token, &mut inverses);
    let (twos, rest) = tables[..keys.len()].as_chunks_mut::<2>();
    let (inverses_of_twos, inverses_of_rest) = inverses.as_chunks::<2>();
    descend_all(&pairs, inverses_of_twos, twos);
    descend_all(&alone, inverses_of_rest.as_chunks::<1>().0, rest.as_chunks_mut::<1>().0);
}

/// The chain of each `N` vectors of points.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn climb_all<const N: usize>(token: Ifma512, keys: &[[Affine; N]]) -> Vec<Chain<N>>
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    let mut chains = Vec::with_capacity(keys.len());
    for keys in keys {
        chains.push(climb(&start(token, &Affine::bundle(keys), [0; N])));
    }
    chains
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn climb<const N: usize>(point: &Bundle<N>) -> Chain<N>
where
    [Element; N]: Field,
{
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
    Chain { links, z: chain.sum().z }
}

/// Inverts each `Z`, none of them zero, with one inversion.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn invert_all(token: Ifma512, zs: &mut [Element]) {
    let mut products = Vec::with_capacity(zs.len());
    let mut product = Element::one(token);
    for z in zs.iter() {
        products.push(product);
        product = product.multiply(z).carry::<0>();
    }
    let mut inverse = invert_lanes(token, &product);
    for (z, product) in zs.iter_mut().zip(&products).rev() {
        let next = inverse.multiply(z).carry::<0>();
        *z = inverse.multiply(product).carry::<0>();
        inverse = next;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn descend_all<M: Multiples, const N: usize>(chains: &[Chain<N>], inverses: &[[Element; N]], tables: &mut [[M; N]])
where
    [Element; N]: Field,
{
    for ((chain, inverse), tables) in chains.iter().zip(inverses).zip(tables) {
        descend(&chain.links, inverse, tables);
    }
}

/// Divides the `Z` out, last first.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn descend<M: Multiples, const N: usize>(links: &[Link<[Element; N]>], inverse: &[Element; N], tables: &mut [M; N])
where
    [Element; N]: Field,
{
    align_stack();
    let mut inverse = *inverse;
    for (index, link) in links.iter().enumerate().rev() {
        let (x, y) = divide(&link.x, &link.y, &inverse);
        for (i, table) in tables.iter_mut().enumerate() {
            table.put(index, &x[i], &y[i]);
        }
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
