//! Verification of many signatures, eight in a vector, on public values in variable time.
//!
//! A lane whose point met an exceptional case of the addition formulas, or is infinity, says so instead of giving a
//! verdict; the caller asks the portable code. Honest signatures meet one with probability about 2^-240.

mod combs;
mod windows;

use super::super::comb;
use super::super::verify::Claim;
use super::convert::load_affine;
use super::digits::Digit;
use super::field::{Columns, Element, Field};
use super::point::{Affine, Point};
use super::vector::Mask;
use crate::cpu::Ifma512;
use crate::stack::align as align_stack;
pub(super) use combs::by_combs;
pub(super) use windows::by_windows;

/// What became of each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Verdicts {
    /// Lanes whose claim holds.
    pub(in super::super) holds: Mask,
    /// Lanes that need the portable code.
    pub(in super::super) undecided: Mask,
}

/// Points of `N` groups, computed side by side.
pub(super) type Bundle<const N: usize> = Point<[Element; N]>;

/// Lane `lane` of a group; lanes left over repeat the first.
#[inline(always)]
fn lane<T>(group: &[T], lane: usize) -> &T {
    group.get(lane).unwrap_or(&group[0])
}

/// Each lane's entry of its table.
#[inline(always)]
fn pick<const ENTRIES: usize>(token: Ifma512, tables: &[&[comb::Entry; ENTRIES]; 8], digit: &Digit) -> Affine {
    let entry = |lane: usize| &tables[lane][digit.index[lane] as usize % ENTRIES].0;
    load_affine(token, [entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7)])
}

/// The affine points, negated under the masks, within the bounds of the formulas.
#[inline(always)]
pub(super) fn start<const N: usize>(token: Ifma512, point: &Affine<[Element; N]>, negative: [Mask; N]) -> Bundle<N>
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    point.over_one(negative, [Element::one(token); N])
}

/// `times` doublings of each point.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn double<F: Field>(point: &mut Point<F>, times: u32) {
    align_stack();
    let mut sum = *point;
    for _ in 0..times {
        sum = sum.double();
    }
    *point = sum;
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(super) fn add_affine<F: Field>(sum: &mut Point<F>, point: &Affine<F>, negative: F::Mask) {
    align_stack();
    *sum = sum.add_affine(&point.x, &point.y, negative);
}

/// B7 on all lanes; those in `exceptional` remain undecided.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn check<K>(token: Ifma512, sum: &Point, exceptional: Mask, claims: &[(&Claim, K)]) -> Verdicts {
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
    let mut holds = 0;
    for x in [first, second].iter().take(1 + usize::from(wrapped != 0)) {
        let x = Element::from_integers(token, x);
        holds |= sum.distance(&x, &zz).is_zero();
    }
    let present = (0xff_u16 >> (8 - claims.len())) as Mask;
    let undecided = (sum.z.is_zero() | exceptional) & present;
    Verdicts { holds: holds & present & !undecided, undecided }
}
