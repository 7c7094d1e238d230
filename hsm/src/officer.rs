//! Officers who overrule a checkpoint together: what they sign, what a signature of theirs is, and the rule of two.
//!
//! A validator that executed a height wrongly has signed a header that no quorum will certify, and its guard refuses another one. Two
//! officers whose keys the node file names may have it sign the right one: each signs the same statement, which says what stands there
//! and what shall stand there instead.
//!
//! ```text
//! statement = "BIXIOVR1" ‖ borsh(Override)                        at most STATEMENT_BYTES_MAX
//! approval  = "BIXIOVA1" ‖ SM3(statement) ‖ X ‖ Y ‖ r ‖ s         exactly APPROVAL_BYTES
//! r ‖ s     = SM2 by the officer over DOMAIN ‖ statement, default identity
//! ```
//!
//! Invariants: a statement is for one guard of one chain and one place in the order of its overrulings, so it is taken once; two
//! approvals of one officer are one; nobody approves with the node's own keys.

pub mod key;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_accel::sm3;
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

const STATEMENT_MAGIC: &[u8; 8] = b"BIXIOVR1";
const APPROVAL_MAGIC: &[u8; 8] = b"BIXIOVA1";
const DOMAIN: &[u8] = b"BIXI-HSM-OVERRIDE-V1";
/// Longest statement.
pub const STATEMENT_BYTES_MAX: usize = 8192;
/// Length of an approval.
pub const APPROVAL_BYTES: usize = 8 + 32 + 64 + 64;
/// Heights of one statement.
pub const CHANGES_MAX: usize = 64;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Officers whose approval a guard asks for.
pub const OFFICERS_WANTED: usize = 2;

/// One checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Change {
    /// Height of the header.
    pub height: u64,
    /// Hash of the header that was signed.
    pub old: H256,
    /// Hash of the header to be signed instead.
    pub new: H256,
}

/// What two officers sign.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Override {
    /// Genesis hash.
    pub chain: H256,
    /// The validator's consensus key.
    pub node: NodeId,
    /// Which overruling of its guard this is, from 1.
    pub number: u64,
    /// Heights, ascending.
    pub changes: Vec<Change>,
    /// Why, in the officers' words.
    pub reason: String,
    /// When it was written, in milliseconds since the Unix epoch by the node's clock.
    pub at_ms: u64,
}

/// An officer's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// SM3 of the statement.
    pub statement: [u8; 32],
    /// X ‖ Y of the officer's key.
    pub officer: [u8; 64],
    /// r ‖ s.
    pub signature: [u8; 64],
}

/// Why nothing is overruled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// A file is not what it should be.
    #[error("it is no {what}: {reason}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// An approval is of another statement.
    #[error("the approval of officer {0} is of another statement")]
    OtherStatement(NodeId),
    /// An approval's signature is wrong.
    #[error("the approval of officer {0} has a wrong signature")]
    Signature(NodeId),
    /// The node file does not name the officer.
    #[error("{0} is no officer of this node: hsm.officers does not name that key")]
    Stranger(NodeId),
    /// Fewer officers than wanted.
    #[error("{found} officers approved; {OFFICERS_WANTED} different ones must")]
    TooFew {
        /// Different officers who approved.
        found: usize,
    },
}

impl Override {
    /// The file that officers sign.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = STATEMENT_MAGIC.to_vec();
        self.serialize(&mut bytes).expect("borsh into memory cannot fail");
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`OverrideError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OverrideError> {
        let malformed = |reason: String| OverrideError::Malformed { what: "statement of an override", reason };
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(malformed("too long".into()));
        }
        let body = bytes.strip_prefix(STATEMENT_MAGIC).ok_or_else(|| malformed("it does not begin like one".into()))?;
        let read = Self::try_from_slice(body).map_err(|error| malformed(error.to_string()))?;
        read.check().map_err(|reason| malformed(reason.into()))?;
        Ok(read)
    }

    /// Whether it says something that can be approved.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(1..=CHANGES_MAX).contains(&self.changes.len()) {
            return Err("it has no height, or too many");
        }
        if !self.changes.is_sorted_by(|a, b| a.height < b.height) {
            return Err("its heights do not ascend");
        }
        if self.changes.iter().any(|change| change.old == change.new || change.height == 0) {
            return Err("it changes nothing at some height");
        }
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            return Err("its reason is empty or too long");
        }
        // Officers read it on a terminal before they sign.
        if self.reason.chars().any(char::is_control) {
            return Err("its reason has control characters");
        }
        Ok(())
    }

    /// SM3 of the file.
    pub fn fingerprint(&self) -> H256 {
        H256(sm3::digest(&self.encode()))
    }

    /// The bytes under an officer's signature.
    pub fn sign_bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.encode()].concat()
    }

    /// The officers who approved, if two of `officers` did.
    ///
    /// # Errors
    /// Names the first approval that does not count, or says that there are too few.
    pub fn approved_by(
        &self,
        officers: &[[u8; 64]],
        approvals: &[Approval],
    ) -> Result<BTreeSet<[u8; 64]>, OverrideError> {
        let mut found = BTreeSet::new();
        for approval in approvals {
            let officer = NodeId(approval.officer);
            if !officers.contains(&approval.officer) || officer == self.node {
                return Err(OverrideError::Stranger(officer));
            }
            if approval.statement != self.fingerprint().0 {
                return Err(OverrideError::OtherStatement(officer));
            }
            if !approval.verifies(self) {
                return Err(OverrideError::Signature(officer));
            }
            found.insert(approval.officer);
        }
        match found.len() {
            enough if enough >= OFFICERS_WANTED => Ok(found),
            found => Err(OverrideError::TooFew { found }),
        }
    }
}

impl Approval {
    fn verifies(&self, statement: &Override) -> bool {
        let Ok(key) = PublicKey::from_bytes(&self.officer) else { return false };
        let digest = sm2::message_digest(&sm2::identity_digest(sm2::DEFAULT_ID, &key), &statement.sign_bytes());
        sm2::verify_digest(&key, &digest, &Signature(self.signature))
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        [&APPROVAL_MAGIC[..], &self.statement, &self.officer, &self.signature].concat()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`OverrideError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OverrideError> {
        let read = || {
            let rest = bytes.strip_prefix(APPROVAL_MAGIC)?;
            let (statement, rest) = rest.split_first_chunk::<32>()?;
            let (officer, rest) = rest.split_first_chunk::<64>()?;
            Some(Self { statement: *statement, officer: *officer, signature: rest.try_into().ok()? })
        };
        read().ok_or_else(|| OverrideError::Malformed {
            what: "approval",
            reason: format!("it has not the beginning or not the length, {APPROVAL_BYTES} bytes, of one"),
        })
    }
}
