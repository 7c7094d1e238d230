//! Revocation lists (RFC 5280 5) in the algorithms of the chain's suite.

use bixi_accel::sm2::Signature;
use bixi_types::CryptoSuite;
use x509_cert::Certificate;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{BitString, Uint};
use x509_cert::der::{Decode, DecodePem, Encode, EncodePem};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, SubjectKeyIdentifier};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::serial_number::SerialNumber;

use crate::pki::issue::time;
use crate::pki::{PkiError, encoding, has_signed, serial};
use crate::suite::algorithms;

/// Certificates of one authority that count no longer, in the order in which they were revoked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationList {
    /// Grows with every list that the authority signs (RFC 5280 5.2.3).
    pub number: u64,
    /// Serial numbers, and since when each counts no longer (seconds since 1970).
    pub revoked: Vec<(Vec<u8>, u64)>,
}

impl RevocationList {
    /// Reads the list of an authority from PEM, and checks that it signed it.
    pub fn from_pem(suite: CryptoSuite, text: &[u8], issuer: &Certificate) -> Result<Self, PkiError> {
        Self::read(suite, CertificateList::from_pem(text).map_err(unreadable)?, issuer)
    }

    /// The same from DER.
    pub fn from_der(suite: CryptoSuite, bytes: &[u8], issuer: &Certificate) -> Result<Self, PkiError> {
        Self::read(suite, CertificateList::from_der(bytes).map_err(unreadable)?, issuer)
    }

    fn read(suite: CryptoSuite, list: CertificateList<Rfc5280>, issuer: &Certificate) -> Result<Self, PkiError> {
        let signed = list.tbs_cert_list.to_der().map_err(unreadable)?;
        let is_theirs = list.tbs_cert_list.issuer == *issuer.tbs_certificate().subject()
            && has_signed(suite, issuer, &signed, &list.signature)?;
        if !is_theirs {
            return Err(unreadable(format!("{} did not sign it", issuer.tbs_certificate().subject())));
        }
        let revoked = list.tbs_cert_list.revoked_certificates.into_iter().flatten();
        let revoked = revoked.map(|entry| {
            let since = entry.revocation_date.to_unix_duration().as_secs();
            (entry.serial_number.as_bytes().to_vec(), since)
        });
        let extensions = list.tbs_cert_list.crl_extensions.unwrap_or_default();
        Ok(Self { number: number(&extensions)?, revoked: revoked.collect() })
    }

    /// Whether a certificate of this authority stands on it.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.revoked.iter().any(|(known, _)| known == serial(certificate))
    }

    /// Takes a certificate in. False when it stands there already.
    pub fn add(&mut self, certificate: &Certificate, since_s: u64) -> bool {
        let is_new = !self.has(certificate);
        if is_new {
            self.revoked.push((serial(certificate).to_vec(), since_s));
        }
        is_new
    }

    /// The list as PEM. `sign` gets the bytes to be signed and answers r ‖ s of the issuer's key, as [`super::issue`]
    /// wants them.
    ///
    /// `valid_s`: first second and the second of the next list (since 1970).
    pub fn to_pem(
        &self,
        suite: CryptoSuite,
        issuer: &Certificate,
        valid_s: (u64, u64),
        sign: impl FnOnce(&[u8]) -> Result<[u8; 64], PkiError>,
    ) -> Result<String, PkiError> {
        let oid = algorithms(suite).signature;
        let algorithm = x509_cert::spki::AlgorithmIdentifierOwned { oid, parameters: None };
        let entry = |(serial, since_s): &(Vec<u8>, u64)| {
            let serial_number = SerialNumber::new(serial).map_err(encoding)?;
            Ok(RevokedCert { serial_number, revocation_date: time(*since_s)?, crl_entry_extensions: None })
        };
        let revoked: Vec<_> = self.revoked.iter().map(entry).collect::<Result<_, PkiError>>()?;
        let tbs = TbsCertList::<Rfc5280> {
            version: x509_cert::Version::V2,
            signature: algorithm.clone(),
            issuer: issuer.tbs_certificate().subject().clone(),
            this_update: time(valid_s.0)?,
            next_update: Some(time(valid_s.1)?),
            // Absent when there is none (RFC 5280 5.1.2.6).
            revoked_certificates: (!revoked.is_empty()).then_some(revoked),
            crl_extensions: Some(self.extensions(issuer)?),
        };
        let signature = Signature(sign(&tbs.to_der().map_err(encoding)?)?).to_der();
        let signature = BitString::from_bytes(&signature).map_err(encoding)?;
        let list = CertificateList { tbs_cert_list: tbs, signature_algorithm: algorithm, signature };
        list.to_pem(x509_cert::der::pem::LineEnding::LF).map_err(encoding)
    }

    /// Both that every list carries (RFC 5280 5.2.1, 5.2.3).
    fn extensions(&self, issuer: &Certificate) -> Result<Vec<Extension>, PkiError> {
        let tbs = issuer.tbs_certificate();
        let (_, SubjectKeyIdentifier(key)) = tbs
            .get_extension::<SubjectKeyIdentifier>()
            .map_err(encoding)?
            .ok_or_else(|| encoding("the authority's certificate has no subject key identifier"))?;
        let authority = AuthorityKeyIdentifier { key_identifier: Some(key), ..Default::default() };
        let number = CrlNumber::from(Uint::new(&self.number.to_be_bytes()).map_err(encoding)?);
        let subject = tbs.subject();
        Ok(vec![
            authority.to_extension(subject, &[]).map_err(encoding)?,
            number.to_extension(subject, &[]).map_err(encoding)?,
        ])
    }
}

fn number(extensions: &[Extension]) -> Result<u64, PkiError> {
    use x509_cert::der::oid::AssociatedOid as _;
    let found = extensions.iter().find(|extension| extension.extn_id == CrlNumber::OID);
    let found = found.ok_or_else(|| unreadable("it has no number"))?;
    let number = CrlNumber::from_der(found.extn_value.as_bytes()).map_err(unreadable)?;
    let digits = number.0.as_bytes();
    if digits.len() > size_of::<u64>() {
        return Err(unreadable(format!("its number has {} bytes; at most 8 are read", digits.len())));
    }
    Ok(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}

fn unreadable(detail: impl std::fmt::Display) -> PkiError {
    PkiError::RevocationList(detail.to_string())
}
