//! Published results for the binary expansions of well-known numbers, which are made here from their definitions.

use num_bigint::BigUint;

use crate::{Battery, Item, Length, Sample, Test, Value};

/// The first `bits` bits of `number`, which has at least as many.
fn leading(number: &BigUint, bits: u64) -> Sample {
    let surplus = number.bits() - bits;
    Sample::new(&(number >> surplus).to_bytes_be())
}

/// Numerator and denominator of Σ 1 / ((from + 1) … k) for k in from + 1 ..= to.
fn halves(from: u32, to: u32) -> (BigUint, BigUint) {
    if to - from == 1 {
        return (BigUint::from(1u32), BigUint::from(to));
    }
    let middle = from.midpoint(to);
    let ((p, q), (p_after, q_after)) = (halves(from, middle), halves(middle, to));
    (p * &q_after + p_after, q * q_after)
}

/// e = 1 + Σ 1/k!, of which 76,000 terms leave less than 2^-1,100,000.
fn e() -> Sample {
    let (numerator, denominator) = halves(0, 76_000);
    let scaled = (numerator << 1_000_064u32) / denominator + (BigUint::from(1u32) << 1_000_064u32);
    leading(&scaled, 1_000_000)
}

fn root_of(number: u32) -> Sample {
    leading(&(BigUint::from(number) << 2_000_100u32).sqrt(), 1_000_000)
}

fn value(battery: &Battery, values: &[Value], test: Test, parameter: Option<usize>, statistic: &str) -> Value {
    let item = Item { test, parameter, statistic: battery_statistic(battery, test, statistic) };
    let place = battery.items().iter().position(|other| *other == item).unwrap_or_else(|| panic!("no item {item}"));
    values[place]
}

fn battery_statistic(battery: &Battery, test: Test, statistic: &str) -> &'static str {
    let mut of_test = battery.items().iter().filter(|item| item.test == test).map(|item| item.statistic);
    of_test.find(|known| *known == statistic).expect("a statistic of the test")
}

/// P and Q for e, from the table in the documentation of opengm_rts 0.2.4, a library for GM/T 0005-2021.
#[test]
fn e_has_the_published_values() {
    let mut battery = Battery::full(Length::BitsMillion);
    let values = battery.run(&e());
    for (test, parameter, statistic, p, q) in [
        (Test::SingleBit, None, "", 0.953_748, 0.476_874),
        (Test::BlockFrequency, Some(10_000), "", 0.676_226, 0.676_226),
        (Test::Poker, Some(8), "", 0.023_946, 0.023_946),
        (Test::OverlappingSubsequence, Some(5), "first difference", 0.225_782, 0.225_782),
        (Test::OverlappingSubsequence, Some(5), "second difference", 0.057_499, 0.057_499),
        (Test::TotalRuns, None, "", 0.561_916, 0.719_041),
        (Test::RunDistribution, None, "", 0.772_411, 0.772_411),
        (Test::LongestRun, Some(10_000), "zeros", 0.437_860, 0.437_860),
        (Test::LongestRun, Some(10_000), "ones", 0.718_354, 0.718_354),
        (Test::BinaryDerivation, Some(7), "", 0.760_365, 0.619_817),
        (Test::Autocorrelation, Some(16), "", 0.912_408, 0.543_795),
        (Test::MatrixRank, None, "", 0.307_543, 0.307_543),
        (Test::CumulativeSums, None, "backward", 0.724_265, 0.724_265),
        (Test::CumulativeSums, None, "forward", 0.669_886, 0.669_886),
        (Test::ApproximateEntropy, Some(5), "", 0.361_687, 0.361_687),
        (Test::LinearComplexity, Some(1_000), "", 0.844_720, 0.844_720),
        (Test::MaurerUniversal, None, "", 0.282_567, 0.141_283),
        (Test::DiscreteFourier, None, "", 0.851_010, 0.425_505),
    ] {
        let found = value(&battery, &values, test, parameter, statistic);
        let is_equal = (found.p - p).abs() < 2e-6 && (found.q - q).abs() < 2e-6;
        assert!(is_equal, "{}: {found:?}, not {p}, {q}", test.name());
    }
}

/// P of tests that NIST SP 800-22 rev. 1a has with the same statistic and parameter: its appendix B for e, √2 and √3. Of linear complexity it
/// takes the first share as .01047 instead of .010417, which moves that P a little.
#[test]
fn roots_and_e_have_nists_values() {
    let rows = [
        (e(), [0.953_749, 0.669_887, 0.724_266, 0.561_917, 0.282_568, 0.826_335]),
        (root_of(2), [0.811_881, 0.879_009, 0.957_206, 0.313_427, 0.130_805, 0.317_127]),
        (root_of(3), [0.610_051, 0.917_121, 0.689_519, 0.261_123, 0.165_981, 0.346_469]),
    ];
    let mut battery = Battery::full(Length::BitsMillion);
    for (sample, expected) in rows {
        let values = battery.run(&sample);
        let found = [
            (Test::SingleBit, None, ""),
            (Test::CumulativeSums, None, "forward"),
            (Test::CumulativeSums, None, "backward"),
            (Test::TotalRuns, None, ""),
            (Test::MaurerUniversal, None, ""),
            (Test::LinearComplexity, Some(500), ""),
        ]
        .map(|(test, parameter, statistic)| (test, value(&battery, &values, test, parameter, statistic).p));
        for ((test, found), expected) in found.iter().zip(expected) {
            let precision = if *test == Test::LinearComplexity { 1e-2 } else { 2e-6 };
            assert!((found - expected).abs() < precision, "{}: {found}, not {expected}", test.name());
        }
    }
}
