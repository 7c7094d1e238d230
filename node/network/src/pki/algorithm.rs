//! The newtype through which the certificate builder knows a key it never holds.

use signature::Keypair;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier};
use x509_cert::der::{Document, Encode};
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoOwned,
};

use crate::suite::{Algorithms, uncompressed};

/// id-ecPublicKey (RFC 5480).
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The public key X ‖ Y as a SubjectPublicKeyInfo.
pub(super) fn subject_public_key_info(
    algorithms: &Algorithms,
    key: &[u8; 64],
) -> Result<SubjectPublicKeyInfoOwned, spki::Error> {
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some(Any::from(algorithms.curve)) },
        subject_public_key: BitString::from_bytes(&uncompressed(key))?,
    })
}

/// An issuer known by its public key alone.
#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) algorithms: &'static Algorithms,
    pub(super) key: [u8; 64],
}

impl Keypair for Issuer {
    type VerifyingKey = Self;

    fn verifying_key(&self) -> Self {
        self.clone()
    }
}

impl EncodePublicKey for Issuer {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(subject_public_key_info(self.algorithms, &self.key)?.to_der()?)?)
    }
}

impl DynSignatureAlgorithmIdentifier for Issuer {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: self.algorithms.signature, parameters: None })
    }
}
