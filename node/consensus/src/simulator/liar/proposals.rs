//! Lies about proposals.

use super::*;

/// Our own proposal of another value.
fn revalue(liar: &mut Liar<'_>, change: impl FnOnce(&mut Liar<'_>, &mut Value)) -> Option<Message> {
    let SignedProposal { proposal, mut value, .. } = liar.own_proposal()?;
    change(liar, &mut value);
    liar.proposal(proposal, value)
}

pub(super) const LIES: &[Lie] = &[
    ("proposal: later timestamp", |liar| {
        revalue(liar, |liar, value| value.timestamp_ms += liar.random.between(1, 10_000))
    }),
    ("proposal: earlier timestamp", |liar| {
        revalue(liar, |liar, value| value.timestamp_ms -= liar.random.between(1, 10_000))
    }),
    ("proposal: timestamp of the past", |liar| revalue(liar, |_, value| value.timestamp_ms = 1)),
    ("proposal: timestamp minutes ahead", |liar| revalue(liar, |_, value| value.timestamp_ms += 600_000)),
    ("proposal: last timestamp there is", |liar| revalue(liar, |_, value| value.timestamp_ms = u64::MAX)),
    ("proposal: wrong parent", |liar| revalue(liar, |liar, value| value.parent = H256([liar.random.next() as u8; 32]))),
    ("proposal: missing batch", |liar| revalue(liar, |_, value| value.batches.push(MISSING_BATCH))),
    ("proposal: invalid batch", |liar| revalue(liar, |_, value| value.batches.push(INVALID_BATCH))),
    ("proposal: a batch twice", |liar| {
        liar.own_proposal().filter(|signed| !signed.value.batches.is_empty())?;
        revalue(liar, |_, value| value.batches.push(value.batches[0]))
    }),
    ("proposal: other batches", |liar| revalue(liar, |_, value| value.batches.truncate(value.batches.len() / 2))),
    ("proposal: other builder", |liar| revalue(liar, |_, value| value.builder ^= 1)),
    ("proposal: other version", |liar| revalue(liar, |_, value| value.protocol_version += 1)),
    ("proposal: value of another height", |liar| revalue(liar, |_, value| value.height += 1)),
    ("proposal: lock claimed", |liar| {
        let SignedProposal { mut proposal, value, .. } = liar.own_proposal()?;
        proposal.pol_round = Some(proposal.round.saturating_sub(1));
        liar.proposal(proposal, value)
    }),
    ("proposal: far height", |liar| {
        let SignedProposal { mut proposal, mut value, .. } = liar.own_proposal()?;
        proposal.height += FAR_HEIGHTS;
        value.height += FAR_HEIGHTS;
        liar.proposal(proposal, value)
    }),
    ("proposal: a round too early", |liar| {
        let SignedProposal { mut proposal, value, .. } = liar.own_proposal()?;
        proposal.round += liar.random.between(1, 20) as u32;
        liar.proposal(proposal, value)
    }),
    ("proposal: another's value as ours", |liar| {
        let SignedProposal { proposal, .. } = liar.own_proposal()?;
        let value = stolen(liar, proposal.height)?.value;
        liar.proposal(proposal, value)
    }),
    ("proposal: out of turn", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let SignedProposal { proposal, value, .. } = stolen(liar, vote.height)?;
        liar.proposal(Proposal { validator: liar.node, ..proposal }, value)
    }),
    ("proposal: with an old signature", |liar| {
        let SignedProposal { proposal, value, signature } = liar.own_proposal()?;
        let old = liar.recall(|message| match message {
            Message::Proposal(old) if old.signature != signature => Some(old.signature),
            _ => None,
        })?;
        Some(Message::Proposal(SignedProposal { proposal, value, signature: old }))
    }),
    ("proposal: replayed", |liar| {
        liar.recall(|message| matches!(message, Message::Proposal(_)).then(|| message.clone()))
    }),
];

/// A proposal of somebody else at `height`.
fn stolen(liar: &mut Liar<'_>, height: u64) -> Option<SignedProposal> {
    let node = liar.node;
    liar.recall(|message| match message {
        Message::Proposal(signed) if signed.proposal.height == height && signed.proposal.validator != node => {
            Some(signed.clone())
        }
        _ => None,
    })
}
