//! The backend against real modules: our token under every profile it offers, and SoftHSM for what it can do.
//!
//! A module reads its configuration from the environment of its process, so each case runs in a process of its own:
//! the test starts this binary again with the environment set and the case's name as filter.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_hsm::{Cause, KeyDevice, KeyKind, KeySpec, conformance};
use bixi_hsm_pkcs11::{Initialisation, Params, Pkcs11Device, ProfileChoice, TokenSelector, initialise_token, probe};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;
use cryptoki::context::Pkcs11;

const SO_PIN: &[u8] = b"so-secret-1";
const USER_PIN: &[u8] = b"user-secret-1";
const CASE: &str = "BIXI_TEST_DIRECTORY";
const PROFILE: &str = "BIXI_TEST_PROFILE";
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The token's library lies beside the test, in the same target directory.
fn token_module() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so"));
    let found: Vec<_> = candidates.filter(|path| path.exists()).collect();
    found.first().cloned().unwrap_or_else(|| panic!("libbixi_token.so is not beside {}", exe.display()))
}

/// Run `case` in a process of its own with a store in a fresh directory.
fn in_process(case: &str, token_profile: &str, backend_profile: &str) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("token.conf");
    let settings = "directory = store\nargon2_memory_kib = 64\nargon2_passes = 1\nlog = token.log\nsessions_max = 16\n";
    std::fs::write(&config, format!("{settings}profile = {token_profile}\n")).unwrap();
    let softhsm = directory.path().join("softhsm.conf");
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    std::fs::write(&softhsm, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()))
        .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", case, "--ignored", "--nocapture", "--test-threads=1"])
        .env("BIXI_TOKEN_CONF", &config)
        .env("SOFTHSM2_CONF", &softhsm)
        .env(CASE, directory.path())
        .env(PROFILE, backend_profile)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{case} under {token_profile}:\n{text}");
}

fn directory() -> PathBuf {
    std::env::var_os(CASE).expect("run by the test of the same name").into()
}

fn params(module: &Path, pin: &[u8]) -> Params {
    let pin_path = directory().join("pin");
    let _ = std::fs::remove_file(&pin_path);
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o400).open(&pin_path).unwrap();
    file.write_all(pin).unwrap();
    params_of_file(module)
}

/// With the PIN that is in the file now.
fn params_of_file(module: &Path) -> Params {
    Params {
        module_path: module.into(),
        token: TokenSelector::label("bixi-test"),
        pin: PinSource::File(directory().join("pin")),
        pin_state_path: directory().join("pin.state"),
        profile: ProfileChoice::Named(std::env::var(PROFILE).unwrap()),
        sessions_max: 4,
        timeout_ms: 10_000,
    }
}

fn initialise(module: &Path) {
    let serial = initialise_token(&Initialisation {
        module_path: module.into(),
        slot: None,
        label: "bixi-test".into(),
        so_pin: Secret::from_slice(SO_PIN),
        user_pin: Secret::from_slice(USER_PIN),
    });
    assert!(!serial.unwrap().is_empty());
}

