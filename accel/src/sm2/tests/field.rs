#![allow(clippy::print_stderr)]

use super::super::comb::{self, BASE, Comb, Scan};
use super::super::field::{Arithmetic, Element, P};
use super::super::limbs::{self, Limbs};
use super::super::point::{Affine, B, G, Jacobian, Projective};
use super::super::scalar::{N, Scalar};
use crate::cpu::Portable;
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Avx2, Int512};
use proptest::prelude::*;

/// Runs a statement with every field backend this processor has.
macro_rules! for_each_field {
    ($field:ident => $body:expr) => {
        let $field = crate::cpu::Portable::TOKEN;
        $body;
        #[cfg(target_arch = "x86_64")]
        match crate::cpu::Bmi2Adx::new() {
            Some($field) => $body,
            None => eprintln!("SKIPPED: no BMI2 and ADX here"),
        }
    };
}
pub(in super::super) use for_each_field;

/// Every way to read a table at a secret index that this processor has.
pub(in super::super) fn scans() -> Vec<Scan> {
    #[cfg(target_arch = "x86_64")]
    {
        let vector = [Avx2::new().map(Scan::Avx2), Int512::new().map(Scan::Avx512)];
        if vector.iter().any(Option::is_none) {
            eprintln!("SKIPPED: no AVX2 or no AVX-512 here");
        }
        vector.into_iter().flatten().chain([Scan::Portable]).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![Scan::Portable]
}

/// `a · b mod m` by doubling and adding.
fn multiply_by_bits(a: &Limbs, b: &Limbs, m: &Limbs) -> Limbs {
    (0..256).rev().fold([0; 4], |mut sum, i| {
        sum = limbs::add_mod(&sum, &sum, m);
        if b[i / 64] >> (i % 64) & 1 == 1 { limbs::add_mod(&sum, a, m) } else { sum }
    })
}

/// Integers below `m`, edges favoured.
pub(in super::super) fn below(m: Limbs) -> impl Strategy<Value = Limbs> {
    let edge = |k: u64| limbs::sub(&m, &[k, 0, 0, 0]).0;
    let reduced = move |x: Limbs| limbs::reduce_once(&x, 0, &m);
    let pattern =
        prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), Just(1), Just(1 << 63), Just(u64::MAX << 32)], 4);
    prop_oneof![
        4 => any::<Limbs>().prop_map(reduced),
        2 => pattern.prop_map(move |x| reduced([x[0], x[1], x[2], x[3]])),
        1 => prop_oneof![Just([0; 4]), Just([1, 0, 0, 0]), Just(edge(1)), Just(edge(2))],
    ]
}

proptest! {
    #[test]
    fn field_products_match_schoolbook(a in below(P), b in below(P)) {
        let (x, y) = (Element::from_limbs(&a), Element::from_limbs(&b));
        prop_assert_eq!(x.to_limbs(), a);
        prop_assert_eq!(Element::from_be_bytes(&x.to_be_bytes()).map(Element::to_limbs), Some(a));
        for_each_field!(field => {
            let (x, y) = (x.on(field), y.on(field));
            prop_assert_eq!(x.multiply(&y).to_limbs(), multiply_by_bits(&a, &b, &P));
            prop_assert_eq!(x.square().to_limbs(), multiply_by_bits(&a, &a, &P));
            prop_assert_eq!(x.add(&y).to_limbs(), limbs::add_mod(&a, &b, &P));
            prop_assert_eq!(x.sub(&y).to_limbs(), limbs::sub_mod(&a, &b, &P));
            prop_assert!(x.negate().add(&x).is_zero());
            prop_assert!(x.halve().double() == x);
        });
    }

    /// The limbs themselves at their edges, where Montgomery form gives no say over them.
    #[test]
    fn every_backend_gives_the_same_limbs(a in below(P), b in below(P)) {
        let expected = limb_results(Portable::TOKEN, &a, &b);
        for_each_field!(field => prop_assert_eq!(limb_results(field, &a, &b), expected));
        prop_assert!(expected.iter().all(|r| limbs::sub(r, &P).1 == 1), "below p");
    }

    #[test]
    fn inverses_and_roots_are_what_they_say(a in below(P), b in below(P)) {
        for_each_field!(field => {
            let (x, y) = (Element::from_limbs(&a).on(field), Element::from_limbs(&b).on(field));
            prop_assert!(x.is_zero() || x.multiply(&x.invert()) == Element::ONE.on(field));
            let root = x.square().square_root().unwrap();
            prop_assert!(root == x || root == x.negate());
            // -1 is no square: p = 3 mod 4.
            prop_assert!(x.is_zero() || x.square().negate().square_root().is_none());
            let zero = Element::ZERO.on(field);
            let mut values = [x, zero, y, x];
            Element::batch_invert(&mut values);
            prop_assert!(values == [x.invert(), zero, y.invert(), x.invert()]);
        });
    }

    #[test]
    fn scalar_products_and_inverses_match_schoolbook(a in below(N), b in below(N)) {
        let scalar = |x| Scalar::reduce(x);
        prop_assert_eq!(*scalar(&a).multiply(&scalar(&b)).limbs(), multiply_by_bits(&a, &b, &N));
        prop_assert_eq!(*scalar(&a).add(&scalar(&b)).limbs(), limbs::add_mod(&a, &b, &N));
        if a != [0; 4] {
            let one = scalar(&a).invert_to_montgomery().montgomery_multiply(&scalar(&a));
            prop_assert!(one == Scalar::ONE);
        }
    }

    #[test]
    fn reduction_of_any_256_bits_is_exact(value: Limbs) {
        let (difference, borrow) = limbs::sub(&value, &N);
        prop_assert_eq!(*Scalar::reduce(&value).limbs(), if borrow == 1 { value } else { difference });
    }
}

