//! After a start a validator abstains until a quorum, itself included, told the highest message of its own they hold.
//!
//! An answer carries that message with the asker's own signature, so a liar can hide one but not invent one. Peers forget the
//! messages of heights they have decided; so an answer also says how far that is, and a node that is behind does not vote before it
//! has caught up: its disk may be an old copy, and what it said at those heights is nowhere any more. The height that counts is one
//! that more than a third of the weight claims, so that some honest node has decided it and no liar keeps us from voting.

use std::collections::BTreeMap;

use super::*;
use crate::certificate;
use crate::message::{Held, Mark, Step};
use bixi_types::consensus::{SignedVote, ValidatorSet, Vote, VoteKind};

/// Answers so far.
#[derive(Debug, Default)]
pub(super) struct Marks {
    nonce: u64,
    /// The highest message of ours that our disk held at the start. What peers give back later is no memory of ours.
    ours: Option<Mark>,
    /// What our guard remembers and our disk does not.
    signed: Option<Mark>,
    answers: BTreeMap<NodeId, Answer>,
}

/// What one peer told.
#[derive(Debug)]
struct Answer {
    decided: u64,
    held: Option<Mark>,
}

impl Marks {
    /// The highest height that validators of more than a third of the weight say is decided.
    fn decided(&self, set: &ValidatorSet) -> u64 {
        let members = self.answers.iter().filter(|(node, _)| set.index_of(node).is_some());
        let mut claims: Vec<(u64, &NodeId)> = members.map(|(node, answer)| (answer.decided, node)).collect();
        claims.sort_unstable_by(|one, other| other.cmp(one));
        let backed = |count: &usize| certificate::honest(set, claims[..*count].iter().map(|(_, node)| *node)).is_ok();
        (1..=claims.len()).find(backed).map_or(0, |count| claims[count - 1].0)
    }
}

impl Core {
    /// First thing after a start.
    pub(super) fn begin_marks(&mut self, signed: Option<Mark>) {
        self.marks.nonce = self.now.unix_ms;
        self.marks.signed = signed;
        self.marks.ours = self.highest_of(self.params.node).map(|held| held.mark());
        self.mode = Mode::Abstaining;
        self.out.push(Effect::ModeChanged(Mode::Abstaining));
        self.ask_marks();
        self.settle_marks();
    }

    pub(super) fn ask_marks(&mut self) {
        if self.mode != Mode::Abstaining {
            return;
        }
        self.broadcast(Message::MarkRequest { nonce: self.marks.nonce });
        self.timers.set(Timer::Marks, self.now.monotonic_ms + self.params.resend_ms);
    }

    pub(super) fn answer_mark(&mut self, from: NodeId, nonce: u64) {
        if !self.sync.may_answer(from, sync::Question::Mark, self.now.monotonic_ms) {
            return;
        }
        let held = self.highest_of(from);
        self.send(from, Message::MarkAnswer { nonce, decided: self.head.height, held });
    }

    pub(super) fn receive_mark(&mut self, from: NodeId, nonce: u64, decided: u64, held: Option<Held>) {
        if self.mode != Mode::Abstaining || nonce != self.marks.nonce || from == self.params.node {
            return;
        }
        self.marks.answers.insert(from, Answer { decided, held: held.map(|held| held.mark()) });
        self.settle_marks();
    }

    /// With a quorum of answers: vote, or follow until the chain has passed a message we do not know, and what others have decided.
    fn settle_marks(&mut self) {
        let Some((_, rules)) = self.rules.range(..=self.head.height + 1).next_back() else { return };
        let members = rules.validators.members().iter().map(|member| &member.id);
        let told: Vec<NodeId> =
            members.filter(|id| **id == self.params.node || self.marks.answers.contains_key(*id)).copied().collect();
        if certificate::quorum(&rules.validators, &told).is_err() {
            return;
        }
        let told = self.marks.answers.values().filter_map(|answer| answer.held).chain(self.marks.signed).max();
        let said = told.filter(|mark| Some(*mark) > self.marks.ours).map_or(0, |mark| mark.height);
        let decided = self.marks.decided(&rules.validators);
        #[cfg(test)]
        let (said, decided) =
            if self.mutated(crate::simulator::Mutation::IgnoreOwnTraces) { (0, 0) } else { (said, decided) };
        self.timers.cancel(Timer::Marks);
        let mode = match said.max(decided) {
            until if until <= self.head.height => Mode::Voting,
            until if said == until => Mode::Follower(Reason::MarkAhead { until }),
            until => Mode::Follower(Reason::Behind { until }),
        };
        self.change_mode(mode);
    }

