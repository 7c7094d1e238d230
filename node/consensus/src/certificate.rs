//! Quorum rules. Signatures are checked by the host; here we count who signed.
//!
//! A quorum is more than two thirds of the weight, so two quorums share an honest validator; more than one third contains
//! one.

use bixi_types::NodeId;
use bixi_types::consensus::{CommitCertificate, ValidatorSet};

/// Why a list of signers proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// A signer is not in the validator set.
    #[error("{0} is not a validator of this height")]
    NotMember(NodeId),
    /// A signer is counted twice.
    #[error("{0} signed twice")]
    Duplicate(NodeId),
    /// Too little weight.
    #[error("weight {found} of at least {needed}")]
    TooLittle {
        /// Weight of the signers.
        found: u64,
        /// Weight required.
        needed: u64,
    },
    /// The certificate is about something else.
    #[error("certificate for another value or height")]
    Mismatch,
}

/// Weight of distinct members among `signers`.
pub fn weight<'a>(set: &ValidatorSet, signers: impl IntoIterator<Item = &'a NodeId>) -> Result<u64, QuorumError> {
    let mut seen = vec![false; set.members().len()];
    let mut total = 0;
    for node in signers {
        let index = set.index_of(node).ok_or(QuorumError::NotMember(*node))?;
        if std::mem::replace(&mut seen[index], true) {
            return Err(QuorumError::Duplicate(*node));
        }
        total += set.members()[index].weight;
    }
    Ok(total)
}

/// Whether `signers` are a quorum: more than two thirds.
pub fn quorum<'a>(set: &ValidatorSet, signers: impl IntoIterator<Item = &'a NodeId>) -> Result<(), QuorumError> {
    at_least(weight(set, signers)?, set.quorum_weight())
}

/// Whether `signers` contain an honest validator: more than one third.
pub fn honest<'a>(set: &ValidatorSet, signers: impl IntoIterator<Item = &'a NodeId>) -> Result<(), QuorumError> {
    at_least(weight(set, signers)?, set.total_weight() / 3 + 1)
}

/// Whether `certificate` proves that `value` was decided at `height`; its signatures are already checked.
pub fn commit(
    set: &ValidatorSet,
    height: u64,
    value: &bixi_types::H256,
    certificate: &CommitCertificate,
) -> Result<(), QuorumError> {
    if certificate.height != height || certificate.value != *value {
        return Err(QuorumError::Mismatch);
    }
    quorum(set, certificate.signatures.iter().map(|(node, _)| node))
}

fn at_least(found: u64, needed: u64) -> Result<(), QuorumError> {
    if found >= needed { Ok(()) } else { Err(QuorumError::TooLittle { found, needed }) }
}

#[cfg(test)]
mod tests;