fn limb_results<F: Arithmetic>(field: F, a: &Limbs, b: &Limbs) -> [Limbs; 5] {
    [field.multiply(a, b), field.square(a), field.add(a, b), field.sub(a, b), field.halve(a)]
}

#[test]
fn constants_are_those_of_the_standard() {
    assert!(G.is_on_curve());
    assert_eq!(hex::encode(B.to_be_bytes()), "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93");
    assert!(Element::from_be_bytes(&limbs::to_be_bytes(&P)).is_none());
    assert!(Scalar::from_be_bytes(&limbs::to_be_bytes(&N)).is_none());
}

/// `k·P` by doubling and adding with the Jacobian formulas.
pub(in super::super) fn multiply_by_doubling(k: &Limbs, point: &Affine) -> Jacobian {
    (0..256).rev().fold(Jacobian::INFINITY, |sum, i| {
        let sum = sum.double();
        if k[i / 64] >> (i % 64) & 1 == 1 { sum.add_affine(point) } else { sum }
    })
}

pub(in super::super) fn affine(point: Jacobian) -> Affine {
    Jacobian::batch_to_affine(&[point])[0]
}

fn projective<F: Arithmetic>(field: F, point: &Affine) -> Projective<F> {
    Projective::infinity(field).add_affine(point)
}

#[test]
fn n_times_g_is_infinity_and_n_minus_one_is_the_negative() {
    assert!(multiply_by_doubling(&N, &G).is_infinity());
    let minus_one = limbs::sub(&N, &[1, 0, 0, 0]).0;
    assert!(affine(multiply_by_doubling(&minus_one, &G)) == G.negate());
}

#[test]
fn both_systems_agree_on_equal_opposite_and_infinite_operands() {
    for_each_field!(field => agree_on_exceptional_operands(field));
}

