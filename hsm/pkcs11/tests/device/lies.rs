//! Our token behind `fixtures/device.c` of the tests' room, which misstates what the token says.

use std::fs;
use std::path::PathBuf;

use bixi_hsm::{Cause, KeyDevice as _, KeyKind, KeySpec};
use bixi_tests::fixture;
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;

use super::process::{module, run_with};
use super::{opened, token_module};

const MODULE: &str = "BIXI_DEVICE_MODULE";
const BOASTS: &str = "BIXI_DEVICE_BOASTS";
const READABLE: &str = "BIXI_DEVICE_READABLE";
const KEEPS: &str = "BIXI_DEVICE_KEEPS";

/// Run `case` on a device that does not lie yet.
fn on_liar(case: &str) {
    let place = tempfile::tempdir().unwrap();
    let (module, token) = (fixture::library("device.c", place.path()), token_module());
    let lies = [BOASTS, READABLE, KEEPS].map(|lie| (lie, place.path().join(lie)));
    let mut environment: Vec<_> = lies.iter().map(|(lie, path)| (*lie, path.as_path())).collect();
    environment.push((MODULE, token.as_path()));
    run_with(case, &module, ("bixi", "bixi-token"), &environment);
}

/// From now on the device lies so.
fn begin(lie: &str) {
    fs::write(PathBuf::from(std::env::var_os(lie).unwrap()), "").unwrap();
}

#[test]
fn an_attribute_that_names_more_bytes_than_any_memory_is_refused_by_name() {
    on_liar("lies::case_boasts");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_boasts() {
    let device = opened();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    device.attest(&key).unwrap();
    begin(BOASTS);
    let refused = device.attest(&key).unwrap_err();
    assert_eq!(refused.cause, Cause::BadAnswer, "{refused}");
    assert!(refused.message.contains("CKA_LABEL of 4611686018427387904 bytes"), "{refused}");
    // One key of another application must not hide the others.
    assert_eq!(device.list().unwrap(), []);
}

#[test]
fn both_halves_of_a_pair_that_could_leave_are_destroyed_whatever_becomes_of_one() {
    on_liar("lies::case_readable");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_readable() {
    let device = opened();
    let session = Pkcs11::new(module()).unwrap();
    let session = session.open_rw_session(session.get_slots_with_initialized_token().unwrap()[0]).unwrap();
    let left = |label: &str| session.find_objects(&[Attribute::Label(label.into())]).unwrap().len();
    begin(READABLE);
    let refused = device.generate(&KeySpec::new("first", KeyKind::Sm2Sign)).unwrap_err();
    assert!(refused.message.contains("it was destroyed again"), "{refused}");
    assert_eq!(left("first"), 0);
    begin(KEEPS);
    let refused = device.generate(&KeySpec::new("second", KeyKind::Sm2Sign)).unwrap_err();
    assert_eq!(refused.cause, Cause::BadAnswer, "{refused}");
    assert!(refused.message.contains("could not be destroyed again"), "{refused}");
    assert_eq!(left("second"), 1, "the other half");
}
