//! Lies about votes.

use super::*;

pub(super) const LIES: &[Lie] = &[
    ("vote: nil instead", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        vote.value.and_then(|_| liar.vote(Vote { value: None, ..vote }))
    }),
    ("vote: unknown value", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let value = Some(H256([liar.random.next() as u8; 32]));
        liar.vote(Vote { value, ..vote })
    }),
    ("vote: rival value", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let rival = liar.recall(|message| match message {
            Message::Proposal(signed) if Some(signed.proposal.value) != vote.value => Some(signed.proposal.value),
            _ => None,
        })?;
        liar.vote(Vote { value: Some(rival), ..vote })
    }),
    ("vote: later round", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let round = vote.round + liar.random.between(1, 12) as u32;
        liar.vote(Vote { round, ..vote })
    }),
    ("vote: earlier round", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let round = vote.round.checked_sub(1)?;
        liar.vote(Vote { round, ..vote })
    }),
    ("vote: last round there is", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let round = u32::MAX - liar.random.between(0, 1) as u32;
        liar.vote(Vote { round, ..vote })
    }),
    ("vote: next heights", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let height = vote.height + liar.random.between(1, 3);
        liar.vote(Vote { height, ..vote })
    }),
    ("vote: far height", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        liar.vote(Vote { height: vote.height + FAR_HEIGHTS, ..vote })
    }),
    ("vote: other step", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let kind = if vote.kind == VoteKind::Prevote { VoteKind::Precommit } else { VoteKind::Prevote };
        liar.vote(Vote { kind, ..vote })
    }),
    ("vote: other chain", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        liar.vote(Vote { chain: H256::ZERO, ..vote })
    }),
    ("vote: in another's name", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let other = liar.recall_vote(|other| other.validator != vote.validator)?.vote.validator;
        liar.vote(Vote { validator: other, ..vote })
    }),
    ("vote: with an old signature", |liar| {
        let SignedVote { vote, .. } = liar.own_vote()?;
        let old = liar.recall_vote(|old| old.validator == vote.validator && *old != vote)?;
        Some(Message::Vote(SignedVote { vote, signature: old.signature }))
    }),
    ("vote: another's, changed", |liar| {
        let node = liar.node;
        let mut stolen = liar.recall_vote(|vote| vote.validator != node)?;
        stolen.vote.round += 1;
        Some(Message::Vote(stolen))
    }),
    ("vote: replayed", |liar| liar.recall_vote(|_| true).map(Message::Vote)),
];
