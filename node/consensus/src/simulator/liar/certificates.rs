//! Lies about polkas, rounds and decisions: certificates put together from what others signed for something else.

use bixi_types::consensus::CommitCertificate;

use super::*;
use crate::message::{PolkaCertificate, RoundCertificate, RoundCertificateKind, RoundSignature};

fn polka(vote: &Vote, signatures: Vec<(NodeId, SignatureBytes)>) -> Option<Message> {
    let (height, round, value) = (vote.height, vote.round, vote.value?);
    Some(Message::Polka(PolkaCertificate { height, round, value, signatures }))
}

fn round(
    liar: &Liar<'_>,
    kind: RoundCertificateKind,
    forge: impl Fn(&Vote, SignatureBytes) -> RoundSignature,
) -> Option<Message> {
    let (vote, signatures) = liar.group(VoteKind::Precommit)?;
    let signed =
        |(validator, signature): (NodeId, SignatureBytes)| forge(&Vote { validator, ..vote.clone() }, signature);
    let (height, signatures) = (vote.height, signatures.into_iter().map(signed).collect());
    Some(Message::Round(RoundCertificate { height, round: vote.round + 1, kind, signatures }))
}

fn nil(vote: &Vote, signature: SignatureBytes) -> RoundSignature {
    RoundSignature { kind: VoteKind::Precommit, value: None, validator: vote.validator, signature }
}

fn as_voted(vote: &Vote, signature: SignatureBytes) -> RoundSignature {
    RoundSignature { kind: vote.kind, value: vote.value, validator: vote.validator, signature }
}

fn decision(liar: &mut Liar<'_>) -> Option<(Value, CommitCertificate)> {
    liar.recall(|message| match message {
        Message::Decided { value, certificate } => Some((value.clone(), certificate.clone())),
        _ => None,
    })
}

/// A real decision, changed.
fn redecide(liar: &mut Liar<'_>, change: impl FnOnce(&mut Value, &mut CommitCertificate)) -> Option<Message> {
    let (mut value, mut certificate) = decision(liar)?;
    change(&mut value, &mut certificate);
    Some(Message::Decided { value, certificate })
}

fn repeated(signatures: &BTreeMap<NodeId, SignatureBytes>) -> Vec<(NodeId, SignatureBytes)> {
    signatures.iter().cycle().take(signatures.len() * 3).map(|(node, signature)| (*node, *signature)).collect()
}

pub(super) const LIES: &[Lie] = &[
    ("polka: too few", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        polka(&vote, signatures.into_iter().take(1).collect())
    }),
    ("polka: signers repeated", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        polka(&vote, repeated(&signatures))
    }),
    ("polka: other value", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        let value = Some(H256([liar.random.next() as u8; 32]));
        polka(&Vote { value, ..vote }, signatures.into_iter().collect())
    }),
    ("polka: later round", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        polka(&Vote { round: vote.round + 1, ..vote }, signatures.into_iter().collect())
    }),
    ("polka: precommits", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Precommit)?;
        polka(&vote, signatures.into_iter().collect())
    }),
    ("polka: gathered from votes", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        polka(&vote, signatures.into_iter().collect())
    }),
    ("round: votes of another round", |liar| round(liar, RoundCertificateKind::Skip, as_voted)),
    ("round: nil made of votes for a value", |liar| round(liar, RoundCertificateKind::Precommit, nil)),
    ("round: too few", |liar| match round(liar, RoundCertificateKind::Skip, as_voted)? {
        Message::Round(mut certificate) => {
            certificate.round -= 1;
            certificate.signatures.truncate(1);
            Some(Message::Round(certificate))
        }
        _ => None,
    }),
    ("round: gathered from votes", |liar| match round(liar, RoundCertificateKind::Skip, as_voted)? {
        Message::Round(mut certificate) => {
            certificate.round -= 1;
            Some(Message::Round(certificate))
        }
        _ => None,
    }),
    ("decided: other value", |liar| redecide(liar, |value, _| value.timestamp_ms += 1)),
    ("decided: other value, named", |liar| {
        redecide(liar, |value, certificate| {
            value.timestamp_ms += 1;
            certificate.value = value.id(CryptoSuite::Std);
        })
    }),
    ("decided: other height", |liar| {
        redecide(liar, |value, certificate| {
            value.height += 1;
            certificate.height += 1;
            certificate.value = value.id(CryptoSuite::Std);
        })
    }),
    ("decided: other round", |liar| redecide(liar, |_, certificate| certificate.round += 1)),
    ("decided: too few", |liar| redecide(liar, |_, certificate| certificate.signatures.truncate(1))),
    ("decided: signers repeated", |liar| {
        redecide(liar, |_, certificate| {
            let first: BTreeMap<_, _> = certificate.signatures.iter().take(1).copied().collect();
            certificate.signatures = repeated(&first);
        })
    }),
    ("decided: made of prevotes", |liar| {
        let (vote, signatures) = liar.group(VoteKind::Prevote)?;
        let id = vote.value?;
        let value = liar.recall(|message| match message {
            Message::Proposal(signed) if signed.proposal.value == id => Some(signed.value.clone()),
            _ => None,
        })?;
        let signatures = signatures.into_iter().collect();
        let certificate = CommitCertificate { height: vote.height, round: vote.round, value: id, signatures };
        Some(Message::Decided { value, certificate })
    }),
    ("decided: replayed", |liar| decision(liar).map(|(value, certificate)| Message::Decided { value, certificate })),
];
