//! Certificates of a chain's suite: RFC 5280 with SM2 and SM3 (GB/T 20518, identifiers of GM/T 0006), or with ECDSA on P-256 and
//! SHA-256 (RFC 5480, RFC 5758).
//!
//! The signature is made by whoever holds the key: issuing takes a closure over the bytes to be signed, so a key inside a
//! device never leaves it. The signed message is the DER of the TBSCertificate; with SM2 under Z of the default ID (GM/T 0009).

mod algorithm;
mod issue;
mod profile;
mod request;
mod revoke;
#[cfg(test)]
mod tests;

pub use issue::{CertificateParams, Role, issue};
pub use request::{request, requested_key};
pub use revoke::RevocationList;

use bixi_types::CryptoSuite;
pub use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, DecodePem, Encode, EncodePem};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::pki::algorithm::EC_PUBLIC_KEY;
use crate::suite::{algorithms, uncompressed};

const DAY_S: i64 = 86_400;
/// Largest certificate taken, bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Why a certificate cannot be made or believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A name cannot be written as a distinguished name.
    #[error("the name {name:?} cannot stand in a certificate: {detail}")]
    Name {
        /// The name.
        name: String,
        /// What the encoder said.
        detail: String,
    },
    /// The bytes are no certificate.
    #[error("not a certificate: {0}")]
    Encoding(String),
    /// A request is not signed by the key it is for.
    #[error("the request was not signed by the key it asks a certificate for")]
    Request,
    /// The bytes are no revocation list.
    #[error("not a revocation list: {0}")]
    RevocationList(String),
    /// The key or signature is not of the chain's suite.
    #[error(
        "{what} is not {wanted} ({found}), as the chain's suite wants; have the certificate issued for such a key by such a CA"
    )]
    Algorithm {
        /// What the suite wants.
        wanted: &'static str,
        /// Key or signature.
        what: &'static str,
        /// The OID found.
        found: String,
    },
    /// The certificate is not of an authority.
    #[error("the certificate of {0} is no authority's; name the certificate that signed it")]
    NoAuthority(String),
    /// The issuer's signature is wrong.
    #[error("the certificate of {subject} was not signed by {issuer}")]
    Signature {
        /// Whose certificate.
        subject: String,
        /// Who should have signed.
        issuer: String,
    },
    /// The time is outside the validity.
    #[error("the certificate of {subject} is valid from {not_before} to {not_after} (seconds since 1970) only")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// First valid second.
        not_before: u64,
        /// Last valid second.
        not_after: u64,
    },
    /// A certificate of another key than the one that is in use.
    #[error(
        "the certificate is for another key than the node's TLS key; have one issued for the key hsm.tls_key names, or name the right key there and start again"
    )]
    OtherKey,
    /// The key's holder could not sign.
    #[error("signing the certificate failed: {0}")]
    Signer(String),
}

pub(crate) fn encoding(error: impl std::fmt::Display) -> PkiError {
    PkiError::Encoding(error.to_string())
}

/// Reads a certificate from PEM.
pub fn from_pem(text: &str) -> Result<Certificate, PkiError> {
    if text.len() > 2 * CERTIFICATE_BYTES_MAX {
        return Err(encoding(format!("{} bytes of PEM; at most {} are read", text.len(), 2 * CERTIFICATE_BYTES_MAX)));
    }
    Certificate::from_pem(text).map_err(encoding)
}

/// Reads certificates that stand one after the other in a PEM file.
pub fn chain_from_pem(text: &[u8]) -> Result<Vec<Certificate>, PkiError> {
    let chain = Certificate::load_pem_chain(text).map_err(encoding)?;
    if chain.is_empty() { Err(encoding("the file holds none")) } else { Ok(chain) }
}

/// A revocation list in DER, from PEM or DER.
pub fn revocation_list_der(bytes: &[u8]) -> Result<Vec<u8>, PkiError> {
    let list: Result<CertificateList, _> = if bytes.starts_with(b"-----BEGIN") {
        CertificateList::from_pem(bytes)
    } else {
        CertificateList::from_der(bytes)
    };
    list.and_then(|list| list.to_der()).map_err(|error| PkiError::RevocationList(error.to_string()))
}

/// Reads a certificate from DER.
pub fn from_der(bytes: &[u8]) -> Result<Certificate, PkiError> {
    if bytes.len() > CERTIFICATE_BYTES_MAX {
        return Err(encoding(format!("{} bytes; at most {CERTIFICATE_BYTES_MAX} are read", bytes.len())));
    }
    Certificate::from_der(bytes).map_err(encoding)
}

