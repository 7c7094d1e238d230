//! Tables and thresholds against what they are derived from.

use crate::decision::chance_of;
use crate::power_on::failures_beyond_chance;
use crate::runs::{LONGEST_IN_128, LONGEST_IN_10000, Longest};
use crate::{Battery, Item, Length, Tally, Test, Value, passes_needed};

/// How likely `bits` fair bits hold no run of ones longer than `longest`: by the length of the run at the end.
fn at_most(bits: usize, longest: usize) -> f64 {
    let mut ending = vec![0.0; longest + 1];
    ending[0] = 1.0;
    for _ in 0..bits {
        let total: f64 = ending.iter().sum();
        for len in (1..=longest).rev() {
            ending[len] = ending[len - 1] / 2.0;
        }
        ending[0] = total / 2.0;
    }
    ending.iter().sum()
}

#[test]
fn shares_of_longest_runs_are_the_exact_ones() {
    let check = |table: &Longest, precision: f64| {
        let last = table.shares.len() - 1;
        for (place, share) in table.shares.iter().enumerate() {
            let longest = table.shortest + place;
            let above = if place == last { 1.0 } else { at_most(table.block_bits, longest) };
            let below = if place == 0 { 0.0 } else { at_most(table.block_bits, longest - 1) };
            assert!((above - below - share).abs() < precision, "{longest}: {}, not {share}", above - below);
        }
    };
    check(&LONGEST_IN_128, 6e-5);
    check(&LONGEST_IN_10000, 6e-7);
}

#[test]
fn annex_a_has_27_items_at_a_million_bits_and_leaves_three_tests_out_at_20_thousand() {
    let items = |length| Battery::full(length).items().to_vec();
    let million = items(Length::BitsMillion);
    assert_eq!(million.len(), 27);
    let mut tests: Vec<Test> = million.iter().map(|item| item.test).collect();
    tests.dedup();
    assert_eq!(tests.len(), 15);
    let short = items(Length::Bits20Thousand);
    let left_out = [Test::MatrixRank, Test::LinearComplexity, Test::MaurerUniversal];
    assert!(short.iter().all(|item| !left_out.contains(&item.test)));
    let mut unique = million.clone();
    unique.dedup();
    assert_eq!(unique.len(), million.len(), "an item has one place");
    assert_eq!(million[4].to_string(), "overlapping subsequence (m=3, first difference)");
    assert_eq!(million[0].to_string(), "single-bit frequency");
}

/// 981 of 1,000 is printed in the standard; the others follow from its formula and are those of GM/T 0062-2018.
#[test]
fn passes_needed_are_the_standards() {
    assert_eq!([20, 50, 1_000].map(passes_needed), [19, 48, 981]);
}

#[test]
fn chances_are_those_of_the_binomial_distribution() {
    assert!((chance_of(2, 20, 0.01) - 0.016_859).abs() < 1e-6);
    assert!((chance_of(0, 20, 0.01) - 1.0).abs() < 1e-12);
    assert!((chance_of(20, 20, 0.5) - 2f64.powi(-20)).abs() < 1e-15);
}

#[test]
fn the_bounded_rule_asks_for_nine_of_forty_and_is_no_looser_than_it_must_be() {
    assert_eq!(failures_beyond_chance(40, 27), 9);
    assert_eq!(failures_beyond_chance(40, 1), 8);
    assert!(27.0 * chance_of(9, 40, 0.015) < 1e-6 && 27.0 * chance_of(8, 40, 0.015) > 1e-6);
}

#[test]
fn a_tally_counts_failures_and_cells() {
    let item = Item { test: Test::Poker, parameter: Some(2), statistic: "" };
    let mut tally = Tally::new(&[item]);
    for place in 0..100 {
        let q = f64::from(place) / 100.0;
        tally.add(&[Value { p: q, q }]);
    }
    // Only 0 lies below 0.01, and every cell has ten.
    assert_eq!(tally.failures().collect::<Vec<_>>(), [(item, 1)]);
    assert!(tally.uniformities().all(|p| (p - 1.0).abs() < 1e-12));
    let mut lopsided = Tally::new(&[item]);
    (0..100).for_each(|_| lopsided.add(&[Value { p: f64::NAN, q: 1.0 }]));
    assert_eq!(lopsided.failures().next(), Some((item, 100)));
    assert!(lopsided.uniformities().all(|p| p < 1e-100));
    tally.merge(&lopsided);
    assert_eq!((tally.samples(), tally.failures().next()), (200, Some((item, 101))));
}
