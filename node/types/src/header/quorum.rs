//! Whether enough validators signed a header.

use bixi_accel::sm2;

use super::BlockHeader;
use crate::consensus::ValidatorSet;
use crate::{CryptoSuite, H256, NodeId};

/// Why a header is not certified by a validator set. Refuse the header; its sender is faulty or of another chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// The header lists other validators, or other weights, than the set of its height.
    #[error("the header's sealer list or weights are not those of the validator set")]
    OtherSet,
    /// A signature's index is outside the list.
    #[error("signature of sealer {0}, who does not exist")]
    Index(i64),
    /// A validator signed twice.
    #[error("sealer {0} is in the signature list twice")]
    Duplicate(i64),
    /// A signature is not 64 (SM2) or 65 (secp256k1) bytes long.
    #[error("signature of sealer {index} has {found} bytes instead of {expected}")]
    Length {
        /// The signer.
        index: i64,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A signature is wrong.
    #[error("signature of sealer {0} is wrong")]
    Signature(i64),
    /// Not enough weight signed.
    #[error("weight {signed} signed, {needed} needed")]
    Weight {
        /// Weight of the signers.
        signed: u64,
        /// Quorum of the set.
        needed: u64,
    },
}

impl BlockHeader {
    /// Checks that the header names `set` and that its signatures are all valid and reach the set's quorum.
    ///
    /// One bad signature refuses the header even where the others suffice: honest nodes write none.
    pub fn verify_quorum(&self, suite: CryptoSuite, set: &ValidatorSet) -> Result<(), QuorumError> {
        self.check_set(set)?;
        let hash = self.hash(suite);
        let signed = self.signed_weight(suite, set)?;
        if signed < set.quorum_weight() {
            return Err(QuorumError::Weight { signed, needed: set.quorum_weight() });
        }
        match suite {
            CryptoSuite::Sm => self.verify_sm(&hash),
            CryptoSuite::Std => self.verify_std(&hash),
        }
    }

    fn check_set(&self, set: &ValidatorSet) -> Result<(), QuorumError> {
        let members = set.members();
        let same_length = self.sealer_list.len() == members.len() && self.consensus_weights.len() == members.len();
        let same = self
            .sealer_list
            .iter()
            .zip(&self.consensus_weights)
            .zip(members)
            .all(|((id, weight), member)| *id == member.id && u64::try_from(*weight) == Ok(member.weight));
        if same_length && same { Ok(()) } else { Err(QuorumError::OtherSet) }
    }

    /// Weight of the listed signers, whose entries are well-formed and distinct.
    fn signed_weight(&self, suite: CryptoSuite, set: &ValidatorSet) -> Result<u64, QuorumError> {
        let expected = match suite {
            CryptoSuite::Sm => 64,
            CryptoSuite::Std => 65,
        };
        let mut seen = vec![false; set.members().len()];
        let mut signed = 0;
        for entry in &self.signature_list {
            let index = entry.sealer_index;
            let place = usize::try_from(index).ok().filter(|place| *place < seen.len());
            let place = place.ok_or(QuorumError::Index(index))?;
            if std::mem::replace(&mut seen[place], true) {
                return Err(QuorumError::Duplicate(index));
            }
            let found = entry.signature.len();
            if found != expected {
                return Err(QuorumError::Length { index, found, expected });
            }
            signed += set.members()[place].weight;
        }
        Ok(signed)
    }

    fn verify_sm(&self, hash: &H256) -> Result<(), QuorumError> {
        let items: Vec<sm2::VerifyItem<'_>> = self
            .signature_list
            .iter()
            .map(|entry| sm2::VerifyItem {
                key: sm2::KeyRef::Raw(&self.signer(entry.sealer_index).0),
                message: &hash.0,
                signature: entry.signature.first_chunk().expect("signed_weight checked the length"),
            })
            .collect();
        let mut verdicts = vec![false; items.len()];
        sm2::verify_batch(&items, &mut verdicts);
        let wrong = self.signature_list.iter().zip(verdicts).find(|(_, verdict)| !verdict);
        wrong.map_or(Ok(()), |(entry, _)| Err(QuorumError::Signature(entry.sealer_index)))
    }

    fn verify_std(&self, hash: &H256) -> Result<(), QuorumError> {
        for entry in &self.signature_list {
            let recovered = crate::transaction::recover(hash, &entry.signature);
            if recovered.as_ref() != Some(&self.signer(entry.sealer_index).0) {
                return Err(QuorumError::Signature(entry.sealer_index));
            }
        }
        Ok(())
    }

    fn signer(&self, index: i64) -> &NodeId {
        &self.sealer_list[index as usize]
    }
}
