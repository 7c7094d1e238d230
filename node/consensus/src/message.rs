//! What validators send each other, bounded on decoding, and which signatures must hold before a message is believed.

use bixi_types::consensus::{
    CheckpointVote, CommitCertificate, Proposal, SignatureBytes, SignedProposal, SignedVote, ValidatorSet, Value, Vote,
    VoteKind,
};
use bixi_types::limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX, VALUE_BATCHES_MAX};
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::{self, QuorumError};
use crate::context::proposer_index;
use crate::error::DecodeError;

/// Step of a round, in the order a validator signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// The proposal.
    Propose,
    /// The first vote.
    Prevote,
    /// The second vote.
    Precommit,
}

/// Place of a signed message in a validator's ordering lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Mark {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// Step.
    pub step: Step,
}

impl Mark {
    /// Where a vote stands.
    pub fn of_vote(vote: &Vote) -> Self {
        let step = match vote.kind {
            VoteKind::Prevote => Step::Prevote,
            VoteKind::Precommit => Step::Precommit,
        };
        Self { height: vote.height, round: vote.round, step }
    }
}

/// A quorum of prevotes for one value.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PolkaCertificate {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// The value.
    pub value: H256,
    /// Voter and its prevote's signature.
    pub signatures: Vec<(NodeId, SignatureBytes)>,
}

/// What a round certificate proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RoundCertificateKind {
    /// More than a third voted in `round`, so it may be entered.
    Skip,
    /// A quorum precommitted in `round`, so the next may be entered.
    Precommit,
}

/// One vote inside a round certificate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundSignature {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The value; `None` is nil.
    pub value: Option<H256>,
    /// The voter.
    pub validator: NodeId,
    /// Its signature.
    pub signature: SignatureBytes,
}

/// Votes that justify entering a round.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundCertificate {
    /// Height.
    pub height: u64,
    /// Round of the votes.
    pub round: u32,
    /// What it proves.
    pub kind: RoundCertificateKind,
    /// The votes.
    pub signatures: Vec<RoundSignature>,
}

/// A quorum of checkpoint votes for one header.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointCertificate {
    /// Height.
    pub height: u64,
    /// Hash of the executed header.
    pub header_hash: H256,
    /// Voter and its signature over the hash.
    pub signatures: Vec<(NodeId, SignatureBytes)>,
}

/// A message of the asker, given back to it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Held {
    /// A vote.
    Vote(SignedVote),
    /// A proposal without its value.
    Proposal(Proposal, SignatureBytes),
}

impl Held {
    /// Its place in the asker's lane.
    pub fn mark(&self) -> Mark {
        match self {
            Self::Vote(signed) => Mark::of_vote(&signed.vote),
            Self::Proposal(proposal, _) => Mark { height: proposal.height, round: proposal.round, step: Step::Propose },
        }
    }

    /// The asker's signature, to be verified before the answer counts.
    pub fn check(&self, chain: H256, asker: NodeId) -> Result<SignatureCheck, Unchecked> {
        let (signer, found, bytes, signature) = match self {
            Self::Vote(SignedVote { vote, signature }) => (vote.validator, vote.chain, vote.sign_bytes(), *signature),
            Self::Proposal(proposal, signature) => {
                (proposal.validator, proposal.chain, proposal.sign_bytes(), *signature)
            }
        };
        chain_matches(found, chain)?;
        if signer != asker {
            return Err(Unchecked::Malformed("a message of another node in a mark answer"));
        }
        Ok(check(signer, bytes, signature))
    }
}

/// Everything the consensus room says to its peers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// A proposal with its value.
    Proposal(SignedProposal),
    /// A prevote or precommit.
    Vote(SignedVote),
    /// Liveness: proof of a polka.
    Polka(PolkaCertificate),
    /// Liveness: proof that a round may be entered.
    Round(RoundCertificate),
    /// A vote over an executed header.
    Checkpoint(CheckpointVote),
    /// A decided value, to a node that missed the decision.
    Decided {
        /// The value.
        value: Value,
        /// Proof of the decision.
        certificate: CommitCertificate,
    },
    /// A certified header, to a node that missed the votes.
    Certified(CheckpointCertificate),
    /// How far the sender is; sent now and then by everyone.
    Status {
        /// Last height decided.
        decided: u64,
        /// Last height certified.
        certified: u64,
    },
    /// Please send decisions and certified headers above these heights.
    Request {
        /// Last height the asker holds a decision of.
        decided: u64,
        /// Last height the asker holds a certificate of.
        certified: u64,
    },
    /// Asked after a start: what is the highest message of mine you hold?
    MarkRequest {
        /// Chosen by the asker, repeated in the answer.
        nonce: u64,
    },
    /// Answer to [`Message::MarkRequest`].
    MarkAnswer {
        /// The asker's nonce.
        nonce: u64,
        /// Last height the sender holds a decision of. Of the heights up to it the sender may have forgotten the asker's messages.
        decided: u64,
        /// Highest ordering message of the asker held by the sender; signed by the asker, so nobody can invent one.
        held: Option<Held>,
    },
}

