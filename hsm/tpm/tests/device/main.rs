//! The backend against swtpm, a software TPM 2.0 that signs SM2: the promises of every device, a second and a third opinion on
//! its signatures, wrong PINs, losses of power, other processes, somebody on the line.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

mod between;
mod device_file;
mod disturbed;
mod liar;
mod swtpm;

use std::path::PathBuf;
use std::process::Command;

use bixi_hsm::{Cause, ErrorKind, KeyDevice, KeyKind, KeySpec, conformance};
use bixi_hsm_tpm::{Params, TpmDevice, attestation, initialise_store};
use bixi_platform::secret::Secret;
use bixi_tests::second_opinion::assert_signs_sm2;
use bixi_tests::swtpm_or_skip;
use device_file::DeviceFile;
use swtpm::{PIN, Stores as _, params_of};

const DIRECTORY: &str = "BIXI_TEST_DIRECTORY";

#[test]
fn swtpm_conforms_and_nothing_stays_loaded() {
    let swtpm = swtpm_or_skip!();
    let before = swtpm.facts();
    assert!(before.sm2, "{before:?}");
    let device = swtpm.device();
    conformance::run(&device, "c").assert_passed();
    let after = swtpm.facts();
    assert_eq!((after.objects_free, after.sessions_free), (before.objects_free, before.sessions_free));
}

#[test]
fn signatures_are_sm2_to_openssl_and_to_rustcrypto() {
    let swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    assert_signs_sm2(&device.public_key(&key).unwrap(), |e| device.sign_digest(&key, e).unwrap());
}

#[test]
fn the_same_device_works_again_after_a_loss_of_power() {
    let mut swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let prf = |input: &[u8]| {
        let mut out = [0; 32];
        device.prf(&kek, input, &mut out).map(|()| out)
    };
    let before = (device.public_key(&key).unwrap(), prf(b"x").unwrap());
    swtpm.kill();
    let absent = device.sign_digest(&key, &[1; 32]).unwrap_err();
    assert_eq!(absent.cause, Cause::Absent, "{absent}");
    swtpm.start();
    assert_eq!((device.public_key(&key).unwrap(), prf(b"x").unwrap()), before);
    device.sign_digest(&key, &[1; 32]).unwrap();
}

#[test]
fn a_wrong_pin_reaches_the_tpm_once() {
    let swtpm = swtpm_or_skip!();
    initialise_store(&swtpm.initialisation()).unwrap();
    let first = TpmDevice::open(swtpm.params(b"wrong-pin")).unwrap_err();
    assert_eq!((first.cause, first.code), (Cause::WrongPin, Some(0x98E)), "{first}");
    for _ in 0..5 {
        let held_back = TpmDevice::open(swtpm.params(b"wrong-pin")).unwrap_err();
        assert_eq!((held_back.cause, held_back.code), (Cause::PinHeldBack, None), "{held_back}");
    }
    assert_eq!(swtpm.facts().lockout.failed_tries, 1);
    TpmDevice::open(swtpm.params(PIN)).unwrap().health().unwrap();
    let long = TpmDevice::open(swtpm.params(&[b'1'; 33])).unwrap_err();
    assert_eq!((long.cause, swtpm.facts().lockout.failed_tries), (Cause::Setup, 1), "{long}");
}

#[test]
fn a_locked_tpm_is_told_and_no_pin_is_tried() {
    let swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let max = swtpm.facts().lockout.tries_max;
    for attempt in 0..max {
        let refused = TpmDevice::open(swtpm.params(format!("wrong-{attempt}").as_bytes())).unwrap_err();
        assert_eq!(refused.cause, Cause::WrongPin, "{refused}");
    }
    let locked = swtpm.facts().lockout;
    assert!(locked.locked && locked.failed_tries == max, "{locked:?}");
    // The last was refused: a person must act, however long the lockout lasts.
    let refused = TpmDevice::open(swtpm.params(format!("wrong-{}", max - 1).as_bytes())).unwrap_err();
    assert_eq!((refused.cause, refused.code), (Cause::PinHeldBack, None), "{refused}");
    for pin in [PIN, b"another"] {
        let refused = TpmDevice::open(swtpm.params(pin)).unwrap_err();
        assert_eq!((refused.cause, refused.code), (Cause::Busy, None), "{refused}");
        assert!(refused.advice.contains("tpm2_dictionarylockout"), "{refused}");
    }
    let signing = device.sign_digest(&key, &[1; 32]).unwrap_err();
    assert_eq!((signing.cause, signing.code), (Cause::Busy, None), "{signing}");
}

