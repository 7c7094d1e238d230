//! The backend against the test library, under several vendors' habits and with everything that a device may do wrong.
//!
//! Each test has a copy of the library of its own, so a device, a configuration and faults of its own.
#![allow(missing_docs)]

mod bench;
mod codes;
mod faults;
mod making;

use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::{Cause, Custody, KeyDevice, KeyKind, KeySpec, Trust, conformance};
use bixi_hsm_sdf::{Params, SdfDevice};

use bixi_tests::second_opinion::assert_signs_sm2;

use bench::{Bench, SANSEC, kek, key, prf, sign_key};

fn conforms(config: &str, params: impl FnOnce(&Bench) -> Params) {
    let bench = Bench::new(config);
    let device = SdfDevice::open(params(&bench)).unwrap();
    conformance::run(&device, "c").assert_passed();
}

#[test]
fn conforms_under_the_standards_profile() {
    conforms("", |bench| bench.params("standard"));
}

#[test]
fn conforms_as_sansec_with_other_numbers_and_lengths() {
    conforms(SANSEC, |bench| bench.params("sansec"));
}

#[test]
fn conforms_with_a_long_array_and_few_sessions() {
    conforms("cipher_bytes = 255\nsessions_max = 2\nstrict_import = true\n", |bench| {
        let profile = include_str!("../../profiles/standard.toml").replace("cipher_bytes = 1", "cipher_bytes = 255");
        std::fs::write(bench.path("long.toml"), profile).unwrap();
        Params { profile: ProfileChoice::File(bench.path("long.toml")), ..bench.params("") }
    });
}

#[test]
fn signatures_are_sm2_to_openssl_and_to_rustcrypto() {
    for (config, profile) in [("", "standard"), (SANSEC, "sansec")] {
        let bench = Bench::new(config);
        let device = SdfDevice::open(bench.params(profile)).unwrap();
        let key = sign_key(&device);
        assert_signs_sm2(&device.public_key(&key).unwrap(), |e| device.sign_digest(&key, e).unwrap());
    }
}

#[test]
fn keys_and_answers_outlive_the_process() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let (vote, kek) = (sign_key(&device), kek(&device));
    let (public, answer) = (device.public_key(&vote).unwrap(), prf(&device, &kek).unwrap());
    drop(device);
    let again = bench.open().unwrap();
    assert_eq!((again.public_key(&vote).unwrap(), prf(&again, &kek).unwrap()), (public, answer));
    assert_eq!(again.list().unwrap().len(), 2);
}

#[test]
fn a_device_says_what_it_is() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let info = device.info();
    assert_eq!((info.backend.as_str(), info.token.as_str(), info.custody), ("sdf", "test", Custody::ProcessMemory));
    assert!(info.manufacturer.contains("TEST DEVICE"), "{info:?}");
    let attestation = device.attest(&sign_key(&device)).unwrap();
    assert_eq!(attestation.trust, Trust::SelfReported);
    let evidence = String::from_utf8(attestation.evidence).unwrap();
    assert!(evidence.contains("TEST DEVICE") && evidence.contains("envelope_exchange=false"), "{evidence}");
}

#[test]
fn pairs_of_the_vendors_tool_are_found_and_named() {
    let bench = Bench::new("pairs = 2,5\nextensions = false\n");
    bench.name_pair("[[pair]]\nlabel = \"consensus\"\nindex = 5\n");
    let device = bench.open().unwrap();
    let listed: Vec<_> = device.list().unwrap().into_iter().map(|info| (info.label, info.local)).collect();
    assert_eq!(listed, [("sign-2".to_owned(), false), ("consensus".to_owned(), false)]);
    for uri in ["sdf:object=consensus", "sdf:object=sign-2", "sdf:token=test;id=%00%00%00%05"] {
        device.sign_digest(&key(uri), &[7; 32]).unwrap();
    }
    let refused = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap_err();
    assert_eq!((refused.cause, refused.code), (Cause::Unsupported, Some(0x0100_0002)), "{refused}");
    assert!(refused.advice.contains("the vendor's management tool"), "{refused}");
    kek(&device);
    assert_eq!(bench.calls("SDF_CreateKeyPair_ECC"), 1, "the key encryption key took the pair that was there");
    assert_eq!(bench.kek_index(), 5, "the named one, not the other");
}

#[test]
fn another_pair_than_the_pinned_one_is_refused() {
    let bench = Bench::new("");
    let device = bench.open().unwrap();
    let vote = sign_key(&device);
    drop(device);
    std::fs::write(bench.path("state/sign-1"), [7; 32]).unwrap();
    let device = bench.open().unwrap();
    let refused = device.sign_digest(&vote, &[1; 32]).unwrap_err();
    assert_eq!(refused.cause, Cause::BadAnswer);
    assert!(refused.message.contains("another key pair than keys.toml says"), "{refused}");
    assert!(device.list().unwrap().is_empty());
}

/// Hardware is what a profile vouches for by the maker's name, and what does not call itself software.
#[test]
fn a_device_is_hardware_only_if_its_profile_says_so() {
    let own = include_str!("../../profiles/standard.toml").replace("\n[algorithms]", "\nhardware = true\n[algorithms]");
    for (issuer, name, profile, custody) in [
        ("Sansec", "SJK1926", "sansec", Custody::Hardware),
        ("Sansec", "SJK1926", "standard", Custody::Unknown),
        ("Sansec", "Soft-SDF", "sansec", Custody::ProcessMemory),
        ("Acme", "card", "sansec", Custody::Unknown),
        ("Acme", "card", "own", Custody::Hardware),
        ("Acme", "SDF Simulator", "own", Custody::ProcessMemory),
        ("GMSSL", "card", "own", Custody::ProcessMemory),
    ] {
        let bench = Bench::new(&format!("issuer = {issuer}\nname = {name}\n"));
        std::fs::write(bench.path("own.toml"), &own).unwrap();
        let profile_choice = match profile {
            "own" => ProfileChoice::File(bench.path("own.toml")),
            shipped => ProfileChoice::Named(shipped.into()),
        };
        let device = SdfDevice::open(Params { profile: profile_choice, ..bench.params("") }).unwrap();
        assert_eq!(device.info().custody, custody, "{issuer} {name} under {profile}");
    }
}
