//! Random inputs against independent implementations: the crates `sm2`, `sm3`, `sm4` and `libsm`.
#![allow(missing_docs)]

use bixi_accel::{Seeded, sm2, sm3, sm4};
use proptest::collection::vec;
use proptest::prelude::*;

mod rust_crypto {
    use sm2::dsa::signature::{Signer, Verifier};
    use sm2::dsa::{Signature, SigningKey, VerifyingKey};

    pub(super) fn verifies(public: &[u8; 65], id: &str, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        VerifyingKey::from_sec1_bytes(id, public).is_ok_and(|key| key.verify(message, &signature).is_ok())
    }

    pub(super) fn sign(private: &[u8; 32], id: &str, message: &[u8]) -> ([u8; 65], [u8; 64]) {
        let key = SigningKey::from_slice(id, private).expect("private key");
        let signature: Signature = key.sign(message);
        let public = key.verifying_key().to_sec1_bytes();
        (public.as_ref().try_into().expect("65 bytes"), signature.to_bytes().into())
    }
}

mod lib_sm {
    use libsm::sm2::signature::{SigCtx, Signature};

    pub(super) fn verifies(public: &[u8; 65], id: &str, message: &[u8], signature: &[u8; 64]) -> bool {
        let context = SigCtx::new();
        let signature = Signature::new(&signature[..32], &signature[32..]);
        let verdict = || {
            let public = context.load_pubkey(public)?;
            let digest = context.hash(id, &public, message)?;
            context.verify_raw(&digest, &public, &signature)
        };
        verdict().unwrap_or(false)
    }

    pub(super) fn sign_der(private: &[u8; 32], id: &str, message: &[u8]) -> Vec<u8> {
        let context = SigCtx::new();
        let private = context.load_seckey(private).expect("private key");
        let public = context.pk_from_sk(&private).expect("public key");
        let digest = context.hash(id, &public, message).expect("digest");
        context.sign_raw(&digest, &private).expect("signature").der_encode()
    }
}

fn key(seed: u64) -> sm2::PrivateKey {
    sm2::PrivateKey::generate(&mut Seeded::new(seed)).expect("key")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sm2_signatures_cross_verify_with_rustcrypto(seed: u64, id in "[a-zA-Z0-9@.]{0,40}", message in vec(any::<u8>(), 0..300), bit in 0usize..512) {
        let ours = key(seed);
        let public = ours.public_key();
        let mut signature = sm2::sign(&ours, id.as_bytes(), &message, &mut Seeded::new(seed ^ 1)).unwrap();
        prop_assert!(rust_crypto::verifies(&public.to_sec1(), &id, &message, &signature.0));
        signature.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!sm2::verify(&public, id.as_bytes(), &message, &signature));
        prop_assert!(!rust_crypto::verifies(&public.to_sec1(), &id, &message, &signature.0));

        let (their_public, theirs) = rust_crypto::sign(&ours.to_bytes(), &id, &message);
        prop_assert_eq!(their_public, public.to_sec1());
        prop_assert!(sm2::verify(&public, id.as_bytes(), &message, &sm2::Signature(theirs)));
    }

    #[test]
    fn sm3_matches_both_oracles(data in vec(any::<u8>(), 0..3000)) {
        use ::sm3::Digest;
        let expected: [u8; 32] = ::sm3::Sm3::digest(&data).into();
        prop_assert_eq!(sm3::digest(&data), expected);
        prop_assert_eq!(libsm::sm3::hash::Sm3Hash::new(&data).get_hash(), expected);
    }

    #[test]
    fn sm4_ctr_matches_libsm(key: [u8; 16], counter: [u8; 16], data in vec(any::<u8>(), 0..300)) {
        use libsm::sm4::cipher_mode::{CipherMode, Sm4CipherMode};
        let mut ours = data.clone();
        sm4::ctr::apply(&sm4::Key::new(&key), &counter, &mut ours);
        let theirs = Sm4CipherMode::new(&key, CipherMode::Ctr).unwrap().encrypt(&[], &data, &counter).unwrap();
        prop_assert_eq!(&ours, &theirs);
    }

    #[test]
    fn sm4_cbc_matches_libsm(key: [u8; 16], iv: [u8; 16], blocks in vec(any::<[u8; 16]>(), 1..40)) {
        use libsm::sm4::cipher_mode::{CipherMode, Sm4CipherMode};
        let mut ours = blocks.clone();
        sm4::cbc::encrypt(&sm4::Key::new(&key), &mut iv.clone(), &mut ours);
        let theirs = Sm4CipherMode::new(&key, CipherMode::Cbc).unwrap().encrypt(&[], blocks.as_flattened(), &iv).unwrap();
        // Theirs pads with a block more.
        prop_assert_eq!(ours.as_flattened(), &theirs[..theirs.len() - 16]);
    }

    /// GCM of the crate `aes-gcm` over the cipher of the crate `sm4`.
    #[test]
    fn sm4_gcm_matches_rustcrypto(key: [u8; 16], nonce: [u8; 12], aad in vec(any::<u8>(), 0..60), data in vec(any::<u8>(), 0..300)) {
        use aes_gcm::aead::{Aead, KeyInit, Payload};
        let theirs = aes_gcm::AesGcm::<::sm4::Sm4, aes_gcm::aead::consts::U12>::new(&key.into());
        let theirs = theirs.encrypt(&nonce.into(), Payload { msg: &data, aad: &aad }).unwrap();
        let mut ours = data.clone();
        let key = sm4::gcm::Key::new(&key);
        let tag = sm4::gcm::seal(&key, &nonce, &aad, &mut ours);
        prop_assert_eq!(&[&ours[..], &tag].concat(), &theirs);
        sm4::gcm::open(&key, &nonce, &aad, &mut ours, &tag).unwrap();
        prop_assert_eq!(ours, data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sm2_signatures_cross_verify_with_libsm(seed: u64, id in "[a-z0-9]{1,20}", message in vec(any::<u8>(), 0..100)) {
        let ours = key(seed);
        let public = ours.public_key();
        let signature = sm2::sign(&ours, id.as_bytes(), &message, &mut Seeded::new(seed ^ 2)).unwrap();
        prop_assert!(lib_sm::verifies(&public.to_sec1(), &id, &message, &signature.0));
        let theirs = sm2::Signature::from_der(&lib_sm::sign_der(&ours.to_bytes(), &id, &message)).unwrap();
        prop_assert!(sm2::verify(&public, id.as_bytes(), &message, &theirs));
    }
}

/// Many more cases: `BIXI_ACCEL_CASES=20000 cargo test -p bixi-accel --test oracles -- --ignored`.
#[test]
#[ignore = "a campaign of minutes; run by hand or by script"]
fn campaign_of_random_signatures() {
    let cases: u64 = std::env::var("BIXI_ACCEL_CASES").map_or(2000, |text| text.parse().expect("a number"));
    for seed in 0..cases {
        let ours = key(seed << 20);
        let message = seed.to_be_bytes();
        let signature = sm2::sign(&ours, sm2::DEFAULT_ID, &message, &mut Seeded::new(seed)).unwrap();
        let id = "1234567812345678";
        assert!(rust_crypto::verifies(&ours.public_key().to_sec1(), id, &message, &signature.0), "seed {seed}");
        let (_, theirs) = rust_crypto::sign(&ours.to_bytes(), id, &message);
        assert!(sm2::verify(&ours.public_key(), sm2::DEFAULT_ID, &message, &sm2::Signature(theirs)), "seed {seed}");
    }
}
