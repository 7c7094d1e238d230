//! One suite for every backend: what [`KeyDevice`] promises, as checks that run against a real device.
//!
//! Tests run it against each backend and vendor profile; `doctor` can run it against an officer's device, because a check
//! answers instead of panicking. It makes a handful of keys whose labels begin with a prefix of the caller's, and cannot
//! remove them: run it on a token made for the purpose.

use std::fmt;

use bixi_accel::sm2::{self, PublicKey, Signature};

use crate::device::{Cause, DeviceError, ErrorKind, KeyDevice, KeyKind, KeySpec, PRF_INPUT_BYTES_MAX, Trust};
use crate::uri::KeyRef;

/// Outcome of every check, in order.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the check and, if it failed, why.
    pub checks: Vec<(&'static str, Result<(), String>)>,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// For tests.
    ///
    /// # Panics
    /// With the whole report, if a check failed or none ran.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(!self.checks.is_empty() && self.passed(), "device does not conform:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|(name, outcome)| match outcome {
            Ok(()) => writeln!(f, "passed  {name}"),
            Err(reason) => writeln!(f, "FAILED  {name}: {reason}"),
        })
    }
}

type Outcome = Result<(), String>;
type Check = fn(&Bench<'_>) -> Outcome;

const CHECKS: [(&str, Check); 14] = [
    ("info_names_the_device", info_names_the_device),
    ("keys_are_sealed_in", keys_are_sealed_in),
    ("taken_label_is_refused", taken_label_is_refused),
    ("unsound_label_is_refused", unsound_label_is_refused),
    ("public_key_is_a_point_and_stays", public_key_is_a_point_and_stays),
    ("signatures_verify_in_software", signatures_verify_in_software),
    ("signature_is_bound_to_its_digest", signature_is_bound_to_its_digest),
    ("prf_is_a_function_of_key_and_input", prf_is_a_function_of_key_and_input),
    ("prf_depends_on_every_byte", prf_depends_on_every_byte),
    ("prf_input_is_bounded", prf_input_is_bounded),
    ("one_key_has_one_use", one_key_has_one_use),
    ("unknown_key_is_not_found", unknown_key_is_not_found),
    ("random_fills_and_differs", random_fills_and_differs),
    ("attestation_matches_the_key", attestation_matches_the_key),
];

struct Bench<'a> {
    device: &'a dyn KeyDevice,
    prefix: &'a str,
    sign: KeyRef,
    other: KeyRef,
    kek: KeyRef,
}

/// Runs every check on a device, with keys labelled `prefix-…`.
pub fn run(device: &dyn KeyDevice, prefix: &str) -> Report {
    let generate = |name: &str, kind| {
        let spec = KeySpec::new(format!("{prefix}-{name}"), kind);
        device.generate(&spec).map_err(|error| format!("generate {}: {error}", spec.label))
    };
    let keys = generate("sign", KeyKind::Sm2Sign)
        .and_then(|sign| Ok((sign, generate("other", KeyKind::Sm2Sign)?, generate("kek", KeyKind::Kek)?)));
    let (sign, other, kek) = match keys {
        Ok(keys) => keys,
        Err(reason) => return Report { checks: vec![("keys_are_generated", Err(reason))] },
    };
    let bench = Bench { device, prefix, sign, other, kek };
    let mut checks = vec![("keys_are_generated", Ok(()))];
    checks.extend(CHECKS.iter().map(|(name, check)| (*name, check(&bench))));
    checks.push(("threads_share_the_device", threads_share_the_device(&bench)));
    checks.push(("health_answers", device.health().map_err(shown)));
    Report { checks }
}

fn shown(error: DeviceError) -> String {
    error.to_string()
}

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if fact { Ok(()) } else { Err(otherwise()) }
}

fn refused<T>(result: Result<T, DeviceError>, causes: &[Cause]) -> Outcome {
    match result {
        Ok(_) => Err(format!("accepted; expected {causes:?}")),
        Err(error) if !causes.contains(&error.cause) => Err(format!("{error:?}; expected {causes:?}")),
        Err(error) if error.function.is_empty() || error.message.is_empty() || error.advice.is_empty() => {
            Err(format!("{error:?} does not say function, message and advice"))
        }
        Err(error) => ensure(error.kind() == ErrorKind::Refuse, || format!("{error:?} is not final")),
    }
}

impl Bench<'_> {
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

