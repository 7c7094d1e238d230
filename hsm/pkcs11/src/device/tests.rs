//! What no checked profile lets happen: SoftHSM makes keys on the SM2 curve and signs plain ECDSA with them.

use std::path::Path;

use cryptoki_sys::{CKK_EC, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA};

use super::*;

#[path = "../../tests/device/process.rs"]
mod process;

use process::{SOFTHSM, USER_PIN, initialise, params, run};

#[test]
fn ecdsa_on_the_sm2_curve_is_refused_and_named() {
    run("device::tests::case_plain_ecdsa", Path::new(SOFTHSM), "bixi", "bixi-token");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_plain_ecdsa() {
    initialise();
    let mut profile = Profile::named("bixi-token").unwrap();
    profile.sm2.key_type = CKK_EC;
    profile.sm2.key_pair_generation = CKM_EC_KEY_PAIR_GEN;
    profile.sm2.sign_digest = CKM_ECDSA;
    profile.sm2.send_curve = true;
    let device = Pkcs11Device::open_under(profile, params(USER_PIN)).unwrap();
    let refused = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap_err();
    assert_eq!(refused.cause, Cause::BadAnswer, "{refused}");
    assert!(refused.message.contains("plain ECDSA on the SM2 curve, not SM2"), "{refused}");
}
