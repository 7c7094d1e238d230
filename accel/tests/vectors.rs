//! Published vectors, read from `tests/vectors` (each set names its source) and run through the public API.
#![allow(missing_docs)]

use bixi_accel::{sm2, sm3, sm4};
use serde_json::Value;

/// The vectors of one set.
fn vectors(file: &str, set: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("vector file");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let vectors = json[set]["vectors"].as_array().expect("a set of vectors").clone();
    assert!(!vectors.is_empty());
    vectors
}

/// The vectors of one set in several files.
fn vectors_of(files: &[&str], set: &str) -> Vec<Value> {
    files.iter().flat_map(|file| vectors(file, set)).collect()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap_or_else(|| panic!("{field} in {vector}"))).expect("hex")
}

fn array<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    bytes(vector, field).try_into().expect("length")
}

#[test]
pub(crate) fn sm3_digests() {
    let sets = [vectors_of(&["sm3", "botan"], "digest"), vectors("sm3", "lengths"), vectors("sm3", "repeated")];
    let vectors: Vec<_> = sets.iter().flatten().collect();
    let messages: Vec<Vec<u8>> = vectors.iter().map(|vector| repeated(vector)).collect();
    let mut together = vec![[0; 32]; messages.len()];
    sm3::digest_many(&messages.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut together);
    for ((vector, message), together) in vectors.iter().zip(&messages).zip(together) {
        let expected = array(vector, "digest");
        assert_eq!(sm3::digest(message), expected, "{vector}");
        assert_eq!(together, expected, "{vector} among others");
        let mut hasher = sm3::Hasher::new();
        message.chunks(1009).for_each(|part| hasher.update(part));
        assert_eq!(hasher.finalize(), expected, "{vector} in parts");
    }
}

/// The message of a vector, as many times as it says.
fn repeated(vector: &Value) -> Vec<u8> {
    let times = vector.get("times").map_or(1, |times| times.as_u64().expect("a number"));
    bytes(vector, "message").repeat(times as usize)
}

#[test]
pub(crate) fn sm3_hmac() {
    for vector in vectors("sm3", "hmac") {
        let mut mac = sm3::Hmac::new(&bytes(&vector, "key"));
        mac.update(&bytes(&vector, "message"));
        assert!(mac.verify(&array(&vector, "tag")), "{vector}");
    }
}

#[test]
pub(crate) fn sm4_blocks() {
    for vector in vectors_of(&["sm4", "botan"], "ecb") {
        let key = sm4::Key::new(&array(&vector, "key"));
        let (plain, cipher) = (bytes(&vector, "plaintext"), bytes(&vector, "ciphertext"));
        let mut blocks = plain.as_chunks::<16>().0.to_vec();
        key.encrypt_blocks(&mut blocks);
        assert_eq!(blocks.as_flattened(), cipher, "{vector}");
        key.decrypt_blocks(&mut blocks);
        assert_eq!(blocks.as_flattened(), plain, "{vector}");
    }
}

#[test]
pub(crate) fn sm4_cbc() {
    for vector in vectors_of(&["sm4", "openssl"], "cbc") {
        let (key, iv) = (sm4::Key::new(&array(&vector, "key")), array(&vector, "iv"));
        let (plain, cipher) = (bytes(&vector, "plaintext"), bytes(&vector, "ciphertext"));
        let (mut blocks, mut chain) = (plain.as_chunks::<16>().0.to_vec(), iv);
        sm4::cbc::encrypt(&key, &mut chain, &mut blocks);
        assert_eq!(hex::encode(blocks.as_flattened()), hex::encode(&cipher), "{vector}");
        chain = iv;
        sm4::cbc::decrypt(&key, &mut chain, &mut blocks);
        assert_eq!(blocks.as_flattened(), plain, "{vector}");
    }
}

#[test]
pub(crate) fn sm4_ctr() {
    for vector in vectors_of(&["sm4", "openssl"], "ctr") {
        let key = sm4::Key::new(&array(&vector, "key"));
        let mut data = bytes(&vector, "plaintext");
        sm4::ctr::apply(&key, &array(&vector, "iv"), &mut data);
        assert_eq!(data, bytes(&vector, "ciphertext"), "{vector}");
    }
}

