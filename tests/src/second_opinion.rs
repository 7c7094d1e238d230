//! What others say of an SM2 signature: OpenSSL's program, and RustCrypto's `sm2`. Two implementations that share nothing with each
//! other or with ours.

use std::process::Command;

use bixi_accel::sm2::{DEFAULT_ID, PublicKey, Signature, identity_digest, message_digest};
use sm2::dsa::signature::Verifier as _;

/// `SubjectPublicKeyInfo` of a key on the SM2 curve, up to the point.
const SPKI_HEAD: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x81\x1C\xCF\x55\x01\x82\x2D\x03\x42\x00";

/// Whether `openssl pkeyutl` takes a signature in DER over a message, with the default ID.
///
/// # Panics
/// When OpenSSL does neither: it is missing, or cannot read what it is given.
#[must_use]
pub fn openssl_accepts(public_key: &[u8; 64], message: &[u8], signature_der: &[u8]) -> bool {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary directory");
        path
    };
    let key = file("key.der", &[SPKI_HEAD, &[0x04], public_key].concat());
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-digest", "sm3"])
        .args(["-pkeyopt", "distid:1234567812345678", "-inkey"])
        .arg(key)
        .arg("-in")
        .arg(file("message", message))
        .arg("-sigfile")
        .arg(file("signature", signature_der))
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let refused = said.contains("Signature Verification Failure");
    assert!(output.status.success() != refused, "{said}{}", String::from_utf8_lossy(&output.stderr));
    !refused
}

/// Whether RustCrypto takes r ‖ s over a message, with the default ID.
///
/// # Panics
/// When the public key is none.
#[must_use]
pub fn rustcrypto_accepts(public_key: &[u8; 64], message: &[u8], signature: &[u8; 64]) -> bool {
    let id = std::str::from_utf8(DEFAULT_ID).expect("the default ID is digits");
    let sec1 = [&[0x04], &public_key[..]].concat();
    let key = sm2::dsa::VerifyingKey::from_sec1_bytes(id, &sec1).expect("a point of the curve");
    sm2::dsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// Holds a signer of digests against both: what it signs is taken, and nothing else.
///
/// # Panics
/// When either of them judges otherwise.
#[track_caller]
pub fn assert_signs_sm2(public_key: &[u8; 64], mut sign_digest: impl FnMut(&[u8; 32]) -> [u8; 64]) {
    let z = identity_digest(DEFAULT_ID, &PublicKey::from_bytes(public_key).expect("a point of the curve"));
    for length in [0, 1, 32, 1000] {
        let message = vec![0x42; length];
        let raw = sign_digest(&message_digest(&z, &message));
        let der = Signature(raw).to_der();
        let altered = [&message[..], b"x"].concat();
        for (judged, expected) in [(&message, true), (&altered, false)] {
            assert_eq!(openssl_accepts(public_key, judged, &der), expected, "OpenSSL, {length} bytes signed");
            assert_eq!(rustcrypto_accepts(public_key, judged, &raw), expected, "RustCrypto, {length} bytes signed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong signature is refused by both, and is no error of the program's.
    #[test]
    fn a_signature_that_is_none_is_refused() {
        let key = bixi_accel::sm2::PrivateKey::from_bytes(&[0x11; 32]).expect("in range").public_key().to_bytes();
        let signature = [0x22; 64];
        assert!(!openssl_accepts(&key, b"message", &Signature(signature).to_der()));
        assert!(!rustcrypto_accepts(&key, b"message", &signature));
    }
}
