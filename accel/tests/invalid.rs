//! Signatures that are none: one table of named cases, run at every rung through every way to verify (alone, by digest,
//! in batches of 1, 7, 8, 9 and 64 at every place among honest neighbours; raw, known, identified and registered keys;
//! raw and DER), and shown to RustCrypto and OpenSSL, which must agree.
#![allow(clippy::print_stdout, missing_docs)]

#[path = "plan/cases.rs"]
mod cases;
#[cfg(target_arch = "x86_64")]
#[path = "plan/openssl.rs"]
mod openssl;
#[path = "plan/rungs.rs"]
mod rungs;
#[path = "invalid/table.rs"]
mod table;

use bixi_accel::sm2::{
    self, IdentifiedKey, KeyRef, PrivateKey, PublicKey, RegisteredKey, Registry, Signature, VerifyItem,
};
use cases::oracle;
use std::collections::HashSet;
use table::{Case, Digest, Encoded, KeyBytes};

/// The key, where the bytes are one.
fn read_key(key: &KeyBytes) -> Option<PublicKey> {
    match key {
        KeyBytes::Raw(raw) => PublicKey::from_bytes(raw).ok(),
        KeyBytes::Sec1(sec1) => PublicKey::from_sec1(sec1).ok(),
    }
}

fn read_signature(signature: &Encoded) -> Option<Signature> {
    match signature {
        Encoded::Raw(raw) => Some(Signature(*raw)),
        Encoded::Der(der) => Signature::from_der(der).ok(),
    }
}

/// What stands around the case in its batch.
struct Neighbours {
    key: PublicKey,
    messages: Vec<Vec<u8>>,
    signatures: Vec<Signature>,
}

impl Neighbours {
    fn new() -> Self {
        let private = PrivateKey::from_bytes(&[0x42; 32]).expect("in range");
        let messages: Vec<Vec<u8>> = (0..64).map(|i| vec![i; usize::from(i)]).collect();
        let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
        let mut rng = cases::inputs::Generator::Counting(3);
        let signatures = sm2::sign_batch(&private, sm2::DEFAULT_ID, &slices, &mut rng).expect("signatures");
        Self { key: private.public_key(), messages, signatures }
    }

    /// The verdict on the case at `place` of a batch of `size`; the others must stay good.
    fn verdict(&self, size: usize, place: usize, key: &KeyRef<'_>, message: &[u8], signature: &[u8; 64]) -> bool {
        let honest = |i: usize| VerifyItem {
            key: KeyRef::Known(&self.key),
            message: &self.messages[i],
            signature: &self.signatures[i].0,
        };
        let mut items: Vec<VerifyItem<'_>> = (0..size).map(honest).collect();
        items[place] = VerifyItem { key: key.clone(), message, signature };
        let mut verdicts = vec![false; size];
        sm2::verify_batch(&items, &mut verdicts);
        for (i, verdict) in verdicts.iter().enumerate() {
            assert!(i == place || *verdict, "a neighbour at {i} of {size} was refused");
        }
        verdicts[place]
    }
}

