//! What signing leaves behind: a process loads a key, signs, drops the key, and then looks through all its writable memory,
//! dead stack frames included, for the private key and for nonces (one nonce is as good as the key).
//!
//! The process must not hold what it looks for: it gets the needles under a mask, from a parent that ran the same
//! signatures before and computed the nonces from them.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, missing_docs)]

#[path = "plan/cases.rs"]
mod cases;
#[path = "plan/rungs.rs"]
mod rungs;

use ::sm2::Scalar;
use bixi_accel::sm2;
use cases::inputs::Generator;
use cases::oracle;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use zeroize::Zeroize;

/// Set for the process under test: what it looks for, each 32 bytes under the mask, in hexadecimal.
const NEEDLES: &str = "BIXI_RESIDUE_NEEDLES";
/// Set when the process is to keep a copy on purpose, which must be found.
const CONTROL: &str = "BIXI_RESIDUE_CONTROL";
const MASK: u8 = 0x5c;
const BATCH: usize = 20;

fn masked(bytes: &[u8; 32]) -> [u8; 32] {
    bytes.map(|byte| byte ^ MASK)
}

fn private_bytes() -> [u8; 32] {
    oracle::digest(&[b"residue"])
}

/// Loads the key of masked bytes, signs, decrypts, agrees on keys, one by one and in batches, and drops it; the signatures.
#[inline(never)]
fn sign_and_drop(needle: &[u8; 32]) -> Vec<[u8; 64]> {
    let mut bytes = Box::new(masked(needle));
    let key = sm2::PrivateKey::from_bytes(&bytes).expect("in range");
    bytes.zeroize();
    let mut rng = Generator::Counting(9);
    let mut signatures = Vec::new();
    for round in 0..4u8 {
        signatures.push(sm2::sign_digest(&key, &[round; 32], &mut rng).expect("a signature").0);
        let digests = [[round; 32]; BATCH];
        let batch = sm2::sign_digest_batch(&key, &digests, &mut rng).expect("signatures");
        signatures.extend(batch.iter().map(|signature| signature.0));
        let own = sm2::IdentifiedKey::new(b"own", key.public_key());
        let sealed = sm2::encryption::encrypt(own.key(), b"text", &mut rng).expect("a ciphertext");
        assert_eq!(**sm2::encryption::decrypt(&key, &sealed).expect("its own"), *b"text");
        let initiator = sm2::exchange::Initiator::start(&key, b"own", &mut rng).expect("an ephemeral key");
        let ephemeral = initiator.ephemeral();
        let responder = sm2::exchange::Responder::respond(&key, b"own", &own, &ephemeral, &mut rng);
        initiator
            .finish(&own, &responder.expect("a finite point").ephemeral())
            .expect("a finite point")
            .derive(&mut [0; 16]);
        let texts = sm2::encryption::decrypt_batch(&key, &vec![sealed; BATCH]);
        assert!(texts.iter().all(|text| text.as_ref().is_ok_and(|text| ***text == *b"text")));
        let peers = [(&own, &ephemeral); BATCH];
        let responders = sm2::exchange::Responder::respond_batch(&key, b"own", &peers, &mut rng).expect("randomness");
        responders.into_iter().for_each(|responder| responder.expect("a finite point").finish().derive(&mut [0; 16]));
    }
    signatures
}

/// Where needles stand in the writable memory of this process: needle, form, and the name of the mapping.
fn search(needles: &[[u8; 32]]) -> Vec<String> {
    let reversed: Vec<[u8; 32]> = needles
        .iter()
        .map(|needle| {
            let mut reversed = *needle;
            reversed.reverse();
            reversed
        })
        .collect();
    let mut found = Vec::new();
    let memory = File::open("/proc/self/mem").expect("own memory");
    let mut maps = String::new();
    File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut maps)).expect("own mappings");
    let mut buffer = vec![0u8; 1 << 16];
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
        let name = fields.nth(3).unwrap_or("anonymous");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        if !rights.starts_with("rw") {
            continue;
        }
        let mut at = start;
        while at < end {
            let length = buffer.len().min((end - at) as usize);
            let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
            for (offset, window) in buffer[..read].windows(32).enumerate() {
                let place = at + offset as u64;
                let own = buffer.as_ptr() as u64;
                if (own.saturating_sub(32)..own + buffer.len() as u64).contains(&place) {
                    continue;
                }
                let is = |needle: &[u8; 32]| window.iter().zip(needle).all(|(byte, masked)| byte ^ MASK == *masked);
                let hits = |form: &'static str, list: &[[u8; 32]]| list.iter().position(is).map(|index| (form, index));
                if let Some((form, index)) = hits("bytes", needles).or_else(|| hits("limbs", &reversed)) {
                    found.push(format!(
                        "needle {index} as {form} in {name} at {place:x}, {} below its end",
                        end - place
                    ));
                }
            }
            // Windows across the pieces.
            at += if length == buffer.len() { (length - 31) as u64 } else { length as u64 };
        }
    }
    found
}

/// The process under test, or the one that only signs.
fn sign_and_search() {
    let Ok(text) = std::env::var(NEEDLES) else {
        for signature in sign_and_drop(&masked(&private_bytes())) {
            println!("signature={}", hex::encode(signature));
        }
        return;
    };
    let needles: Vec<[u8; 32]> =
        text.split(',').map(|text| hex::decode(text).expect("hex").try_into().expect("32 bytes")).collect();
    assert_eq!(sign_and_drop(&needles[0]).len(), needles.len() - 1);
    let kept = std::env::var_os(CONTROL).map(|_| Box::new(masked(&needles[3])));
    for line in search(&needles) {
        println!("found {line}");
    }
    drop(kept);
}

const TEST: &str = "keys_and_nonces_are_gone_after_signing";

#[test]
fn keys_and_nonces_are_gone_after_signing() {
    if rungs::is_child() {
        return sign_and_search();
    }
    let mut left = String::new();
    for rung in rungs::RUNGS {
        let d = oracle::reduce(&private_bytes());
        let nonces = rungs::child(TEST, rung, &[]);
        let nonces = nonces.lines().filter_map(|line| line.split_once("signature=")).map(|(_, text)| {
            let signature: [u8; 64] = hex::decode(text).expect("hex").try_into().expect("64 bytes");
            let [r, s] = [0, 32].map(|at| oracle::reduce(signature[at..at + 32].try_into().expect("32 bytes")));
            oracle::to_bytes(&(s * (Scalar::ONE + d) + r * d))
        });
        let needles: Vec<String> =
            std::iter::once(private_bytes()).chain(nonces).map(|needle| hex::encode(masked(&needle))).collect();
        assert_eq!(needles.len(), 1 + 4 * (1 + BATCH));
        let needles = needles.join(",");
        let control = rungs::child(TEST, rung, &[(NEEDLES, &needles), (CONTROL, "1")]);
        assert!(control.contains("found needle 3 as bytes"), "a copy kept on purpose was not found: {control}");
        let text = rungs::child(TEST, rung, &[(NEEDLES, &needles)]);
        left.extend(text.lines().filter(|line| line.contains("found ")).map(|line| format!("{rung}: {line}\n")));
    }
    assert!(left.is_empty(), "{left}");
}
