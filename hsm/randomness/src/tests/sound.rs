//! Sound generators: seeded ones, so that every run says the same, and the system's own in campaigns that are run by hand.

use bixi_platform::random::OsRandom;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::power_on::{Class, Passed, Rule, examine};
use crate::{Battery, Length, Sample, Tally};

fn seeded(seed: u64) -> impl FnMut(&mut [u8]) -> Result<(), ()> {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    move |out| {
        generator.fill_bytes(out);
        Ok(())
    }
}

#[test]
fn sound_generators_pass_at_power_on() {
    for seed in 0..4 {
        assert!(examine(Class::E, Rule::Bounded, seeded(seed)).is_ok(), "seed {seed}");
    }
    for seed in 0..200 {
        assert!(examine(Class::D, Rule::Bounded, seeded(seed)).is_ok(), "seed {seed}");
    }
}

/// A class D alarm comes with 1.7 % of the first collections.
#[test]
fn alarms_of_a_sound_generator_are_as_rare_as_computed() {
    let at_once =
        (0..500).filter(|seed| examine(Class::D, Rule::Standard, seeded(*seed)) == Ok(Passed::AtOnce)).count();
    assert!((480..=499).contains(&at_once), "{at_once} of 500");
}

#[test]
fn short_samples_of_a_sound_generator_fail_each_item_about_one_time_in_a_hundred() {
    let mut battery = Battery::full(Length::Bits20Thousand);
    let mut tally = Tally::new(battery.items());
    let mut source = seeded(7);
    for _ in 0..2_000 {
        let mut bytes = vec![0; 2_500];
        source(&mut bytes).unwrap();
        tally.add(&battery.run(&Sample::new(&bytes)));
    }
    for (item, failed) in tally.failures() {
        assert!((3..=45).contains(&failed), "{item}: {failed} of 2000");
    }
}

/// A hundred starts on the system's own generator, and how often each item failed: `cargo test -p bixi-hsm-randomness --lib -- --ignored
/// --nocapture a_hundred`.
#[test]
#[ignore = "minutes: run by hand"]
#[allow(clippy::print_stdout)]
fn a_hundred_starts_on_the_systems_generator_all_pass() {
    let mut counts = [0; 3];
    for start in 0..100 {
        let passed = examine(Class::E, Rule::Bounded, |out| OsRandom.fill(out))
            .unwrap_or_else(|error| panic!("{start}: {error}"));
        counts[match passed {
            Passed::AtOnce => 0,
            Passed::Repeated => 1,
            Passed::Alarmed(_) => 2,
        }] += 1;
    }
    println!("at once {}, after a repetition {}, alarmed {}", counts[0], counts[1], counts[2]);
}

/// The share of samples that fail an item is what the bounded rule takes it to be at most.
#[test]
#[ignore = "minutes: run by hand"]
#[allow(clippy::print_stdout)]
fn no_item_fails_sound_samples_more_often_than_the_bounded_rule_assumes() {
    const SAMPLES: usize = 10_000;
    let mut battery = Battery::full(Length::BitsMillion);
    let mut tally = Tally::new(battery.items());
    let mut bytes = vec![0; Length::BitsMillion.bits() / 8];
    let mut source = seeded(11);
    for _ in 0..SAMPLES {
        source(&mut bytes).unwrap();
        tally.add(&battery.run(&Sample::new(&bytes)));
    }
    for ((item, failed), uniformity) in tally.failures().zip(tally.uniformities()) {
        println!("{item}: {failed} of {SAMPLES}, uniformity {uniformity:.6}");
        assert!(failed < SAMPLES * 15 / 1_000, "{item}: {failed} of {SAMPLES}");
    }
}
