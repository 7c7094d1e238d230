//! The backend against real modules: our token under every profile it offers, and others' for what they can do.

mod lies;
mod others;
mod process;

use std::path::PathBuf;
use std::process::Command;

use bixi_hsm::{Cause, Custody, KeyDevice, KeyKind, KeySpec, conformance};
use bixi_hsm_pkcs11::{Initialisation, Params, Pkcs11Device, ProfileChoice, initialise_token, probe};
use bixi_platform::secret::Secret;
use bixi_tests::second_opinion::assert_signs_sm2;
use cryptoki::context::Pkcs11;

use process::{SO_PIN, USER_PIN, directory, initialise, module, params, params_of_file, run};

/// The token's library lies beside the test, in the same target directory.
fn token_module() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so"));
    let found: Vec<_> = candidates.filter(|path| path.exists()).collect();
    found.first().cloned().unwrap_or_else(|| panic!("libbixi_token.so is not beside {}", exe.display()))
}

/// Run `case` on our token with a store in a fresh directory.
fn in_process(case: &str, token_profile: &str, backend_profile: &str) {
    run(case, &token_module(), token_profile, backend_profile);
}

/// A new token, logged in.
fn opened() -> Pkcs11Device {
    initialise();
    Pkcs11Device::open(params(USER_PIN)).unwrap()
}

#[test]
fn token_conforms_under_its_own_profile() {
    in_process("case_conformance", "bixi", "bixi-token");
}

#[test]
fn token_conforms_as_sansec() {
    in_process("case_conformance", "bixi", "sansec-std");
}

#[test]
fn token_conforms_as_sansec_with_der() {
    in_process("case_conformance", "bixi", "sansec-dept3");
}

#[test]
fn token_conforms_as_tass() {
    in_process("case_conformance", "tass", "tass");
}

#[test]
fn token_conforms_as_koal() {
    in_process("case_conformance", "koal", "koal");
}

#[test]
fn token_conforms_as_luna() {
    in_process("case_conformance", "luna", "luna");
}

#[test]
fn token_conforms_as_ibm_ep11() {
    in_process("case_conformance", "ibm-ep11", "ibm-ep11");
}

