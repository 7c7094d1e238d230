//! SM2 signatures: on certificates with the default identifier (GM/T 0009), in CertificateVerify with TLS's own (RFC 8998 3.2.1).

use bixi_accel::sm2::{self, PublicKey, Signature};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// `sm2sig_sm3` (RFC 8998 3.2.1).
pub(super) const SM2SIG_SM3: SignatureScheme = SignatureScheme::Unknown(0x0708);

/// For certificates and revocation lists.
pub(super) static CERTIFICATES: Sm2 = Sm2 { id: sm2::DEFAULT_ID };
/// For handshakes.
pub(super) static HANDSHAKES: Sm2 = Sm2 { id: sm2::TLS_ID };

pub(super) const VERIFICATION: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: &[&CERTIFICATES], mapping: &[(SM2SIG_SM3, &[&HANDSHAKES])] };

/// id-ecPublicKey with SM2's curve: the content of the SEQUENCE (RFC 5480 2.1.1, GM/T 0006).
const PUBLIC_KEY: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // 1.2.840.10045.2.1
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d, // 1.2.156.10197.1.301
]);

/// SM2 with SM3 (GM/T 0006).
const SM2_WITH_SM3: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75, // 1.2.156.10197.1.501
]);

#[derive(Debug)]
pub(super) struct Sm2 {
    id: &'static [u8],
}

impl SignatureVerificationAlgorithm for Sm2 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        PUBLIC_KEY
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        SM2_WITH_SM3
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = PublicKey::from_sec1(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        if sm2::verify(&key, self.id, message, &signature) { Ok(()) } else { Err(InvalidSignature) }
    }
}
