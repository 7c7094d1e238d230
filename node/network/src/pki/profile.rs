//! Which extensions a certificate of a role carries.

use x509_cert::TbsCertificate;
use x509_cert::builder::Result;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::der::asn1::OctetString;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::pki::issue::Role;

pub(super) struct Profile {
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) role: Role,
    /// The suite's.
    pub(super) digest: fn(&[u8]) -> [u8; 32],
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        subject_key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>> {
        let mut extensions = Vec::new();
        let mut add = |extension: Extension| extensions.push(extension);
        let subject = tbs.subject();
        add(SubjectKeyIdentifier(self.key_identifier(&subject_key)?).to_extension(subject, &[])?);
        let authority =
            AuthorityKeyIdentifier { key_identifier: Some(self.key_identifier(&issuer_key)?), ..Default::default() };
        add(authority.to_extension(subject, &[])?);
        let ca = self.role == Role::Ca;
        // A CA here signs end entities only: no further CA below it.
        let constraints = BasicConstraints { ca, path_len_constraint: ca.then_some(0) };
        add(constraints.to_extension(subject, &[])?);
        let usage = if ca { KeyUsages::KeyCertSign | KeyUsages::CRLSign } else { KeyUsages::DigitalSignature.into() };
        add(KeyUsage(usage).to_extension(subject, &[])?);
        if !ca {
            let both = ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH]);
            add(both.to_extension(subject, &[])?);
        }
        Ok(extensions)
    }
}

impl Profile {
    /// First 160 bits of a digest of the public key's bits: RFC 7093's method 1, in suite `sm` with SM3 in SHA-256's place.
    fn key_identifier(&self, key: &SubjectPublicKeyInfoRef<'_>) -> Result<OctetString> {
        let digest = (self.digest)(key.subject_public_key.raw_bytes());
        Ok(OctetString::new(&digest[..20])?)
    }
}