/// One signature the host must find valid before a message is fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureCheck {
    /// The signer.
    pub node: NodeId,
    /// The signed bytes (not their digest).
    pub bytes: Vec<u8>,
    /// r ‖ s.
    pub signature: SignatureBytes,
}

/// Why a message is dropped before any signature is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unchecked {
    /// The validator set of its height is not known yet; the sender will repeat or be asked.
    #[error("the validators of height {0} are not known yet")]
    UnknownHeight(u64),
    /// We have it already.
    #[error("already known")]
    Known,
    /// Its signer is not a validator of that height. Charge the sender.
    #[error("the signer is not a validator of that height")]
    NotMember,
    /// It breaks a rule every honest sender keeps. Charge the sender.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Message {
    /// The encoding sent to peers.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    /// Reads exactly one message; every list is bounded.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: bytes.len(), limit: MESSAGE_BYTES_MAX });
        }
        let message = Self::try_from_slice(bytes)
            .map_err(|error| DecodeError::Malformed { what: "consensus message", detail: error.to_string() })?;
        message.check_bounds()?;
        Ok(message)
    }

    fn check_bounds(&self) -> Result<(), DecodeError> {
        match self {
            Self::Proposal(proposal) => bounded_value(&proposal.value),
            Self::Polka(polka) => bounded_signatures(polka.signatures.len()),
            Self::Round(round) => bounded_signatures(round.signatures.len()),
            Self::Certified(certificate) => bounded_signatures(certificate.signatures.len()),
            Self::Decided { value, certificate } => {
                bounded_value(value)?;
                bounded_signatures(certificate.signatures.len())
            }
            _ => Ok(()),
        }
    }

    /// The height the message belongs to, when it belongs to one.
    pub fn height(&self) -> Option<u64> {
        match self {
            Self::Proposal(proposal) => Some(proposal.proposal.height),
            Self::Vote(vote) => Some(vote.vote.height),
            Self::Polka(polka) => Some(polka.height),
            Self::Round(round) => Some(round.height),
            Self::Checkpoint(vote) => Some(vote.height),
            Self::Decided { certificate, .. } => Some(certificate.height),
            Self::Certified(certificate) => Some(certificate.height),
            _ => None,
        }
    }

    /// The signatures to verify before the message may be fed, given the validators of its height. Membership, the chain, the
    /// proposer's turn and the signers of a certificate (distinct and enough) are checked here, so no signature is checked
    /// for a certificate that would prove nothing; an empty list means nothing is signed.
    pub fn checks(&self, chain: H256, set: Option<&ValidatorSet>) -> Result<Vec<SignatureCheck>, Unchecked> {
        let Some(height) = self.height() else { return Ok(Vec::new()) };
        let set = set.ok_or(Unchecked::UnknownHeight(height))?;
        let checks = match self {
            Self::Proposal(proposal) => vec![proposal_check(proposal, chain, set)?],
            Self::Vote(vote) => {
                chain_matches(vote.vote.chain, chain)?;
                vec![check(vote.vote.validator, vote.vote.sign_bytes(), vote.signature)]
            }
            Self::Polka(polka) => {
                proven(certificate::quorum(set, polka.signatures.iter().map(|(node, _)| node)))?;
                polka_checks(polka, chain)
            }
            Self::Round(round) => {
                proven(enough_to_enter(round, set))?;
                round_checks(round, chain)
            }
            Self::Checkpoint(vote) => vec![check(vote.validator, vote.header_hash.0.to_vec(), vote.signature)],
            Self::Decided { value, certificate } => {
                if value.height != certificate.height {
                    return Err(Unchecked::Malformed("value of another height"));
                }
                proven(certificate::quorum(set, certificate.signatures.iter().map(|(node, _)| node)))?;
                commit_checks(certificate, chain)
            }
            Self::Certified(certificate) => {
                proven(certificate::quorum(set, certificate.signatures.iter().map(|(node, _)| node)))?;
                certified_checks(certificate)
            }
            _ => Vec::new(),
        };
        if checks.iter().any(|check| set.index_of(&check.node).is_none()) {
            return Err(Unchecked::NotMember);
        }
        Ok(checks)
    }
}

