//! The checks themselves, each with what it asks of the device.

use bixi_accel::sm2::{self, Signature};

use super::Bench;
use super::Capability::{self, Prf, SecretKeys, Sm2};
use crate::device::{Cause, DeviceError, ErrorKind, KeyKind, KeySpec, PRF_INPUT_BYTES_MAX, Trust};
use crate::uri::KeyRef;

pub(super) type Verdict = Result<(), String>;
pub(super) type Check = fn(&Bench<'_>) -> Verdict;

/// Every check, in order.
pub(super) const CHECKS: [(&str, &[Capability], Check); 16] = [
    ("info_names_the_device", &[], info_names_the_device),
    ("keys_are_sealed_in", &[], keys_are_sealed_in),
    ("taken_label_is_refused", &[], taken_label_is_refused),
    ("unsound_label_is_refused", &[], unsound_label_is_refused),
    ("public_key_is_a_point_and_stays", &[Sm2], public_key_is_a_point_and_stays),
    ("signatures_verify_in_software", &[Sm2], signatures_verify_in_software),
    ("signature_is_bound_to_its_digest", &[Sm2], signature_is_bound_to_its_digest),
    ("prf_is_a_function_of_key_and_input", &[SecretKeys, Prf], prf_is_a_function_of_key_and_input),
    ("prf_depends_on_every_byte", &[SecretKeys, Prf], prf_depends_on_every_byte),
    ("prf_input_is_bounded", &[SecretKeys], prf_input_is_bounded),
    ("one_key_has_one_use", &[Sm2, SecretKeys], one_key_has_one_use),
    ("unknown_key_is_not_found", &[], unknown_key_is_not_found),
    ("random_fills_and_differs", &[], random_fills_and_differs),
    ("attestation_matches_the_key", &[], attestation_matches_the_key),
    ("threads_share_the_device", &[], threads_share_the_device),
    ("health_answers", &[], health_answers),
];

pub(super) fn shown(error: DeviceError) -> String {
    error.to_string()
}

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if fact { Ok(()) } else { Err(otherwise()) }
}

fn refused<T>(result: Result<T, DeviceError>, causes: &[Cause]) -> Verdict {
    match result {
        Ok(_) => Err(format!("accepted; expected {causes:?}")),
        Err(error) if !causes.contains(&error.cause) => Err(format!("{error:?}; expected {causes:?}")),
        Err(error) if error.function.is_empty() || error.message.is_empty() || error.advice.is_empty() => {
            Err(format!("{error:?} does not say function, message and advice"))
        }
        Err(error) => ensure(error.kind() == ErrorKind::Refuse, || format!("{error:?} is not final")),
    }
}

fn info_names_the_device(bench: &Bench<'_>) -> Verdict {
    let info = bench.device.info();
    ensure(!info.backend.is_empty() && !info.token.is_empty(), || format!("{info:?}"))
}

fn keys_are_sealed_in(bench: &Bench<'_>) -> Verdict {
    let list = bench.device.list().map_err(shown)?;
    for (key, kind) in bench.keys() {
        let found: Vec<_> = list.iter().filter(|info| info.uri == *key).collect();
        let [info] = found[..] else { return Err(format!("{key} is listed {} times", found.len())) };
        ensure(info.kind == kind, || format!("{key} is listed as {}", info.kind))?;
        ensure(info.sensitive && info.local && !info.extractable, || format!("{info:?}"))?;
        let again: KeyRef = key.to_string().parse().map_err(|error| format!("{key}: {error}"))?;
        ensure(again == *key, || format!("{key} does not survive its own text"))?;
    }
    Ok(())
}

fn taken_label_is_refused(bench: &Bench<'_>) -> Verdict {
    for taken in [bench.pairs.as_ref().map(|_| "sign"), bench.kek.as_ref().map(|_| "kek")].into_iter().flatten() {
        for kind in [KeyKind::Sm2Sign, KeyKind::Kek] {
            let spec = KeySpec::new(format!("{}-{taken}", bench.prefix), kind);
            refused(bench.device.generate(&spec), &[Cause::KeyExists])?;
        }
    }
    Ok(())
}

fn unsound_label_is_refused(bench: &Bench<'_>) -> Verdict {
    for label in [String::new(), "a\0b".to_owned(), "line\nbreak".to_owned(), "x".repeat(300)] {
        refused(bench.device.generate(&KeySpec::new(label, KeyKind::Kek)), &[Cause::Rejected])?;
    }
    Ok(())
}

fn public_key_is_a_point_and_stays(bench: &Bench<'_>) -> Verdict {
    let [sign, other] = bench.pairs()?;
    let first = bench.public(sign)?.to_bytes();
    ensure(first == bench.public(sign)?.to_bytes(), || "changes from call to call".to_owned())?;
    ensure(first != bench.public(other)?.to_bytes(), || "two keys share one public key".to_owned())
}

/// Digests that expose raw/DER mix-ups, lost leading zeros and reductions modulo n.
fn digests() -> Vec<[u8; 32]> {
    let mut digests = vec![[0; 32], [0xFF; 32], [1; 32]];
    digests.extend((0..16u8).map(|index| bixi_accel::sm3::digest(&[index])));
    digests
}

