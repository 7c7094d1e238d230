//! Committed heights by range: headers with their quorum's signatures, and on request what was ordered and who decided it. With the
//! first a node checks a chain without executing it, with both it repeats the chain.

use bixi_ledger::{Ledger, LedgerError, Outline};
use bixi_types::consensus::{CommitCertificate, Value};
use bixi_types::limits::{HEADER_BYTES_MAX, HEIGHTS_BYTES_MAX, HEIGHTS_MAX, VALIDATORS_MAX, VALUE_BATCHES_MAX};
use borsh::{BorshDeserialize, BorshSerialize};

use super::serve::Failure;

/// Most that the rest of a proof takes beside its header: a value with all its batches, a certificate with all signers.
const DECISION_BYTES_MAX: usize = 256 + VALUE_BATCHES_MAX * 32 + VALIDATORS_MAX * 128;
const _: () = assert!(HEADER_BYTES_MAX + DECISION_BYTES_MAX <= HEIGHTS_BYTES_MAX, "one height fits an answer");

/// A request for heights in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeightRange {
    pub first: u64,
    pub count: u16,
    /// Whether value and commit certificate are wanted, too.
    pub with_decisions: bool,
}

/// What proves one committed height.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeightProof {
    /// The header in its own encoding, with the quorum's signatures.
    pub header: Vec<u8>,
    /// The decided value and the proof of the decision, when asked for.
    pub decision: Option<(Value, CommitCertificate)>,
}

/// Committed heights in a row from `first` on; none when the sender does not have the first.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Heights {
    pub first: u64,
    pub proofs: Vec<HeightProof>,
}

impl HeightRange {
    pub(super) fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self { first: 0, .. } => Err("request for height 0, which genesis tells".into()),
            Self { count, .. } if !(1..=HEIGHTS_MAX).contains(&usize::from(*count)) => {
                Err(format!("request for {count} heights; 1 to {HEIGHTS_MAX} are asked for at once"))
            }
            _ => Ok(()),
        }
    }

    /// As much of it as the ledger has and an answer holds.
    pub(super) fn answer(&self, ledger: &Ledger) -> Result<Heights, Failure> {
        let mut answer = Heights { first: self.first, proofs: Vec::new() };
        let mut answer_bytes = 0;
        for height in (self.first..=ledger.height()).take(usize::from(self.count)) {
            let Some(proof) = self.proof(ledger, height)? else { break };
            answer_bytes += proof.encoded_bytes();
            if answer_bytes > HEIGHTS_BYTES_MAX {
                break;
            }
            answer.proofs.push(proof);
        }
        Ok(answer)
    }

    fn proof(&self, ledger: &Ledger, height: u64) -> Result<Option<HeightProof>, Failure> {
        if !self.with_decisions {
            // A ledger that began with a snapshot has the headers of blocks it does not hold.
            let header = ledger.header(height)?;
            return Ok(header.map(|header| HeightProof { header: header.encode(), decision: None }));
        }
        match ledger.outline(height) {
            Ok(outline) => outline.as_ref().map(HeightProof::with_decision).transpose(),
            Err(LedgerError::NoHistory { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl HeightProof {
    fn with_decision(outline: &Outline) -> Result<Self, Failure> {
        let decision = (borsh::from_slice(&outline.value)?, borsh::from_slice(&outline.certificate)?);
        Ok(Self { header: outline.header.encode(), decision: Some(decision) })
    }

    pub(super) fn encoded_bytes(&self) -> usize {
        borsh::object_length(self).expect("borsh into memory cannot fail")
    }

    fn check_bounds(&self) -> Result<(), String> {
        if self.header.len() > HEADER_BYTES_MAX {
            return Err(format!("a header of {} bytes; at most {HEADER_BYTES_MAX}", self.header.len()));
        }
        match &self.decision {
            Some((value, _)) if value.batches.len() > VALUE_BATCHES_MAX => {
                Err(format!("a value of {} batches; at most {VALUE_BATCHES_MAX}", value.batches.len()))
            }
            Some((_, certificate)) if certificate.signatures.len() > VALIDATORS_MAX => {
                Err(format!("{} signatures; at most {VALIDATORS_MAX}", certificate.signatures.len()))
            }
            _ => Ok(()),
        }
    }
}

impl Heights {
    pub(super) fn check_bounds(&self) -> Result<(), String> {
        if self.proofs.len() > HEIGHTS_MAX {
            return Err(format!("an answer of {} heights; at most {HEIGHTS_MAX}", self.proofs.len()));
        }
        if self.first.checked_add(HEIGHTS_MAX as u64).is_none() {
            return Err(format!("heights from {} on, which no chain has", self.first));
        }
        self.proofs.iter().try_for_each(HeightProof::check_bounds)
    }
}