/// Writes a certificate as PEM.
pub fn to_pem(certificate: &Certificate) -> Result<String, PkiError> {
    certificate.to_pem(x509_cert::der::pem::LineEnding::LF).map_err(encoding)
}

/// The key a certificate of `suite` speaks of, X ‖ Y.
pub fn public_key(suite: CryptoSuite, certificate: &Certificate) -> Result<[u8; 64], PkiError> {
    key_of(suite, certificate.tbs_certificate().subject_public_key_info())
}

fn key_of(suite: CryptoSuite, info: &SubjectPublicKeyInfoOwned) -> Result<[u8; 64], PkiError> {
    let algorithms = algorithms(suite);
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.decode_as().ok());
    if info.algorithm.oid != EC_PUBLIC_KEY || curve != Some(algorithms.curve) {
        let found = curve.unwrap_or(info.algorithm.oid).to_string();
        return Err(PkiError::Algorithm { wanted: algorithms.name, what: "its key", found });
    }
    let point = info.subject_public_key.as_bytes().ok_or_else(|| encoding("the public key is not whole bytes"))?;
    (algorithms.read_point)(point).map_err(encoding)
}

/// Refuses a certificate that may not sign others (RFC 5280 4.2.1.3, 4.2.1.9): a node's, given as an authority's, would let whoever holds
/// that node's key make peers.
pub fn check_authority(certificate: &Certificate) -> Result<(), PkiError> {
    let tbs = certificate.tbs_certificate();
    let constraints = tbs.get_extension::<BasicConstraints>().map_err(encoding)?;
    let usage = tbs.get_extension::<KeyUsage>().map_err(encoding)?;
    let may_sign = usage.is_none_or(|(_, KeyUsage(usages))| usages.contains(KeyUsages::KeyCertSign));
    if may_sign && constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Ok(());
    }
    Err(PkiError::NoAuthority(tbs.subject().to_string()))
}

/// Its serial number, bytes big endian.
pub fn serial(certificate: &Certificate) -> &[u8] {
    certificate.tbs_certificate().serial_number().as_bytes()
}

/// The last second of its validity, since 1970.
pub fn not_after_s(certificate: &Certificate) -> u64 {
    certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs()
}

/// Whole days until a certificate ends, negative once it has.
pub fn days_left(not_after_s: u64, now_s: u64) -> i64 {
    (not_after_s as i64 - now_s as i64).div_euclid(DAY_S)
}

/// Checks that both are of `suite`, that `issuer` signed `certificate` and that `unix_seconds` lies within its validity.
pub fn verify(
    suite: CryptoSuite,
    certificate: &Certificate,
    issuer: &Certificate,
    unix_seconds: u64,
) -> Result<(), PkiError> {
    let algorithms = algorithms(suite);
    let tbs = certificate.tbs_certificate();
    let name = |of: &Certificate| of.tbs_certificate().subject().to_string();
    let algorithm = certificate.signature_algorithm();
    if [algorithm.oid, tbs.signature().oid] != [algorithms.signature; 2] {
        let found = algorithm.oid.to_string();
        return Err(PkiError::Algorithm { wanted: algorithms.name, what: "its signature", found });
    }
    let wrong = || PkiError::Signature { subject: name(certificate), issuer: name(issuer) };
    if tbs.issuer() != issuer.tbs_certificate().subject() {
        return Err(wrong());
    }
    let signed = tbs.to_der().map_err(encoding)?;
    if !has_signed(suite, issuer, &signed, certificate.signature())? {
        return Err(wrong());
    }
    let validity = tbs.validity();
    let not_before = validity.not_before.to_unix_duration().as_secs();
    let not_after = not_after_s(certificate);
    if (not_before..=not_after).contains(&unix_seconds) {
        return Ok(());
    }
    Err(PkiError::Expired { subject: name(certificate), not_before, not_after })
}

/// Whether the issuer's key made a signature over these bytes.
fn has_signed(
    suite: CryptoSuite,
    issuer: &Certificate,
    signed: &[u8],
    signature: &BitString,
) -> Result<bool, PkiError> {
    Ok(has_signed_with(suite, &public_key(suite, issuer)?, signed, signature))
}

fn has_signed_with(suite: CryptoSuite, key: &[u8; 64], signed: &[u8], signature: &BitString) -> bool {
    let key = uncompressed(key);
    let holds = |der| algorithms(suite).certificates.verify_signature(&key, signed, der).is_ok();
    signature.as_bytes().is_some_and(holds)
}
