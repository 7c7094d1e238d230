//! Sums of affine points by additions that share their inversions (Montgomery's trick).
//!
//! Points stand in `rows` of `width` columns; every column has a sum of its own. A *level* adds rows in pairs:
//!
//! ```text
//! row   0   1   2   3   4          0'  1'  2'
//!       └─+─┘   └─+─┘   │    ->     │   │   │
//!         0'      1'    2'          └─+─┘  ...
//! ```
//!
//! An addition costs 5M + 1S, three of the products for the shared inversion, against 8M + 3S of a Jacobian one. The
//! inversion is worth about a hundred vectors of additions, so levels stop when they become small; [`Sums::add_to`] adds what is left.
//!
//! Equal or opposite operands have a difference of zero, which would spoil its lane of the whole level. It shows in the
//! product of all; then a second pass finds the columns it came from and takes them out ([`Sums::exceptional`]), so that
//! no other column is touched. With secret operands that is an event no one can bring about, of probability 2^-240.

use super::convert::invert_lanes;
use super::field::{Columns, Element, Field};
use super::point::Affine;
use super::vector::Mask;
use super::verify::{Bundle, add_affine, start};
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;

/// Vectors of additions from which on an inversion of their own is worth it.
const ADDITIONS_MIN: usize = 96;
/// Chains of products: while one waits for its last product the other goes on.
const CHAINS: usize = 2;

/// The points, row after row, and what a level needs.
pub(super) struct Sums {
    width: usize,
    points: Vec<Affine>,
    /// Lanes in which a point counts negative; empty when all are as they stand.
    negative: Vec<Mask>,
    /// The differences of a level, last pair first.
    runs: Vec<Element>,
    /// Before each of them, the product of those before it in its chain.
    products: Vec<Element>,
    /// Lanes of each column with an exceptional addition.
    exceptional: Vec<Mask>,
}

impl Sums {
    pub(super) fn new() -> Self {
        let (points, runs, products) = (Vec::new(), Vec::new(), Vec::new());
        Self { width: 0, points, negative: Vec::new(), runs, products, exceptional: Vec::new() }
    }

    /// Empties it for `rows` of `width` columns.
    pub(super) fn reset(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.points.clear();
        // What grows leaves a copy behind.
        self.points.reserve(rows * width);
        self.negative.clear();
        self.negative.reserve(rows * width);
        self.exceptional.clear();
        self.exceptional.resize(width, 0);
    }

    /// The next point, row after row, of coordinates up to `16p`; it counts negative where the mask has a bit.
    #[inline(always)]
    pub(super) fn push(&mut self, point: Affine, negative: Mask) {
        self.points.push(point);
        self.negative.push(negative);
    }

    /// Lanes of a column whose sum is not to be trusted.
    pub(super) fn exceptional(&self, column: usize) -> Mask {
        self.exceptional[column]
    }

    fn rows(&self) -> usize {
        self.points.len() / self.width
    }

