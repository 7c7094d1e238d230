//! Messages between validators and the entries of the ordering log.

use bixi_consensus::message::{
    CheckpointCertificate, Held, PolkaCertificate, RoundCertificate, RoundCertificateKind, RoundSignature,
};
use bixi_consensus::{LogEntry, Message, TimeoutKind};
use bixi_types::consensus::{
    CheckpointVote, CommitCertificate, Proposal, SignatureBytes, SignedProposal, SignedVote, Value, Vote, VoteKind,
};
use bixi_types::{H256, NodeId};

use crate::plan::Decoder;

const NODE: NodeId = NodeId([7; 64]);
const SIGNATURE: SignatureBytes = SignatureBytes([9; 64]);
const HASH: H256 = H256([3; 32]);

fn message(bytes: &[u8]) -> bool {
    let Ok(read) = Message::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

fn log_entry(bytes: &[u8]) -> bool {
    let Ok(read) = LogEntry::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let value =
        Value { height: 9, parent: HASH, timestamp_ms: 5, builder: 1, protocol_version: 1, batches: vec![HASH; 3] };
    let vote = Vote { chain: HASH, height: 9, round: 1, kind: VoteKind::Precommit, value: Some(HASH), validator: NODE };
    let vote = SignedVote { vote, signature: SIGNATURE };
    let proposal = Proposal { chain: HASH, height: 9, round: 1, value: HASH, pol_round: Some(0), validator: NODE };
    let held = Held::Proposal(proposal.clone(), SIGNATURE);
    let proposal = SignedProposal { proposal, value: value.clone(), signature: SIGNATURE };
    let signatures = vec![(NODE, SIGNATURE); 3];
    let polka = PolkaCertificate { height: 9, round: 1, value: HASH, signatures: signatures.clone() };
    let signature = RoundSignature { kind: VoteKind::Prevote, value: None, validator: NODE, signature: SIGNATURE };
    let round =
        RoundCertificate { height: 9, round: 1, kind: RoundCertificateKind::Skip, signatures: vec![signature; 2] };
    let checkpoint = CheckpointVote { height: 9, header_hash: HASH, validator: NODE, signature: SIGNATURE };
    let certificate = CommitCertificate { height: 9, round: 1, value: HASH, signatures: signatures.clone() };
    let messages = [
        Message::Proposal(proposal.clone()),
        Message::Vote(vote.clone()),
        Message::Polka(polka.clone()),
        Message::Round(round),
        Message::Checkpoint(checkpoint.clone()),
        Message::Decided { value: value.clone(), certificate: certificate.clone() },
        Message::Certified(CheckpointCertificate { height: 9, header_hash: HASH, signatures }),
        Message::Status { decided: 9, certified: 8 },
        Message::Request { decided: 9, certified: 8 },
        Message::MarkRequest { nonce: 1 },
        Message::MarkAnswer { nonce: 1, decided: 8, held: Some(held) },
        Message::MarkAnswer { nonce: 1, decided: 8, held: Some(Held::Vote(vote.clone())) },
    ];
    let entries = [
        LogEntry::Proposal(proposal),
        LogEntry::Vote(vote),
        LogEntry::Polka(polka),
        LogEntry::Timeout { height: 9, round: 1, kind: TimeoutKind::Propose },
        LogEntry::Decided { value, certificate },
        LogEntry::Checkpoint(checkpoint),
    ];
    vec![
        Decoder::new("consensus-message", message, messages.iter().map(Message::encode).collect()),
        Decoder::new("log-entry", log_entry, entries.iter().map(LogEntry::encode).collect()),
    ]
}
