//! No branch and no address depends on a secret, but for the decisions listed here: valgrind's memcheck runs this very
//! binary with keys, plaintexts and randomness marked undefined, and reports whatever depends on them.
#![allow(clippy::print_stdout, missing_docs)]

use bixi_accel::{Random, RandomError, cpu, sm2, sm3, sm4};
use std::collections::HashSet;
use std::process::Command;

/// Functions with a decision on secret data that is public by design, and which.
const PUBLIC_DECISIONS: [(&str, &str); 13] = [
    ("sm4::gcm::keep_if_right", "the verdict on a tag"),
    ("sm4::xts::Key::new", "whether the halves of a key are equal"),
    ("sm2::keys::PrivateKey::from_bytes", "whether a private key is in range"),
    ("sm2::nonce::NonceKey::attempt", "whether a nonce candidate is in range; a refused one is discarded"),
    ("sm2::nonce::Nonces::next", "whether a nonce candidate is in range; a refused one is discarded"),
    ("sm2::comb::base_multiple_on", "whether the fast formulas met an exception, as one scalar in 2^250 makes them"),
    ("sm2::variable_base::secret_multiple_on", "the same for any point"),
    ("sm2::exchange::shared_point", "whether the shared point is infinity"),
    ("::finish_confirmed", "the verdict on a confirmation"),
    ("sm2::encryption::encrypt", "whether the standard asks for another nonce"),
    ("sm2::encryption::open", "the verdict on a ciphertext"),
    ("sm2::sign::finish", "whether the standard asks for another nonce"),
    ("sm2::sign_batch::sign_on_stack", "whether a nonce candidate is in range; a refused one is discarded"),
];

/// Lines on which one of those functions may decide.
const PLACES_MAX: usize = 3;

/// Innermost functions of this crate in each report.
fn reports(log: &str) -> Vec<&str> {
    let (reports, _) = log.split_once("HEAP SUMMARY").expect("memcheck's summary");
    let blocks = reports.split("uninitialised value").skip(1);
    let innermost = |block| str::lines(block).find(|line| line.contains("bixi_accel::")).unwrap_or("outside the crate");
    blocks.map(innermost).collect()
}

#[test]
#[ignore = "needs valgrind on x86-64"]
fn only_public_decisions_depend_on_secrets() {
    ["portable", "avx2"].into_iter().for_each(assert_only_public_decisions);
}

fn assert_only_public_decisions(rung: &str) {
    let output = Command::new("valgrind")
        .args(["--error-limit=no", "--num-callers=12"])
        .arg(std::env::current_exe().expect("own path"))
        .args(["--exact", "traced_operations"])
        .env(cpu::OVERRIDE_VARIABLE, rung)
        .output()
        .expect("valgrind, from the distribution's package of that name");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let reports = reports(&log);
    // The verdict on the tag must show: otherwise nothing was marked, and silence would prove nothing.
    assert!(reports.iter().any(|report| report.contains("sm4::gcm::keep_if_right")), "{log}");
    for report in &reports {
        let expected = PUBLIC_DECISIONS.iter().any(|(function, _)| report.contains(function));
        assert!(expected, "a secret decides on {rung} in: {report}\n{log}");
    }
    // A decision more in a function named above would hide behind its name: each has a few places, one for each formula.
    for (function, decision) in PUBLIC_DECISIONS {
        let places: HashSet<&str> =
            reports.iter().filter(|report| report.contains(function)).copied().map(place).collect();
        println!("{rung}: {function}: {places:?}");
        assert!(places.len() <= PLACES_MAX, "{rung}, {decision}: {places:?}");
    }
}

/// The line of a report: what is between its last parentheses.
fn place(report: &str) -> &str {
    report.rsplit_once('(').map_or(report, |(_, place)| place)
}

struct Pattern(u8);

impl Random for Pattern {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        self.0 += 1;
        out.fill(self.0);
        poison(out);
        Ok(())
    }
}

/// VALGRIND_MAKE_MEM_UNDEFINED.
fn poison(bytes: &mut [u8]) {
    request(0x4d43_0001, bytes);
}

/// VALGRIND_MAKE_MEM_DEFINED: the value becomes public.
fn publish(bytes: &mut [u8]) {
    request(0x4d43_0002, bytes);
}