fn opened() -> Pkcs11Device {
    let module = token_module();
    initialise(&module);
    Pkcs11Device::open(params(&module, USER_PIN)).unwrap()
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

#[test]
#[ignore = "run in a process of its own"]
fn case_conformance() {
    let device = opened();
    conformance::run(&device, "c").assert_passed();
}

#[test]
fn a_probe_names_the_profile_that_fits_before_anybody_logs_in() {
    // Ours is named by its manufacturer; under another vendor's numbers the fit counts.
    for (vendor, best) in [("bixi", "bixi-token"), ("luna", "luna"), ("ibm-ep11", "ibm-ep11")] {
        in_process("case_probe", vendor, best);
    }
}

#[test]
#[ignore = "run in a process of its own"]
fn case_probe() {
    let module = token_module();
    initialise(&module);
    let found = probe(&module).unwrap();
    assert_eq!(found.manufacturer, "Bixi");
    let token = found.tokens.iter().find(|token| token.label == "bixi-test").expect("it was made above");
    assert!(token.is_ready, "{token:?}");
    let best = &token.fits[0];
    assert!(best.is_whole(), "{:?}", token.fits);
    assert_eq!(best.profile, std::env::var(PROFILE).unwrap());
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
    let module = token_module();
    initialise(&module);
    let first = Pkcs11Device::open(params(&module, b"wrong-pin")).unwrap_err();
    assert_eq!((first.cause, first.code), (Cause::WrongPin, Some(0xA0)));
    for _ in 0..10 {
        let held_back = Pkcs11Device::open(params(&module, b"wrong-pin")).unwrap_err();
        assert_eq!((held_back.cause, held_back.code), (Cause::PinHeldBack, None), "{held_back}");
    }
    // Five attempts were allowed: the device is still open to the right PIN, and the others did not reach it.
    let log = std::fs::read_to_string(directory().join("token.log")).unwrap();
    assert_eq!(log.matches("wrong User PIN").count(), 1, "{log}");
    assert!(!log.contains("wrong-pin"));
    Pkcs11Device::open(params(&module, USER_PIN)).unwrap().health().unwrap();
}

#[test]
fn of_many_processes_with_one_wrong_pin_one_tries_it() {
    in_process("case_many_processes", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_many_processes() {
    let module = token_module();
    initialise(&module);
    params(&module, b"wrong-pin");
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
    let refused = Pkcs11Device::open(params_of_file(&token_module())).unwrap_err();
    assert!(refused.cause.concerns_pin(), "{refused}");
}

#[test]
fn lost_login_is_made_again_and_handles_found_again() {
    in_process("case_lost_login", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_lost_login() {
    let device = opened();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let before = device.public_key(&key).unwrap();
    let module = Pkcs11::new(token_module()).unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let intruder = module.open_rw_session(slot).unwrap();
    for _ in 0..3 {
        intruder.logout().unwrap();
        device.sign_digest(&key, &[1; 32]).unwrap();
        assert_eq!(device.public_key(&key).unwrap(), before);
    }
}

#[test]
fn wrong_profile_is_named_at_generation() {
    in_process("case_wrong_profile", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_wrong_profile() {
    let module = token_module();
    initialise(&module);
    let shipped = include_str!("../profiles/bixi-token.toml");
    for (number, expected) in [("0x80008104", "in DER form"), ("0x80008102", "computes Z itself")] {
        let path = directory().join("wrong.toml");
        std::fs::write(&path, shipped.replace("sign_digest = 0x80008105", &format!("sign_digest = {number}"))).unwrap();
        let params = Params { profile: ProfileChoice::File(path), ..params(&module, USER_PIN) };
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
    let module = Pkcs11::new(token_module()).unwrap();
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
fn softhsm_refuses_what_it_cannot_do_and_one_wrong_pin() {
    in_process("case_softhsm", "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_softhsm() {
    let module = Path::new(SOFTHSM);
    initialise(module);
    let wrong = Pkcs11Device::open(params(module, b"wrong-pin")).unwrap_err();
    assert_eq!((wrong.cause, wrong.code), (Cause::WrongPin, Some(0xA0)));
    assert_eq!(Pkcs11Device::open(params(module, b"wrong-pin")).unwrap_err().cause, Cause::PinHeldBack);
    let device = Pkcs11Device::open(params(module, USER_PIN)).unwrap();
    assert!(device.info().manufacturer.contains("SoftHSM"), "{:?}", device.info());
    let mut random = [0; 64];
    device.random(&mut random).unwrap();
    assert_ne!(random, [0; 64]);
    let refused = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap_err();
    assert_eq!((refused.cause, refused.code), (Cause::Unsupported, Some(0x70)), "{refused}");
    device.health().unwrap();
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
        };
        let error = initialise_token(&request).unwrap_err();
        assert_eq!(error.cause, Cause::Setup, "{error}");
        assert!(error.to_string().contains(expected), "{}: {error}", path.display());
    }
}
