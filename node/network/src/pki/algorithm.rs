//! SM2's identifiers, and the newtypes through which the certificate builder knows keys it never holds.

use signature::Keypair;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier};
use x509_cert::der::{Document, Encode};
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoOwned,
};

/// id-ecPublicKey (RFC 5480).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// SM2 curve (GM/T 0006).
pub(super) const SM2_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.301");
/// SM2 signature with SM3 (GM/T 0006).
pub(super) const SM2_WITH_SM3: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.501");

/// The public key X ‖ Y as a SubjectPublicKeyInfo.
pub(super) fn subject_public_key_info(key: &[u8; 64]) -> Result<SubjectPublicKeyInfoOwned, spki::Error> {
    let mut point = vec![4];
    point.extend_from_slice(key);
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some(Any::from(SM2_CURVE)) },
        subject_public_key: BitString::from_bytes(&point)?,
    })
}

/// An issuer known by its public key alone.
#[derive(Clone)]
pub(super) struct Issuer(pub(super) [u8; 64]);

impl Keypair for Issuer {
    type VerifyingKey = Self;

    fn verifying_key(&self) -> Self {
        self.clone()
    }
}

impl EncodePublicKey for Issuer {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(subject_public_key_info(&self.0)?.to_der()?)?)
    }
}

impl DynSignatureAlgorithmIdentifier for Issuer {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: SM2_WITH_SM3, parameters: None })
    }
}
