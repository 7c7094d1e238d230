use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::device::decorators::Failing;
use crate::device::{Cause, Decorator, KeyKind, KeySpec};
use crate::soft::SoftDevice;

/// A device that says it is something, and whose answers something is done to.
struct Doctored<F> {
    soft: SoftDevice,
    backend: &'static str,
    custody: Custody,
    drawn_bytes: AtomicUsize,
    spoil: F,
}

/// How answers are spoilt: the call, and whether this one is.
type Spoil = fn(&str, usize) -> bool;

impl KeyDevice for Doctored<Spoil> {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { backend: self.backend.to_owned(), custody: self.custody, ..self.soft.info() }
    }
    fn list(&self) -> Result<Vec<crate::KeyInfo>, DeviceError> {
        self.soft.list()
    }
    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        self.soft.generate(spec)
    }
    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        self.soft.public_key(key)
    }
    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        let mut signature = self.soft.sign_digest(key, digest)?;
        signature[40] ^= u8::from((self.spoil)("sign_digest", 0));
        Ok(signature)
    }
    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        self.soft.prf(key, input, out)?;
        if (self.spoil)("prf constant", 0) {
            *out = [1; PRF_BYTES];
        }
        if (self.spoil)("prf changes", 0) {
            out[0] = self.drawn_bytes.fetch_add(1, Ordering::Relaxed) as u8;
        }
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        let drawn = self.drawn_bytes.fetch_add(out.len(), Ordering::Relaxed);
        self.soft.random(out)?;
        if (self.spoil)("random", drawn) {
            out.iter_mut().for_each(|byte| *byte &= 0x7F);
        }
        Ok(())
    }
    fn attest(&self, key: &KeyRef) -> Result<crate::Attestation, DeviceError> {
        self.soft.attest(key)
    }
    fn health(&self) -> Result<(), DeviceError> {
        self.soft.health()
    }
}

fn device(backend: &'static str, custody: Custody, spoil: Spoil) -> Doctored<Spoil> {
    Doctored { soft: SoftDevice::seeded("test", 5), backend, custody, drawn_bytes: AtomicUsize::new(0), spoil }
}

fn made(device: &dyn KeyDevice) -> (KeyRef, KeyRef) {
    let make = |label, kind| device.generate(&KeySpec::new(label, kind)).unwrap();
    (make("tls", KeyKind::Sm2Sign), make("kek", KeyKind::Kek))
}

const SOUND: Spoil = |_, _| false;

/// It gave the first bytes fast enough, and then comes to a standstill.
#[test]
fn a_generator_that_gives_its_bytes_too_slowly_is_not_waited_for_for_ever() {
    let hardware = device("pkcs11", Custody::Hardware, SOUND);
    let ended = random_within(Duration::ZERO, &hardware, Rule::Bounded, RetryPolicy::default()).unwrap_err();
    let SelfTestError::Device(error) = &ended else { panic!("{ended}") };
    assert_eq!(error.cause, Cause::Timeout, "as a device that does not answer: {error}");
    assert!(error.message.contains("class E") && error.advice.contains("hsm.random_test"), "{error}");
    assert!(!ended.is_of_the_device(), "nothing is known of its health");
    random_within(Duration::from_secs(600), &hardware, Rule::Bounded, RetryPolicy::default()).unwrap();
}

#[test]
fn the_class_follows_from_the_kind_of_device() {
    for (backend, custody, class) in [
        ("pkcs11", Custody::Hardware, Class::E),
        ("sdf", Custody::Hardware, Class::E),
        ("pkcs11", Custody::Unknown, Class::E),
        ("tpm", Custody::Hardware, Class::D),
        ("pkcs11", Custody::ProcessMemory, Class::D),
        ("pkcs11", Custody::OtherProcess, Class::D),
    ] {
        assert_eq!(class_of(&device(backend, custody, SOUND).info()), class, "{backend}, {custody}");
    }
}

#[test]
fn a_sound_device_passes_and_gives_no_more_than_its_class_takes() {
    let tpm = device("tpm", Custody::Hardware, SOUND);
    let tested = random(&tpm, Rule::Bounded, RetryPolicy::default()).unwrap();
    assert_eq!(tested.class, Class::D);
    assert!(tpm.drawn_bytes.into_inner() <= 2 * Class::D.collection_bytes());
}

#[test]
fn a_bit_that_is_always_zero_is_found_in_hardware_and_in_software_and_named() {
    for custody in [Custody::Hardware, Custody::ProcessMemory] {
        let broken = device("pkcs11", custody, |call, _| call == "random");
        let error = random(&broken, Rule::Bounded, RetryPolicy::default()).unwrap_err();
        assert!(error.is_of_the_device());
        let text = error.to_string();
        assert!(text.contains("random bit generator failed its power-on test") && text.contains("poker"), "{text}");
    }
}

#[test]
fn a_device_that_does_not_answer_is_not_a_broken_one() {
    let pulled = Failing::new(SoftDevice::new("test"), 1, 0);
    pulled.set_pulled(true);
    let patience = RetryPolicy { attempts_max: 2, deadline_ms: 50, pause_ms: 1 };
    let error = random(&pulled, Rule::Bounded, patience).unwrap_err();
    assert!(matches!(&error, SelfTestError::Device(error) if error.cause == Cause::Absent), "{error}");
    assert!(!error.is_of_the_device());
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<DeviceError>());
    assert!(source.is_some(), "what the device said is found by whoever looks for a refused PIN");
}

#[test]
fn a_call_that_fails_once_is_made_again() {
    let shaky = Failing::new(SoftDevice::seeded("test", 9), 3, 200);
    let patience = RetryPolicy { attempts_max: 30, deadline_ms: 60_000, pause_ms: 0 };
    random(&shaky, Rule::Bounded, patience).unwrap();
    assert!(shaky.calls() > 20, "{}", shaky.calls());
    assert!(shaky.inner().list().is_ok());
}

#[test]
fn keys_that_answer_right_pass() {
    let sound = device("pkcs11", Custody::Hardware, SOUND);
    let (tls, kek) = made(&sound);
    keys(&sound, &tls, &kek, RetryPolicy::default()).unwrap();
}

#[test]
fn wrong_signatures_and_derivations_are_found_and_the_key_named() {
    let cases: [(Spoil, &str); 3] = [
        (|call, _| call == "sign_digest", "object=tls"),
        (|call, _| call == "prf constant", "the same value from different inputs"),
        (|call, _| call == "prf changes", "another value from the same input"),
    ];
    for (spoil, reason) in cases {
        let wrong = device("pkcs11", Custody::Hardware, spoil);
        let (tls, kek) = made(&wrong);
        let error = keys(&wrong, &tls, &kek, RetryPolicy::default()).unwrap_err();
        assert!(error.is_of_the_device() && error.to_string().contains(reason), "{error}");
    }
}
