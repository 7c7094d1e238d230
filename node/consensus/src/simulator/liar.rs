//! A validator that lies with its own key, knowing all that was said lately.
//!
//! Every lie has a name, so that a campaign can show that each was told. A lie needs something to twist (its own vote, a
//! proposal of somebody else, enough old votes); when the one drawn does not fit, the next that does is told.

use std::collections::{BTreeMap, VecDeque};

use bixi_types::consensus::{Proposal, SignatureBytes, SignedProposal, SignedVote, Value, Vote, VoteKind};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::Random;
use super::machine::signature;
use crate::message::Message;

mod certificates;
mod proofs;
mod proposals;
mod votes;

/// A batch that breaks a rule of batches.
pub(crate) const INVALID_BATCH: H256 = H256([0xba; 32]);
/// A batch nobody has.
const MISSING_BATCH: H256 = H256([0xee; 32]);
/// Heights that nobody will reach.
const FAR_HEIGHTS: u64 = 1_000_000;

/// A liar about to send something.
pub(crate) struct Liar<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) node: NodeId,
    /// To whom it speaks.
    pub(crate) to: NodeId,
    /// What was said lately, by anybody.
    pub(crate) memory: &'a VecDeque<Message>,
    /// What an honest node would send now.
    pub(crate) truth: &'a Message,
}

/// A vote, and who else signed the same.
type Group = (Vote, BTreeMap<NodeId, SignatureBytes>);

type Lie = (&'static str, fn(&mut Liar<'_>) -> Option<Message>);

fn all() -> impl Iterator<Item = &'static Lie> {
    votes::LIES.iter().chain(proposals::LIES).chain(certificates::LIES).chain(proofs::LIES).chain(proofs::ANSWERS)
}

/// The names of all lies.
pub(crate) fn names() -> Vec<&'static str> {
    all().map(|(name, _)| *name).chain(["bytes: flipped"]).collect()
}

impl Liar<'_> {
    /// A lie, if there is anything to twist. What belongs to this very message is twisted half of the time.
    pub(crate) fn tell(&mut self) -> Option<(&'static str, Message)> {
        let count = all().count();
        let own = match self.truth {
            Message::Vote(_) => Some(votes::LIES),
            Message::Proposal(_) => Some(proposals::LIES),
            Message::MarkAnswer { .. } => Some(proofs::ANSWERS),
            _ => None,
        };
        if let Some(lies) = own.filter(|_| self.random.chance(500)) {
            let first = self.random.between(0, lies.len() as u64 - 1) as usize;
            let lie =
                lies.iter().cycle().skip(first).take(lies.len()).find_map(|(name, lie)| Some((*name, lie(self)?)));
            if lie.is_some() {
                return lie;
            }
        }
        let first = self.random.between(0, count as u64 - 1) as usize;
        let order: Vec<&Lie> = all().skip(first).chain(all().take(first)).collect();
        order.into_iter().find_map(|(name, lie)| Some((*name, lie(self)?)).filter(|(_, lie)| lie != self.truth))
    }

    fn sign(&self, bytes: &[u8]) -> SignatureBytes {
        signature(&self.node, bytes)
    }

    /// Our own vote, when that is what is to be sent.
    fn own_vote(&self) -> Option<SignedVote> {
        match self.truth {
            Message::Vote(signed) if signed.vote.validator == self.node => Some(signed.clone()),
            _ => None,
        }
    }

    fn own_proposal(&self) -> Option<SignedProposal> {
        match self.truth {
            Message::Proposal(signed) if signed.proposal.validator == self.node => Some(signed.clone()),
            _ => None,
        }
    }

    fn vote(&self, vote: Vote) -> Option<Message> {
        let signature = self.sign(&vote.sign_bytes());
        Some(Message::Vote(SignedVote { vote, signature }))
    }

    fn proposal(&self, mut proposal: Proposal, value: Value) -> Option<Message> {
        proposal.value = value.id(CryptoSuite::Std);
        let signature = self.sign(&proposal.sign_bytes());
        Some(Message::Proposal(SignedProposal { proposal, value, signature }))
    }

    /// Something remembered, of the kind that `wanted` recognises.
    fn recall<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Option<T> {
        let first = self.random.between(0, self.memory.len().max(1) as u64 - 1) as usize;
        let memory = self.memory.iter();
        memory.clone().skip(first).chain(memory.take(first)).find_map(wanted)
    }

    fn recall_vote(&mut self, wanted: impl Fn(&Vote) -> bool) -> Option<SignedVote> {
        self.recall(|message| match message {
            Message::Vote(signed) if wanted(&signed.vote) => Some(signed.clone()),
            _ => None,
        })
    }

    /// Remembered votes for one value in one place, by voter: the largest such group of the latest height that has one.
    fn group(&self, kind: VoteKind) -> Option<Group> {
        let mut groups: BTreeMap<(u64, u32, H256), Group> = BTreeMap::new();
        for message in self.memory {
            let Message::Vote(SignedVote { vote, signature }) = message else { continue };
            let Some(value) = vote.value.filter(|_| vote.kind == kind) else { continue };
            let place = groups.entry((vote.height, vote.round, value));
            place.or_insert_with(|| (vote.clone(), BTreeMap::new())).1.insert(vote.validator, *signature);
        }
        groups.into_values().rev().take(4).max_by_key(|(_, signatures)| signatures.len())
    }
}