/// Whether the votes of a round certificate, once verified, allow to enter its round.
fn enough_to_enter(round: &RoundCertificate, set: &ValidatorSet) -> Result<(), QuorumError> {
    let signers = round.signatures.iter().map(|entry| &entry.validator);
    match round.kind {
        RoundCertificateKind::Skip => certificate::honest(set, signers),
        RoundCertificateKind::Precommit if round.signatures.iter().any(|entry| entry.kind == VoteKind::Prevote) => {
            Err(QuorumError::Mismatch)
        }
        RoundCertificateKind::Precommit => certificate::quorum(set, signers),
    }
}

fn proven(counted: Result<(), QuorumError>) -> Result<(), Unchecked> {
    counted.map_err(|error| match error {
        QuorumError::NotMember(_) => Unchecked::NotMember,
        _ => Unchecked::Malformed("a certificate without enough distinct signers"),
    })
}

/// The precommits a commit certificate claims.
pub fn commit_checks(certificate: &CommitCertificate, chain: H256) -> Vec<SignatureCheck> {
    let vote = |validator| Vote {
        chain,
        height: certificate.height,
        round: certificate.round,
        kind: VoteKind::Precommit,
        value: Some(certificate.value),
        validator,
    };
    let signatures = certificate.signatures.iter();
    signatures.map(|(node, signature)| check(*node, vote(*node).sign_bytes(), *signature)).collect()
}

fn proposal_check(signed: &SignedProposal, chain: H256, set: &ValidatorSet) -> Result<SignatureCheck, Unchecked> {
    let proposal = &signed.proposal;
    chain_matches(proposal.chain, chain)?;
    if signed.value.height != proposal.height {
        return Err(Unchecked::Malformed("value of another height"));
    }
    let turn = proposer_index(set.members().len(), proposal.height, proposal.round);
    if set.members()[turn].id != proposal.validator {
        return Err(Unchecked::Malformed("not the proposer of that round"));
    }
    match proposal.pol_round {
        None if signed.value.builder as usize != turn => {
            return Err(Unchecked::Malformed("a fresh value built by another validator"));
        }
        Some(pol_round) if pol_round >= proposal.round => {
            return Err(Unchecked::Malformed("proof of lock from a round that is not earlier"));
        }
        _ => {}
    }
    Ok(check(proposal.validator, proposal.sign_bytes(), signed.signature))
}

fn polka_checks(polka: &PolkaCertificate, chain: H256) -> Vec<SignatureCheck> {
    let (height, round, value) = (polka.height, polka.round, Some(polka.value));
    let vote = |validator| Vote { chain, height, round, kind: VoteKind::Prevote, value, validator };
    polka.signatures.iter().map(|(node, signature)| check(*node, vote(*node).sign_bytes(), *signature)).collect()
}

fn round_checks(certificate: &RoundCertificate, chain: H256) -> Vec<SignatureCheck> {
    let (height, round) = (certificate.height, certificate.round);
    let vote = |entry: &RoundSignature| Vote {
        chain,
        height,
        round,
        kind: entry.kind,
        value: entry.value,
        validator: entry.validator,
    };
    let signatures = certificate.signatures.iter();
    signatures.map(|entry| check(entry.validator, vote(entry).sign_bytes(), entry.signature)).collect()
}

/// The signatures a checkpoint certificate claims.
pub fn certified_checks(certificate: &CheckpointCertificate) -> Vec<SignatureCheck> {
    let bytes = certificate.header_hash.0.to_vec();
    certificate.signatures.iter().map(|(node, signature)| check(*node, bytes.clone(), *signature)).collect()
}

fn check(node: NodeId, bytes: Vec<u8>, signature: SignatureBytes) -> SignatureCheck {
    SignatureCheck { node, bytes, signature }
}

fn chain_matches(found: H256, chain: H256) -> Result<(), Unchecked> {
    if found == chain { Ok(()) } else { Err(Unchecked::Malformed("statement of another chain")) }
}

pub(crate) fn bounded_value(value: &Value) -> Result<(), DecodeError> {
    bounded("batches of a value", value.batches.len(), VALUE_BATCHES_MAX)
}

pub(crate) fn bounded_signatures(found: usize) -> Result<(), DecodeError> {
    bounded("signatures of a certificate", found, VALIDATORS_MAX)
}

fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), DecodeError> {
    if found > limit { Err(DecodeError::TooMany { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
