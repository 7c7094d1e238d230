//! Signatures both ways between this library on its selected kernels, OpenSSL, and RustCrypto: each side's signatures are
//! verified by the others, and refused when a bit changes. A thousand in the gate; a campaign by hand or by
//! `.ci/campaign-accel`:
//!
//! `BIXI_ACCEL_CASES=1000000 BIXI_ACCEL_SEED=0 cargo test -p bixi-accel --test cross_check campaign -- --ignored --nocapture`
//!
//! Seeds are counted in chunks of [`CHUNK`], so that a campaign can be cut in pieces that do not overlap.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::print_stdout, missing_docs)]

#[path = "plan/cases.rs"]
mod cases;
#[path = "plan/openssl.rs"]
mod openssl;
#[path = "plan/rungs.rs"]
mod rungs;

use ::sm2::dsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use bixi_accel::sm2::{self, IdentifiedKey, KeyRef, PrivateKey, Registry, Signature, VerifyItem};
use bixi_accel::{sm3, sm4};
use cases::inputs::{Generator, noise};
use cases::oracle;
use std::time::Instant;

/// Signatures under one key.
const CHUNK: usize = 64;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// One key, [`CHUNK`] messages, three signers, three verifiers.
fn chunk(seed: u64) {
    let random = noise(seed.wrapping_mul(0x2545_f491_4f6c_dd1d), 32 + CHUNK * 40);
    let (d, messages) = random.split_first_chunk::<32>().expect("32 bytes");
    let Ok(private) = PrivateKey::from_bytes(d) else { return };
    let public = private.public_key();
    let raw = public.to_bytes();
    let messages: Vec<&[u8]> = messages.chunks_exact(40).enumerate().map(|(i, message)| &message[..i % 41]).collect();
    let digests: Vec<[u8; 32]> =
        messages.iter().map(|message| oracle::message_digest(sm2::DEFAULT_ID, &raw, message)).collect();

    let mut random = Generator::Counting(seed);
    let mut ours = sm2::sign_batch(&private, sm2::DEFAULT_ID, &messages, &mut random).expect("signatures");
    // Every second one is made alone.
    for (e, signature) in digests.iter().zip(&mut ours).skip(1).step_by(2) {
        *signature = sm2::sign_digest(&private, e, &mut random).expect("a signature");
    }
    let theirs = openssl::private_key(d, &public.to_sec1()).expect("OpenSSL with SM2");
    let by_openssl = digests.iter().map(|e| {
        Signature::from_der(&openssl::sign(&theirs, e).expect("a signature of OpenSSL's")).expect("strict DER")
    });
    let by_openssl: Vec<Signature> = by_openssl.collect();
    let rust_crypto = ::sm2::dsa::SigningKey::from_slice("1234567812345678", d).expect("in range");
    let by_rust_crypto: Vec<Signature> = digests
        .iter()
        .map(|e| {
            let signature: ::sm2::dsa::Signature = rust_crypto.sign_prehash(e).expect("a signature of RustCrypto's");
            Signature(signature.to_bytes().into())
        })
        .collect();

    for (e, signature) in digests.iter().zip(&ours) {
        assert!(openssl::verify(&theirs, e, &signature.to_der()).expect("a verdict"), "seed {seed}, OpenSSL on ours");
        let signature = ::sm2::dsa::Signature::from_slice(&signature.0).expect("in range");
        assert!(rust_crypto.verifying_key().verify_prehash(e, &signature).is_ok(), "seed {seed}, RustCrypto on ours");
    }
    let registry = Registry::new(1);
    let identified = IdentifiedKey::new(sm2::DEFAULT_ID, public);
    let references = [
        KeyRef::Raw(&raw),
        KeyRef::Known(&public),
        KeyRef::Identified(&identified),
        KeyRef::Registered(registry.register(&public).expect("a place")),
    ];
    for (signer, mut signatures) in [("ours", ours), ("OpenSSL's", by_openssl), ("RustCrypto's", by_rust_crypto)] {
        // Every seventh is broken in one bit.
        let broken = |i: usize| i % 7 == seed as usize % 7;
        for (i, signature) in signatures.iter_mut().enumerate().filter(|(i, _)| broken(*i)) {
            signature.0[(i * 11 + seed as usize) % 64] ^= 1 << (i % 8);
        }
        let item = |i: usize| VerifyItem {
            key: references[(i + seed as usize) % 4].clone(),
            message: messages[i],
            signature: &signatures[i].0,
        };
        let items: Vec<VerifyItem<'_>> = (0..CHUNK).map(item).collect();
        let mut verdicts = vec![false; CHUNK];
        sm2::verify_batch(&items, &mut verdicts);
        for (i, verdict) in verdicts.iter().enumerate() {
            assert_eq!(*verdict, !broken(i), "seed {seed}, item {i}, ours on {signer}");
        }
        let i = seed as usize % CHUNK;
        assert_eq!(
            sm2::verify_digest(&public, &digests[i], &signatures[i]),
            !broken(i),
            "seed {seed}, alone on {signer}"
        );
    }
}

#[test]
fn a_thousand_signatures_verify_both_ways() {
    (0..16).for_each(chunk);
}

#[test]
#[ignore = "a campaign of minutes; see the module's documentation"]
fn campaign() {
    let (first, cases) = (number("BIXI_ACCEL_SEED", 0), number("BIXI_ACCEL_CASES", 100_000));
    let chunks = cases.div_ceil(CHUNK as u64);
    let start = Instant::now();
    for index in 0..chunks {
        chunk(first + index);
        if index % 512 == 511 || index + 1 == chunks {
            let done = (index + 1) * CHUNK as u64;
            println!("{done} of {cases} signatures each way from seed {first}, {} s", start.elapsed().as_secs());
        }
    }
}

/// Digests, and the modes the system's OpenSSL has, for random data of every length up to six calls of the widest kernel.
fn hash_and_cipher() {
    use ::openssl::hash::{MessageDigest, hash};
    use ::openssl::symm::{Cipher, encrypt};
    let data = noise(5, 10_000);
    for length in (0..9300).step_by(31).chain([64, 256, 1024, 1536, 9216]) {
        let (data, random) = (&data[..length], noise(length as u64, 32));
        let (key, iv): ([u8; 16], [u8; 16]) =
            (random[..16].try_into().expect("16"), random[16..].try_into().expect("16"));
        assert_eq!(*hash(MessageDigest::sm3(), data).expect("OpenSSL with SM3"), sm3::digest(data));
        let mut ours = data.to_vec();
        sm4::ctr::apply(&sm4::Key::new(&key), &iv, &mut ours);
        assert_eq!(encrypt(Cipher::sm4_ctr(), &key, Some(&iv), data).expect("OpenSSL with SM4"), ours, "CTR {length}");
        // OpenSSL pads.
        let mut ours = data.as_chunks::<16>().0.to_vec();
        sm4::cbc::encrypt(&sm4::Key::new(&key), &mut iv.clone(), &mut ours);
        let theirs = encrypt(Cipher::sm4_cbc(), &key, Some(&iv), data).expect("OpenSSL with SM4");
        assert_eq!(theirs[..16 * ours.len()], *ours.as_flattened(), "CBC {length}");
        let mut chain = iv;
        sm4::cbc::decrypt(&sm4::Key::new(&key), &mut chain, &mut ours);
        assert_eq!(ours.as_flattened(), &data[..length / 16 * 16], "CBC {length}");
    }
}

#[test]
fn digests_and_ciphertexts_are_openssls_at_every_rung() {
    rungs::climb("digests_and_ciphertexts_are_openssls_at_every_rung", hash_and_cipher);
}
