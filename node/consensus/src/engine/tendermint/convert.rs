//! Between our wire and log forms and malachite's.

use bixi_types::consensus::{CommitCertificate, SignedProposal, SignedVote};
use mal::{NilOrVal, Round, RoundCertificateType, SignedMessage, TimeoutKind as MalTimeoutKind, Validity, ValueOrigin};
use malachite::{MisbehaviorEvidence, ProposedValue};

use super::*;
use crate::context::{Ballot, Offer, nil_or_value, vote_kind, vote_type};
use crate::log::LogEntry;
use crate::message::{Message, PolkaCertificate, RoundCertificate, RoundCertificateKind, RoundSignature};

/// An input of the running height in malachite's form; `None` for what is not a malachite input.
pub(super) fn input(input: EngineInput, height: u64, suite: CryptoSuite) -> Option<CoreInput> {
    Some(match input {
        EngineInput::Proposal(signed) => CoreInput::Proposal(to_proposal(signed)),
        EngineInput::Vote(signed) => CoreInput::Vote(to_vote(&signed)),
        EngineInput::Polka(certificate) => CoreInput::PolkaCertificate(to_polka(certificate)),
        EngineInput::Round(certificate) => CoreInput::RoundCertificate(to_round_certificate(certificate)),
        EngineInput::Timeout { round, kind } => CoreInput::TimeoutElapsed(to_timeout(round, kind)),
        EngineInput::Propose { round, value } => {
            let value = ordered(value, suite);
            CoreInput::Propose(malachite::LocallyProposedValue::new(Height(height), Round::new(round), value))
        }
        EngineInput::Verdict(verdict) => to_proposed_value(verdict, suite),
        EngineInput::Signature(_) => return None,
    })
}

/// A log entry as the input that made it.
pub(super) fn entry(entry: &LogEntry, suite: CryptoSuite) -> Option<CoreInput> {
    match entry.clone() {
        LogEntry::Proposal(signed) => Some(CoreInput::Proposal(to_proposal(signed))),
        LogEntry::Vote(signed) => Some(CoreInput::Vote(to_vote(&signed))),
        LogEntry::Polka(certificate) => Some(CoreInput::PolkaCertificate(to_polka(certificate))),
        LogEntry::Timeout { round, kind, .. } => Some(CoreInput::TimeoutElapsed(to_timeout(round, kind))),
        LogEntry::Verdict(verdict) => Some(to_proposed_value(verdict, suite)),
        LogEntry::Decided { .. } | LogEntry::Checkpoint(_) => None,
    }
}

/// The log entry of an input malachite wants remembered.
pub(super) fn log_entry(height: Height, input: &CoreInput, chain: H256) -> Option<LogEntry> {
    match input {
        CoreInput::Vote(signed) => Some(LogEntry::Vote(vote(signed, chain))),
        CoreInput::Proposal(signed) => Some(LogEntry::Proposal(proposal(signed, chain))),
        CoreInput::PolkaCertificate(certificate) => Some(LogEntry::Polka(polka(certificate))),
        CoreInput::TimeoutElapsed(elapsed) => {
            timeout(*elapsed).map(|(round, kind)| LogEntry::Timeout { height: height.0, round, kind })
        }
        CoreInput::ProposedValue(proposed, _) => Some(LogEntry::Verdict(Verdict {
            value: Value::clone(&proposed.value.value),
            round: round_number(proposed.round),
            pol_round: proposed.valid_round.as_u32(),
            proposer: proposed.proposer.0,
            valid: proposed.validity.is_valid(),
        })),
        // Malachite never asks to remember these.
        CoreInput::StartHeight(..)
        | CoreInput::RoundCertificate(_)
        | CoreInput::Propose(_)
        | CoreInput::SyncValueResponse(_) => None,
    }
}

fn to_proposed_value(verdict: Verdict, suite: CryptoSuite) -> CoreInput {
    let proposed = ProposedValue {
        height: Height(verdict.value.height),
        round: Round::new(verdict.round),
        valid_round: Round::from(verdict.pol_round),
        proposer: Address(verdict.proposer),
        value: ordered(verdict.value, suite),
        validity: Validity::from_bool(verdict.valid),
    };
    CoreInput::ProposedValue(proposed, ValueOrigin::Consensus)
}

fn ordered(value: Value, suite: CryptoSuite) -> OrderedValue {
    OrderedValue { id: value.id(suite), value: Arc::new(value) }
}

fn to_proposal(signed: SignedProposal) -> mal::SignedProposal<BixiContext> {
    SignedMessage::new(Offer::from_proposal(&signed.proposal, signed.value), signed.signature)
}

fn to_vote(signed: &SignedVote) -> mal::SignedVote<BixiContext> {
    SignedMessage::new(Ballot::from_vote(&signed.vote), signed.signature)
}

