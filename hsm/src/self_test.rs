//! What a device must show before its keys are used: a random bit generator that is not broken (GM/T 0062-2018), a signature that software
//! verifies and a PRF that stands (known answers of GM/T 0028's kind, as far as keys that never leave allow them).
//!
//! The class of the product follows from the kind of device. A device of hardware stands in a server, class E: 2.5 MB through fifteen tests,
//! about a second. A TPM gives some ten kilobytes a second and would take minutes for that, so it is tested as class D, 25 kB through
//! the poker test; so is a hardware device that turns out as slow. A software token has no generator of its own but hands on the kernel's,
//! and is tested as class D, too: that shows whether what it hands on is what it got.

use std::fmt;
use std::time::{Duration, Instant};

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_hsm_randomness::power_on::{self, Failure, Finding, Passed, listed};
use zeroize::Zeroizing;

use crate::device::{Cause, Custody, DeviceError, DeviceInfo, KeyDevice, PRF_BYTES};
use crate::service::RetryPolicy;
use crate::uri::KeyRef;

pub use bixi_hsm_randomness::power_on::{Class, Rule};

/// Longest time for which the random bytes of one class E collection may be waited.
const COLLECTION_MAX: Duration = Duration::from_secs(30);
/// Longest time for a whole test of the generator, both collections included: a device that was fast at first may come to a standstill.
const RANDOM_MAX: Duration = Duration::from_secs(180);
/// Bytes by which a device's pace is judged, and how often it may try: a first call may log in.
const PACE_BYTES: usize = 4096;
const PACE_ATTEMPTS: usize = 3;
/// What the PRF is asked, apart from everything a vault asks.
const PRF_INPUTS: [&[u8]; 2] = [b"BIXI-SELF-TEST-V1 first", b"BIXI-SELF-TEST-V1 second"];
/// What the signing key is asked: no message has this digest that anybody knows.
const DIGEST: [u8; 32] = *b"BIXI-SELF-TEST-V1 of signatures.";

/// Why a device may not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// A call failed: nothing is known about the device's health.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// Its random bit generator is broken.
    #[error(
        "the device's random bit generator failed its power-on test, {class}: {}; \
         stop using the device, and look at its generator with `bixi hsm doctor`",
        listed(findings)
    )]
    Random {
        /// As what it was tested.
        class: Class,
        /// What failed, the worst first.
        findings: Vec<Finding>,
    },
    /// Its signature of a known digest is wrong.
    #[error(
        "{key}: the device's signature of a known digest does not verify in software; check the vendor profile, then the device"
    )]
    Signature {
        /// The key.
        key: Box<KeyRef>,
    },
    /// Its PRF does not stand, or says the same to everything.
    #[error("{key}: {what}; data at rest would be lost: check the vendor profile, then the device")]
    Prf {
        /// The key.
        key: Box<KeyRef>,
        /// What it did.
        what: &'static str,
    },
}

impl SelfTestError {
    /// Whether the device answered and its answers are wrong: another attempt cannot do better before a person has acted.
    #[must_use]
    pub fn is_of_the_device(&self) -> bool {
        !matches!(self, Self::Device(_))
    }
}

/// A random test that the device did not fail, for logs and the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomTested {
    /// As what it was tested.
    pub class: Class,
    /// How it passed.
    pub passed: Passed,
}

impl fmt::Display for RandomTested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class;
        match &self.passed {
            Passed::AtOnce => write!(f, "passed, {class}"),
            Passed::Repeated => write!(f, "passed by the repetition after an alarm, {class}"),
            Passed::Alarmed(findings) => {
                write!(f, "ALARM in both collections, {class}: {}; chance can do that, a defect too", listed(findings))
            }
        }
    }
}

/// Tests the device's random bit generator at power-on.
///
/// # Errors
/// [`SelfTestError::Random`] for a broken one; [`Cause::Timeout`] for one that does not give the bytes in three minutes.
pub fn random(device: &dyn KeyDevice, rule: Rule, retry: RetryPolicy) -> Result<RandomTested, SelfTestError> {
    random_within(RANDOM_MAX, device, rule, retry)
}

