//! A validator that lies: its messages are twisted in a way that still fits the protocol, and signed again.

use bixi_types::consensus::{CheckpointVote, SignedProposal, SignedVote};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::Random;
use super::host::signature;
use crate::message::Message;

/// Another message `node` could send instead of `message`.
pub(crate) fn twist(random: &mut Random, node: &NodeId, message: &Message) -> Message {
    match message.clone() {
        Message::Vote(signed) => Message::Vote(twist_vote(random, node, signed)),
        Message::Proposal(signed) => Message::Proposal(twist_proposal(random, node, signed)),
        Message::Checkpoint(vote) => Message::Checkpoint(twist_checkpoint(random, node, vote)),
        Message::Polka(mut polka) => {
            polka.signatures.pop();
            Message::Polka(polka)
        }
        Message::Round(mut certificate) => {
            certificate.round += random.between(0, 1) as u32;
            certificate.signatures.truncate(random.between(0, 3) as usize);
            Message::Round(certificate)
        }
        Message::Decided { mut value, certificate } => {
            value.timestamp_ms += 1;
            Message::Decided { value, certificate }
        }
        Message::Certified(mut certificate) => {
            certificate.signatures.rotate_left(1);
            certificate.signatures.pop();
            Message::Certified(certificate)
        }
        Message::Status { .. } => Message::Status { decided: random.next(), certified: random.next() },
        Message::Request { .. } => Message::Request { decided: random.next() % 9, certified: random.next() % 9 },
        Message::MarkRequest { nonce } => Message::MarkRequest { nonce: nonce ^ 1 },
        Message::MarkAnswer { nonce, .. } => Message::MarkAnswer { nonce, held: None },
    }
}

fn twist_vote(random: &mut Random, node: &NodeId, mut signed: SignedVote) -> SignedVote {
    let vote = &mut signed.vote;
    // A vote of somebody else, repeated, cannot be signed again.
    if vote.validator != *node {
        return signed;
    }
    match random.between(0, 4) {
        0 => vote.value = None,
        1 => vote.value = Some(H256([random.next() as u8; 32])),
        2 => vote.round += random.between(1, 12) as u32,
        3 => vote.height += random.between(1, 3),
        _ => vote.round = vote.round.saturating_sub(1),
    }
    signed.signature = signature(node, &signed.vote.sign_bytes());
    signed
}

fn twist_proposal(random: &mut Random, node: &NodeId, mut signed: SignedProposal) -> SignedProposal {
    if signed.proposal.validator != *node {
        return signed;
    }
    match random.between(0, 5) {
        0 => signed.value.timestamp_ms += random.between(1, 10_000),
        1 => signed.value.timestamp_ms = 1,
        2 => signed.value.parent = H256([random.next() as u8; 32]),
        3 => signed.value.batches.push(H256([random.next() as u8; 32])),
        4 => signed.value.builder ^= 1,
        _ => signed.proposal.pol_round = Some(signed.proposal.round.saturating_sub(1)),
    }
    signed.proposal.value = signed.value.id(CryptoSuite::Std);
    signed.signature = signature(node, &signed.proposal.sign_bytes());
    signed
}

fn twist_checkpoint(random: &mut Random, node: &NodeId, mut vote: CheckpointVote) -> CheckpointVote {
    if vote.validator == *node {
        vote.header_hash = H256([random.next() as u8; 32]);
        vote.signature = signature(node, &vote.header_hash.0);
    }
    vote
}
