//! Multiples of the base point by eight secret scalars at once, and their affine x coordinates.
//!
//! Constant time: a table is read whole for each digit (sixteen loads and a tree of selections for each word), the
//! sequence of operations is fixed, and masks select. The formulas have exceptional cases; a lane that meets one is
//! reported (an event of probability 2^-250 for scalars no one can choose, and public as the standard's own retries are).

use super::super::comb::{self, BLOCKS, ENTRIES, SPACING, STEPS};
use super::super::field::{Element as Portable, P};
use super::super::limbs::{self, Limbs};
use super::super::scalar::Scalar;
use super::convert::spread_table_words;
use super::digits::{Digit, Recoded};
use super::field::{Columns, Element, Field};
use super::point::Point;
use super::vector::{Mask, Vector};
use super::verify::{add_affine, double, start};
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;
use std::sync::LazyLock;
use zeroize::Zeroize;

/// Groups of eight whose inversions are shared.
pub(super) const GROUPS_MAX: usize = 16;

/// A block of the base point's comb with the words of its entries side by side: `words[w][i]` is word `w` of entry `i`.
#[repr(C, align(64))]
pub(super) struct Block([[[u64; 8]; ENTRIES / 8]; 8]);

pub(super) static BASE: LazyLock<Box<[Block; BLOCKS]>> = LazyLock::new(|| {
    let block = |block: usize| {
        let entries = &comb::BASE.blocks()[block];
        let word = |word: usize| core::array::from_fn(|i| core::array::from_fn(|lane| entries[8 * i + lane].0[word]));
        Block(core::array::from_fn(word))
    };
    Box::new(core::array::from_fn(block))
});

impl Block {
    /// The entries at eight secret indices, for [`Point::add_affine`].
    #[inline(always)]
    pub(super) fn scan(&self, token: Ifma512, index: &[u16; 8]) -> (Element, Element) {
        let index = Vector::load_narrow(token, index);
        let bits = [index.test(index.constant(16)), index.test(index.constant(32)), index.test(index.constant(64))];
        let [x0, x1, x2, x3, y0, y1, y2, y3] = &self.0;
        spread_table_words([
            select(token, x0, index, bits),
            select(token, x1, index, bits),
            select(token, x2, index, bits),
            select(token, x3, index, bits),
            select(token, y0, index, bits),
            select(token, y1, index, bits),
            select(token, y2, index, bits),
            select(token, y3, index, bits),
        ])
    }
}

/// `rows[index]` of 128 words in each lane, `bits` being the index's bits 4 to 6: every row is read.
#[inline(always)]
fn select(token: Ifma512, rows: &[[u64; 8]; ENTRIES / 8], index: Vector, [bit4, bit5, bit6]: [Mask; 3]) -> Vector {
    let (a, b) = (pick::<0>(token, rows, index, bit4), pick::<4>(token, rows, index, bit4));
    let (c, d) = (pick::<8>(token, rows, index, bit4), pick::<12>(token, rows, index, bit4));
    a.blend(bit5, b).blend(bit6, c.blend(bit5, d))
}

/// Among the 32 words of four rows from `ROW` on, by the index's low five bits, the fifth being given.
#[inline(always)]
fn pick<const ROW: usize>(token: Ifma512, rows: &[[u64; 8]; ENTRIES / 8], index: Vector, bit4: Mask) -> Vector {
    let low = index.pick(Vector::load(token, &rows[ROW]), Vector::load(token, &rows[ROW + 1]));
    let high = index.pick(Vector::load(token, &rows[ROW + 2]), Vector::load(token, &rows[ROW + 3]));
    low.blend(bit4, high)
}

/// `[k]G` for eight scalars other than zero; lanes left over hold nothing of use.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn multiply(token: Ifma512, scalars: &[Scalar]) -> Point {
    align_stack();
    let mut recoded = Recoded::new(scalars.iter());
    let mut digits: [Digit; SPACING] = recoded.comb(token);
    let mut sum = None;
    for step in (0..STEPS).rev() {
        for (block, table) in BASE.iter().enumerate() {
            let digit = &digits[STEPS * block + step];
            let (x, y) = table.scan(token, &digit.index);
            match &mut sum {
                None => sum = Some(start(token, &x, &y, digit.negative)),
                Some(sum) => add_affine(sum, &x, &y, digit.negative),
            }
        }
        if let (Some(sum), 1..) = (&mut sum, step) {
            double(sum, 1);
        }
    }
    recoded.zeroize();
    digits.zeroize();
    sum.expect("a comb has steps")
}