    /// Adds rows in pairs as long as that is worth its inversion.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    pub(super) fn shrink(&mut self, token: Ifma512) {
        while self.rows() / 2 * self.width >= ADDITIONS_MIN {
            let inverses = self.multiply_runs(token);
            self.add_pairs(inverses);
        }
    }

    /// Adds the points of `N` columns to as many sums, or to nothing.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    pub(super) fn add_to<const N: usize>(&self, token: Ifma512, sums: &mut Option<Bundle<N>>, columns: [usize; N])
    where
        [Element; N]: Field<Mask = [Mask; N]>,
    {
        for row in (0..self.points.len()).step_by(self.width) {
            let (points, negative) = self.bundle(columns.map(|column| row + column));
            match sums {
                None => *sums = Some(start(token, &points, negative)),
                Some(sums) => add_affine(sums, &points, negative),
            }
        }
    }

    /// The points at these places, and the lanes in which they count negative.
    #[inline(always)]
    fn bundle<const N: usize>(&self, places: [usize; N]) -> (Affine<[Element; N]>, [Mask; N]) {
        let mut points = [self.points[places[0]]; N];
        let mut negative = [0; N];
        for (i, place) in places.into_iter().enumerate() {
            points[i] = self.points[place];
            negative[i] = self.negative.get(place).copied().unwrap_or(0);
        }
        (Affine::bundle(&points), negative)
    }

    /// The differences, their products, and the inverse of each chain's product.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn multiply_runs(&mut self, token: Ifma512) -> [Element; CHAINS] {
        align_stack();
        let (pairs, width) = (self.rows() / 2, self.width);
        self.runs.clear();
        self.runs.reserve(pairs * width);
        for pair in (0..pairs).rev() {
            for column in (0..width).rev() {
                let first = 2 * pair * width + column;
                self.runs.push(self.points[first].run(&self.points[first + width]));
            }
        }
        let mut products = self.chain(token);
        let mut product = products[0].multiply(&products[1]).carry::<0>();
        if product.is_zero() != 0 {
            self.take_out_zeros(token);
            products = self.chain(token);
            product = products[0].multiply(&products[1]).carry::<0>();
        }
        let inverse = invert_lanes(token, &product);
        [inverse.multiply(&products[1]).carry::<0>(), inverse.multiply(&products[0]).carry::<0>()]
    }

    /// Fills `products`; returns the product of each chain.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn chain(&mut self, token: Ifma512) -> [Element; CHAINS] {
        align_stack();
        let mut chains = [Element::one(token); CHAINS];
        self.products.clear();
        self.products.reserve(self.runs.len());
        for (i, run) in self.runs.iter().enumerate() {
            let chain = &mut chains[i % CHAINS];
            self.products.push(*chain);
            *chain = chain.multiply(run).carry::<0>();
        }
        chains
    }

    /// Replaces differences of zero by one and marks their columns.
    #[cold]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn take_out_zeros(&mut self, token: Ifma512) {
        let one = Element::one(token);
        let columns = (0..self.width).rev().cycle();
        for (run, column) in self.runs.iter_mut().zip(columns) {
            let zero = run.is_zero();
            *run = run.blend(zero, &one);
            self.exceptional[column] |= zero;
        }
    }

    /// The sums of all pairs, in place: a sum is written at or before the operands of every later one. Two at a time, one
    /// of each chain.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn add_pairs(&mut self, mut inverses: [Element; CHAINS]) {
        align_stack();
        let (rows, width) = (self.rows(), self.width);
        let count = rows / 2 * width;
        // The first pair's difference was the last of its chain.
        if count % CHAINS == 0 {
            inverses.swap(0, 1);
        }
        let operand = |k: usize| k + k / width * width;
        for k in (0..count).step_by(2) {
            // The last one alone is computed twice.
            let next = (k + 1).min(count - 1);
            let links = [count - 1 - k, count - 1 - next];
            let products = links.map(|link| self.products[link]);
            let runs = links.map(|link| self.runs[link]);
            let chords = inverses.multiply(&products).carry::<0>();
            inverses = inverses.multiply(&runs).carry::<0>();
            let (a, a_negative) = self.bundle([operand(k), operand(next)]);
            let (b, b_negative) = self.bundle([operand(k) + width, operand(next) + width]);
            let sums = a.add(&b, (a_negative, b_negative), &chords);
            self.points[k] = Affine { x: sums.x[0], y: sums.y[0] };
            if next != k {
                self.points[next] = Affine { x: sums.x[1], y: sums.y[1] };
            }
        }
        if rows % 2 == 1 {
            for column in 0..width {
                let (point, negative) = self.bundle([(rows - 1) * width + column]);
                let Affine { x: [x], y: [y] } = point.signed(negative);
                self.points[count + column] = Affine { x, y };
            }
        }
        self.points.truncate(count + rows % 2 * width);
        self.negative.clear();
    }

    /// Overwrites everything that depends on secret points. The signs of a scalar's digits are its topmost bits.
    pub(super) fn wipe(&mut self, with: &Element) {
        fill(&mut self.points, Affine { x: *with, y: *with });
        fill(&mut self.negative, 0);
        fill(&mut self.runs, *with);
        fill(&mut self.products, *with);
    }
}

/// All the memory that the list holds.
fn fill<T: Copy>(list: &mut Vec<T>, with: T) {
    list.clear();
    list.resize(list.capacity(), with);
    core::hint::black_box(list);
}
