//! Issuing.

use std::str::FromStr;
use std::time::Duration;

use bixi_accel::sm2::Signature;
use bixi_types::CryptoSuite;
use x509_cert::Certificate;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::der::asn1::{BitString, GeneralizedTime, UtcTime};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use crate::pki::algorithm::{Issuer, subject_public_key_info};
use crate::pki::profile::Profile;
use crate::pki::{PkiError, encoding};
use crate::suite::algorithms;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Signs node certificates.
    Ca,
    /// Authenticates a node in TLS, as server and as client.
    Node,
}

/// What stands in a certificate.
#[derive(Debug, Clone)]
pub struct CertificateParams {
    /// The chain's suite: that of the subject's key and of the issuer's.
    pub suite: CryptoSuite,
    /// What it is for.
    pub role: Role,
    /// Distinguished name (RFC 4514), e.g. `CN=node0,O=chain0`.
    pub subject: String,
    /// The issuer's distinguished name; its own for a self-signed CA.
    pub issuer: String,
    /// Serial number, 1 to 20 bytes, unique for the issuer.
    pub serial: [u8; 16],
    /// First valid second since 1970.
    pub not_before_s: u64,
    /// Last valid second since 1970.
    pub not_after_s: u64,
}

/// Issues a certificate for `subject_key`. `sign` gets the bytes to be signed and answers r ‖ s made with the private half of
/// `issuer_key`: SM2 with SM3 and the default ID, or ECDSA on P-256 with SHA-256.
pub fn issue(
    params: &CertificateParams,
    subject_key: &[u8; 64],
    issuer_key: &[u8; 64],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], PkiError>,
) -> Result<Certificate, PkiError> {
    let algorithms = algorithms(params.suite);
    let (issuer, subject) = (name(&params.issuer)?, name(&params.subject)?);
    let profile = Profile { issuer, subject, role: params.role, digest: algorithms.digest };
    let serial = SerialNumber::new(&params.serial).map_err(encoding)?;
    let validity = Validity::new(time(params.not_before_s)?, time(params.not_after_s)?);
    let key = subject_public_key_info(algorithms, subject_key).map_err(encoding)?;
    let issuer = Issuer { algorithms, key: *issuer_key };
    let mut builder = CertificateBuilder::new(profile, serial, validity, key).map_err(encoding)?;
    let signed = builder.finalize(&issuer).map_err(encoding)?;
    let signature = Signature(sign(&signed)?).to_der();
    builder.assemble(BitString::from_bytes(&signature).map_err(encoding)?, &issuer).map_err(encoding)
}

pub(super) fn name(text: &str) -> Result<Name, PkiError> {
    Name::from_str(text).map_err(|error| PkiError::Name { name: text.to_owned(), detail: error.to_string() })
}

/// UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5).
pub(super) fn time(seconds: u64) -> Result<Time, PkiError> {
    const YEAR_2050_S: u64 = 2_524_608_000;
    let duration = Duration::from_secs(seconds);
    if seconds < YEAR_2050_S {
        return UtcTime::from_unix_duration(duration).map(Time::UtcTime).map_err(encoding);
    }
    GeneralizedTime::from_unix_duration(duration).map(Time::GeneralTime).map_err(encoding)
}