/// A signed vote on the wire.
pub(super) fn vote(signed: &mal::SignedVote<BixiContext>, chain: H256) -> SignedVote {
    SignedVote { vote: signed.message.to_vote(chain), signature: signed.signature }
}

/// A signed proposal on the wire, with its value.
pub(super) fn proposal(signed: &mal::SignedProposal<BixiContext>, chain: H256) -> SignedProposal {
    SignedProposal {
        proposal: signed.message.to_proposal(chain),
        value: signed.message.plain_value().clone(),
        signature: signed.signature,
    }
}

fn to_polka(certificate: PolkaCertificate) -> mal::PolkaCertificate<BixiContext> {
    let entries = certificate.signatures.into_iter();
    mal::PolkaCertificate {
        height: Height(certificate.height),
        round: Round::new(certificate.round),
        value_id: certificate.value,
        polka_signatures: entries.map(|(node, signature)| mal::PolkaSignature::new(Address(node), signature)).collect(),
    }
}

/// A polka certificate on the wire.
pub(super) fn polka(certificate: &mal::PolkaCertificate<BixiContext>) -> PolkaCertificate {
    PolkaCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        value: certificate.value_id,
        signatures: certificate.polka_signatures.iter().map(|entry| (entry.address.0, entry.signature)).collect(),
    }
}

fn to_round_certificate(certificate: RoundCertificate) -> mal::RoundCertificate<BixiContext> {
    let signature = |entry: RoundSignature| {
        let value = entry.value.map_or(NilOrVal::Nil, NilOrVal::Val);
        mal::RoundSignature::new(vote_type(entry.kind), value, Address(entry.validator), entry.signature)
    };
    mal::RoundCertificate {
        height: Height(certificate.height),
        round: Round::new(certificate.round),
        cert_type: match certificate.kind {
            RoundCertificateKind::Skip => RoundCertificateType::Skip,
            RoundCertificateKind::Precommit => RoundCertificateType::Precommit,
        },
        round_signatures: certificate.signatures.into_iter().map(signature).collect(),
    }
}

/// A round certificate on the wire.
pub(super) fn round_certificate(certificate: &mal::RoundCertificate<BixiContext>) -> RoundCertificate {
    let signature = |entry: &mal::RoundSignature<BixiContext>| RoundSignature {
        kind: vote_kind(entry.vote_type),
        value: nil_or_value(&entry.value_id),
        validator: entry.address.0,
        signature: entry.signature,
    };
    RoundCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        kind: match certificate.cert_type {
            RoundCertificateType::Skip => RoundCertificateKind::Skip,
            RoundCertificateType::Precommit => RoundCertificateKind::Precommit,
        },
        signatures: certificate.round_signatures.iter().map(signature).collect(),
    }
}

/// A commit certificate on the wire, sorted by voter.
pub(super) fn commit(certificate: &mal::CommitCertificate<BixiContext>) -> CommitCertificate {
    let entries = certificate.commit_signatures.iter();
    let mut signatures: Vec<_> = entries.map(|entry| (entry.address.0, entry.signature)).collect();
    signatures.sort();
    CommitCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        value: certificate.value_id,
        signatures,
    }
}

/// The pairs of contradicting messages malachite collected.
pub(super) fn evidence(found: &MisbehaviorEvidence<BixiContext>, chain: H256) -> Vec<(NodeId, Vec<Message>)> {
    let mut all = Vec::new();
    for (address, pairs) in found.votes.iter() {
        for (first, second) in pairs {
            let pair = vec![Message::Vote(vote(first, chain)), Message::Vote(vote(second, chain))];
            all.push((address.0, pair));
        }
    }
    for (address, pairs) in found.proposals.iter() {
        for (first, second) in pairs {
            let pair = vec![Message::Proposal(proposal(first, chain)), Message::Proposal(proposal(second, chain))];
            all.push((address.0, pair));
        }
    }
    all
}

fn to_timeout(round: u32, kind: TimeoutKind) -> mal::Timeout {
    let kind = match kind {
        TimeoutKind::Propose => MalTimeoutKind::Propose,
        TimeoutKind::Prevote => MalTimeoutKind::Prevote,
        TimeoutKind::Precommit => MalTimeoutKind::Precommit,
        TimeoutKind::Rebroadcast => MalTimeoutKind::Rebroadcast,
    };
    mal::Timeout::new(Round::new(round), kind)
}

/// Our name of a timeout; `None` for the finalisation wait, which is never used.
pub(super) fn timeout(timeout: mal::Timeout) -> Option<(u32, TimeoutKind)> {
    let kind = match timeout.kind {
        MalTimeoutKind::Propose => TimeoutKind::Propose,
        MalTimeoutKind::Prevote => TimeoutKind::Prevote,
        MalTimeoutKind::Precommit => TimeoutKind::Precommit,
        MalTimeoutKind::Rebroadcast => TimeoutKind::Rebroadcast,
        MalTimeoutKind::FinalizeHeight(_) => return None,
    };
    Some((round_number(timeout.round), kind))
}