fn info_names_the_device(bench: &Bench<'_>) -> Outcome {
    let info = bench.device.info();
    ensure(!info.backend.is_empty() && !info.token.is_empty(), || format!("{info:?}"))
}

fn keys_are_sealed_in(bench: &Bench<'_>) -> Outcome {
    let list = bench.device.list().map_err(shown)?;
    for (key, kind) in [(&bench.sign, KeyKind::Sm2Sign), (&bench.other, KeyKind::Sm2Sign), (&bench.kek, KeyKind::Kek)] {
        let found: Vec<_> = list.iter().filter(|info| info.uri == *key).collect();
        let [info] = found[..] else { return Err(format!("{key} is listed {} times", found.len())) };
        ensure(info.kind == kind, || format!("{key} is listed as {:?}", info.kind))?;
        ensure(info.sensitive && info.local && !info.extractable, || format!("{info:?}"))?;
        let again: KeyRef = key.to_string().parse().map_err(|error| format!("{key}: {error}"))?;
        ensure(again == *key, || format!("{key} does not survive its own text"))?;
    }
    Ok(())
}

fn taken_label_is_refused(bench: &Bench<'_>) -> Outcome {
    for kind in [KeyKind::Sm2Sign, KeyKind::Kek] {
        let spec = KeySpec::new(format!("{}-sign", bench.prefix), kind);
        refused(bench.device.generate(&spec), &[Cause::KeyExists])?;
    }
    Ok(())
}

fn unsound_label_is_refused(bench: &Bench<'_>) -> Outcome {
    for label in [String::new(), "a\0b".to_owned(), "line\nbreak".to_owned(), "x".repeat(300)] {
        refused(bench.device.generate(&KeySpec::new(label, KeyKind::Kek)), &[Cause::Rejected])?;
    }
    Ok(())
}

fn public_key_is_a_point_and_stays(bench: &Bench<'_>) -> Outcome {
    let first = bench.public(&bench.sign)?.to_bytes();
    ensure(first == bench.public(&bench.sign)?.to_bytes(), || "changes from call to call".to_owned())?;
    ensure(first != bench.public(&bench.other)?.to_bytes(), || "two keys share one public key".to_owned())
}

/// Digests that expose raw/DER mix-ups, lost leading zeros and reductions modulo n.
fn digests() -> Vec<[u8; 32]> {
    let mut digests = vec![[0; 32], [0xFF; 32], [1; 32]];
    digests.extend((0..16u8).map(|index| bixi_accel::sm3::digest(&[index])));
    digests
}

fn signatures_verify_in_software(bench: &Bench<'_>) -> Outcome {
    let public = bench.public(&bench.sign)?;
    for digest in digests() {
        let signature = bench.device.sign_digest(&bench.sign, &digest).map_err(shown)?;
        ensure(sm2::verify_digest(&public, &digest, &Signature(signature)), || {
            "a signature does not verify: check raw/DER form, who hashes, and that it is SM2, not ECDSA".to_owned()
        })?;
    }
    Ok(())
}

fn signature_is_bound_to_its_digest(bench: &Bench<'_>) -> Outcome {
    let signature = Signature(bench.device.sign_digest(&bench.sign, &[3; 32]).map_err(shown)?);
    let (own, other) = (bench.public(&bench.sign)?, bench.public(&bench.other)?);
    ensure(!sm2::verify_digest(&own, &[4; 32], &signature), || "verifies for another digest".to_owned())?;
    ensure(!sm2::verify_digest(&other, &[3; 32], &signature), || "verifies for another key".to_owned())
}

fn prf_is_a_function_of_key_and_input(bench: &Bench<'_>) -> Outcome {
    let second = KeySpec::new(format!("{}-kek-2", bench.prefix), KeyKind::Kek);
    let second = bench.device.generate(&second).map_err(shown)?;
    let first = bench.prf(&bench.kek, b"input")?;
    ensure(first == bench.prf(&bench.kek, b"input")?, || "answers change from call to call".to_owned())?;
    ensure(first != bench.prf(&second, b"input")?, || "two keys answer alike".to_owned())
}