#[test]
fn a_key_is_attested_and_only_under_its_own_challenge_and_attestation_key() {
    let swtpm = swtpm_or_skip!();
    let printed = initialise_store(&swtpm.initialisation()).unwrap().attestation_key;
    let device = TpmDevice::open(swtpm.params(PIN)).unwrap();
    assert_eq!(device.attestation_key(), printed);
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let public = device.public_key(&key).unwrap();
    let evidence = device.certify(&key, b"of the auditor").unwrap();
    let stated = attestation::verify(&evidence, b"of the auditor", &printed).unwrap();
    assert_eq!((stated.kind, stated.public_key), (KeyKind::Sm2Sign, Some(public)));
    let old = attestation::verify(&evidence, b"of another day", &printed);
    assert_eq!(old, Err(attestation::EvidenceError::Challenge));
    let own = device.attest(&key).unwrap();
    assert_eq!(own.format, attestation::FORMAT);
    attestation::verify(&own.evidence, &attestation::challenge_of(&key), &printed).unwrap();
    let stranger = attestation::verify(&own.evidence, &attestation::challenge_of(&key), &[0; 34]);
    assert_eq!(stranger, Err(attestation::EvidenceError::OtherAttestationKey));
}

#[test]
fn the_counter_only_goes_up_across_restarts_and_stores() {
    let mut swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    assert!(device.info().monotonic_counter);
    let first = device.counter().unwrap();
    assert_eq!(device.advance_counter().unwrap(), first + 1);
    swtpm.kill();
    swtpm.start();
    assert_eq!(device.counter().unwrap(), first + 1);
    assert_eq!(device.advance_counter().unwrap(), first + 2);
    // A second store on the same TPM: another parent, another counter, and neither disturbs the first.
    let mut second = swtpm.initialisation();
    second.directory = swtpm.path("second");
    initialise_store(&second).unwrap();
    let params = Params { directory: second.directory, ..swtpm.params(PIN) };
    let other = TpmDevice::open(params).unwrap();
    assert_eq!(other.counter().unwrap() + 1, other.advance_counter().unwrap());
    assert_eq!(device.counter().unwrap(), first + 2);
}

#[test]
fn a_counter_that_was_removed_is_evidence_and_made_anew_by_the_owner_alone() {
    let swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    let last = device.advance_counter().unwrap();
    let renew = |authorization: &[u8]| device.renew_counter(&Secret::from_slice(authorization));
    let refused = renew(b"").unwrap_err();
    assert_eq!(refused.cause, Cause::Rejected, "{refused}");
    assert!(refused.message.contains("is there"), "{refused}");
    swtpm.remove_counter();
    for asked in [device.counter(), device.advance_counter()] {
        let refused = asked.unwrap_err();
        assert_eq!((refused.cause, refused.code), (Cause::CounterRemoved, Some(0x18B)), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Halt);
        assert!(refused.message.contains("was removed") && refused.advice.contains("set back"), "{refused}");
    }
    swtpm.set_owner_authorization(b"of the owner");
    for wrong in [&b""[..], b"of somebody"] {
        let refused = renew(wrong).unwrap_err();
        assert_eq!(refused.cause, Cause::Rejected, "{refused}");
        assert!(refused.advice.contains("owner"), "{refused}");
    }
    renew(b"of the owner").unwrap();
    assert!(device.counter().unwrap() > last, "it goes on where the one before ended");
    let value = device.advance_counter().unwrap();
    assert_eq!(TpmDevice::open(swtpm.params(PIN)).unwrap().counter().unwrap(), value);
    assert_eq!(swtpm.facts().lockout.failed_tries, 0);
}

#[test]
fn a_store_belongs_to_its_tpm_and_is_made_once() {
    let (swtpm, other) = (swtpm_or_skip!(), swtpm_or_skip!());
    let device = swtpm.device();
    let again = initialise_store(&swtpm.initialisation()).unwrap_err();
    assert_eq!(again.cause, Cause::KeyExists, "{again}");
    let stranger = || Params { address: other.address(), ..swtpm.params(PIN) };
    let refused = TpmDevice::open(stranger()).unwrap_err();
    assert_eq!(refused.cause, Cause::Setup, "{refused}");
    assert!(refused.message.contains("no parent of this store"), "{refused}");
    // Even where something lies at the parent's handle: the PIN is not tried on it.
    initialise_store(&other.initialisation()).unwrap();
    let refused = TpmDevice::open(stranger()).unwrap_err();
    assert!(refused.message.contains("another key than the parent"), "{refused}");
    assert_eq!(other.facts().lockout.failed_tries, 0);
    device.health().unwrap();
}

