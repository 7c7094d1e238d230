//! Suite `std`: TLS 1.3 as RFC 8446 knows it, through rustls's provider over ring, narrowed to what a node needs (ADR 009).

use bixi_types::CryptoSuite;
use ring::digest::{SHA256, digest};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::{SignatureAlgorithm, SignatureScheme};
use webpki::ring::ECDSA_P256_SHA256;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::suite::Algorithms;

pub(super) static ALGORITHMS: Algorithms = Algorithms {
    suite: CryptoSuite::Std,
    name: "ECDSA on P-256",
    // RFC 5480 2.1.1.1 and RFC 5758 3.2.
    curve: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    signature: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
    digest: |bytes| digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes"),
    read_point,
    certificates: ECDSA_P256_SHA256,
    handshakes: ECDSA_P256_SHA256,
    verification: WebPkiSupportedAlgorithms {
        all: &[ECDSA_P256_SHA256],
        mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA_P256_SHA256])],
    },
    scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
    scheme_kind: SignatureAlgorithm::ECDSA,
    cipher_suites: &[
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ],
    groups: &[kx_group::X25519, kx_group::SECP256R1],
};

/// Compressed points are refused, as ring does. Whether the point lies on the curve ring looks at with each signature it checks; one
/// off the curve verifies nothing.
fn read_point(point: &[u8]) -> Result<[u8; 64], String> {
    match point.split_first() {
        Some((4, key)) => key.try_into().map_err(|_| format!("{} bytes are no point of P-256", point.len())),
        _ => Err("the point is not written in full, 04 ‖ X ‖ Y".to_owned()),
    }
}