    /// A message of ours that our log does not know shows that our disk is an old copy, or that our key is used elsewhere.
    /// Nothing of ours leaves before the log holds it, so there is no other way.
    pub(super) fn witness(&mut self, message: &Message) {
        #[cfg(test)]
        if self.mutated(crate::simulator::Mutation::IgnoreOwnTraces) {
            return;
        }
        let Some(until) = self.unknown_own_height(message) else { return };
        match self.mode {
            Mode::Follower(Reason::GuardStorage) => {}
            Mode::Follower(Reason::MarkAhead { until: known } | Reason::Behind { until: known }) if known >= until => {}
            _ => {
                self.signing.forget(&mut self.timers);
                self.timers.cancel(Timer::Marks);
                self.change_mode(Mode::Follower(Reason::MarkAhead { until }));
            }
        }
    }

    fn unknown_own_height(&self, message: &Message) -> Option<u64> {
        let node = self.params.node;
        let height = message.height()?;
        let mark = match message {
            Message::Vote(signed) => vote_of(node, signed)?.mark(),
            Message::Proposal(signed) => proposal_of(node, signed)?.mark(),
            Message::Polka(polka) => {
                polka.signatures.iter().find(|(signer, _)| *signer == node)?;
                Mark { height, round: polka.round, step: Step::Prevote }
            }
            Message::Round(certificate) => {
                let ours = certificate.signatures.iter().find(|entry| entry.validator == node)?;
                let step = if ours.kind == VoteKind::Prevote { Step::Prevote } else { Step::Precommit };
                Mark { height, round: certificate.round, step }
            }
            _ => return None,
        };
        let known = self.current.log.iter().any(|entry| match entry {
            LogEntry::Vote(signed) => vote_of(node, signed).is_some_and(|held| held.mark() == mark),
            LogEntry::Proposal(signed) => proposal_of(node, signed).is_some_and(|held| held.mark() == mark),
            _ => false,
        });
        (!known && height > self.head.height).then_some(height)
    }

    /// The highest ordering message of `node` we hold.
    fn highest_of(&self, node: NodeId) -> Option<Held> {
        let logged = self.current.log.iter().filter_map(|entry| match entry {
            LogEntry::Vote(signed) => vote_of(node, signed),
            LogEntry::Proposal(signed) => proposal_of(node, signed),
            _ => None,
        });
        let kept = self.later.iter().filter_map(|message| match message {
            Message::Vote(signed) => vote_of(node, signed),
            Message::Proposal(signed) => proposal_of(node, signed),
            _ => None,
        });
        let certified = self.decisions.values().filter_map(|decision| self.precommit_of(node, &decision.certificate));
        logged.chain(kept).chain(certified).max_by_key(Held::mark)
    }

    fn precommit_of(&self, node: NodeId, certificate: &CommitCertificate) -> Option<Held> {
        let (_, signature) = certificate.signatures.iter().find(|(signer, _)| *signer == node)?;
        let vote = Vote {
            chain: self.params.chain,
            height: certificate.height,
            round: certificate.round,
            kind: VoteKind::Precommit,
            value: Some(certificate.value),
            validator: node,
        };
        Some(Held::Vote(SignedVote { vote, signature: *signature }))
    }
}

fn vote_of(node: NodeId, signed: &SignedVote) -> Option<Held> {
    (signed.vote.validator == node).then(|| Held::Vote(signed.clone()))
}

fn proposal_of(node: NodeId, signed: &bixi_types::consensus::SignedProposal) -> Option<Held> {
    (signed.proposal.validator == node).then(|| Held::Proposal(signed.proposal.clone(), signed.signature))
}