/// The x coordinates of `[k]G` for each scalar, none of them zero: `None` where the formulas met an exceptional case.
///
/// # Panics
/// When there are more than `8 · GROUPS_MAX`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn x_coordinates(token: Ifma512, scalars: &[Scalar], out: &mut [Option<Limbs>]) {
    assert!(scalars.len() <= 8 * GROUPS_MAX && scalars.len() == out.len(), "scalars of one inversion");
    if let ([_], [out]) = (scalars, &mut *out) {
        *out = single(&multiply(token, scalars));
        return;
    }
    let one = Element::one(token);
    let mut points = [(Point { x: one, y: one, z: one }, 0); GROUPS_MAX];
    // prefixes[i] is the product of the Z before i.
    let mut prefixes = [one; GROUPS_MAX];
    let mut product = one;
    for (group, scalars) in scalars.chunks(8).enumerate() {
        let mut point = multiply(token, scalars);
        let exceptional = point.z.is_zero();
        point.z = point.z.blend(exceptional, &one);
        prefixes[group] = product;
        product = product.multiply(&point.z).carry::<0>();
        points[group] = (point, exceptional);
    }
    let mut inverse = invert(&product);
    for (group, out) in out.chunks_mut(8).enumerate().rev() {
        let (point, exceptional) = &points[group];
        let z_inverse = inverse.multiply(&prefixes[group]).carry::<0>();
        inverse = inverse.multiply(&point.z).carry::<0>();
        let x = point.x.multiply(&z_inverse.square().carry::<0>()).carry::<0>();
        write(&x, *exceptional, out);
    }
    points.iter_mut().for_each(|(point, _)| point.wipe(&one));
}

/// Lane 0 alone, inverted by portable code: half the time of the lanes' chain of 255 dependent squares.
#[inline(always)]
fn single(point: &Point) -> Option<Limbs> {
    let (x, z) = (point.x.to_integers(), point.z.to_integers());
    let element =
        |integers: [[u64; 8]; 4]| Portable::from_limbs(&limbs::reduce_once(&integers.map(|limb| limb[0]), 0, &P));
    let x = element(x).multiply(&element(z).invert().square()).to_limbs();
    (point.z.is_zero() & 1 == 0).then_some(x)
}

fn write(x: &Element, exceptional: Mask, out: &mut [Option<Limbs>]) {
    let integers = x.to_integers();
    for (lane, out) in out.iter_mut().enumerate() {
        let x = limbs::reduce_once(&core::array::from_fn(|limb| integers[limb][lane]), 0, &P);
        *out = (exceptional >> lane & 1 == 0).then_some(x);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn square_times(x: &Element, count: u32) -> Element {
    align_stack();
    let mut x = *x;
    for _ in 0..count {
        x = x.square().carry::<0>();
    }
    x
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn multiply_elements(a: &Element, b: &Element) -> Element {
    a.multiply(b).carry::<0>()
}

/// `x^(p - 2)`: the inverse. The chain is that of the portable field.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn invert(x: &Element) -> Element {
    let x2 = multiply_elements(&square_times(x, 1), x);
    let x4 = multiply_elements(&square_times(&x2, 2), &x2);
    let x6 = multiply_elements(&square_times(&x4, 2), &x2);
    let x12 = multiply_elements(&square_times(&x6, 6), &x6);
    let x24 = multiply_elements(&square_times(&x12, 12), &x12);
    let x30 = multiply_elements(&square_times(&x24, 6), &x6);
    let x31 = multiply_elements(&square_times(&x30, 1), x);
    let x32 = multiply_elements(&square_times(&x31, 1), x);
    let mut power = multiply_elements(&square_times(&x31, 33), &x32);
    for _ in 0..3 {
        power = multiply_elements(&square_times(&power, 32), &x32);
    }
    let power = multiply_elements(&square_times(&power, 64), &x32);
    let power = multiply_elements(&square_times(&power, 30), &x30);
    multiply_elements(&square_times(&power, 2), x)
}