/// Its numbers lie below 0x80000000.
#[test]
fn token_conforms_as_mk_1() {
    in_process("case_conformance", "mk-1", "mk-1");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_conformance() {
    let device = opened();
    assert_eq!(device.info().custody, Custody::ProcessMemory, "whatever the profile says of its vendor's hardware");
    conformance::run(&device, "c").assert_passed();
}

#[test]
fn signatures_are_sm2_to_openssl_and_to_rustcrypto() {
    for (token_profile, backend_profile) in
        [("bixi", "bixi-token"), ("tass", "tass"), ("luna", "luna"), ("mk-1", "mk-1")]
    {
        in_process("case_second_opinion", token_profile, backend_profile);
    }
}

#[test]
#[ignore = "run in a process of its own"]
fn case_second_opinion() {
    let device = opened();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    assert_signs_sm2(&device.public_key(&key).unwrap(), |e| device.sign_digest(&key, e).unwrap());
}

#[test]
fn a_probe_names_the_profile_that_fits_before_anybody_logs_in() {
    // Ours is named by its manufacturer; under another vendor's numbers the fit counts.
    for (vendor, best) in [("bixi", "bixi-token"), ("luna", "luna"), ("ibm-ep11", "ibm-ep11"), ("mk-1", "mk-1")] {
        in_process("case_probe", vendor, best);
    }
}

#[test]
#[ignore = "run in a process of its own"]
fn case_probe() {
    initialise();
    let found = probe(&module()).unwrap();
    assert_eq!(found.manufacturer, "Bixi");
    let token = found.tokens.iter().find(|token| token.label == "bixi-test").expect("it was made above");
    assert!(token.is_ready, "{token:?}");
    let best = &token.fits[0];
    assert!(best.is_whole(), "{:?}", token.fits);
    assert!(params(USER_PIN).profile == ProfileChoice::Named(best.profile.clone()), "{best:?}");
    for fit in &token.fits {
        assert_eq!(fit.is_named, fit.profile == "bixi-token");
    }
    let pairs = token.mechanisms.iter().find(|mechanism| mechanism.name == "CKM_EC_KEY_PAIR_GEN");
    assert_eq!(pairs.expect("the standard's own").uses, ["generate-pair"]);
    assert!(token.mechanisms.is_sorted_by_key(|mechanism| mechanism.number));
}

#[test]
fn wrong_pin_is_tried_once() {
    in_process("case_wrong_pin", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_wrong_pin() {
    initialise();
    let first = Pkcs11Device::open(params(b"wrong-pin")).unwrap_err();
    assert_eq!((first.cause, first.code), (Cause::WrongPin, Some(0xA0)));
    for _ in 0..10 {
        let held_back = Pkcs11Device::open(params(b"wrong-pin")).unwrap_err();
        assert_eq!((held_back.cause, held_back.code), (Cause::PinHeldBack, None), "{held_back}");
    }
    // Five attempts were allowed: the device is still open to the right PIN, and the others did not reach it.
    let log = std::fs::read_to_string(directory().join("token.log")).unwrap();
    assert_eq!(log.matches("wrong User PIN").count(), 1, "{log}");
    assert!(!log.contains("wrong-pin"));
    Pkcs11Device::open(params(USER_PIN)).unwrap().health().unwrap();
}

#[test]
fn of_many_processes_with_one_wrong_pin_one_tries_it() {
    in_process("case_many_processes", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_many_processes() {
    initialise();
    params(b"wrong-pin");
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_with_a_wrong_pin", "--ignored", "--nocapture"]).spawn().unwrap()
    };
    let children: Vec<_> = (0..6).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a child was let in, or failed otherwise");
    }
    let log = std::fs::read_to_string(directory().join("token.log")).unwrap();
    assert_eq!(log.matches("wrong User PIN").count(), 1, "{log}");
}

#[test]
#[ignore = "run by case_many_processes"]
fn child_with_a_wrong_pin() {
    let refused = Pkcs11Device::open(params_of_file()).unwrap_err();
    assert!(refused.cause.concerns_pin(), "{refused}");
}

#[test]
fn wrong_profile_is_named_at_generation() {
    in_process("case_wrong_profile", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_wrong_profile() {
    initialise();
    let shipped = include_str!("../../profiles/bixi-token.toml");
    for (number, expected) in [("0x80008104", "in DER form"), ("0x80008102", "computes Z itself")] {
        let path = directory().join("wrong.toml");
        std::fs::write(&path, shipped.replace("sign_digest = 0x80008105", &format!("sign_digest = {number}"))).unwrap();
        let params = Params { profile: ProfileChoice::File(path), ..params(USER_PIN) };
        let device = Pkcs11Device::open(params).unwrap();
        let refused = device.generate(&KeySpec::new(number, KeyKind::Sm2Sign)).unwrap_err();
        assert_eq!(refused.cause, Cause::BadAnswer);
        assert!(refused.message.contains(expected), "{refused}");
    }
}

#[test]
fn exhausted_sessions_are_waited_for_with_a_deadline() {
    in_process("case_exhausted", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_exhausted() {
    let device = opened();
    let module = Pkcs11::new(module()).unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    // The device allows 16 sessions; others take all that are left.
    let mut others = Vec::new();
    while let Ok(session) = module.open_rw_session(slot) {
        others.push(session);
    }
    assert!(!others.is_empty() && others.len() < 16);
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    std::thread::scope(|scope| {
        let signers: Vec<_> = (0..8).map(|_| scope.spawn(|| device.sign_digest(&key, &[2; 32]))).collect();
        for signer in signers {
            signer.join().unwrap().unwrap();
        }
    });
}

#[test]
fn missing_and_foreign_modules_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("not-a-library.so");
    std::fs::write(&text, "text").unwrap();
    for (path, expected) in [
        (directory.path().join("missing.so"), "No such file"),
        (text, "load the module"),
        (PathBuf::from("/usr/lib/x86_64-linux-gnu/libz.so.1"), "C_GetFunctionList"),
    ] {
        let request = Initialisation {
            module_path: path.clone(),
            slot: None,
            label: "x".into(),
            so_pin: Secret::from_slice(SO_PIN),
            user_pin: Secret::from_slice(USER_PIN),
            destroy: None,
        };
        let error = initialise_token(&request).unwrap_err();
        assert_eq!(error.cause, Cause::Setup, "{error}");
        assert!(error.to_string().contains(expected), "{}: {error}", path.display());
    }
}