#[test]
pub(crate) fn sm4_gcm() {
    for vector in vectors("sm4", "gcm") {
        let key = sm4::gcm::Key::new(&array(&vector, "key"));
        let (nonce, aad) = (array(&vector, "iv"), bytes(&vector, "aad"));
        let mut data = bytes(&vector, "plaintext");
        let tag = sm4::gcm::seal(&key, &nonce, &aad, &mut data);
        assert_eq!((&data, tag), (&bytes(&vector, "ciphertext"), array(&vector, "tag")), "{vector}");
        for bit in 0..128 {
            let (mut changed, mut data) = (tag, data.clone());
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(sm4::gcm::open(&key, &nonce, &aad, &mut data, &changed).is_err(), "bit {bit} of {vector}");
        }
        sm4::gcm::open(&key, &nonce, &aad, &mut data, &tag).expect("own tag");
        assert_eq!(data, bytes(&vector, "plaintext"));
    }
}

/// Wycheproof's: counters about to wrap, tags with a changed bit.
#[test]
pub(crate) fn sm4_gcm_wycheproof() {
    let mut refused = 0;
    for vector in vectors("wycheproof", "gcm") {
        let key = sm4::gcm::Key::new(&array(&vector, "key"));
        let (nonce, aad, tag) = (array(&vector, "iv"), bytes(&vector, "aad"), array(&vector, "tag"));
        let (plain, mut data) = (bytes(&vector, "plaintext"), bytes(&vector, "ciphertext"));
        let valid = vector["valid"].as_bool().expect("a verdict");
        assert_eq!(sm4::gcm::open(&key, &nonce, &aad, &mut data, &tag).is_ok(), valid, "{vector}");
        assert_eq!(data, if valid { plain.clone() } else { vec![0; data.len()] }, "{vector}");
        data = plain;
        let own = sm4::gcm::seal(&key, &nonce, &aad, &mut data);
        assert_eq!((data, own == tag), (bytes(&vector, "ciphertext"), valid), "{vector}");
        refused += usize::from(!valid);
    }
    assert!(refused > 20, "tags with a changed bit are among them");
}

#[test]
pub(crate) fn sm4_xts() {
    for vector in vectors("sm4", "xts") {
        let order = match vector["order"].as_str() {
            Some("gbt17964") => sm4::xts::TweakOrder::Gbt17964,
            Some("ieee1619") => sm4::xts::TweakOrder::Ieee1619,
            _ => panic!("order of {vector}"),
        };
        let key = sm4::xts::Key::new(&array(&vector, "key"), order).expect("halves differ");
        let mut data = bytes(&vector, "plaintext");
        key.encrypt(&array(&vector, "tweak"), &mut data).expect("length");
        assert_eq!(hex::encode(&data), hex::encode(bytes(&vector, "ciphertext")), "{vector}");
        key.decrypt(&array(&vector, "tweak"), &mut data).expect("length");
        assert_eq!(data, bytes(&vector, "plaintext"));
    }
}

#[test]
pub(crate) fn sm2_verification() {
    for vector in vectors("sm2", "verify") {
        let key = sm2::PublicKey::from_bytes(&array(&vector, "key")).expect("key");
        let signature = sm2::Signature(array(&vector, "signature"));
        assert!(sm2::verify(&key, &bytes(&vector, "id"), &bytes(&vector, "message"), &signature), "{vector}");
    }
}

#[test]
pub(crate) fn sm2_verification_of_digests() {
    for vector in vectors("openssl", "verify_digest") {
        let key = sm2::PrivateKey::from_pkcs8_der(&bytes(&vector, "pkcs8")).expect("key").public_key();
        let signature = sm2::Signature::from_der(&bytes(&vector, "der")).expect("DER");
        let mut digest = array(&vector, "digest");
        assert!(sm2::verify_digest(&key, &digest, &signature), "{vector}");
        digest[31] ^= 1;
        assert!(!sm2::verify_digest(&key, &digest, &signature), "{vector}");
    }
}

#[test]
pub(crate) fn sm2_decryption() {
    for vector in vectors("openssl", "decrypt") {
        let key = sm2::PrivateKey::from_pkcs8_der(&bytes(&vector, "pkcs8")).expect("key");
        let ciphertext = sm2::encryption::Ciphertext::from_der(&bytes(&vector, "der")).expect("DER");
        let plain = sm2::encryption::decrypt(&key, &ciphertext).expect("authentic");
        assert_eq!(*plain, bytes(&vector, "plaintext"), "{vector}");
    }
}