#[cfg(target_arch = "x86_64")]
fn request(code: usize, bytes: &mut [u8]) {
    let arguments = [code, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the sequence is valgrind's client request: four rotations that cancel out and an exchange of rbx with
    // itself. On a processor it changes nothing but flags; valgrind reads the arguments and marks memory it tracks.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            inout("rdx") 0usize => _, in("rax") arguments.as_ptr(), inout("rdi") 0usize => _,
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: usize, _: &mut [u8]) {}

/// Key agreement, both sides with the same private key, and encryption to it.
fn traced_schemes(private: &sm2::PrivateKey, public: &sm2::PublicKey, secret: &[u8]) {
    let known = sm2::IdentifiedKey::new(b"id", *public);
    let publish_point = |point: sm2::PublicKey| {
        let mut bytes = point.to_bytes();
        publish(&mut bytes);
        sm2::PublicKey::from_bytes(&bytes).expect("on the curve")
    };
    let initiator = sm2::exchange::Initiator::start(private, b"id", &mut Pattern(0)).expect("randomness");
    let r_a = publish_point(initiator.ephemeral());
    let responder =
        sm2::exchange::Responder::respond(private, b"id", &known, &r_a, &mut Pattern(1)).expect("a finite point");
    let (r_b, mut s_b) = (publish_point(responder.ephemeral()), responder.confirmation());
    publish(&mut s_b);
    let (agreed, mut s_a) = initiator.finish_confirmed(&known, &r_b, &s_b).expect("confirmation");
    publish(&mut s_a);
    let mut keys = [[0; 40]; 2];
    agreed.derive(&mut keys[0]);
    responder.finish_confirmed(&s_a).expect("confirmation").derive(&mut keys[1]);
    publish(keys.as_flattened_mut());
    assert_eq!(keys[0], keys[1]);

    let layout = sm2::encryption::Layout::C1C3C2;
    let ciphertext = sm2::encryption::encrypt(public, secret, &mut Pattern(2)).expect("randomness");
    let mut bytes = ciphertext.to_bytes(layout);
    publish(&mut bytes);
    let ciphertext = sm2::encryption::Ciphertext::from_bytes(&bytes, layout).expect("own ciphertext");
    let mut text = sm2::encryption::decrypt(private, &ciphertext).expect("own ciphertext");
    let mut expected = secret.to_vec();
    publish(&mut text);
    publish(&mut expected);
    assert_eq!(*text, expected);
}

/// Every operation on secrets, with keys, plaintexts and randomness marked; outside valgrind it only runs them.
#[test]
fn traced_operations() {
    cpu::configure_from_env().expect("a rung, before the first operation");
    let mut secret: [u8; 32] = core::array::from_fn(|i| i as u8 + 1);
    poison(&mut secret);
    let short: [u8; 16] = secret[..16].try_into().expect("16 bytes");

    let mut data = [5u8; 300];
    poison(&mut data);
    let key = sm4::gcm::Key::new(&short);
    let mut tag = sm4::gcm::seal(&key, &[1; 12], b"aad", &mut data);
    publish(&mut tag);
    let mut opened_part =
        [u8::from(sm4::gcm::open_part(&key, &[1; 12], b"aad", &mut data.clone(), &tag, 40..70).is_ok())];
    publish(&mut opened_part);
    assert_eq!(opened_part, [1]);
    let mut opened = [u8::from(sm4::gcm::open(&key, &[1; 12], b"aad", &mut data, &tag).is_ok())];
    publish(&mut opened);
    sm4::ctr::apply(&sm4::Key::new(&short), &[0; 16], &mut data);
    let mut messages = [sm4::gcm::Message { nonce: [3; 12], aad: b"aad", data: &mut data, tag: [0; 16] }];
    sm4::gcm::seal_many(&key, &mut messages);
    publish(&mut messages[0].tag);
    let mut opened_many = [u8::from(sm4::gcm::open_many(&key, &mut messages)[0])];
    publish(&mut opened_many);
    assert_eq!(opened_many, [1]);
    sm4::cbc::encrypt(&sm4::Key::new(&short), &mut [0; 16], data.as_chunks_mut().0);
    sm4::cbc::decrypt(&sm4::Key::new(&short), &mut [0; 16], data.as_chunks_mut().0);
    let xts = sm4::xts::Key::new(&secret, sm4::xts::TweakOrder::Gbt17964).expect("halves differ");
    xts.encrypt(&[2; 16], &mut data).expect("length");
    xts.decrypt(&[2; 16], &mut data).expect("length");
    let mut mac = sm3::Hmac::new(&secret);
    mac.update(&data);
    let mut derived = [0; 100];
    sm3::hkdf::expand(&mac.finalize(), &[b"info"], &mut derived);

    let private = sm2::PrivateKey::from_bytes(&secret).expect("in range");
    let mut public = private.public_key().to_bytes();
    publish(&mut public);
    let mut signature = sm2::sign_digest(&private, &[7; 32], &mut Pattern(0)).expect("signature");
    publish(&mut signature.0);
    let mut batch = sm2::sign_digest_batch(&private, &[[7; 32], [8; 32]], &mut Pattern(0)).expect("signatures");
    batch.iter_mut().for_each(|signature| publish(&mut signature.0));
    let public = sm2::PublicKey::from_bytes(&public).expect("on the curve");
    assert!(opened == [1] && sm2::verify_digest(&public, &[7; 32], &signature));
    assert!(sm2::verify_digest(&public, &[8; 32], &batch[1]));
    traced_schemes(&private, &public, &secret);
}
