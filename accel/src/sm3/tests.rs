mod kernels;
#[cfg(target_arch = "x86_64")]
mod ni;
mod single;

use super::*;
use ::sm3::Digest as _;
use proptest::prelude::*;

/// Bytes without a pattern.
fn bytes(count: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_u32;
    let next = |_| {
        word = word.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (word >> 24) as u8
    };
    (0..count).map(next).collect()
}

#[expect(clippy::print_stderr, reason = "a test that did not run must not look as if it had")]
fn skipped(kernel: &str) {
    eprintln!("SKIPPED: this processor cannot run sm3's {kernel}");
}

fn oracle(data: &[u8]) -> [u8; 32] {
    ::sm3::Sm3::digest(data).into()
}

#[test]
fn matches_the_examples_of_gbt_32905_annex_a() {
    assert_eq!(hex::encode(digest(b"abc")), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
    assert_eq!(
        hex::encode(digest(&b"abcd".repeat(16))),
        "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
    );
}

#[test]
fn matches_the_oracle_at_every_length_up_to_300() {
    let data: Vec<u8> = (0..300u32).map(|i| (i * 7 + 1) as u8).collect();
    for length in 0..=300 {
        assert_eq!(digest(&data[..length]), oracle(&data[..length]), "length {length}");
    }
}

/// RFC 2104 written out over the oracle's hash.
fn hmac_oracle(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&oracle(key))
    } else {
        block[..key.len()].copy_from_slice(key)
    }
    let inner = oracle(&[&block.map(|b| b ^ 0x36)[..], data].concat());
    oracle(&[&block.map(|b| b ^ 0x5c)[..], &inner].concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_digest(data in proptest::collection::vec(any::<u8>(), 0..600), cuts: [usize; 3]) {
        let mut hasher = Hasher::new();
        let mut rest = &data[..];
        for cut in cuts {
            let (head, tail) = rest.split_at(cut % (rest.len() + 1));
            hasher.update(head);
            rest = tail;
        }
        hasher.update(rest);
        prop_assert_eq!(hasher.finalize(), oracle(&data));
    }

    #[test]
    fn digest_many_is_digest_of_each(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..100)) {
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut out = vec![[0; 32]; slices.len()];
        digest_many(&slices, &mut out);
        for (message, digest_out) in messages.iter().zip(&out) {
            prop_assert_eq!(*digest_out, oracle(message));
        }
        let halves: Vec<[&[u8]; 2]> = slices.iter().map(|slice| slice.split_at(slice.len() / 3).into()).collect();
        let mut of_parts = vec![[0; 32]; halves.len()];
        digest_many_parts(&halves, &mut of_parts);
        prop_assert_eq!(of_parts, out);
    }

    #[test]
    fn hmac_matches_its_definition(key in proptest::collection::vec(any::<u8>(), 0..150), data in proptest::collection::vec(any::<u8>(), 0..200), bit in 0usize..256) {
        let mut mac = Hmac::new(&key);
        mac.update(&data);
        let tag = mac.clone().finalize();
        prop_assert_eq!(tag, hmac_oracle(&key, &data));
        prop_assert!(mac.clone().verify(&tag));
        let messages: Vec<&[u8]> = (0..key.len()).map(|i| &key[i / 3..i]).collect();
        let mut tags = vec![[0; 32]; messages.len()];
        mac.finalize_many(&messages, &mut tags);
        for (message, tag) in messages.iter().zip(tags) {
            prop_assert_eq!(tag, hmac_oracle(&key, &[&data[..], message].concat()));
        }
        let mut wrong = tag;
        wrong[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!mac.verify(&wrong));
    }

    #[test]
    fn hkdf_matches_its_definition(salt in proptest::collection::vec(any::<u8>(), 0..80), ikm in proptest::collection::vec(any::<u8>(), 0..80), info in proptest::collection::vec(any::<u8>(), 0..80), cut: usize, length in 0usize..200) {
        let prk = hkdf::extract(&salt, &ikm);
        prop_assert_eq!(prk, hmac_oracle(&salt, &ikm));
        let mut expected = Vec::new();
        let mut block = Vec::new();
        for i in 1..=7u8 {
            block = hmac_oracle(&prk, &[&block[..], &info, &[i]].concat()).to_vec();
            expected.extend_from_slice(&block);
        }
        let (head, tail) = info.split_at(cut % (info.len() + 1));
        let mut out = vec![0; length];
        hkdf::expand(&prk, &[head, tail], &mut out);
        prop_assert_eq!(&out[..], &expected[..length]);
    }

    #[test]
    fn kdf_matches_its_definition(z in proptest::collection::vec(any::<u8>(), 0..150), length in 0usize..4400) {
        let expected: Vec<u8> = (1..=140u32).flat_map(|i| oracle(&[&z[..], &i.to_be_bytes()].concat())).collect();
        let mut out = vec![0; length];
        kdf(&z, &mut out);
        prop_assert_eq!(&out[..], &expected[..length]);
    }
}

#[test]
fn hkdf_output_bound_is_enforced() {
    let mut out = vec![0; hkdf::OUTPUT_BYTES_MAX + 1];
    hkdf::expand(&[1; 32], &[], &mut out[..hkdf::OUTPUT_BYTES_MAX]);
    assert!(std::panic::catch_unwind(move || hkdf::expand(&[1; 32], &[], &mut out)).is_err());
}
