//! Lies about results, about who is how far, and about what others have said before.

use bixi_types::consensus::CheckpointVote;

use super::*;
use crate::message::{CheckpointCertificate, Held};

fn checkpoint(liar: &mut Liar<'_>, wanted: impl Fn(&CheckpointVote) -> bool) -> Option<CheckpointVote> {
    liar.recall(|message| match message {
        Message::Checkpoint(vote) if wanted(vote) => Some(vote.clone()),
        _ => None,
    })
}

/// A certificate put together from remembered checkpoint votes.
fn certificate(liar: &mut Liar<'_>) -> Option<CheckpointCertificate> {
    let CheckpointVote { height, header_hash, .. } = checkpoint(liar, |_| true)?;
    let votes = liar.memory.iter().filter_map(|message| match message {
        Message::Checkpoint(vote) if vote.header_hash == header_hash => Some((vote.validator, vote.signature)),
        _ => None,
    });
    let signatures: BTreeMap<NodeId, SignatureBytes> = votes.collect();
    Some(CheckpointCertificate { height, header_hash, signatures: signatures.into_iter().collect() })
}

/// What the one we speak to has said, given back as an answer to its question.
fn mark(liar: &mut Liar<'_>, change: impl FnOnce(&mut Liar<'_>, &mut SignedVote)) -> Option<Message> {
    let Message::MarkAnswer { nonce, decided, .. } = liar.truth else { return None };
    let (nonce, to) = (*nonce, liar.to);
    let mut signed = liar.recall_vote(|vote| vote.validator == to)?;
    change(liar, &mut signed);
    Some(Message::MarkAnswer { nonce, decided: *decided, held: Some(Held::Vote(signed)) })
}

pub(super) const LIES: &[Lie] = &[
    ("checkpoint: other header", |liar| {
        let node = liar.node;
        let vote = checkpoint(liar, |vote| vote.validator == node)?;
        let header_hash = H256([liar.random.next() as u8; 32]);
        let signature = liar.sign(&header_hash.0);
        Some(Message::Checkpoint(CheckpointVote { header_hash, signature, ..vote }))
    }),
    ("checkpoint: own at other height", |liar| {
        let node = liar.node;
        let vote = checkpoint(liar, |vote| vote.validator == node)?;
        Some(Message::Checkpoint(CheckpointVote { height: vote.height + 1, ..vote }))
    }),
    ("checkpoint: another's at other height", |liar| {
        let node = liar.node;
        let vote = checkpoint(liar, |vote| vote.validator != node)?;
        let height = vote.height + liar.random.between(1, 2);
        Some(Message::Checkpoint(CheckpointVote { height, ..vote }))
    }),
    ("checkpoint: another's at lower height", |liar| {
        let node = liar.node;
        let vote = checkpoint(liar, |vote| vote.validator != node && vote.height > 1)?;
        Some(Message::Checkpoint(CheckpointVote { height: vote.height - 1, ..vote }))
    }),
    ("checkpoint: in another's name", |liar| {
        let node = liar.node;
        let vote = checkpoint(liar, |vote| vote.validator != node)?;
        let signature = liar.sign(&vote.header_hash.0);
        Some(Message::Checkpoint(CheckpointVote { signature, ..vote }))
    }),
    ("checkpoint: replayed", |liar| checkpoint(liar, |_| true).map(Message::Checkpoint)),
    ("certified: other height", |liar| {
        let mut certificate = certificate(liar)?;
        certificate.height += 1;
        Some(Message::Certified(certificate))
    }),
    ("certified: lower height", |liar| {
        let mut certificate = certificate(liar).filter(|certificate| certificate.height > 1)?;
        certificate.height -= 1;
        Some(Message::Certified(certificate))
    }),
    ("certified: other header", |liar| {
        let mut certificate = certificate(liar)?;
        certificate.header_hash.0[0] ^= 1;
        Some(Message::Certified(certificate))
    }),
    ("certified: too few", |liar| {
        let mut certificate = certificate(liar)?;
        certificate.signatures.truncate(1);
        Some(Message::Certified(certificate))
    }),
    ("certified: gathered from votes", |liar| certificate(liar).map(Message::Certified)),
    ("status: far ahead", |liar| {
        let ahead = FAR_HEIGHTS + liar.random.next() % FAR_HEIGHTS;
        Some(Message::Status { decided: ahead, certified: ahead })
    }),
    ("status: any", |liar| Some(Message::Status { decided: liar.random.next(), certified: liar.random.next() })),
    ("request: from the beginning", |_| Some(Message::Request { decided: 0, certified: 0 })),
    ("request: any", |liar| Some(Message::Request { decided: liar.random.next() % 9, certified: liar.random.next() })),
    ("mark: asked for without a start", |liar| Some(Message::MarkRequest { nonce: liar.random.next() })),
];

/// Lies in answer to a node that has just started.
pub(super) const ANSWERS: &[Lie] = &[
    ("mark: hidden", |liar| match liar.truth {
        Message::MarkAnswer { nonce, .. } => Some(Message::MarkAnswer { nonce: *nonce, decided: 0, held: None }),
        _ => None,
    }),
    ("mark: an old one", |liar| mark(liar, |_, _| ())),
    ("mark: forged", |liar| {
        mark(liar, |liar, signed| {
            signed.vote.round += 9;
            signed.signature = liar.sign(&signed.vote.sign_bytes());
        })
    }),
    ("mark: to another question", |liar| match liar.truth {
        Message::MarkAnswer { nonce, decided, held } => {
            Some(Message::MarkAnswer { nonce: nonce ^ 1, decided: *decided, held: held.clone() })
        }
        _ => None,
    }),
];
