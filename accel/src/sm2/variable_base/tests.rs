use super::*;
use crate::cpu::Portable;
use crate::sm2::comb;
use crate::sm2::point::G;
use crate::sm2::scalar::N;
use crate::sm2::tests::field::{affine, below, edge_scalars, for_each_field, multiply_by_doubling, scans};
use proptest::prelude::*;

/// `[k]P` on every backend, for a secret and for a public `k`, against doubling and adding.
fn check(k: &Limbs, point: &Affine) {
    let (expected, scalar) = (affine(multiply_by_doubling(k, point)), Scalar::reduce(k));
    assert_eq!(*secret_multiple(point, &scalar), PublicKey { point: expected }.to_bytes(), "{k:x?}");
    for_each_field!(field => {
        for scan in scans() {
            assert!(secret_multiple_on(field, scan, point, &scalar) == expected, "{k:x?} {scan:?}");
        }
        let table = odd_entries(field, point);
        let complete: Projective<_> = walk(field, Scan::Portable, point, &table, &scalar);
        assert!(complete.to_affine() == expected, "{k:x?}");
        assert!(public_multiple(field, k, point).to_affine() == expected, "{k:x?}");
    });
}

#[test]
fn products_are_exact_on_edge_scalars() {
    let point = comb::base_multiple(&Scalar::reduce(&[3, 1, 4, 1]));
    for k in edge_scalars() {
        check(&k, &G);
        check(&k, &point);
    }
}

/// `n = 3 mod 32`, so `n - 6` ends in the digit -3, which meets a sum of `n - 3`; 6 is walked as its negative.
#[test]
fn an_exception_is_noticed_and_computed_by_complete_formulas() {
    for k in [Scalar::reduce(&[6, 0, 0, 0]), Scalar::reduce(&[6, 0, 0, 0]).negate()] {
        let table = odd_entries(Portable::TOKEN, &G);
        let sum: Jacobian = walk(Portable::TOKEN, Scan::Portable, &G, &table, &k);
        assert!(sum.is_infinity());
        check(k.limbs(), &G);
    }
}

/// The selected kernel for many products, whole groups of lanes and parts of them, an exception among them.
#[test]
fn many_products_at_once_are_each_exact() {
    let points: Vec<Affine> = (1..=150).map(|k| comb::base_multiple(&Scalar::reduce(&[k, k << 7, 0, k]))).collect();
    let scalars: Vec<Scalar> = edge_scalars().iter().map(Scalar::reduce).collect();
    let pairs: Vec<_> = (0..150).map(|i| (&points[i], &scalars[i * 7 % scalars.len()])).collect();
    let expected: Vec<_> = pairs.iter().map(|(point, k)| secret_multiple(point, k)).collect();
    for size in (0..20).chain([127, 128, 129, 150]) {
        assert!(secret_multiples(&pairs[..size]) == expected[..size], "{size} products");
    }
    let exceptional = Scalar::reduce(&[6, 0, 0, 0]);
    let pairs: Vec<_> = (0..9).map(|i| (&points[i], if i == 4 { &exceptional } else { &scalars[40 + i] })).collect();
    let expected: Vec<_> = pairs.iter().map(|(point, k)| secret_multiple(point, k)).collect();
    assert!(secret_multiples(&pairs) == expected);
}

/// Quotients by small integers, whose multiples are small.
#[test]
fn products_are_exact_for_inverses_of_small_scalars() {
    for m in 1..=40u64 {
        let inverse = Scalar::reduce(&[m, 0, 0, 0]).invert_to_montgomery().montgomery_multiply(&Scalar::ONE);
        check(inverse.limbs(), &G);
        check(inverse.negate().limbs(), &G);
    }
}

#[test]
fn public_sums_meet_infinity_and_equal_operands() {
    assert!(public_multiple(Portable::TOKEN, &[0; 4], &G).is_infinity());
    assert!(public_multiple(Portable::TOKEN, &N, &G).is_infinity());
    assert!(public_sum(&G, &[0; 4], &G) == Some(G));
    assert!(public_sum(&G, &[1, 0, 0, 0], &G) == Some(affine(multiply_by_doubling(&[2, 0, 0, 0], &G))));
    assert!(public_sum(&G.negate(), &[1, 0, 0, 0], &G).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_match_doubling_and_adding(k in below(N), by in below(N)) {
        prop_assume!(k != [0; 4] && by != [0; 4]);
        check(&k, &comb::base_multiple(&Scalar::reduce(&by)));
    }
}
