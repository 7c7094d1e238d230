//! The marks of a retired guard as a file, for the host that its validator moves to.
//!
//! ```text
//! file = "BIXIGRD2" ‖ borsh(body) ‖ r ‖ s                 at most FILE_BYTES_MAX
//! r ‖ s = SM2 by the TLS key over DOMAIN ‖ borsh(body), default identity
//! ```
//!
//! Format 1 named no importer, so it opened any number of guards; it is refused.
//!
//! The consensus key signs consensus messages and nothing else, so the TLS key vouches for the file, over a domain of its own. The
//! importing side must know that key otherwise: it is its own where both hosts use one device, else an officer compares fingerprints.

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_accel::sm3;
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Mark, Ticket};

const MAGIC: &[u8; 8] = b"BIXIGRD2";
const DOMAIN: &[u8] = b"BIXI-HSM-GUARD-EXPORT-V2";
/// Longest file.
pub const FILE_BYTES_MAX: usize = 4096;
/// One for each lane.
const MARKS_MAX: usize = 2;

/// What a retired guard says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Export {
    /// Genesis hash.
    pub chain: H256,
    /// The consensus key that the guard watched over.
    pub node: NodeId,
    /// X ‖ Y of the TLS key that signs this.
    pub signer: [u8; 64],
    /// The only importer's.
    pub ticket: Ticket,
    /// Overrulings that this validator's guards have taken.
    pub overrulings: u64,
    /// When, in milliseconds since the Unix epoch by the host's clock.
    pub at_ms: u64,
    /// The statement at the mark of each lane.
    pub marks: Vec<Mark>,
}

/// A file that says nothing that can be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It is no export.
    #[error("it is no export of a sign-once guard: {0}")]
    Malformed(String),
    /// The signature is wrong.
    #[error("its signature is wrong: it was changed, or made up")]
    Signature,
}

impl Export {
    /// The bytes under the signature.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        self.serialize(&mut bytes).expect("borsh into memory cannot fail");
        bytes
    }

    /// The file.
    pub fn encode(&self, signature: &SignatureBytes) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        self.serialize(&mut bytes).expect("borsh into memory cannot fail");
        bytes.extend(signature.0);
        bytes
    }

    /// Reads a file and verifies it by the key that it names.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExportError> {
        let malformed = |reason: &str| ExportError::Malformed(reason.to_owned());
        if bytes.len() > FILE_BYTES_MAX {
            return Err(malformed("too long"));
        }
        if bytes.starts_with(b"BIXIGRD1") {
            return Err(malformed(
                "it is of an older version, which named no importer, so that any number of guards could begin where it ended; finish the move \
                 with that version, or rotate the consensus key (`bixi hsm rotate consensus`)",
            ));
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("it does not begin like one"))?;
        let (body, signature) = rest.split_last_chunk::<64>().ok_or_else(|| malformed("too short"))?;
        let export = Self::try_from_slice(body).map_err(|error| malformed(&error.to_string()))?;
        export.check().map_err(malformed)?;
        let key = PublicKey::from_bytes(&export.signer).map_err(|_| malformed("its key is none"))?;
        let digest = sm2::message_digest(&sm2::identity_digest(sm2::DEFAULT_ID, &key), &export.sign_bytes());
        match sm2::verify_digest(&key, &digest, &Signature(*signature)) {
            true => Ok(export),
            false => Err(ExportError::Signature),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.marks.len() > MARKS_MAX || self.marks.iter().any(|(claim, _)| claim.key != self.node) {
            return Err("its marks do not fit together");
        }
        match &self.marks[..] {
            [(a, _), (b, _)] if a.position.is_same_lane(b.position) => Err("it has two marks of one lane"),
            _ => Ok(()),
        }
    }

    /// SM3 of the file, which officers compare.
    pub fn fingerprint(file: &[u8]) -> H256 {
        H256(sm3::digest(file))
    }
}