fn random_within(
    limit: Duration,
    device: &dyn KeyDevice,
    rule: Rule,
    retry: RetryPolicy,
) -> Result<RandomTested, SelfTestError> {
    let (began, mut drawn_bytes) = (Instant::now(), 0);
    let class = match class_of(&device.info()) {
        Class::E if is_slow(device, retry)? => Class::D,
        class => class,
    };
    let passed = power_on::examine(class, rule, |out| {
        if began.elapsed() > limit {
            return Err(too_slow(class, drawn_bytes, began.elapsed()));
        }
        drawn_bytes += out.len();
        retry.run(|| device.random(out))
    });
    match passed {
        Ok(passed) => Ok(RandomTested { class, passed }),
        Err(Failure::Source(error)) => Err(error.into()),
        Err(Failure::Generator { class, findings }) => Err(SelfTestError::Random { class, findings }),
    }
}

fn too_slow(class: Class, drawn_bytes: usize, since: Duration) -> DeviceError {
    let (wanted, since_s) = (class.collection_bytes(), since.as_secs());
    let message = format!(
        "the device's random bit generator gave {drawn_bytes} bytes in {since_s} s; its power-on test, {class}, takes {wanted}, and twice that \
         after an alarm"
    );
    let advice = "see whether others load the device, or its generator waits for entropy; hsm.random_test = \"off\" does without the test";
    DeviceError::new("random", Cause::Timeout, message).with_advice(advice)
}

/// The class by the kind of device alone.
fn class_of(info: &DeviceInfo) -> Class {
    match info.custody {
        Custody::ProcessMemory | Custody::OtherProcess => Class::D,
        Custody::Hardware | Custody::Unknown if info.backend == "tpm" => Class::D,
        // What may be hardware is tested as that.
        Custody::Hardware | Custody::Unknown => Class::E,
    }
}

/// Whether a class E collection would take too long.
fn is_slow(device: &dyn KeyDevice, retry: RetryPolicy) -> Result<bool, DeviceError> {
    let allowed = COLLECTION_MAX.mul_f64(PACE_BYTES as f64 / Class::E.collection_bytes() as f64);
    let mut bytes = Zeroizing::new([0; PACE_BYTES]);
    for _ in 0..PACE_ATTEMPTS {
        let began = Instant::now();
        retry.run(|| device.random(&mut *bytes))?;
        if began.elapsed() <= allowed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Has the device sign a known digest with `signing`, which must be no key whose statements count, and derive with `kek`.
///
/// # Errors
/// Names the key and what is wrong with its answers.
pub fn keys(device: &dyn KeyDevice, signing: &KeyRef, kek: &KeyRef, retry: RetryPolicy) -> Result<(), SelfTestError> {
    let wrong = || SelfTestError::Signature { key: Box::new(signing.clone()) };
    let public = retry.run(|| device.public_key(signing))?;
    let public = PublicKey::from_bytes(&public).map_err(|_| wrong())?;
    let signature = retry.run(|| device.sign_digest(signing, &DIGEST))?;
    if !sm2::verify_digest(&public, &DIGEST, &Signature(signature)) {
        return Err(wrong());
    }
    derivations(device, kek, retry)
}

fn derivations(device: &dyn KeyDevice, kek: &KeyRef, retry: RetryPolicy) -> Result<(), SelfTestError> {
    let derive = |input: &[u8]| {
        let mut derived = Zeroizing::new([0; PRF_BYTES]);
        retry.run(|| device.prf(kek, input, &mut derived)).map(|()| derived)
    };
    let [first, second] = PRF_INPUTS;
    let (once, other, again) = (derive(first)?, derive(second)?, derive(first)?);
    let wrong = |what| SelfTestError::Prf { key: Box::new(kek.clone()), what };
    if *once != *again {
        return Err(wrong("the device derives another value from the same input"));
    }
    if *once == *other {
        return Err(wrong("the device derives the same value from different inputs"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
