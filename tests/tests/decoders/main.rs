//! One plan for every decoder of bytes that somebody else wrote: peers, clients, disks, operators.
//!
//! The same plan is what `.ci/fuzz-decoders` gives a coverage-guided fuzzer.

mod consensus;
mod files;
mod hsm;
mod network;
mod plan;
mod types;

use std::sync::LazyLock;

use plan::Decoder;
use proptest::prelude::*;

static DECODERS: LazyLock<Vec<Decoder>> = LazyLock::new(plan::decoders);

#[test]
fn every_seed_is_read() {
    for decoder in DECODERS.iter() {
        for (number, seed) in decoder.seeds.iter().enumerate() {
            assert!((decoder.check)(seed), "{} {number}", decoder.name);
        }
    }
}

#[test]
fn every_prefix_of_a_seed_is_handled() {
    for decoder in DECODERS.iter() {
        for seed in &decoder.seeds {
            for length in 0..seed.len() {
                let is_read = (decoder.check)(&seed[..length]);
                assert!(!is_read || decoder.is_prefix_valid, "{} {length}", decoder.name);
            }
        }
    }
}

/// Replaces, inserts or removes bytes at a few places.
fn mutate(seed: &[u8], edits: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (place, operation, value) in edits {
        let place = place % bytes.len().max(1);
        match operation % 4 {
            0 if place < bytes.len() => bytes[place] = *value,
            1 => bytes.insert(place.min(bytes.len()), *value),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            _ if place < bytes.len() => bytes[place] ^= 1 << (value % 8),
            _ => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bytes_are_handled(edits in proptest::collection::vec(any::<(usize, u8, u8)>(), 1..5), which in any::<usize>()) {
        for decoder in DECODERS.iter() {
            (decoder.check)(&mutate(&decoder.seeds[which % decoder.seeds.len()], &edits));
        }
    }

    #[test]
    fn random_bytes_are_handled(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for decoder in DECODERS.iter() {
            (decoder.check)(&bytes);
        }
    }
}
