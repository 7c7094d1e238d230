//! `[s]G + [t]P` for keys without a table.

use super::super::super::comb::{self, Entry};
use super::super::super::point;
use super::super::super::verify::Claim;
use super::super::convert::load_affine;
use super::super::digits::{Digit, Recoded, WIDTH, WINDOWS};
use super::super::field::{Element, Field};
use super::super::point::Affine;
use super::super::table::{self, OddMultiples};
use super::super::vector::Mask;
use super::{Verdicts, add_affine, check, double, lane, pick, start};
use crate::cpu::Ifma512;

/// Claims and their keys.
type Claims<'a> = [(&'a Claim, &'a point::Affine)];

/// What is added up for a group.
struct Group<'a> {
    claims: &'a Claims<'a>,
    multiples: &'a OddMultiples,
    base: [Digit; comb::WIDE_SPACING],
    key: [Digit; WINDOWS],
    /// Lanes whose topmost digit, always in size 1, is negative.
    key_negative: Mask,
}

/// 255 doublings, 51 additions of odd multiples of `P`, 24 of `G`'s wide comb, which shares the doublings and so needs
/// only its first block. The multiples' tables of all groups share an inversion; groups go two by two.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(in super::super) fn by_windows(
    token: Ifma512,
    claims: &Claims<'_>,
    tables: &mut Vec<OddMultiples>,
) -> Vec<Verdicts> {
    let keys: Vec<Affine> = claims.chunks(8).map(|group| load_keys(token, group)).collect();
    table::fill(token, &keys, tables);
    let groups: Vec<_> = claims.chunks(8).zip(tables).map(|(claims, table)| Group::new(token, claims, table)).collect();
    let (pairs, rest) = groups.as_chunks::<2>();
    let mut out = Vec::with_capacity(groups.len());
    pairs.iter().for_each(|[first, second]| out.extend(verdicts(token, [first, second])));
    rest.iter().for_each(|group| out.extend(verdicts(token, [group])));
    out
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn load_keys(token: Ifma512, group: &Claims<'_>) -> Affine {
    let keys: [Entry; 8] = core::array::from_fn(|i| Entry::from(lane(group, i).1));
    load_affine(token, keys.each_ref().map(|key| &key.0))
}

impl<'a> Group<'a> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn new(token: Ifma512, claims: &'a Claims<'a>, multiples: &'a OddMultiples) -> Self {
        let base = Recoded::new((0..8).map(|i| &lane(claims, i).0.s));
        let key = Recoded::new((0..8).map(|i| &lane(claims, i).0.t));
        Self { claims, multiples, base: base.wide_comb(token), key: key.windows(token), key_negative: key.negate }
    }
}

/// The verdicts on `N` groups, computed side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn verdicts<const N: usize>(token: Ifma512, groups: [&Group<'_>; N]) -> [Verdicts; N]
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    let block = &comb::WIDE_BASE[0];
    let mut points = groups.map(|group| group.multiples.get(token, &Digit::default()));
    let mut sum = start(token, &Affine::bundle(&points), groups.map(|group| group.key_negative));
    for window in (0..WINDOWS).rev() {
        // Positions that only the key has come first, then those it shares with `G`.
        let (lowest, end) = (WIDTH * window, WIDTH * window + WIDTH);
        double(&mut sum, (end - end.min(comb::WIDE_SPACING.max(lowest))) as u32);
        for position in (lowest..end.min(comb::WIDE_SPACING)).rev() {
            double(&mut sum, 1);
            for (point, group) in points.iter_mut().zip(groups) {
                *point = pick(token, &[block; 8], &group.base[position]);
            }
            add_affine(&mut sum, &Affine::bundle(&points), groups.map(|group| group.base[position].negative));
        }
        for (point, group) in points.iter_mut().zip(groups) {
            *point = group.multiples.get(token, &group.key[window]);
        }
        add_affine(&mut sum, &Affine::bundle(&points), groups.map(|group| group.key[window].negative));
    }
    core::array::from_fn(|i| check(token, &sum.get(i), 0, groups[i].claims))
}
