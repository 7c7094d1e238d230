use super::super::comb::{BASE, Comb};
use super::super::field::{Element, P};
use super::super::limbs::{self, Limbs};
use super::super::point::{Affine, B, G, Jacobian, Projective};
use super::super::scalar::{N, Scalar};
use proptest::prelude::*;

/// `a · b mod m` by doubling and adding.
fn multiply_by_bits(a: &Limbs, b: &Limbs, m: &Limbs) -> Limbs {
    (0..256).rev().fold([0; 4], |mut sum, i| {
        sum = limbs::add_mod(&sum, &sum, m);
        if b[i / 64] >> (i % 64) & 1 == 1 { limbs::add_mod(&sum, a, m) } else { sum }
    })
}

/// Integers below `m`, edges favoured.
fn below(m: Limbs) -> impl Strategy<Value = Limbs> {
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
        prop_assert_eq!(x.multiply(&y).to_limbs(), multiply_by_bits(&a, &b, &P));
        prop_assert_eq!(x.square().to_limbs(), multiply_by_bits(&a, &a, &P));
        prop_assert_eq!(x.add(&y).to_limbs(), limbs::add_mod(&a, &b, &P));
        prop_assert!(x.sub(&y).add(&y) == x && x.negate().add(&x).is_zero());
        prop_assert_eq!(Element::from_be_bytes(&x.to_be_bytes()).map(Element::to_limbs), Some(a));
    }

    #[test]
    fn inverses_and_roots_are_what_they_say(a in below(P), b in below(P)) {
        let (x, y) = (Element::from_limbs(&a), Element::from_limbs(&b));
        prop_assert!(x.is_zero() || x.multiply(&x.invert()) == Element::ONE);
        let root = x.square().square_root().unwrap();
        prop_assert!(root == x || root == x.negate());
        // -1 is no square: p = 3 mod 4.
        prop_assert!(x.is_zero() || x.square().negate().square_root().is_none());
        let mut values = [x, Element::ZERO, y, x];
        Element::batch_invert(&mut values);
        prop_assert!(values == [x.invert(), Element::ZERO, y.invert(), x.invert()]);
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

#[test]
fn constants_are_those_of_the_standard() {
    assert!(G.is_on_curve());
    assert_eq!(hex::encode(B.to_be_bytes()), "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93");
    assert!(Element::from_be_bytes(&limbs::to_be_bytes(&P)).is_none());
    assert!(Scalar::from_be_bytes(&limbs::to_be_bytes(&N)).is_none());
}

/// `k·P` by doubling and adding with the Jacobian formulas.
fn multiply_by_doubling(k: &Limbs, point: &Affine) -> Jacobian {
    (0..256).rev().fold(Jacobian::INFINITY, |sum, i| {
        let sum = sum.double();
        if k[i / 64] >> (i % 64) & 1 == 1 { sum.add_affine(point) } else { sum }
    })
}

fn affine(point: Jacobian) -> Affine {
    Jacobian::batch_to_affine(&[point])[0]
}

fn projective(point: &Affine) -> Projective {
    Projective::INFINITY.add_affine(point)
}

#[test]
fn n_times_g_is_infinity_and_n_minus_one_is_the_negative() {
    assert!(multiply_by_doubling(&N, &G).is_infinity());
    let minus_one = limbs::sub(&N, &[1, 0, 0, 0]).0;
    assert!(affine(multiply_by_doubling(&minus_one, &G)) == G.negate());
}

#[test]
fn both_systems_agree_on_equal_opposite_and_infinite_operands() {
    let minus = G.negate();
    let double = affine(Jacobian::from(&G).double());
    assert!(double.is_on_curve());
    assert!(projective(&G).add_affine(&G).to_affine() == double);
    assert!(projective(&G).double().to_affine() == double);
    assert!(affine(Jacobian::from(&G).add_affine(&G)) == double);
    assert!(affine(Jacobian::from(&G).add(&Jacobian::from(&G))) == double);
    assert!(Jacobian::from(&G).add_affine(&minus).is_infinity());
    assert!(Jacobian::from(&G).add(&Jacobian::from(&minus)).is_infinity());
    assert!(Jacobian::INFINITY.double().is_infinity());
    assert!(affine(Jacobian::INFINITY.add(&Jacobian::from(&G))) == G);
    assert!(affine(Jacobian::from(&G).add(&Jacobian::INFINITY)) == G);
    // Through infinity and back: the complete formulas have no exception.
    assert!(projective(&G).add_affine(&minus).add_affine(&double).to_affine() == double);
    assert!(projective(&G).add_affine(&minus).double().add_affine(&G).to_affine() == G);
    assert!(!Jacobian::INFINITY.has_x(&Element::ZERO) && !Jacobian::INFINITY.has_x(&Element::ONE));
}

#[test]
fn comb_is_exact_on_edge_scalars() {
    let mut edges: Vec<Limbs> = (1..=16).map(|k| [k, 0, 0, 0]).collect();
    edges.extend((1..=16).map(|k| limbs::sub(&N, &[k, 0, 0, 0]).0));
    edges.extend(
        (0..256).step_by(8).map(|i| core::array::from_fn(|limb| if limb == i / 64 { 1 << (i % 64) } else { 0 })),
    );
    edges.extend((8..256).step_by(8).map(|i| {
        limbs::sub(&core::array::from_fn(|limb| if limb == i / 64 { 1 << (i % 64) } else { 0 }), &[1, 0, 0, 0]).0
    }));
    for k in edges {
        let expected = affine(multiply_by_doubling(&k, &G));
        assert!(BASE.multiply(&Scalar::reduce(&k)).to_affine() == expected, "{k:x?}");
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
    }
}
