//! Modules of others': SoftHSM and Kryoptic have no SM2 and nothing to make a PRF of, and are held to everything else. Our token
//! runs beside them, so that one fault means the same thing everywhere.

#![allow(clippy::print_stdout, reason = "a skipped case says why")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_hsm::conformance::{self, Capability};
use bixi_hsm::{Cause, Custody, ErrorKind, KeyDevice, KeyKind, KeySpec};
use bixi_hsm_pkcs11::Pkcs11Device;
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::process::{SOFTHSM, USER_PIN, directory, initialise, initialise_with, module, params, run};
use super::{opened, token_module};

/// Built by `packaging/dev/kryoptic.sh`, which prints this variable's value.
const KRYOPTIC: &str = "BIXI_KRYOPTIC_MODULE";
const REQUIRED: &str = "BIXI_REQUIRE_KRYOPTIC";

/// Run `case` on a module of others', which has no token yet.
fn on_module(case: &str, module: &Path, backend_profile: &str) {
    run(case, module, "bixi", backend_profile);
}

/// Kryoptic's module, or none with the reason printed.
fn kryoptic() -> Option<PathBuf> {
    let module = std::env::var_os(KRYOPTIC).map(PathBuf::from);
    if module.is_none() {
        let text = format!("{KRYOPTIC} is not set; packaging/dev/kryoptic.sh builds the module and prints its path");
        assert!(std::env::var_os(REQUIRED).is_none(), "{text}");
        println!("SKIPPED on Kryoptic: {text}");
    }
    module
}

/// The case on each module there is.
fn on_every_module(case: &str) {
    for module in [token_module(), SOFTHSM.into()].into_iter().chain(kryoptic()) {
        on_module(case, &module, "bixi-token");
    }
}

/// Another application of this process.
fn intruder() -> Session {
    let module = Pkcs11::new(module()).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let ours = |slot: &&Slot| module.get_token_info(**slot).unwrap().label() == "bixi-test";
    module.open_rw_session(*slots.iter().find(ours).unwrap()).unwrap()
}

fn generated(device: &Pkcs11Device, label: &str) -> bixi_hsm::KeyRef {
    device.generate(&KeySpec::new(label, KeyKind::Kek)).unwrap()
}

#[test]
fn softhsm_conforms_for_what_it_has() {
    on_module("others::case_partial_conformance", Path::new(SOFTHSM), "bixi-token");
}

#[test]
fn kryoptic_conforms_for_what_it_has() {
    if let Some(module) = kryoptic() {
        on_module("others::case_partial_conformance", &module, "bixi-token");
    }
}

#[test]
#[ignore = "run in a process of its own"]
fn case_partial_conformance() {
    let device = opened();
    let report = conformance::run(&device, "c");
    println!("{report}");
    report.assert_passed_without(&[Capability::Sm2, Capability::Prf]);
    assert_eq!(device.info().custody, Custody::ProcessMemory);
}

#[test]
fn one_wrong_pin_reaches_every_module() {
    on_every_module("others::case_wrong_pin_once");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_wrong_pin_once() {
    initialise();
    let wrong = Pkcs11Device::open(params(b"wrong-pin")).unwrap_err();
    assert_eq!((wrong.cause, wrong.code), (Cause::WrongPin, Some(0xA0)));
    assert_eq!(Pkcs11Device::open(params(b"wrong-pin")).unwrap_err().cause, Cause::PinHeldBack);
    Pkcs11Device::open(params(USER_PIN)).unwrap().health().unwrap();
}

#[test]
fn lost_login_is_made_again_and_handles_found_again() {
    on_every_module("others::case_lost_login");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_lost_login() {
    let device = opened();
    let key = generated(&device, "kek");
    let before = device.attest(&key).unwrap();
    let intruder = intruder();
    for _ in 0..3 {
        intruder.logout().unwrap();
        assert_eq!(device.attest(&key).unwrap(), before);
        device.health().unwrap();
    }
}

#[test]
fn a_key_that_is_gone_is_named_and_the_others_stay() {
    on_every_module("others::case_lost_object");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_lost_object() {
    let device = opened();
    let (lost, kept) = (generated(&device, "lost"), generated(&device, "kept"));
    device.attest(&lost).unwrap();
    let intruder = intruder();
    for handle in intruder.find_objects(&[Attribute::Label(b"lost".to_vec())]).unwrap() {
        intruder.destroy_object(handle).unwrap();
    }
    let refused = device.attest(&lost).unwrap_err();
    assert_eq!((refused.cause, refused.kind()), (Cause::KeyNotFound, ErrorKind::Refuse), "{refused}");
    assert!(refused.to_string().contains("lost"), "{refused}");
    device.attest(&kept).unwrap();
    assert_eq!(device.list().unwrap().len(), 1);
}

#[test]
fn a_module_that_somebody_finalised_is_initialised_again() {
    on_every_module("others::case_finalised");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_finalised() {
    let device = opened();
    let key = generated(&device, "kek");
    let before = device.attest(&key).unwrap();
    Pkcs11::new(module()).unwrap().finalize().unwrap();
    assert_eq!(device.attest(&key).unwrap(), before);
}

#[test]
fn a_token_that_goes_and_comes_back_is_used_again() {
    on_module("others::case_removed", &token_module(), "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_removed() {
    let device = opened();
    let key = generated(&device, "kek");
    let before = device.attest(&key).unwrap();
    let (place, away) = (directory().join("store/slot-0"), directory().join("pulled-out"));
    for _ in 0..2 {
        std::fs::rename(&place, &away).unwrap();
        let lost = device.attest(&key).unwrap_err();
        assert!(!lost.cause.concerns_pin() && lost.cause != Cause::KeyNotFound, "{lost}");
        std::fs::rename(&away, &place).unwrap();
        assert_eq!(device.attest(&key).unwrap(), before);
    }
    // Another one of the same name in its place, which locks at the first PIN that is not its own.
    std::fs::rename(&place, &away).unwrap();
    // Made by another process: this one still has sessions.
    let maker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "others::case_another_token", "--ignored"])
        .status();
    assert!(maker.unwrap().success());
    // The first finds that the old one is gone, the second looks for it.
    let refused = [(); 2].map(|()| device.attest(&key).unwrap_err());
    assert!(refused.iter().all(|error| error.cause == Cause::Absent), "{refused:?}");
    assert!(refused[1].to_string().contains("serial"), "{refused:?}");
    let info = Pkcs11::new(module()).unwrap();
    let slot = info.get_slots_with_token().unwrap()[0];
    assert!(!info.get_token_info(slot).unwrap().user_pin_count_low(), "it was given the PIN");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&away, &place).unwrap();
    assert_eq!(device.attest(&key).unwrap(), before);
}

#[test]
#[ignore = "run in a process of its own"]
fn case_another_token() {
    initialise_with(b"another-secret");
}
