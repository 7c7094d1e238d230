//! Multiples of the base point by eight secret scalars at once, and their affine x coordinates.
//!
//! Constant time: a table is read whole for each digit (sixteen loads and a tree of selections for each word), the
//! sequence of operations is fixed, and masks select. The formulas have exceptional cases; a lane that meets one is
//! reported (an event of probability 2^-240 for scalars no one can choose, and public as the standard's own retries are).

use super::super::comb::{ENTRIES, Entry, FlatComb, SPACING};
use super::super::limbs::Limbs;
use super::super::point::G;
use super::super::scalar::Scalar;
use super::convert::{invert_lanes, lanes, spread_table_words};
use super::digits::Recoded;
use super::field::{Columns, Element, Field};
use super::point::{Affine, Point};
use super::sums::Sums;
use super::vector::{Mask, Vector};
use crate::cpu::Ifma512;
use crate::memory::Kept;
use crate::stack::align as align_stack;
use std::sync::LazyLock;
use zeroize::Zeroize;

/// Groups of eight whose inversions are shared.
pub(super) const GROUPS_MAX: usize = 16;

/// A table of the base point's comb with the words of its entries side by side: `words[w][i]` is word `w` of entry `i`.
#[repr(C, align(64))]
struct Block([[[u64; 8]; ENTRIES / 8]; 8]);

/// The base point's tables, one for each digit: 256 KiB.
static BASE: LazyLock<Kept<[Block; SPACING]>> = LazyLock::new(|| {
    let comb = FlatComb::new(&G);
    let block = |entries: &[Entry; ENTRIES]| {
        let word = |word: usize| core::array::from_fn(|i| core::array::from_fn(|lane| entries[8 * i + lane].0[word]));
        Block(core::array::from_fn(word))
    };
    let blocks: Vec<Block> = comb.positions().iter().map(block).collect();
    Kept::table(blocks.try_into().ok().expect("a table for each digit"))
});

impl Block {
    /// The entries at eight secret indices, for [`Point::add_affine`].
    #[inline(always)]
    fn scan(&self, token: Ifma512, index: &[u16; 8]) -> Affine {
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

/// The x coordinates of `[k]G` for each scalar, none of them zero: `None` where the formulas met an exceptional case.
///
/// # Panics
/// When there are more than `8 · GROUPS_MAX`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn x_coordinates(token: Ifma512, scalars: &[Scalar], sums: &mut Sums, out: &mut [Option<Limbs>]) {
    assert!(scalars.len() <= 8 * GROUPS_MAX && scalars.len() == out.len(), "scalars of one inversion");
    gather(token, scalars, sums);
    sums.shrink(token);
    let one = Element::one(token);
    let mut points = [(Point { x: one, y: one, z: one }, 0); GROUPS_MAX];
    // prefixes[i] is the product of the Z before i.
    let mut prefixes = [one; GROUPS_MAX];
    let mut product = one;
    for group in 0..scalars.len().div_ceil(8) {
        let mut sum = None;
        sums.add_to(token, &mut sum, [group]);
        let mut point = sum.expect("a comb has digits").get(0);
        let zero = point.z.is_zero();
        point.z = point.z.blend(zero, &one);
        prefixes[group] = product;
        product = product.multiply(&point.z).carry::<0>();
        points[group] = (point, zero | sums.exceptional(group));
    }
    let mut inverse = invert_lanes(token, &product);
    for (group, out) in out.chunks_mut(8).enumerate().rev() {
        let (point, exceptional) = &points[group];
        let z_inverse = inverse.multiply(&prefixes[group]).carry::<0>();
        inverse = inverse.multiply(&point.z).carry::<0>();
        write(&point.affine_x(&z_inverse), *exceptional, out);
    }
    points.iter_mut().for_each(|(point, _)| point.wipe(&one));
    sums.wipe(&one);
}

/// A row of `±2^i·G` sums for each digit of the comb, a column for each eight scalars; lanes left over hold nothing of
/// use. Digit by digit, so that one table at a time fills the near cache.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn gather(token: Ifma512, scalars: &[Scalar], sums: &mut Sums) {
    align_stack();
    let groups = scalars.len().div_ceil(8);
    let mut digits = Vec::with_capacity(groups);
    for scalars in scalars.chunks(8) {
        let mut recoded = Recoded::new(scalars.iter());
        digits.push(recoded.comb(token));
        recoded.zeroize();
    }
    sums.reset(SPACING, groups);
    for (position, table) in BASE.iter().enumerate() {
        for digits in &digits {
            let digit = &digits[position];
            sums.push(table.scan(token, &digit.index), digit.negative);
        }
    }
    digits.zeroize();
}

fn write(x: &Element, exceptional: Mask, out: &mut [Option<Limbs>]) {
    for (lane, (out, x)) in out.iter_mut().zip(lanes(x)).enumerate() {
        *out = (exceptional >> lane & 1 == 0).then_some(x);
    }
}