/// Every way the library can be asked about the case.
fn verdicts(case: &Case, neighbours: &Neighbours) -> Vec<(String, bool)> {
    let Some(signature) = read_signature(&case.signature) else { return vec![("DER".into(), false)] };
    let mut all = Vec::new();
    let key = read_key(&case.key);
    let registry = Registry::new(1);
    let identified = key.map(|key| IdentifiedKey::new(&case.id, key));
    let mut references: Vec<(&str, KeyRef<'_>)> = Vec::new();
    if let (Some(key), Some(identified)) = (&key, &identified) {
        all.push(("verify".into(), sm2::verify(key, &case.id, &case.message, &signature)));
        let e = sm2::message_digest(&sm2::identity_digest(&case.id, key), &case.message);
        all.push(("verify_digest".into(), sm2::verify_digest(key, &e, &signature)));
        all.push(("verify_digest by a table".into(), RegisteredKey::new(key).verify_digest(&e, &signature)));
        references.push(("identified", KeyRef::Identified(identified)));
        if case.id == sm2::DEFAULT_ID {
            references.push(("known", KeyRef::Known(key)));
            references.push(("registered", KeyRef::Registered(registry.register(key).expect("a place"))));
        }
    }
    if let (KeyBytes::Raw(raw), true) = (&case.key, case.id == sm2::DEFAULT_ID) {
        references.push(("raw", KeyRef::Raw(raw)));
    }
    for (name, reference) in &references {
        for (size, places) in [(1, &[0][..]), (7, &[0, 6]), (8, &[3, 7]), (9, &[0, 8]), (64, &[63])] {
            for place in places {
                let verdict = neighbours.verdict(size, *place, reference, &case.message, &signature.0);
                all.push((format!("{name}, {place} of {size}"), verdict));
            }
        }
    }
    if all.is_empty() {
        all.push(("key".into(), false));
    }
    all
}

fn every_case() {
    let neighbours = Neighbours::new();
    for case in table::cases() {
        for (way, verdict) in verdicts(&case, &neighbours) {
            assert_eq!(verdict, case.valid, "{}: {way}", case.name);
        }
    }
    for Digest { name, key, e, signature, valid } in table::digests() {
        let signature = Signature(signature);
        let verdict = PublicKey::from_bytes(&key).map_or((false, false), |key| {
            (sm2::verify_digest(&key, &e, &signature), RegisteredKey::new(&key).verify_digest(&e, &signature))
        });
        assert_eq!(verdict, (valid, valid), "{name}");
    }
}

#[test]
fn every_case_gets_its_verdict_on_every_path_at_every_rung() {
    rungs::climb("every_case_gets_its_verdict_on_every_path_at_every_rung", every_case);
}

#[test]
fn the_table_is_large_and_its_names_differ() {
    let (cases, digests) = (table::cases(), table::digests());
    let names: HashSet<&str> = cases.iter().map(|case| case.name).chain(digests.iter().map(|case| case.name)).collect();
    assert_eq!(names.len(), cases.len() + digests.len());
    assert!(cases.iter().filter(|case| !case.valid).count() >= 60, "{} cases", cases.len());
    assert!(cases.iter().filter(|case| case.valid).count() >= 6, "good ones, or refusing everything would pass");
}

/// The bytes of a raw form, where the case has one that another implementation can read.
fn raw_parts(case: &Case) -> (Option<[u8; 64]>, Option<[u8; 64]>) {
    let key = match &case.key {
        KeyBytes::Raw(raw) => Some(*raw),
        KeyBytes::Sec1(_) => read_key(&case.key).map(|key| key.to_bytes()),
    };
    (key, read_signature(&case.signature).map(|signature| signature.0))
}

#[test]
fn rust_crypto_agrees_with_the_table() {
    for case in table::cases() {
        let (Some(key), Some(signature)) = raw_parts(&case) else { continue };
        let e = oracle::message_digest(&case.id, &key, &case.message);
        assert_eq!(oracle::verifies(&key, &e, &signature), case.valid, "{}", case.name);
    }
    for Digest { name, key, e, signature, valid } in table::digests() {
        assert_eq!(oracle::verifies(&key, &e, &signature), valid, "{name}");
    }
}

/// OpenSSL reads SEC 1's hybrid form, which GB/T 32918.1 allows and this library refuses.
#[cfg(target_arch = "x86_64")]
const OPENSSL_ACCEPTS: [&str; 1] = ["key in hybrid form"];

#[cfg(target_arch = "x86_64")]
#[test]
fn openssl_agrees_with_the_table() {
    for case in table::cases() {
        let sec1 = match &case.key {
            KeyBytes::Raw(raw) => [&[4], &raw[..]].concat(),
            KeyBytes::Sec1(sec1) => sec1.clone(),
        };
        let der = match &case.signature {
            Encoded::Raw(raw) => Signature(*raw).to_der(),
            Encoded::Der(der) => der.clone(),
        };
        let hashed = read_key(&case.key).map_or([0; 64], |key| key.to_bytes());
        let e = oracle::message_digest(&case.id, &hashed, &case.message);
        let hybrid = OPENSSL_ACCEPTS.contains(&case.name);
        if !hybrid {
            assert_eq!(openssl::verifies(&sec1, &e, &der), case.valid, "{}", case.name);
        }
    }
    for Digest { name, key, e, signature, valid } in table::digests() {
        let verdict = openssl::verifies(&[&[4], &key[..]].concat(), &e, &Signature(signature).to_der());
        assert_eq!(verdict, valid, "{name}");
    }
}