#[test]
fn what_was_begun_is_taken_away_when_a_store_cannot_be_made() {
    let swtpm = swtpm_or_skip!();
    let mut request = swtpm.initialisation();
    // A file stands where the directory should be.
    std::fs::write(swtpm.path("file"), b"").unwrap();
    request.directory = swtpm.path("file").join("store");
    // Handles and memory of a TPM are few: what stayed behind would soon fill them.
    for _ in 0..12 {
        let refused = initialise_store(&request).unwrap_err();
        assert_eq!((refused.cause, &*refused.function), (Cause::Setup, "key store"), "{refused}");
    }
    swtpm.device().health().unwrap();
    assert_eq!(swtpm.facts().objects_free, 3);
}

#[test]
fn an_owner_with_an_authorization_is_asked_for_it_once() {
    let swtpm = swtpm_or_skip!();
    swtpm.set_owner_authorization(b"of the owner");
    let with = |authorization: &[u8]| bixi_hsm_tpm::Initialisation {
        owner_authorization: Secret::from_slice(authorization),
        ..swtpm.initialisation()
    };
    for wrong in [&b""[..], b"of somebody"] {
        let refused = initialise_store(&with(wrong)).unwrap_err();
        assert_eq!((refused.cause, &*refused.function), (Cause::WrongPin, "TPM2_CreatePrimary"), "{refused}");
        assert!(refused.advice.contains("owner"), "{refused}");
    }
    initialise_store(&with(b"of the owner")).unwrap();
    // Nobody asks the owner afterwards.
    let device = TpmDevice::open(swtpm.params(PIN)).unwrap();
    device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    device.advance_counter().unwrap();
    assert_eq!(swtpm.facts().lockout.failed_tries, 0);
}

#[test]
fn through_a_device_file_keys_stay_loaded_as_long_as_there_is_room() {
    const LOAD: u32 = 0x157;
    const SIGN: u32 = 0x15D;
    let swtpm = swtpm_or_skip!();
    initialise_store(&swtpm.initialisation()).unwrap();
    let file = DeviceFile::new(swtpm.path("tpmrm0"), swtpm.path("tpm.socket"));
    let device = TpmDevice::open(Params { address: file.address(), ..swtpm.params(PIN) }).unwrap();
    let keys: Vec<_> =
        ["a", "b", "c"].iter().map(|label| device.generate(&KeySpec::new(*label, KeyKind::Sm2Sign)).unwrap()).collect();
    device.sign_digest(&keys[0], &[1; 32]).unwrap();
    let before = (file.count(LOAD), file.count(SIGN));
    for index in 0..5 {
        device.sign_digest(&keys[0], &[index; 32]).unwrap();
    }
    assert_eq!((file.count(LOAD), file.count(SIGN)), (before.0, before.1 + 5), "the key was loaded already");
    // Three keys and a TPM with three slots, of which loading takes one for the parent.
    for _ in 0..3 {
        for key in &keys {
            device.sign_digest(key, &[7; 32]).unwrap();
        }
    }
    device.attest(&keys[1]).unwrap();
}

#[test]
fn two_processes_share_a_store() {
    let swtpm = swtpm_or_skip!();
    let device = swtpm.device();
    device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_that_signs_and_generates", "--ignored", "--nocapture"]);
        child.env(DIRECTORY, swtpm.path("")).spawn().unwrap()
    };
    let children: Vec<_> = (0..2).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a child failed");
    }
    let labels: Vec<_> = device.list().unwrap().into_iter().map(|key| key.label).collect();
    assert_eq!(labels, ["shared-0", "shared-1", "shared-2", "vote"], "each was made by one of them, once");
    let after = swtpm.facts();
    assert_eq!((after.objects_free, after.lockout.failed_tries), (3, 0));
}

#[test]
#[ignore = "run by two_processes_share_a_store"]
fn child_that_signs_and_generates() {
    let directory: PathBuf = std::env::var_os(DIRECTORY).expect("run by the test above").into();
    let address = bixi_hsm_tpm::Address::Unix(directory.join("tpm.socket"));
    let device = TpmDevice::open(params_of(&directory, address)).unwrap();
    let key = device.list().unwrap().into_iter().find(|key| key.label == "vote").unwrap().uri;
    for index in 0..20u8 {
        device.sign_digest(&key, &[index; 32]).unwrap();
    }
    for index in 0..3 {
        match device.generate(&KeySpec::new(format!("shared-{index}"), KeyKind::Kek)) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.cause, Cause::KeyExists, "{error}"),
        }
    }
}
