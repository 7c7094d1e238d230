//! What the suite of a chain means between its nodes: one table for each suite, and nothing else in this room decides by suite.
//!
//! | | `sm` | `std` |
//! |---|---|---|
//! | cipher suites | TLS_SM4_GCM_SM3 (RFC 8998) | TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256 (RFC 8446 B.4) |
//! | groups | curveSM2 | X25519, secp256r1 |
//! | certificates | SM2 with SM3 (GM/T 0006) | ECDSA with SHA-256 on P-256 (RFC 5480, RFC 5758) |
//! | CertificateVerify | sm2sig_sm3 | ecdsa_secp256r1_sha256 |
//!
//! The two have nothing in common, so that nodes of different suites part in the handshake and nobody talks two of one suite into
//! the other. Keys are points of 256-bit curves in both: X ‖ Y in 64 bytes, and signatures r ‖ s.

mod plain;
mod sm;

use bixi_types::CryptoSuite;
use rustls::crypto::{SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::{SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};
use x509_cert::der::asn1::ObjectIdentifier;

/// The algorithms of one suite.
pub(crate) struct Algorithms {
    pub(crate) suite: CryptoSuite,
    /// What people call its signatures.
    pub(crate) name: &'static str,
    /// The curve of every key.
    pub(crate) curve: ObjectIdentifier,
    /// The algorithm of every signature.
    pub(crate) signature: ObjectIdentifier,
    /// What identifiers of keys are cut from (RFC 7093 2).
    pub(crate) digest: fn(&[u8]) -> [u8; 32],
    /// X ‖ Y of a point as certificates write it (SEC 1 2.3.3).
    pub(crate) read_point: fn(&[u8]) -> Result<[u8; 64], String>,
    /// Checks certificates and revocation lists.
    pub(crate) certificates: &'static dyn SignatureVerificationAlgorithm,
    /// Checks a CertificateVerify.
    pub(crate) handshakes: &'static dyn SignatureVerificationAlgorithm,
    /// Both, as rustls asks for them.
    pub(crate) verification: WebPkiSupportedAlgorithms,
    /// The scheme of a CertificateVerify.
    pub(crate) scheme: SignatureScheme,
    /// Its kind, as rustls reads schemes.
    pub(crate) scheme_kind: SignatureAlgorithm,
    /// Best first.
    pub(crate) cipher_suites: &'static [SupportedCipherSuite],
    /// Best first.
    pub(crate) groups: &'static [&'static dyn SupportedKxGroup],
}

impl std::fmt::Debug for Algorithms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Algorithms({:?})", self.suite)
    }
}

/// The algorithms of `suite`.
pub(crate) fn algorithms(suite: CryptoSuite) -> &'static Algorithms {
    match suite {
        CryptoSuite::Sm => &sm::ALGORITHMS,
        CryptoSuite::Std => &plain::ALGORITHMS,
    }
}

/// 04 ‖ X ‖ Y (SEC 1 2.3.3).
pub(crate) fn uncompressed(key: &[u8; 64]) -> Vec<u8> {
    [&[4], &key[..]].concat()
}
