//! `[s]G + [t]P` for keys with a table: no key is multiplied, its entries are only added up.

use super::super::super::comb::{self, Entry};
use super::super::super::verify::Claim;
use super::super::digits::{Digit, Recoded};
use super::super::field::{Element, Field};
use super::super::sums::Sums;
use super::super::vector::{Mask, prefetch};
use super::{Verdicts, check, double, lane, pick};
use crate::cpu::Ifma512;

/// Columns ahead of which the lines of the keys' tables are asked for.
const AHEAD: usize = 3;

/// A key's tables: one for every `STEPS` digits, as [`comb::Comb`] and [`comb::FlatComb`] have them.
type Tables = [[Entry; comb::ENTRIES]];

/// The digits of a group's scalars.
struct Digits {
    base: [Digit; comb::WIDE_SPACING],
    key: [Digit; comb::SPACING],
}

/// One table serves the digits of `STEPS` steps, with a doubling between: eight for compact combs (seven doublings, 56
/// points in eight columns), one for flat ones (no doubling, 56 points in one). `base` are `G`'s tables of the same kind.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
pub(in super::super) fn by_combs<const STEPS: usize>(
    token: Ifma512,
    claims: &[(&Claim, &Tables)],
    base: &[[Entry; comb::WIDE_ENTRIES]],
    sums: &mut Sums,
) -> Vec<Verdicts> {
    let digits: Vec<Digits> = claims.chunks(8).map(|group| recode(token, group)).collect();
    gather::<STEPS>(token, claims, base, &digits, sums);
    sums.shrink(token);
    let groups: Vec<_> = claims.chunks(8).collect();
    let (pairs, rest) = groups.as_chunks::<2>();
    let mut verdicts = Vec::with_capacity(groups.len());
    for (pair, groups) in pairs.iter().enumerate() {
        verdicts.extend(finish::<STEPS, 2>(token, groups, 2 * pair, sums));
    }
    for group in rest {
        verdicts.extend(finish::<STEPS, 1>(token, &[*group], groups.len() - 1, sums));
    }
    verdicts
}

/// The sums of `N` groups from the `first` on, the columns of each by Horner's rule, and their verdicts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn finish<const STEPS: usize, const N: usize>(
    token: Ifma512,
    groups: &[&[(&Claim, &Tables)]; N],
    first: usize,
    sums: &Sums,
) -> [Verdicts; N]
where
    [Element; N]: Field<Mask = [Mask; N]>,
{
    let column = |i: usize, step: usize| STEPS * (first + i) + step;
    let mut bundle = None;
    for step in (0..STEPS).rev() {
        if let Some(bundle) = &mut bundle {
            double(bundle, 1);
        }
        sums.add_to(token, &mut bundle, core::array::from_fn(|i| column(i, step)));
    }
    let bundle = bundle.expect("a comb has digits");
    let exceptional = |i: usize| (0..STEPS).fold(0, |lanes, step| lanes | sums.exceptional(column(i, step)));
    core::array::from_fn(|i| check(token, &bundle.get(i), exceptional(i), groups[i]))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn recode<K>(token: Ifma512, group: &[(&Claim, K)]) -> Digits {
    Digits {
        base: Recoded::new((0..8).map(|i| &lane(group, i).0.s)).wide_comb(token),
        key: Recoded::new((0..8).map(|i| &lane(group, i).0.t)).comb(token),
    }
}

/// The entries that all digits name: a row for each table, first the keys', and columns for each group's steps.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
fn gather<const STEPS: usize>(
    token: Ifma512,
    claims: &[(&Claim, &Tables)],
    base: &[[Entry; comb::WIDE_ENTRIES]],
    digits: &[Digits],
    sums: &mut Sums,
) {
    let (key_rows, base_rows) = (comb::SPACING / STEPS, comb::WIDE_SPACING / STEPS);
    sums.reset(key_rows + base_rows, STEPS * digits.len());
    for row in 0..key_rows {
        for (group, digits) in claims.chunks(8).zip(digits) {
            let table = |i: usize| &lane(group, i).1[row];
            let tables = [table(0), table(1), table(2), table(3), table(4), table(5), table(6), table(7)];
            for position in STEPS * row..STEPS * (row + 1) {
                // The keys' tables are many and seldom in a near cache.
                if let Some(digit) = digits.key.get(position + AHEAD) {
                    for i in 0..8 {
                        let tables = lane(group, i).1;
                        prefetch(&tables[(position + AHEAD) / STEPS][digit.index[i] as usize % comb::ENTRIES]);
                    }
                }
                let digit = &digits.key[position];
                sums.push(pick(token, &tables, digit), digit.negative);
            }
        }
    }
    for (row, table) in base.iter().enumerate().take(base_rows) {
        for digits in digits {
            for digit in &digits.base[STEPS * row..STEPS * (row + 1)] {
                sums.push(pick(token, &[table; 8], digit), digit.negative);
            }
        }
    }
}
