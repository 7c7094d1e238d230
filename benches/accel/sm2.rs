use crate::kernel;
use ::sm2::dsa::signature::{Signer as _, Verifier as _};
use bixi_accel::{Random, RandomError, sm2};
use bixi_benches::{Bench, Case, Contender};
use bixi_platform::random::OsRandom;
use libsm::sm2::signature::{SigCtx, Signature as LibsmSignature};
use openssl::pkey::{PKey, Private};
use openssl::sign::{Signer, Verifier};
use std::hint::black_box;

const ID: &str = "1234567812345678";
const KEYS: usize = 64;
/// What a transaction's signature covers: its hash.
const MESSAGE: [u8; 32] = [7; 32];

struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

/// One key and one of its signatures, in everybody's form.
struct Peers {
    rustcrypto: ::sm2::dsa::SigningKey,
    rustcrypto_signature: ::sm2::dsa::Signature,
    libsm: SigCtx,
    openssl: PKey<Private>,
    openssl_signature: Vec<u8>,
}

impl Peers {
    fn new(key: &sm2::PrivateKey, signature: &sm2::Signature) -> Self {
        let openssl = openssl_key();
        Self {
            rustcrypto: ::sm2::dsa::SigningKey::from_slice(ID, &*key.to_bytes()).expect("a key"),
            rustcrypto_signature: ::sm2::dsa::Signature::from_slice(&signature.0).expect("a signature"),
            libsm: SigCtx::new(),
            openssl_signature: openssl_sign(&openssl),
            openssl,
        }
    }
}

/// OpenSSL makes its own key: cost does not depend on it.
fn openssl_key() -> PKey<Private> {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::SM2).expect("OpenSSL with SM2");
    let key = openssl::ec::EcKey::generate(&group).expect("a key");
    PKey::from_ec_key(key).expect("a key")
}

fn openssl_sign(key: &PKey<Private>) -> Vec<u8> {
    let mut signer = Signer::new(openssl::hash::MessageDigest::sm3(), key).expect("a signer");
    signer.sign_oneshot_to_vec(&MESSAGE).expect("a signature")
}

pub(crate) fn run(bench: &mut Bench) {
    let key = sm2::PrivateKey::generate(&mut System).expect("a key");
    let signature = sm2::sign(&key, sm2::DEFAULT_ID, &MESSAGE, &mut System).expect("a signature");
    let peers = Peers::new(&key, &signature);
    sign(bench, &key, &peers);
    verify(bench, &key, &signature, &peers);
    verify_batch(bench);
}

/// From a message of 32 bytes to a signature; `Z` is known to all but OpenSSL.
fn sign(bench: &mut Bench, key: &sm2::PrivateKey, peers: &Peers) {
    let z = sm2::identity_digest(sm2::DEFAULT_ID, &key.public_key());
    let secret = peers.libsm.load_seckey(&*key.to_bytes()).expect("a key");
    let digest = sm2::message_digest(&z, &MESSAGE);
    let contenders = &mut [
        Contender::new("ours", || {
            let digest = sm2::message_digest(&z, black_box(&MESSAGE));
            sm2::sign_digest(key, &digest, &mut System).expect("a signature")
        }),
        Contender::new("openssl", || openssl_sign(&peers.openssl)),
        Contender::new("rustcrypto", || {
            let signature: ::sm2::dsa::Signature = peers.rustcrypto.sign(black_box(&MESSAGE));
            signature
        }),
        Contender::new("libsm, digest given", || {
            peers.libsm.sign_raw(black_box(&digest), &secret).expect("a signature")
        }),
    ];
    bench.race(&Case::new("accel::sm2::sign", kernel("sm2.sign_batch")), contenders);
}

fn verify(bench: &mut Bench, key: &sm2::PrivateKey, signature: &sm2::Signature, peers: &Peers) {
    let public = key.public_key();
    let case = Case::new("accel::sm2::verify", kernel("sm2.verify_batch"));
    let ours = || assert!(sm2::verify(&public, sm2::DEFAULT_ID, black_box(&MESSAGE), signature));
    with_peers(bench, &case, Contender::new("ours", ours), (&public, signature), peers);
}

/// Races `ours` against every peer's verification of one signature.
fn with_peers(
    bench: &mut Bench,
    case: &Case,
    ours: Contender<'_>,
    (public, signature): (&sm2::PublicKey, &sm2::Signature),
    peers: &Peers,
) {
    let verifier = peers.rustcrypto.verifying_key();
    let point = peers.libsm.load_pubkey(&public.to_sec1()).expect("a point");
    let libsm_signature = LibsmSignature::new(&signature.0[..32], &signature.0[32..]);
    let openssl = || {
        let mut verifier = Verifier::new(openssl::hash::MessageDigest::sm3(), &peers.openssl).expect("a verifier");
        assert!(verifier.verify_oneshot(&peers.openssl_signature, black_box(&MESSAGE)).expect("a verdict"));
    };
    let rustcrypto = || verifier.verify(black_box(&MESSAGE), &peers.rustcrypto_signature).expect("a true signature");
    let libsm = || {
        let digest = peers.libsm.hash(ID, &point, black_box(&MESSAGE)).expect("a digest");
        assert!(peers.libsm.verify_raw(&digest, &point, &libsm_signature).expect("a verdict"));
    };
    let contenders = &mut [
        ours,
        Contender::new("openssl", openssl),
        Contender::new("rustcrypto", rustcrypto),
        Contender::new("libsm", libsm),
    ];
    bench.race(case, contenders);
}

/// Keys all different; the peers verify one by one because they have no other way.
fn verify_batch(bench: &mut Bench) {
    let keys: Vec<_> = (0..KEYS).map(|_| sm2::PrivateKey::generate(&mut System).expect("a key")).collect();
    let raw: Vec<_> = keys.iter().map(|key| key.public_key().to_bytes()).collect();
    let signature = |key| sm2::sign(key, sm2::DEFAULT_ID, &MESSAGE, &mut System).expect("a signature");
    let signatures: Vec<_> = keys.iter().map(signature).collect();
    let registry = sm2::Registry::new(KEYS);
    let item = |key, index: usize| sm2::VerifyItem { key, message: &MESSAGE, signature: &signatures[index].0 };
    let raw_items: Vec<_> = (0..KEYS).map(|index| item(sm2::KeyRef::Raw(&raw[index]), index)).collect();
    let registered = |index: usize| registry.register(&keys[index].public_key()).expect("a place");
    let known_items: Vec<_> = (0..KEYS).map(|index| item(sm2::KeyRef::Registered(registered(index)), index)).collect();
    let first = Peers::new(&keys[0], &signatures[0]);
    for (name, items) in [("raw", &raw_items), ("registered", &known_items)] {
        let mut out = [false; KEYS];
        let ours = || {
            sm2::verify_batch(black_box(items), &mut out);
            assert_eq!(out, [true; KEYS]);
        };
        let case =
            Case::new("accel::sm2::verify_batch", kernel("sm2.verify_batch")).with("keys", name).with("items", KEYS);
        let ours = Contender::batch("ours", KEYS as u32, ours);
        with_peers(bench, &case, ours, (&keys[0].public_key(), &signatures[0]), &first);
    }
}