/// Lengths around the blocks of ciphers and hashes, and swapped blocks: a bare ECB or an unfinished MAC fails here.
fn prf_depends_on_every_byte(bench: &Bench<'_>) -> Outcome {
    let pattern: Vec<u8> = (0..PRF_INPUT_BYTES_MAX).map(|index| index as u8).collect();
    let mut inputs: Vec<Vec<u8>> =
        [1, 15, 16, 17, 31, 32, 33, 55, 56, 63, 64, 65, 81, 255, 256].map(|len| pattern[..len].to_vec()).into();
    inputs.push([&pattern[16..32], &pattern[..16]].concat());
    inputs.push([&pattern[..16], &pattern[..16]].concat());
    for (place, len) in [(0, 32), (31, 32), (40, 64), (255, 256)] {
        let mut input = pattern[..len].to_vec();
        input[place] ^= 1;
        inputs.push(input);
    }
    for trailing in [0x00, 0x80] {
        inputs.push([&pattern[..15], &[trailing]].concat());
    }
    let mut halves = Vec::new();
    for input in &inputs {
        let answer = bench.prf(&bench.kek, input)?;
        halves.extend([answer[..16].to_vec(), answer[16..].to_vec()]);
    }
    let count = halves.len();
    halves.sort();
    halves.dedup();
    ensure(halves.len() == count, || "two inputs, or two halves of one answer, give equal bytes".to_owned())
}

fn prf_input_is_bounded(bench: &Bench<'_>) -> Outcome {
    for input in [&[][..], &[0; PRF_INPUT_BYTES_MAX + 1]] {
        refused(bench.device.prf(&bench.kek, input, &mut [0; 32]), &[Cause::Rejected])?;
    }
    Ok(())
}

fn one_key_has_one_use(bench: &Bench<'_>) -> Outcome {
    let causes = [Cause::WrongKeyUse, Cause::KeyNotFound];
    refused(bench.device.prf(&bench.sign, b"x", &mut [0; 32]), &causes)?;
    refused(bench.device.sign_digest(&bench.kek, &[1; 32]), &causes)?;
    refused(bench.device.public_key(&bench.kek), &causes)
}

fn unknown_key_is_not_found(bench: &Bench<'_>) -> Outcome {
    let mut uri = bench.sign.uri().clone();
    uri.object = Some(format!("{}-absent", bench.prefix));
    uri.id = None;
    let absent = KeyRef::new(uri).map_err(|error| error.to_string())?;
    refused(bench.device.sign_digest(&absent, &[1; 32]), &[Cause::KeyNotFound])?;
    refused(bench.device.public_key(&absent), &[Cause::KeyNotFound])?;
    refused(bench.device.prf(&absent, b"x", &mut [0; 32]), &[Cause::KeyNotFound])
}

fn random_fills_and_differs(bench: &Bench<'_>) -> Outcome {
    bench.device.random(&mut []).map_err(shown)?;
    let (mut first, mut second) = (vec![0; 4096], vec![0; 4096]);
    bench.device.random(&mut first).map_err(shown)?;
    bench.device.random(&mut second).map_err(shown)?;
    ensure(first != second, || "two answers are equal".to_owned())?;
    for window in first.chunks(16).chain(second.chunks(16)) {
        ensure(window.iter().any(|byte| *byte != window[0]), || "sixteen equal bytes in a row".to_owned())?;
    }
    Ok(())
}

fn attestation_matches_the_key(bench: &Bench<'_>) -> Outcome {
    let attestation = bench.device.attest(&bench.sign).map_err(shown)?;
    let public = bench.device.public_key(&bench.sign).map_err(shown)?;
    ensure(attestation.public_key == Some(public), || "names another public key".to_owned())?;
    ensure(attestation.key.uri == bench.sign, || format!("names {}", attestation.key.uri))?;
    ensure(!attestation.key.extractable && attestation.key.sensitive, || format!("{:?}", attestation.key))?;
    let proven = attestation.trust == Trust::Signed;
    ensure(!proven || !attestation.evidence.is_empty(), || "claims a proof and gives none".to_owned())?;
    let kek = bench.device.attest(&bench.kek).map_err(shown)?;
    ensure(kek.public_key.is_none(), || "a secret key has no public key".to_owned())
}

fn threads_share_the_device(bench: &Bench<'_>) -> Outcome {
    let (device, key, public) = (bench.device, &bench.sign, bench.public(&bench.sign)?);
    let sign = |thread: u8| {
        (0..8u8).try_for_each(|index| {
            let digest = [thread * 16 + index; 32];
            let signature = device.sign_digest(key, &digest).map_err(shown)?;
            ensure(sm2::verify_digest(&public, &digest, &Signature(signature)), || {
                "a signature made under contention does not verify".to_owned()
            })
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u8).map(|thread| scope.spawn(move || sign(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a call panicked".to_owned())?)
    })
}
