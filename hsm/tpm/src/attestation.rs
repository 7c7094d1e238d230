//! Proof about keys (`TPM2_Certify`, part 3, 18.2): the TPM states a key's name under a key that signs nothing else.
//!
//! A key's name is the hash of its public area, which holds its public key and its attributes. So the statement proves that
//! this public key belongs to a private key that was made inside that TPM and leaves neither it nor its parent. Whoever checks
//! must know the attestation key: its name is printed when a store is initialised. Nothing here ties that key to the TPM's
//! maker; so the device calls itself self-reported, and the ceremony is where trust begins.
//!
//! Evidence, format `tpm2-certify`: statement (`TPM2B_ATTEST`) ‖ r ‖ s (ECDSA on P-256 with SHA-256) ‖ public area of the attestation
//! key (`TPM2B_PUBLIC`) ‖ public area of the key.

use bixi_hsm::{KeyKind, KeyRef};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::kdf::sha256;
use crate::key::{RawSignature, STATEMENT_BYTES_MAX};
use crate::public::{PUBLIC_BYTES_MAX, Public, name_of};
use crate::wire::{Malformed, Reader, Writer};

/// Name of the evidence's format.
pub const FORMAT: &str = "tpm2-certify";
/// Longest evidence that is read.
pub const EVIDENCE_BYTES_MAX: usize = 2048;

/// `TPM_GENERATED_VALUE`: a TPM signs nothing beginning so that it did not make itself.
const MAGIC: u32 = 0xFF54_4347;
/// `TPM_ST_ATTEST_CERTIFY`.
const CERTIFY: u16 = 0x8017;
const DOMAIN: &[u8] = b"BIXI-TPM-ATTEST-V1";

/// Why evidence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// It cannot be read.
    #[error("the evidence is {0}")]
    Malformed(String),
    /// Another attestation key than the expected one.
    #[error("the evidence names another attestation key than the one expected; compare with what the ceremony printed")]
    OtherAttestationKey,
    /// The attestation key could sign what no TPM stated.
    #[error("the attestation key is not one that signs a TPM's own statements only")]
    AttestationKey,
    /// The signature is wrong.
    #[error("the signature of the attestation key is wrong: the evidence was changed, or made up")]
    Signature,
    /// It was made for another question.
    #[error("the evidence answers another challenge: it may be old")]
    Challenge,
    /// It is about another key than the public area beside it.
    #[error("the statement is about another key than the evidence shows")]
    OtherKey,
    /// The key could leave the TPM, came from outside, or is for something else.
    #[error("the key is not sealed in the TPM, or is for another use")]
    NotSealedIn,
}

impl From<Malformed> for EvidenceError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What a TPM stated about a key, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The key's name: algorithm ‖ hash of its public area.
    pub name: Vec<u8>,
    /// What it is for.
    pub kind: KeyKind,
    /// X ‖ Y of a signing key.
    pub public_key: Option<[u8; 64]>,
    /// How often the TPM had been reset.
    pub resets: u32,
    /// Version of the TPM's firmware.
    pub firmware: u64,
}

/// What evidence is qualified by when nobody asked with a challenge: it belongs to this reference, label included.
pub fn challenge_of(key: &KeyRef) -> [u8; 32] {
    sha256(&[DOMAIN, key.to_string().as_bytes()])
}

/// Puts evidence together.
pub(crate) fn evidence(statement: &[u8], signature: &RawSignature, attestation_key: &[u8], key: &[u8]) -> Vec<u8> {
    Writer::new().sized(statement).bytes(signature).sized(attestation_key).sized(key).as_slice().to_vec()
}

/// Checks evidence against the `challenge` it must answer and the name of the attestation key the caller trusts.
///
/// # Errors
/// [`EvidenceError`]: it then proves nothing.
pub fn verify(evidence: &[u8], challenge: &[u8], attestation_key: &[u8]) -> Result<Statement, EvidenceError> {
    if evidence.len() > EVIDENCE_BYTES_MAX {
        return Err(EvidenceError::Malformed(format!("longer than {EVIDENCE_BYTES_MAX} bytes")));
    }
    let mut reader = Reader::new(evidence);
    let statement = reader.sized(STATEMENT_BYTES_MAX, "statement")?;
    let signature = reader.take(64, "signature")?;
    let signer = reader.sized(PUBLIC_BYTES_MAX, "attestation key")?;
    let area = reader.sized(PUBLIC_BYTES_MAX, "key")?;
    reader.end("end of the evidence")?;
    if name_of(signer) != attestation_key {
        return Err(EvidenceError::OtherAttestationKey);
    }
    let point = Public::decode(signer)?.attestation_point().ok_or(EvidenceError::AttestationKey)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.sec1())
        .verify(statement, signature)
        .map_err(|_| EvidenceError::Signature)?;
    let stated = Stated::decode(statement)?;
    if stated.qualifying != challenge {
        return Err(EvidenceError::Challenge);
    }
    let name = name_of(area);
    if stated.name != name {
        return Err(EvidenceError::OtherKey);
    }
    let public = Public::decode(area)?;
    let kind = public.kind().ok_or(EvidenceError::NotSealedIn)?;
    let public_key = match public {
        Public::Ecc { point, .. } => Some(point.xy()),
        Public::Hmac { .. } => None,
    };
    Ok(Statement { name, kind, public_key, resets: stated.resets, firmware: stated.firmware })
}

