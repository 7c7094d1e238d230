//! The kernel against the portable code, and its bounds against an interval model.

mod bounds;
mod sums;

use super::super::comb::{self, Comb, FlatComb};
use super::super::field::{Element as Portable, P};
use super::super::limbs::{self, Limbs};
use super::super::point::{Affine, G};
use super::super::scalar::{N, Scalar};
use super::super::verify::Claim;
use super::super::{Signature, ifma};
use super::convert::{lanes, load_affine};
use super::field::{Columns, Element, Field, Product};
use super::verify::Verdicts;
use crate::cpu::Ifma512;
use proptest::prelude::*;

/// The token, or a loud nothing.
#[allow(clippy::print_stderr)]
fn token() -> Option<Ifma512> {
    let token = Ifma512::new();
    if token.is_none() {
        eprintln!("SKIPPED: this processor has no AVX-512 IFMA");
    }
    token
}

/// Integers below `m`, edges favoured: runs of ones and zeros in 52-bit limbs, and next to `m`.
fn below(m: Limbs) -> impl Strategy<Value = Limbs> {
    let reduced = move |x: Limbs| limbs::reduce_once(&x, 0, &m);
    let edge = prop_oneof![Just(0), Just(u64::MAX), Just(1), Just(1 << 63), Just((1 << 52) - 1), Just(1 << 52)];
    let near = (0u64..40).prop_map(move |k| limbs::sub(&m, &[k + 1, 0, 0, 0]).0);
    let small = (0u64..40).prop_map(|k| [k, 0, 0, 0]);
    prop_oneof![
        4 => any::<Limbs>().prop_map(reduced),
        3 => [edge.clone(), edge.clone(), edge.clone(), edge].prop_map(reduced),
        1 => near,
        1 => small,
    ]
}

#[allow(unsafe_code)]
fn field_operations(token: Ifma512, values: &[(Limbs, Limbs); 8]) -> [[Limbs; 8]; 6] {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512ifma")]
    fn compute(token: Ifma512, rows: &[comb::Entry; 8]) -> [[Limbs; 8]; 6] {
        let point = load_affine(token, rows.each_ref().map(|row| &row.0));
        let (a, b) = (point.x.settle(), point.y.settle());
        let all = [
            a.multiply(&b).carry::<0>(),
            a.square().carry::<0>(),
            a.columns().plus(b.columns()).carry::<0>(),
            a.columns().minus(b.columns()).carry_small(),
            a.times(&b).minus(b.squared()).reduce().carry::<1>(),
            super::convert::invert_lanes(token, &a.blend(a.is_zero(), &Element::one(token))),
        ];
        all.map(|element| lanes(&element))
    }
    let rows =
        values.map(|(a, b)| comb::Entry::from(&Affine { x: Portable::from_limbs(&a), y: Portable::from_limbs(&b) }));
    // SAFETY: the token proves the features.
    unsafe { compute(token, &rows) }
}

proptest! {
    #[test]
    fn field_matches_portable(values in [(below(P), below(P)), (below(P), below(P)), (below(P), below(P)), (below(P), below(P)),
            (below(P), below(P)), (below(P), below(P)), (below(P), below(P)), (below(P), below(P))]) {
        let Some(token) = token() else { return Ok(()) };
        let all = field_operations(token, &values);
        for (lane, (a, b)) in values.iter().enumerate() {
            let (a, b) = (Portable::from_limbs(a), Portable::from_limbs(b));
            let inverse = if a.is_zero() { Portable::ONE } else { a.invert() };
            let expected = [a.multiply(&b), a.square(), a.add(&b), a.sub(&b), a.multiply(&b).sub(&b.square()), inverse];
            for (operation, expected) in expected.into_iter().enumerate() {
                prop_assert_eq!(all[operation][lane], expected.to_limbs(), "operation {}, lane {}", operation, lane);
            }
        }
    }

    #[test]
    fn base_multiples_match_portable(scalars in prop::collection::vec(below(N), 1..140)) {
        let Some(token) = token() else { return Ok(()) };
        let scalars: Vec<Scalar> = scalars.iter().map(Scalar::reduce).filter(|k| !k.is_zero()).collect();
        check_base(token, &scalars);
    }

    #[test]
    fn verdicts_match_portable(cases in prop::collection::vec((below(N), below(N), below(N), any::<bool>()), 1..=20)) {
        let Some(token) = token() else { return Ok(()) };
        let cases: Vec<Case> = cases.iter().filter_map(|(s, t, d, good)| Case::new(s, t, d, *good)).collect();
        if !cases.is_empty() {
            check_verdicts(token, &cases);
        }
    }
}

