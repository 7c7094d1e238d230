//! Suite `sm`: SM2, SM3 and SM4 over accel's kernels, as RFC 8998 puts them into TLS 1.3.

mod group;
mod hash;
mod record;
mod signature;

use bixi_accel::sm2::PublicKey;
use bixi_accel::sm3;
use bixi_types::CryptoSuite;
use rustls::crypto::CipherSuiteCommon;
use rustls::{CipherSuite, SignatureAlgorithm, SupportedCipherSuite, Tls13CipherSuite};
use x509_cert::der::asn1::ObjectIdentifier;

use crate::suite::Algorithms;
use signature::{CERTIFICATES, HANDSHAKES, SM2SIG_SM3, VERIFICATION};

/// `TLS_SM4_GCM_SM3` (RFC 8998 2).
const TLS_SM4_GCM_SM3: CipherSuite = CipherSuite::Unknown(0x00c6);

/// Records of 2^14 bytes under one key; the bound of RFC 8446 5.5 for AES-GCM, which is that of any 128-bit block cipher in GCM.
const RECORDS_MAX: u64 = 1 << 24;

static CIPHER_SUITE: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon { suite: TLS_SM4_GCM_SM3, hash_provider: &hash::Sm3, confidentiality_limit: RECORDS_MAX },
    hkdf_provider: &hash::HKDF,
    aead_alg: &record::Sm4Gcm,
    quic: None,
};

pub(super) static ALGORITHMS: Algorithms = Algorithms {
    suite: CryptoSuite::Sm,
    name: "SM2",
    // GM/T 0006.
    curve: ObjectIdentifier::new_unwrap("1.2.156.10197.1.301"),
    signature: ObjectIdentifier::new_unwrap("1.2.156.10197.1.501"),
    digest: sm3::digest,
    read_point: |point| PublicKey::from_sec1(point).map(|key| key.to_bytes()).map_err(|error| error.to_string()),
    certificates: &CERTIFICATES,
    handshakes: &HANDSHAKES,
    verification: VERIFICATION,
    scheme: SM2SIG_SM3,
    // The second byte of sm2sig_sm3.
    scheme_kind: SignatureAlgorithm::Unknown(8),
    cipher_suites: &[SupportedCipherSuite::Tls13(&CIPHER_SUITE)],
    groups: &[&group::CurveSm2],
};