/// `TPMS_ATTEST` of a certified key (part 2, 10.12).
struct Stated<'a> {
    qualifying: &'a [u8],
    resets: u32,
    firmware: u64,
    name: &'a [u8],
}

impl<'a> Stated<'a> {
    fn decode(statement: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(statement);
        if reader.u32("magic")? != MAGIC {
            return Err(Malformed("magic"));
        }
        reader.expect(CERTIFY, "type of the statement")?;
        reader.sized(66, "name of the signer")?;
        let qualifying = reader.sized(64, "challenge")?;
        reader.u64("clock")?;
        let resets = reader.u32("reset count")?;
        reader.u32("restart count")?;
        reader.u8("clock's safety")?;
        let firmware = reader.u64("firmware")?;
        let name = reader.sized(66, "name of the key")?;
        reader.sized(66, "qualified name of the key")?;
        reader.end("end of the statement")?;
        Ok(Self { qualifying, resets, firmware, name })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;
    use crate::public::Template;

    fn with_point(template: &Template, point: &[u8]) -> Vec<u8> {
        let area = template.area();
        Writer::new().bytes(&area[..area.len() - 4]).sized(&point[..32]).sized(&point[32..]).as_slice().to_vec()
    }

    fn statement(name: &[u8], challenge: &[u8]) -> Vec<u8> {
        let start = Writer::new().u32(MAGIC).u16(CERTIFY).sized(&[1; 34]).sized(challenge);
        start.bytes(&[0; 8]).u32(5).u32(0).u8(1).bytes(&[9; 8]).sized(name).sized(&[2; 34]).as_slice().to_vec()
    }

    /// Evidence of an honest TPM about an HMAC key, and the name of its attestation key.
    fn honest(challenge: &[u8], template: &Template) -> (Vec<u8>, Vec<u8>) {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let signer_area = with_point(template, &signer.public_key().as_ref()[1..]);
        let key = Template::hmac().area();
        let statement = statement(&name_of(&key), challenge);
        let signature = signer.sign(&random, &statement).unwrap();
        let signature = signature.as_ref().try_into().unwrap();
        (evidence(&statement, &signature, &signer_area, &key), name_of(&signer_area))
    }

    #[test]
    fn an_honest_statement_is_read() {
        let (evidence, signer) = honest(b"challenge", &Template::attestation());
        let stated = verify(&evidence, b"challenge", &signer).unwrap();
        assert_eq!((stated.kind, stated.public_key, stated.resets), (KeyKind::Kek, None, 5));
        assert_eq!(stated.name, name_of(&Template::hmac().area()));
    }

    #[test]
    fn another_challenge_another_key_and_a_key_that_signs_anything_are_refused() {
        let (evidence, signer) = honest(b"challenge", &Template::attestation());
        assert_eq!(verify(&evidence, b"other", &signer), Err(EvidenceError::Challenge));
        assert_eq!(verify(&evidence, b"challenge", &[0; 34]), Err(EvidenceError::OtherAttestationKey));
        let free = Template::key(KeyKind::Sm2Sign, crate::public::Algorithms { sm3: false, aes: true }).unwrap();
        let (evidence, signer) = honest(b"challenge", &free);
        assert_eq!(verify(&evidence, b"challenge", &signer), Err(EvidenceError::AttestationKey));
    }

    #[test]
    fn a_statement_about_another_key_is_refused() {
        let (evidence, signer) = honest(b"challenge", &Template::attestation());
        // The key's area is the last part; another key of the same shape is put in its place.
        let mut swapped = evidence.clone();
        let end = swapped.len() - 1;
        swapped.truncate(end - 1);
        swapped.extend([0, 1, 7]);
        let grown = Template::hmac().area().len() + 1;
        let at = swapped.len() - grown - 2;
        swapped[at..at + 2].copy_from_slice(&u16::try_from(grown).unwrap().to_be_bytes());
        assert_eq!(verify(&swapped, b"challenge", &signer), Err(EvidenceError::OtherKey));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn changed_or_cut_evidence_proves_nothing(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
            let (mut evidence, signer) = honest(b"challenge", &Template::attestation());
            let at = at.index(evidence.len());
            if cut {
                evidence.truncate(at);
            } else {
                evidence[at] ^= 1 << bit;
            }
            prop_assert!(verify(&evidence, b"challenge", &signer).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(verify(&bytes, b"challenge", &[0; 34]).is_err());
            let _ = Stated::decode(&bytes);
        }
    }
}
