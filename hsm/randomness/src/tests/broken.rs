//! Generators that are broken in known ways: the power-on test of class E finds each, and says by which tests.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::Test;
use crate::power_on::{Class, Failure, Passed, Rule, examine, failures_beyond_chance, listed};

/// The tests that failed `source`.
fn failed_by(class: Class, mut source: impl FnMut() -> u8) -> Vec<Test> {
    let filled = |out: &mut [u8]| {
        out.iter_mut().for_each(|byte| *byte = source());
        Ok::<(), ()>(())
    };
    match examine(class, Rule::Bounded, filled) {
        Err(Failure::Generator { findings, .. }) => findings.iter().map(|finding| finding.item.test).collect(),
        other => panic!("not found out: {other:?}"),
    }
}

fn sound() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(20)
}

fn byte(generator: &mut ChaCha12Rng) -> u8 {
    generator.next_u32() as u8
}

#[test]
fn constants_fail_in_both_classes() {
    for class in [Class::D, Class::E] {
        for constant in [0x00, 0xFF, 0xA5] {
            assert!(failed_by(class, || constant).contains(&Test::Poker), "{constant:#04x}");
        }
    }
}

#[test]
fn alternating_bits_and_a_counter_fail() {
    assert!(failed_by(Class::E, || 0x55).contains(&Test::TotalRuns));
    assert!(failed_by(Class::D, || 0x55).contains(&Test::Poker));
    let mut counter = 0u32;
    let counted = failed_by(Class::E, || {
        counter += 1;
        (counter >> (8 * (counter % 4))) as u8
    });
    assert!(counted.contains(&Test::OverlappingSubsequence));
}

#[test]
fn low_bytes_of_a_linear_congruential_generator_fail() {
    let mut state = 1u32;
    let found = failed_by(Class::E, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as u8
    });
    assert!(found.contains(&Test::DiscreteFourier), "{found:?}");
}

/// Each bit of a shift register of 61 cells looks random to every count; only the length of the register shows.
#[test]
fn a_short_shift_register_fails_by_its_linear_complexity_alone() {
    let mut cells = 0x0123_4567_89AB_CDEFu64 >> 3;
    let found = failed_by(Class::E, || {
        (0..8).fold(0, |byte, _| {
            let bit = (cells ^ (cells >> 1) ^ (cells >> 2) ^ (cells >> 5)) & 1;
            cells = cells >> 1 | bit << 60;
            byte << 1 | bit as u8
        })
    });
    assert!(found.iter().all(|test| *test == Test::LinearComplexity), "{found:?}");
}

#[test]
fn fifty_one_per_cent_ones_fail_the_frequency_test() {
    let mut generator = sound();
    let found = failed_by(Class::E, || {
        (0..8).fold(0, |byte, _| byte << 1 | u8::from(generator.next_u32() < (u32::MAX / 100) * 51))
    });
    assert!(found.contains(&Test::SingleBit), "{found:?}");
}

#[test]
fn a_period_of_65536_bits_fails() {
    let mut generator = sound();
    let period: Vec<u8> = (0..8_192).map(|_| byte(&mut generator)).collect();
    let mut place = 0;
    let found = failed_by(Class::E, || {
        place += 1;
        period[place % period.len()]
    });
    assert!(found.contains(&Test::DiscreteFourier), "{found:?}");
}

#[test]
fn a_block_that_is_given_again_and_again_fails() {
    let mut generator = sound();
    let block: [u8; 32] = std::array::from_fn(|_| byte(&mut generator));
    let mut place = 0;
    let mut next = || {
        place += 1;
        block[place % block.len()]
    };
    failed_by(Class::E, &mut next);
    assert!(failed_by(Class::D, next).contains(&Test::Poker));
}

#[test]
fn bits_that_stick_to_the_one_before_fail() {
    let (mut generator, mut last) = (sound(), 0);
    let found = failed_by(Class::E, || {
        (0..8).fold(0, |byte, _| {
            // One bit in fifty repeats the one before it.
            let fresh = generator.next_u32();
            last = if fresh < u32::MAX / 50 { last } else { (fresh & 1) as u8 };
            byte << 1 | last
        })
    });
    assert!(found.contains(&Test::TotalRuns) && !found.contains(&Test::SingleBit), "{found:?}");
}

#[test]
fn a_generator_that_sticks_on_the_way_fails() {
    let (mut generator, mut given) = (sound(), 0);
    failed_by(Class::E, || {
        given += 1;
        if given < Class::E.collection_bytes() / 4 { byte(&mut generator) } else { 0x3C }
    });
}

#[test]
fn a_broken_generator_is_not_asked_for_more_than_makes_it_certain() {
    let mut given = 0;
    failed_by(Class::E, || {
        given += 1;
        0
    });
    let groups = failures_beyond_chance(40, 27);
    assert_eq!(given, groups * Class::E.group_bytes());
    assert!((8..=10).contains(&groups), "{groups}");
}

/// A defect between the thresholds: the standard's rule fails it, the bounded one raises the alarm and says by which tests.
#[test]
fn what_lies_between_the_rules_is_an_alarm() {
    // Groups 0 and 1 of each collection are constant: too few for certainty, too many for the standard.
    let source = |given: &mut usize, generator: &mut ChaCha12Rng, out: &mut [u8]| {
        let group = *given / Class::D.group_bytes();
        *given += out.len();
        if group % 20 < 2 {
            out.fill(0)
        } else {
            generator.fill_bytes(out)
        }
        Ok::<(), ()>(())
    };
    let (mut given, mut generator) = (0, sound());
    let passed = examine(Class::D, Rule::Bounded, |out| source(&mut given, &mut generator, out)).unwrap();
    assert!(matches!(&passed, Passed::Alarmed(findings) if findings[0].failed >= 2), "{passed:?}");
    let (mut given, mut generator) = (0, sound());
    let failed = examine(Class::D, Rule::Standard, |out| source(&mut given, &mut generator, out)).unwrap_err();
    let Failure::Generator { findings, .. } = failed else { panic!("the source has no errors") };
    assert!(listed(&findings).starts_with("poker (m=2) failed by"), "{findings:?}");
    // Only the first collection: the repetition clears it.
    let (mut given, mut generator) = (0, sound());
    let repeated = examine(Class::D, Rule::Standard, |out| {
        if given < Class::D.collection_bytes() {
            return source(&mut given, &mut generator, out);
        }
        generator.fill_bytes(out);
        Ok(())
    });
    assert_eq!(repeated.unwrap(), Passed::Repeated);
}

#[test]
fn an_error_of_the_source_ends_the_test() {
    let failed = examine(Class::D, Rule::Bounded, |_| Err("unplugged")).unwrap_err();
    assert!(matches!(failed, Failure::Source("unplugged")));
}
