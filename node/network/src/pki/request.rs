//! Requests for certificates (PKCS#10, RFC 2986): made for a key in a device, read by an authority.

use bixi_accel::sm2::Signature;
use bixi_types::CryptoSuite;
use x509_cert::der::asn1::{BitString, SetOfVec};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{DecodePem as _, Encode as _, EncodePem as _};
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::algorithm::subject_public_key_info;
use super::issue::name;
use super::{CERTIFICATE_BYTES_MAX, PkiError, encoding, has_signed_with, key_of};
use crate::suite::algorithms;

/// A request for `key` under `subject`, PEM. `sign` gets the bytes to be signed and answers r ‖ s made with the private half of that
/// very key, which proves that whoever asks has it.
pub fn request(
    suite: CryptoSuite,
    subject: &str,
    key: &[u8; 64],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], PkiError>,
) -> Result<String, PkiError> {
    let algorithms = algorithms(suite);
    let info = CertReqInfo {
        version: Version::V1,
        subject: name(subject)?,
        public_key: subject_public_key_info(algorithms, key).map_err(encoding)?,
        attributes: SetOfVec::new(),
    };
    let signature = Signature(sign(&info.to_der().map_err(encoding)?)?).to_der();
    let signature = BitString::from_bytes(&signature).map_err(encoding)?;
    let algorithm = AlgorithmIdentifierOwned { oid: algorithms.signature, parameters: None };
    CertReq { info, algorithm, signature }.to_pem(LineEnding::LF).map_err(encoding)
}

/// The key that a request is for, once it has proven itself. The subject it asks for is the authority's to choose.
pub fn requested_key(suite: CryptoSuite, text: &[u8]) -> Result<[u8; 64], PkiError> {
    if text.len() > 2 * CERTIFICATE_BYTES_MAX {
        return Err(encoding(format!("{} bytes of PEM; at most {} are read", text.len(), 2 * CERTIFICATE_BYTES_MAX)));
    }
    let request = CertReq::from_pem(text).map_err(encoding)?;
    let key = key_of(suite, &request.info.public_key)?;
    let signed = request.info.to_der().map_err(encoding)?;
    let wanted = algorithms(suite);
    if request.algorithm.oid != wanted.signature {
        let found = request.algorithm.oid.to_string();
        return Err(PkiError::Algorithm { wanted: wanted.name, what: "its signature", found });
    }
    match has_signed_with(suite, &key, &signed, &request.signature) {
        true => Ok(key),
        false => Err(PkiError::Request),
    }
}

#[cfg(test)]
mod tests {
    use bixi_accel::sm2::{self, PrivateKey};
    use bixi_accel::{Random, RandomError};

    use super::*;

    struct Dull(u8);

    impl Random for Dull {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            out.iter_mut().for_each(|byte| {
                self.0 = self.0.wrapping_mul(13).wrapping_add(11);
                *byte = self.0;
            });
            Ok(())
        }
    }

    fn made(signer: u8) -> ([u8; 64], String) {
        let of = |number| PrivateKey::from_bytes(&[number; 32]).unwrap();
        let key = of(7).public_key().to_bytes();
        let sign = |message: &[u8]| Ok(sm2::sign(&of(signer), sm2::DEFAULT_ID, message, &mut Dull(1)).unwrap().0);
        (key, request(CryptoSuite::Sm, "CN=node0", &key, sign).unwrap())
    }

    #[test]
    fn a_request_proves_that_its_key_is_there() {
        let (key, text) = made(7);
        assert_eq!(requested_key(CryptoSuite::Sm, text.as_bytes()), Ok(key));
        let (_, forged) = made(8);
        assert_eq!(requested_key(CryptoSuite::Sm, forged.as_bytes()), Err(PkiError::Request));
        assert!(requested_key(CryptoSuite::Std, text.as_bytes()).is_err(), "of another suite");
    }

    #[test]
    fn no_flipped_byte_gives_another_key() {
        let (key, text) = made(7);
        for place in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[place] ^= 1;
            let read = requested_key(CryptoSuite::Sm, &flipped);
            assert!(read.is_err() || read == Ok(key), "byte {place}");
        }
        assert!(requested_key(CryptoSuite::Sm, &vec![b'-'; 2 * CERTIFICATE_BYTES_MAX + 1]).is_err());
    }
}