/// Compares with the portable comb; returns how many lanes were exceptional.
fn check_base(token: Ifma512, scalars: &[Scalar]) -> usize {
    let mut xs = vec![None; scalars.len()];
    ifma::base_x_coordinates(token, scalars, &mut xs);
    for (k, x) in scalars.iter().zip(&xs) {
        let expected = comb::BASE.multiply(k).to_affine().x.to_limbs();
        assert!(x.is_none_or(|x| x == expected), "{:x?}", k.limbs());
    }
    xs.iter().filter(|x| x.is_none()).count()
}

fn edge_scalars() -> Vec<Scalar> {
    let small = (1..=33).map(|k| [k, 0, 0, 0]);
    let large = (1..=33).map(|k| limbs::sub(&N, &[k, 0, 0, 0]).0);
    let powers =
        (8..256).step_by(8).map(|i| core::array::from_fn(|limb| if limb == i / 64 { 1 << (i % 64) } else { 0 }));
    small.chain(large).chain(powers).map(|k| Scalar::reduce(&k)).collect()
}

#[test]
fn base_multiples_of_edge_scalars_are_exact() {
    let Some(token) = token() else { return };
    let scalars = edge_scalars();
    let exceptional = check_base(token, &scalars);
    assert!(exceptional < scalars.len() / 2, "{exceptional} of {}", scalars.len());
}

/// A signature of chosen `s` and `t` under the key `[d]G`.
struct Case {
    claim: Claim,
    key: Affine,
    comb: Comb,
    flat: FlatComb,
}

impl Case {
    /// `None` where no such signature exists. `good`: its `e` is chosen so that it verifies.
    fn new(s: &Limbs, t: &Limbs, d: &Limbs, good: bool) -> Option<Self> {
        let [s, t, d] = [s, t, d].map(Scalar::reduce);
        let r = t.sub(&s);
        if s.is_zero() || t.is_zero() || d.is_zero() || r.is_zero() {
            return None;
        }
        let key = comb::BASE.multiply(&d).to_affine();
        let k = s.add(&t.multiply(&d));
        let x1 = if k.is_zero() { [7, 0, 0, 0] } else { comb::BASE.multiply(&k).to_affine().x.to_limbs() };
        let e = r.sub(&Scalar::reduce(&x1)).add(&if good { Scalar::reduce(&[0; 4]) } else { Scalar::ONE });
        let claim = Claim::new(&e.to_be_bytes(), &Signature::from_scalars(&r, &s))?;
        Some(Self { claim, key, comb: Comb::new(&key), flat: FlatComb::new(&key) })
    }

    fn portable(&self) -> bool {
        let by_windows = self.claim.holds_by_windows(crate::cpu::Portable::TOKEN, &self.key);
        assert_eq!(by_windows, self.claim.holds_by_combs(crate::cpu::Portable::TOKEN, &self.comb));
        by_windows
    }
}