fn signatures_verify_in_software(bench: &Bench<'_>) -> Verdict {
    let (sign, public) = (bench.sign()?, bench.public(bench.sign()?)?);
    for digest in digests() {
        let signature = bench.device.sign_digest(sign, &digest).map_err(shown)?;
        ensure(sm2::verify_digest(&public, &digest, &Signature(signature)), || {
            "a signature does not verify: check raw/DER form, who hashes, and that it is SM2, not ECDSA".to_owned()
        })?;
    }
    Ok(())
}

fn signature_is_bound_to_its_digest(bench: &Bench<'_>) -> Verdict {
    let [sign, other] = bench.pairs()?;
    let signature = Signature(bench.device.sign_digest(sign, &[3; 32]).map_err(shown)?);
    let (own, other) = (bench.public(sign)?, bench.public(other)?);
    ensure(!sm2::verify_digest(&own, &[4; 32], &signature), || "verifies for another digest".to_owned())?;
    ensure(!sm2::verify_digest(&other, &[3; 32], &signature), || "verifies for another key".to_owned())
}

fn prf_is_a_function_of_key_and_input(bench: &Bench<'_>) -> Verdict {
    let second = KeySpec::new(format!("{}-kek-2", bench.prefix), KeyKind::Kek);
    let second = bench.device.generate(&second).map_err(shown)?;
    let first = bench.prf(bench.kek()?, b"input")?;
    ensure(first == bench.prf(bench.kek()?, b"input")?, || "answers change from call to call".to_owned())?;
    ensure(first != bench.prf(&second, b"input")?, || "two keys answer alike".to_owned())
}

/// Lengths around the blocks of ciphers and hashes, and swapped blocks: a bare ECB or an unfinished MAC fails here.
fn prf_depends_on_every_byte(bench: &Bench<'_>) -> Verdict {
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
        let answer = bench.prf(bench.kek()?, input)?;
        halves.extend([answer[..16].to_vec(), answer[16..].to_vec()]);
    }
    let count = halves.len();
    halves.sort();
    halves.dedup();
    ensure(halves.len() == count, || "two inputs, or two halves of one answer, give equal bytes".to_owned())
}

fn prf_input_is_bounded(bench: &Bench<'_>) -> Verdict {
    for input in [&[][..], &[0; PRF_INPUT_BYTES_MAX + 1]] {
        refused(bench.device.prf(bench.kek()?, input, &mut [0; 32]), &[Cause::Rejected])?;
    }
    Ok(())
}

fn one_key_has_one_use(bench: &Bench<'_>) -> Verdict {
    let causes = [Cause::WrongKeyUse, Cause::KeyNotFound];
    let (sign, kek) = (bench.sign()?, bench.kek()?);
    refused(bench.device.prf(sign, b"x", &mut [0; 32]), &causes)?;
    refused(bench.device.sign_digest(kek, &[1; 32]), &causes)?;
    refused(bench.device.public_key(kek), &causes)
}

fn unknown_key_is_not_found(bench: &Bench<'_>) -> Verdict {
    let (key, _) = bench.keys().next().ok_or("the device makes no key at all")?;
    let mut uri = key.uri().clone();
    uri.object = Some(format!("{}-absent", bench.prefix));
    uri.id = None;
    let absent = KeyRef::new(uri).map_err(|error| error.to_string())?;
    refused(bench.device.sign_digest(&absent, &[1; 32]), &[Cause::KeyNotFound])?;
    refused(bench.device.public_key(&absent), &[Cause::KeyNotFound])?;
    refused(bench.device.prf(&absent, b"x", &mut [0; 32]), &[Cause::KeyNotFound])
}

fn random_fills_and_differs(bench: &Bench<'_>) -> Verdict {
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

fn attestation_matches_the_key(bench: &Bench<'_>) -> Verdict {
    for (key, kind) in bench.keys() {
        let attestation = bench.device.attest(key).map_err(shown)?;
        let public = match kind {
            KeyKind::Sm2Sign => Some(bench.device.public_key(key).map_err(shown)?),
            KeyKind::Kek => None,
        };
        ensure(attestation.public_key == public, || {
            format!("{key}: names another public key, or one of a secret key")
        })?;
        ensure(attestation.key.uri == *key, || format!("names {}", attestation.key.uri))?;
        ensure(!attestation.key.extractable && attestation.key.sensitive, || format!("{:?}", attestation.key))?;
        let proven = attestation.trust == Trust::Signed;
        ensure(!proven || !attestation.evidence.is_empty(), || "claims a proof and gives none".to_owned())?;
    }
    Ok(())
}

/// Signatures where the device makes them, random bytes where it does not: one answer each, whoever else asks.
fn threads_share_the_device(bench: &Bench<'_>) -> Verdict {
    let public = match &bench.pairs {
        Some([sign, _]) => Some((sign, bench.public(sign)?)),
        None => None,
    };
    let ask = |thread: u8, index: u8| match &public {
        Some((key, public)) => {
            let digest = [thread * 16 + index; 32];
            let signature = bench.device.sign_digest(key, &digest).map_err(shown)?;
            ensure(sm2::verify_digest(public, &digest, &Signature(signature)), || {
                "a signature made under contention does not verify".to_owned()
            })
        }
        None => bench.device.random(&mut [0; 64]).map_err(shown),
    };
    std::thread::scope(|scope| {
        let all = |thread| move || (0..8u8).try_for_each(|index| ask(thread, index));
        let threads: Vec<_> = (0..4u8).map(|thread| scope.spawn(all(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a call panicked".to_owned())?)
    })
}

fn health_answers(bench: &Bench<'_>) -> Verdict {
    bench.device.health().map_err(shown)
}
