//! The ordering log: everything a validator must remember to replay a height after a crash.
//!
//! The host appends entries in the order of the effects, makes them durable on [`crate::Effect::Flush`], and hands them back
//! in the same order at the start. Entries of heights at or below the committed one may be dropped.

use bixi_types::consensus::{CheckpointVote, CommitCertificate, SignedProposal, SignedVote, Value};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::engine::{TimeoutKind, Verdict};
use crate::error::DecodeError;
use crate::message::{PolkaCertificate, bounded_signatures, bounded_value};

/// Version of the encoding, the first byte of every entry.
pub const LOG_FORMAT: u8 = 1;

/// One entry of the ordering log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LogEntry {
    /// A proposal taken into account, ours or a peer's.
    Proposal(SignedProposal),
    /// A vote taken into account, ours or a peer's.
    Vote(SignedVote),
    /// A polka certificate taken into account.
    Polka(PolkaCertificate),
    /// Our verdict on a value.
    Verdict(Verdict),
    /// A timeout that elapsed.
    Timeout {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Which.
        kind: TimeoutKind,
    },
    /// A decision. Stays until the height is in the ledger.
    Decided {
        /// The value.
        value: Value,
        /// Its proof.
        certificate: CommitCertificate,
    },
    /// Our own checkpoint vote.
    Checkpoint(CheckpointVote),
}

impl LogEntry {
    /// The height the entry belongs to.
    pub fn height(&self) -> u64 {
        match self {
            Self::Proposal(proposal) => proposal.proposal.height,
            Self::Vote(vote) => vote.vote.height,
            Self::Polka(polka) => polka.height,
            Self::Verdict(verdict) => verdict.value.height,
            Self::Timeout { height, .. } => *height,
            Self::Decided { certificate, .. } => certificate.height,
            Self::Checkpoint(vote) => vote.height,
        }
    }

    /// The round the entry belongs to; a checkpoint vote has none.
    pub fn round(&self) -> Option<u32> {
        match self {
            Self::Proposal(proposal) => Some(proposal.proposal.round),
            Self::Vote(vote) => Some(vote.vote.round),
            Self::Polka(polka) => Some(polka.round),
            Self::Verdict(verdict) => Some(verdict.round),
            Self::Timeout { round, .. } => Some(*round),
            Self::Decided { certificate, .. } => Some(certificate.round),
            Self::Checkpoint(_) => None,
        }
    }

    /// Version byte ‖ borsh.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LOG_FORMAT];
        self.serialize(&mut bytes).expect("borsh into memory cannot fail");
        bytes
    }

    /// Reads exactly one entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&LOG_FORMAT, body)) => {
                let entry = Self::try_from_slice(body).map_err(malformed)?;
                entry.check_bounds()?;
                Ok(entry)
            }
            Some((&found, _)) => Err(DecodeError::Version { found, known: LOG_FORMAT }),
            None => Err(malformed("no bytes")),
        }
    }

    fn check_bounds(&self) -> Result<(), DecodeError> {
        match self {
            Self::Proposal(proposal) => bounded_value(&proposal.value),
            Self::Verdict(verdict) => bounded_value(&verdict.value),
            Self::Polka(polka) => bounded_signatures(polka.signatures.len()),
            Self::Decided { value, certificate } => {
                bounded_value(value)?;
                bounded_signatures(certificate.signatures.len())
            }
            Self::Vote(_) | Self::Timeout { .. } | Self::Checkpoint(_) => Ok(()),
        }
    }
}

fn malformed(detail: impl ToString) -> DecodeError {
    DecodeError::Malformed { what: "log entry", detail: detail.to_string() }
}
