//! A TLS key in this process's memory, for suite `std` where no device holds one.
//!
//! Devices here keep SM2 keys and key encryption keys; none signs on P-256 yet. So the holder of this key is the process itself, and
//! whoever stores the PKCS#8 bytes seals them. Suite `sm` has no such key: its TLS keys never leave their device.

use bixi_types::tls::read_certificate_verify;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::suite::{Algorithms, algorithms};
use crate::tls::{TlsKey, TlsKeyError};

/// Transcript hashes of suite `std`: SHA-256 and SHA-384, by cipher suite (RFC 8446 B.4).
const HASHES_BYTES: [usize; 2] = [32, 48];

/// ECDSA on P-256 with SHA-256.
pub struct P256Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl P256Key {
    /// A fresh key in PKCS#8 (RFC 5958), for [`Self::from_pkcs8`].
    pub fn generate_pkcs8() -> Result<Zeroizing<Vec<u8>>, TlsKeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| TlsKeyError("the system gives no random bytes".into()))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The key of a PKCS#8 document that holds both halves.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, TlsKeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random);
        let pair = pair.map_err(|error| TlsKeyError(format!("not a P-256 key in PKCS#8: {error}")))?;
        Ok(Self { pair, random })
    }

    /// X ‖ Y, as certificates name it.
    pub fn public_key(&self) -> [u8; 64] {
        let Algorithms { read_point, .. } = algorithms(bixi_types::CryptoSuite::Std);
        read_point(self.pair.public_key().as_ref()).expect("ring writes points in full")
    }

    /// r ‖ s over a message: what issues certificates and what a TLS 1.3 CertificateVerify wants (RFC 8446 4.2.3).
    pub fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        let signed = self.pair.sign(&self.random, message);
        let signed = signed.map_err(|_| TlsKeyError("the system gives no random bytes".into()))?;
        Ok(signed.as_ref().try_into().expect("two halves of 32 bytes"))
    }
}

impl std::fmt::Debug for P256Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P256Key(..)")
    }
}

impl TlsKey for P256Key {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        match read_certificate_verify(content) {
            Some((_, hash)) if HASHES_BYTES.contains(&hash.len()) => self.sign_message(content),
            _ => Err(TlsKeyError::foreign()),
        }
    }

    fn public_key(&self) -> [u8; 64] {
        self.public_key()
    }
}

#[cfg(test)]
mod tests {
    use bixi_types::tls::{TlsRole, certificate_verify};

    use super::*;

    #[test]
    fn a_key_is_the_same_when_read_again_and_junk_is_none() {
        let document = P256Key::generate_pkcs8().expect("a key");
        let read = || P256Key::from_pkcs8(&document).expect("the same key");
        assert_eq!(read().public_key(), read().public_key());
        for junk in [&[][..], &document[1..], &document[..document.len() - 1]] {
            let refused = P256Key::from_pkcs8(junk).map(|_| ()).expect_err("junk").to_string();
            assert!(refused.contains("not a P-256 key in PKCS#8"), "{refused}");
        }
        assert_eq!(format!("{:?}", read()), "P256Key(..)");
    }

    #[test]
    fn in_a_handshake_it_signs_a_certificate_verify_and_nothing_else() {
        let key = P256Key::from_pkcs8(&P256Key::generate_pkcs8().expect("a key")).expect("the same key");
        let key: &dyn TlsKey = &key;
        for hash in [&[7; 32][..], &[7; 48]] {
            let content = certificate_verify(TlsRole::Server, hash);
            assert!(key.sign(&content).is_ok());
            for other in [&content[1..], &content[64..], &content[..content.len() - 1], hash, &[]] {
                assert_eq!(key.sign(other), Err(TlsKeyError::foreign()), "{other:?}");
            }
        }
    }
}
