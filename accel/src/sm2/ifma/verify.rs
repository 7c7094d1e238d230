//! Verification of up to eight signatures at once, on public values in variable time.
//!
//! A lane whose point met an exceptional case of the addition formulas, or is infinity, says so instead of giving a
//! verdict; the caller asks the portable code. Honest signatures meet one with probability about 2^-250.

use super::super::comb::{self, Comb};
use super::super::point::Affine;
use super::super::verify::Claim;
use super::convert::load_affine;
use super::digits::{Digit, Recoded, WIDTH, WINDOWS};
use super::field::{Columns, Element, Field};
use super::point::{Cached, CoPoints, Point};
use super::table::OddMultiples;
use super::vector::{Mask, prefetch};
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;

/// What became of each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Verdicts {
    /// Lanes whose claim holds.
    pub(in super::super) holds: Mask,
    /// Lanes that need the portable code.
    pub(in super::super) undecided: Mask,
}

/// `[s]G + [t]P` for keys without a table: 255 doublings, 51 additions of odd multiples of `P`, 24 of `G`'s wide
/// comb, which shares the doublings and so needs only its first block.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn by_windows(token: Ifma512, claims: &[(&Claim, &Affine)], multiples: &mut OddMultiples) -> Verdicts {
    let lane = |lane: usize| claims.get(lane).unwrap_or(&claims[0]);
    let base = Recoded::new((0..8).map(|i| &lane(i).0.s));
    let key = Recoded::new((0..8).map(|i| &lane(i).0.t));
    let keys: [comb::Entry; 8] = core::array::from_fn(|i| comb::Entry::from(lane(i).1));
    let [a, b, c, d, e, f, g, h] = &keys;
    let (x, y) = load_affine(token, [&a.0, &b.0, &c.0, &d.0, &e.0, &f.0, &g.0, &h.0]);
    fill(token, &start(token, &x, &y, 0), multiples);
    let windows = key.windows(token);
    let digits = base.wide_comb(token);
    let block = &comb::WIDE_BASE[0];
    let mut sum = start(token, &x, &y, key.negate);
    for window in (0..WINDOWS).rev() {
        let position = WIDTH * window;
        if position < comb::WIDE_SPACING {
            for position in (position..position + WIDTH).rev() {
                double(&mut sum, 1);
                if let Some(digit) = digits.get(position) {
                    let (x, y) = pick(token, block, digit);
                    add_affine(&mut sum, &x, &y, digit.negative);
                }
            }
        } else {
            double(&mut sum, WIDTH as u32);
        }
        add_cached(&mut sum, &multiples.get(token, &windows[window]), windows[window].negative);
    }
    check(token, &sum, claims)
}

/// `[s]G + [t]P` by two combs: seven doublings, 24 additions for `G`, 32 for `P`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn by_combs(token: Ifma512, claims: &[(&Claim, &Comb)]) -> Verdicts {
    let lane = |lane: usize| claims.get(lane).unwrap_or(&claims[0]);
    let base_digits = Recoded::new((0..8).map(|i| &lane(i).0.s)).wide_comb(token);
    let key_digits = Recoded::new((0..8).map(|i| &lane(i).0.t)).comb(token);
    let tables: [&[[comb::Entry; comb::ENTRIES]; comb::BLOCKS]; 8] = core::array::from_fn(|i| lane(i).1.blocks());
    let entry =
        |lane: usize, block: usize, digit: &Digit| &tables[lane][block][digit.index[lane] as usize % comb::ENTRIES];
    let base = &**comb::WIDE_BASE;
    let first = base_digits[comb::STEPS - 1];
    let (x, y) = pick(token, &base[0], &first);
    let mut sum = start(token, &x, &y, first.negative);
    for step in (0..comb::STEPS).rev() {
        if step != comb::STEPS - 1 {
            double(&mut sum, 1);
        }
        // The keys' tables are many and seldom in a near cache: ask for this step's lines before they are due.
        for block in 0..comb::BLOCKS {
            let digit = &key_digits[comb::STEPS * block + step];
            (0..8).for_each(|lane| prefetch(entry(lane, block, digit)));
        }
        for block in 0..comb::WIDE_BLOCKS {
            let digit = &base_digits[comb::STEPS * block + step];
            if (step, block) != (comb::STEPS - 1, 0) {
                let (x, y) = pick(token, &base[block], digit);
                add_affine(&mut sum, &x, &y, digit.negative);
            }
        }
        for block in 0..comb::BLOCKS {
            let digit = &key_digits[comb::STEPS * block + step];
            let line = |lane: usize| &entry(lane, block, digit).0;
            let (x, y) = load_affine(token, [line(0), line(1), line(2), line(3), line(4), line(5), line(6), line(7)]);
            add_affine(&mut sum, &x, &y, digit.negative);
        }
    }
    check(token, &sum, claims)
}

/// Each lane's entry of one table.
#[inline(always)]
fn pick<const ENTRIES: usize>(token: Ifma512, entries: &[comb::Entry; ENTRIES], digit: &Digit) -> (Element, Element) {
    let entry = |lane: usize| &entries[digit.index[lane] as usize % ENTRIES].0;
    load_affine(token, [entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7)])
}

/// The point of affine coordinates up to `16p`, negated under the mask, within the bounds of the formulas.
#[inline(always)]
pub(super) fn start(token: Ifma512, x: &Element, y: &Element, negative: Mask) -> Point {
    let one = Element::one(token);
    Point { x: x.multiply(&one).carry::<0>(), y: y.multiply(&one).negate_where(negative).carry_small(), z: one }
}

/// `P, 3P, … 31P`: finite and different from each other, the order being a large prime.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn fill(_: Ifma512, point: &Point, multiples: &mut OddMultiples) {
    align_stack();
    let mut chain = CoPoints::new(point);
    for index in 0..super::digits::ODD_MULTIPLES {
        if index != 0 {
            chain = chain.add();
        }
        multiples.put(index, &chain.sum().cached());
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn double(point: &mut Point, times: u32) {
    align_stack();
    let mut sum = *point;
    for _ in 0..times {
        sum = sum.double();
    }
    *point = sum;
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn add_affine(point: &mut Point, x: &Element, y: &Element, negative: Mask) {
    align_stack();
    *point = point.add_affine(x, y, negative);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn add_cached(point: &mut Point, other: &Cached, negative: Mask) {
    align_stack();
    *point = point.add_cached(other, negative);
}

/// B7 on all lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn check<K>(token: Ifma512, sum: &Point, claims: &[(&Claim, K)]) -> Verdicts {
    let (mut first, mut second, mut wrapped) = ([[0; 8]; 4], [[0; 8]; 4], 0);
    for (lane, (claim, _)) in claims.iter().enumerate() {
        let (x, x_wrapped) = claim.candidates();
        wrapped |= Mask::from(x_wrapped.is_some()) << lane;
        let x_wrapped = x_wrapped.unwrap_or(*x);
        for limb in 0..4 {
            first[limb][lane] = x[limb];
            second[limb][lane] = x_wrapped[limb];
        }
    }
    let zz = sum.z.square().carry::<0>();
    // x·Z² < 1.1, X < 2.01.
    let mut holds = 0;
    for x in [first, second].iter().take(1 + usize::from(wrapped != 0)) {
        let x = Element::from_integers(token, x);
        holds |= x.multiply(&zz).minus(sum.x.columns()).carry::<3>().is_zero();
    }
    let present = (0xff_u16 >> (8 - claims.len())) as Mask;
    let undecided = sum.z.is_zero() & present;
    Verdicts { holds: holds & present & !undecided, undecided }
}