/// Every decided verdict is portable's. Returns the undecided lanes of all ways.
fn check_verdicts(token: Ifma512, cases: &[Case]) -> u32 {
    let mut verifier = ifma::Verifier::new(token);
    let windows: Vec<(&Claim, &Affine)> = cases.iter().map(|case| (&case.claim, &case.key)).collect();
    let combs: Vec<(&Claim, &Comb)> = cases.iter().map(|case| (&case.claim, &case.comb)).collect();
    let flat: Vec<(&Claim, &FlatComb)> = cases.iter().map(|case| (&case.claim, &case.flat)).collect();
    let ways = [verifier.by_windows(&windows), verifier.by_combs(&combs), verifier.by_flat_combs(&flat)];
    for (i, case) in cases.iter().enumerate() {
        let expected = case.portable();
        for (way, verdicts) in ways.iter().enumerate() {
            let Verdicts { holds, undecided } = verdicts[i / 8];
            let (holds, decided) = (holds >> (i % 8) & 1 == 1, undecided >> (i % 8) & 1 == 0);
            assert!(!decided || holds == expected, "way {way}, lane {i} of {}", cases.len());
            assert!(decided || !holds, "way {way}, lane {i} decides nothing");
        }
    }
    ways.iter().flatten().map(|verdicts| verdicts.undecided.count_ones()).sum()
}

/// Keys `±[1, 2, 3, 31, 2^8, 2^128]G` with small and large multipliers: equal, opposite and infinite sums on the way.
#[test]
fn exceptional_additions_are_found_and_never_misjudged() {
    let Some(token) = token() else { return };
    let minus = |k: &Limbs| limbs::sub(&N, k).0;
    let keys = [[1, 0, 0, 0], [2, 0, 0, 0], [31, 0, 0, 0], [256, 0, 0, 0], [0, 0, 1, 0]];
    let multipliers = [[1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0], [32, 0, 0, 0], [33, 0, 0, 0], [0, 0, 0, 1 << 60]];
    let both = |list: &[Limbs]| list.iter().flat_map(|k| [*k, minus(k)]).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for d in both(&keys) {
        for t in both(&multipliers) {
            for s in both(&multipliers) {
                cases.extend(Case::new(&s, &t, &d, cases.len() % 3 != 0));
            }
        }
        // Infinity: s = -t d.
        for t in both(&multipliers) {
            let s = Scalar::reduce(&t).multiply(&Scalar::reduce(&d)).negate();
            cases.extend(Case::new(s.limbs(), &t, &d, true));
        }
    }
    let undecided: u32 = cases.chunks(8).map(|cases| check_verdicts(token, cases)).sum();
    assert!(undecided > 0, "no exceptional case was met among {}", cases.len());
    // The same through the tree of affine additions, which a group alone does not use.
    let undecided: u32 = cases.chunks(ifma::TOGETHER).map(|cases| check_verdicts(token, cases)).sum();
    assert!(undecided > 0, "the tree met no exceptional case");
    assert!(cases.chunks(7).take(3).map(|cases| check_verdicts(token, cases)).sum::<u32>() < 42);
}

#[test]
fn g_is_its_own_first_odd_multiple() {
    assert!(
        Case::new(&[1, 0, 0, 0], &[2, 0, 0, 0], &[1, 0, 0, 0], true)
            .is_some_and(|case| case.key == G && case.portable())
    );
}

/// By the addends of four, of twenty-four and of 32 blocks.
#[test]
fn tables_grow_as_they_do_alone() {
    let Some(token) = token() else { return };
    let points = |block: usize, count: usize| -> Vec<Affine> {
        comb::BASE.blocks()[block][..count].iter().map(|entry| entry.point()).collect()
    };
    for (entries, addends) in [(8, 4), (24, 24), (32, 32)] {
        let teeth = [points(1, addends), points(2, addends), points(3, addends)];
        let alone = comb::grow_alone(crate::cpu::Portable::TOKEN, points(0, entries), &teeth);
        assert!(ifma::grow_table(token, &points(0, entries), &teeth) == alone, "{entries} entries");
    }
}

#[test]
#[should_panic(expected = "points with different x")]
fn a_table_with_an_exceptional_sum_is_not_built() {
    let Some(token) = token() else { panic!("points with different x: no lanes to show it with") };
    let points: Vec<Affine> = comb::BASE.blocks()[0][..8].iter().map(|entry| entry.point()).collect();
    ifma::grow_table(token, &points, std::slice::from_ref(&points));
}
