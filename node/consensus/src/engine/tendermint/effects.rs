//! Answers malachite's effects: one arm each.

use malachite::{ConsensusMsg, Effect, LivenessMsg, Resumable as _, Resume, SignedConsensusMsg};

use mal::{CertificateError, RoundCertificateType, SignedMessage, Validator as _, ValidatorSet as _};

use super::*;
use crate::message::Message;

type Answer = Resume<BixiContext>;
type Certified = Result<(), CertificateError<BixiContext>>;

/// Turns one effect into outputs and gives malachite what it waits for.
pub(super) async fn perform(port: &Port, effect: Effect<BixiContext>) -> Answer {
    match effect {
        Effect::SignVote(vote, resume) => {
            let signature = port.sign(Statement::Vote(vote.to_vote(port.chain))).await;
            resume.resume_with(SignedMessage::new(vote, signature))
        }
        Effect::SignProposal(proposal, resume) => {
            let signature = port.sign(Statement::Proposal(proposal.to_proposal(port.chain))).await;
            resume.resume_with(SignedMessage::new(proposal, signature))
        }
        // The host verified every signature before it fed the message.
        Effect::VerifySignature(SignedMessage { message, .. }, _, resume) => {
            let (ConsensusMsg::Vote(_) | ConsensusMsg::Proposal(_)) = message;
            resume.resume_with(true)
        }
        Effect::VerifyCommitCertificate(certificate, set, thresholds, resume) => {
            let signers = certificate.commit_signatures.iter().map(|entry| entry.address);
            resume.resume_with(counted(&set, signers, thresholds.quorum))
        }
        Effect::VerifyExtendedCommitCertificate(certificate, set, thresholds, _, resume) => {
            let signers = certificate.commit_signatures.iter().map(|entry| entry.address);
            resume.resume_with(counted(&set, signers, thresholds.quorum))
        }
        Effect::VerifyPolkaCertificate(certificate, set, thresholds, resume) => {
            let signers = certificate.polka_signatures.iter().map(|entry| entry.address);
            resume.resume_with(counted(&set, signers, thresholds.quorum))
        }
        Effect::VerifyRoundCertificate(certificate, set, thresholds, resume) => {
            resume.resume_with(round_counted(&certificate, &set, thresholds))
        }
        Effect::ExtendVote(_, _, _, _, resume) => resume.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => {
            resume.resume_with(Err(malachite::VoteExtensionError::InvalidVoteExtension))
        }
        plain => {
            perform_plain(port, plain);
            Resume::Continue
        }
    }
}

/// The effects that are resumed with nothing.
fn perform_plain(port: &Port, effect: Effect<BixiContext>) {
    match effect {
        Effect::CancelAllTimeouts(_) => port.put(EngineOutput::CancelTimeouts),
        Effect::CancelTimeout(timeout, _) => {
            if let Some((round, kind)) = convert::timeout(timeout) {
                port.put(EngineOutput::CancelTimeout { round, kind });
            }
        }
        Effect::ScheduleTimeout(timeout, _) => {
            if let Some((round, kind)) = convert::timeout(timeout) {
                port.put(EngineOutput::ScheduleTimeout { round, kind });
            }
        }
        Effect::StartRound(_, round, proposer, _, _) => {
            port.put(EngineOutput::RoundStarted { round: round_number(round), proposer: proposer.0 });
        }
        Effect::PublishConsensusMsg(message, _) => port.put(EngineOutput::Publish(consensus_message(port, message))),
        Effect::PublishLivenessMsg(message, _) => port.put(EngineOutput::Publish(liveness_message(port, message))),
        Effect::RepublishVote(vote, _) => {
            port.put(EngineOutput::Publish(Message::Vote(convert::vote(&vote, port.chain))));
        }
        Effect::RepublishRoundCertificate(certificate, _) => {
            port.put(EngineOutput::Publish(Message::Round(convert::round_certificate(&certificate))));
        }
        Effect::GetValue(_, round, _, _) => port.put(EngineOutput::GetValue { round: round_number(round) }),
        // The value travels inside the proposal, which malachite publishes right after.
        Effect::RestreamProposal(..) => {}
        Effect::Decide(certificate, _, _) => port.put(EngineOutput::Decided(convert::commit(&certificate))),
        Effect::Finalize(_, _, evidence, _) => {
            for (node, messages) in convert::evidence(&evidence, port.chain) {
                port.put(EngineOutput::Equivocation(node, messages));
            }
        }
        Effect::WalAppend(height, input, _) => {
            if let Some(entry) = convert::log_entry(height, &input, port.chain) {
                port.put(EngineOutput::Append(entry));
            }
        }
        // Synced values never pass through malachite: the host adopts a verified decision as a whole.
        Effect::CertVerifiedSyncValue(..) | Effect::CertRejectedSyncValue(..) => {
            port.put(EngineOutput::Failed("unexpected sync effect".to_owned()));
        }
        other => unreachable!("answered by perform: {other:?}"),
    }
}

fn consensus_message(port: &Port, message: SignedConsensusMsg<BixiContext>) -> Message {
    match message {
        SignedConsensusMsg::Vote(vote) => Message::Vote(convert::vote(&vote, port.chain)),
        SignedConsensusMsg::Proposal(proposal) => Message::Proposal(convert::proposal(&proposal, port.chain)),
    }
}

fn liveness_message(port: &Port, message: LivenessMsg<BixiContext>) -> Message {
    match message {
        LivenessMsg::Vote(vote) => Message::Vote(convert::vote(&vote, port.chain)),
        LivenessMsg::PolkaCertificate(certificate) => Message::Polka(convert::polka(&certificate)),
        LivenessMsg::SkipRoundCertificate(certificate) => Message::Round(convert::round_certificate(&certificate)),
    }
}

/// Whether distinct members among `signers` reach `threshold`.
#[expect(clippy::result_large_err, reason = "malachite's own error type")]
fn counted(set: &Members, signers: impl Iterator<Item = Address>, threshold: mal::ThresholdParam) -> Certified {
    let mut seen = Vec::new();
    let mut signed = 0;
    for address in signers {
        if seen.contains(&address) {
            return Err(CertificateError::DuplicateVote(address));
        }
        let member = set.get_by_address(&address).ok_or(CertificateError::UnknownValidator(address))?;
        signed += member.voting_power();
        seen.push(address);
    }
    let total = set.total_voting_power();
    if threshold.is_met(signed, total) {
        return Ok(());
    }
    Err(CertificateError::NotEnoughVotingPower { signed, total, expected: threshold.min_expected(total) })
}

#[expect(clippy::result_large_err, reason = "malachite's own error type")]
fn round_counted(
    certificate: &mal::RoundCertificate<BixiContext>,
    set: &Members,
    thresholds: malachite::ThresholdParams,
) -> Certified {
    let entries = &certificate.round_signatures;
    let threshold = match certificate.cert_type {
        RoundCertificateType::Skip => thresholds.honest,
        RoundCertificateType::Precommit => {
            if let Some(entry) = entries.iter().find(|entry| entry.vote_type == mal::VoteType::Prevote) {
                return Err(CertificateError::InvalidVoteType(entry.address));
            }
            thresholds.quorum
        }
    };
    counted(set, entries.iter().map(|entry| entry.address), threshold)
}
