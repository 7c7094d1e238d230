//! One suite for every backend: what [`KeyDevice`] promises, as checks that run against a real device.
//!
//! Tests run it against each backend and vendor profile; `doctor` can run it against an officer's device, because a check
//! answers instead of panicking. It makes a handful of keys whose labels begin with a prefix of the caller's, and cannot
//! remove them: run it on a token made for the purpose.
//!
//! A device that says it has no SM2, or nothing to make a PRF of, is not asked for it: those checks are skipped with its own words
//! as the reason, and everything else is held against it.

mod checks;

use std::fmt;

use bixi_accel::sm2::PublicKey;

use crate::device::{Cause, DeviceError, KeyDevice, KeyKind, KeySpec};
use crate::uri::KeyRef;
use Capability::{Prf, SecretKeys, Sm2};
use checks::{CHECKS, Check, shown};

/// What a device may lack as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Key pairs that sign by SM2.
    Sm2,
    /// Secret keys that never leave.
    SecretKeys,
    /// A PRF under such a key.
    Prf,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device keeps the promise.
    Passed,
    /// Not asked, because the device says that it lacks something.
    Skipped(String),
    /// It does not keep it.
    Failed(String),
}

/// Outcome of every check, in order.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the check and how it ended.
    pub checks: Vec<(&'static str, Outcome)>,
    /// What the device says it lacks.
    pub lacking: Vec<Capability>,
}

impl Report {
    /// Whether every check passed and none was skipped.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|(_, outcome)| *outcome == Outcome::Passed)
    }

    /// For tests.
    ///
    /// # Panics
    /// With the whole report, if a check failed or was skipped, or none ran.
    #[track_caller]
    pub fn assert_passed(&self) {
        self.assert_passed_without(&[]);
    }

    /// For tests of devices that lack something: exactly that is skipped, and the rest passed.
    ///
    /// # Panics
    /// With the whole report, if a check failed, if the device has what it should lack or lacks more, or if no check passed.
    #[track_caller]
    pub fn assert_passed_without(&self, lacking: &[Capability]) {
        let count = |wanted: fn(&Outcome) -> bool| self.checks.iter().filter(|(_, outcome)| wanted(outcome)).count();
        let (passed, skipped) = (count(|o| *o == Outcome::Passed), count(|o| matches!(o, Outcome::Skipped(_))));
        let sound = passed > 0 && passed + skipped == self.checks.len() && (skipped > 0) != lacking.is_empty();
        assert!(sound && self.lacking == lacking, "device does not conform, lacking {:?}:\n{self}", self.lacking);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|(name, outcome)| match outcome {
            Outcome::Passed => writeln!(f, "passed   {name}"),
            Outcome::Skipped(reason) => writeln!(f, "skipped  {name}: {reason}"),
            Outcome::Failed(reason) => writeln!(f, "FAILED   {name}: {reason}"),
        })
    }
}

/// The device and the keys that could be made.
struct Bench<'a> {
    device: &'a dyn KeyDevice,
    prefix: &'a str,
    pairs: Option<[KeyRef; 2]>,
    kek: Option<KeyRef>,
    /// What the device lacks, and its words for it.
    lacking: Vec<(Capability, String)>,
}

/// Runs every check on a device, with keys labelled `prefix-…`.
pub fn run(device: &dyn KeyDevice, prefix: &str) -> Report {
    let bench = match Bench::new(device, prefix) {
        Ok(bench) => bench,
        Err(reason) => {
            return Report { checks: vec![("keys_are_generated", Outcome::Failed(reason))], lacking: Vec::new() };
        }
    };
    let mut checks = vec![("keys_are_generated", Outcome::Passed)];
    checks.extend(CHECKS.iter().map(|(name, needs, check)| (*name, bench.outcome(needs, *check))));
    Report { checks, lacking: bench.lacking.iter().map(|(capability, _)| *capability).collect() }
}

/// What was made, or nothing when the device says that it cannot; its words are noted.
fn unless_unsupported<T>(
    made: Result<T, DeviceError>,
    capability: Capability,
    lacking: &mut Vec<(Capability, String)>,
) -> Result<Option<T>, String> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.cause == Cause::Unsupported => {
            lacking.push((capability, error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl<'a> Bench<'a> {
    fn new(device: &'a dyn KeyDevice, prefix: &'a str) -> Result<Self, String> {
        let generate = |name: &str, kind| device.generate(&KeySpec::new(format!("{prefix}-{name}"), kind));
        let pair = || Ok([generate("sign", KeyKind::Sm2Sign)?, generate("other", KeyKind::Sm2Sign)?]);
        let mut lacking = Vec::new();
        let pairs = unless_unsupported(pair(), Sm2, &mut lacking)?;
        let kek = unless_unsupported(generate("kek", KeyKind::Kek), SecretKeys, &mut lacking)?;
        if let Some(kek) = &kek {
            unless_unsupported(device.prf(kek, b"input", &mut [0; 32]), Prf, &mut lacking)?;
        }
        Ok(Self { device, prefix, pairs, kek, lacking })
    }

    fn outcome(&self, needs: &[Capability], check: Check) -> Outcome {
        if let Some((_, reason)) = self.lacking.iter().find(|(capability, _)| needs.contains(capability)) {
            return Outcome::Skipped(reason.clone());
        }
        match check(self) {
            Ok(()) => Outcome::Passed,
            Err(reason) => Outcome::Failed(reason),
        }
    }

    fn pairs(&self) -> Result<&[KeyRef; 2], String> {
        self.pairs.as_ref().ok_or_else(|| "the device has no key pair".to_owned())
    }

    fn sign(&self) -> Result<&KeyRef, String> {
        self.pairs().map(|[sign, _]| sign)
    }

    fn kek(&self) -> Result<&KeyRef, String> {
        self.kek.as_ref().ok_or_else(|| "the device has no secret key".to_owned())
    }

    /// Every key that was made.
    fn keys(&self) -> impl Iterator<Item = (&KeyRef, KeyKind)> {
        let pairs = self.pairs.iter().flatten().map(|key| (key, KeyKind::Sm2Sign));
        pairs.chain(self.kek.iter().map(|key| (key, KeyKind::Kek)))
    }

    fn public(&self, key: &KeyRef) -> Result<PublicKey, String> {
        let bytes = self.device.public_key(key).map_err(shown)?;
        PublicKey::from_bytes(&bytes).map_err(|_| format!("{key}: the public key is not a point of the curve"))
    }

    fn prf(&self, key: &KeyRef, input: &[u8]) -> Result<[u8; 32], String> {
        let mut out = [0; 32];
        self.device.prf(key, input, &mut out).map_err(|error| format!("input of {} bytes: {error}", input.len()))?;
        Ok(out)
    }
}