fn agree_on_exceptional_operands<F: Arithmetic>(field: F) {
    let (minus, g, infinity) = (G.negate(), Jacobian::from_affine(field, &G), Jacobian::infinity(field));
    let double = g.double().to_affine();
    assert!(double.is_on_curve());
    assert!(projective(field, &G).add_affine(&G).to_affine() == double);
    assert!(projective(field, &G).double().to_affine() == double);
    assert!(g.add_affine(&G).to_affine() == double);
    assert!(g.add(&g).to_affine() == double);
    assert!(g.add_affine(&minus).is_infinity());
    assert!(g.add(&Jacobian::from_affine(field, &minus)).is_infinity());
    assert!(infinity.double().is_infinity());
    assert!(infinity.add(&g).to_affine() == G);
    assert!(g.add(&infinity).to_affine() == G);
    // Through infinity and back: the complete formulas have no exception.
    assert!(projective(field, &G).add_affine(&minus).add_affine(&double).to_affine() == double);
    assert!(projective(field, &G).add_affine(&minus).double().add_affine(&G).to_affine() == G);
    assert!(!infinity.has_x(&Element::ZERO) && !infinity.has_x(&Element::ONE));
    // The formula for points of different x shows every exception, and keeps showing it.
    for exception in [g.add_affine_distinct(&G), g.add_affine_distinct(&minus), infinity.add_affine_distinct(&G)] {
        assert!(exception.is_infinity() && exception.double().add_affine_distinct(&double).is_infinity());
    }
    assert!(g.double().add_affine_distinct(&minus).to_affine() == G);
    assert!(Affine::add_each(field, &[G, double], &[double, minus]) == [g.add_affine(&double).to_affine(), G]);
    // Odd multiples, each with its own Z.
    let multiples = Jacobian::odd_multiples::<8>(field, &double);
    for (i, multiple) in multiples.iter().enumerate() {
        let expected = affine(multiply_by_doubling(&[4 * i as u64 + 2, 0, 0, 0], &G));
        assert!(infinity.add_cached(multiple).to_affine() == expected);
        assert!(g.add_cached(multiple).add_affine(&minus).to_affine() == expected);
        assert!(g.add_cached(&multiple.negate()).add_affine(&minus).to_affine() == expected.negate());
        assert!(infinity.add_cached(multiple).double().add_cached(&multiple.negate()).to_affine() == expected);
        assert!(
            infinity.add_cached(multiple).add_cached(multiple).to_affine()
                == affine(Jacobian::from(&expected).double())
        );
    }
}

/// Small, near `n`, one bit set, all bits set below a place.
pub(in super::super) fn edge_scalars() -> Vec<Limbs> {
    let power = |i: usize| core::array::from_fn(|limb| if limb == i / 64 { 1 << (i % 64) } else { 0 });
    let mut edges: Vec<Limbs> = (1..=16).map(|k| [k, 0, 0, 0]).collect();
    edges.extend((1..=16).map(|k| limbs::sub(&N, &[k, 0, 0, 0]).0));
    edges.extend((0..256).step_by(8).map(power));
    edges.extend((8..256).step_by(8).map(|i| limbs::sub(&power(i), &[1, 0, 0, 0]).0));
    edges
}

#[test]
fn comb_is_exact_on_edge_scalars() {
    for k in edge_scalars() {
        let expected = affine(multiply_by_doubling(&k, &G));
        assert!(BASE.multiply(&Scalar::reduce(&k)).to_affine() == expected, "{k:x?}");
        for scan in scans() {
            for_each_field!(field => {
                assert!(comb::base_multiple_on(field, scan, &Scalar::reduce(&k)) == expected, "{k:x?} {scan:?}");
            });
        }
    }
}

#[test]
fn every_scan_finds_every_entry() {
    for scan in scans() {
        for (index, entry) in BASE.blocks()[2].iter().enumerate() {
            assert!(scan.entry(&BASE.blocks()[2], index as u64) == entry.point(), "{index} {scan:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn comb_matches_doubling_for_other_points(k in below(N), by in below(N)) {
        prop_assume!(k != [0; 4] && by != [0; 4]);
        let point = affine(multiply_by_doubling(&by, &G));
        prop_assert!(point.is_on_curve());
        prop_assert!(BASE.multiply(&Scalar::reduce(&by)).to_affine() == point);
        let product = Comb::new(&point).multiply(&Scalar::reduce(&k)).to_affine();
        prop_assert!(product == affine(multiply_by_doubling(&k, &point)));
        let (s, table) = (Scalar::reduce(&by), Comb::new(&G));
        let opposite = limbs::sub(&N, &by).0;
        for_each_field!(field => for t in [k, by, opposite] {
            let t = Scalar::reduce(&t);
            let sum = comb::double_multiple(field, &s, &t, &table);
            let expected = multiply_by_doubling(s.add(&t).limbs(), &G);
            prop_assert_eq!(sum.is_infinity(), expected.is_infinity());
            prop_assert!(expected.is_infinity() || sum.to_affine() == affine(expected));
        });
    }
}
