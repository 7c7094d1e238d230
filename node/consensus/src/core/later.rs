//! Verified messages of heights that are not running yet, bounded.

use std::collections::BTreeMap;

use super::*;

/// Messages kept per signer and height.
const PER_SIGNER_MAX: usize = 8;
/// Certificates kept per height.
const CERTIFICATES_MAX: usize = 4;

/// The messages, by height.
#[derive(Debug, Default)]
pub(super) struct Later(BTreeMap<u64, Vec<Message>>);

impl Later {
    /// Keeps a message unless its signer has enough of them waiting.
    pub(super) fn keep(&mut self, height: u64, message: Message) {
        let waiting = self.0.entry(height).or_default();
        let limit = if signer(&message).is_some() { PER_SIGNER_MAX } else { CERTIFICATES_MAX };
        let same = waiting.iter().filter(|other| signer(other) == signer(&message)).count();
        if same < limit && !waiting.contains(&message) {
            waiting.push(message);
        }
    }

    pub(super) fn has(&self, height: u64) -> bool {
        self.0.contains_key(&height)
    }

    pub(super) fn take(&mut self, height: u64) -> Vec<Message> {
        self.0.remove(&height).unwrap_or_default()
    }

    pub(super) fn drop_below(&mut self, height: u64) {
        self.0.retain(|kept, _| *kept >= height);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.0.values().flatten()
    }
}

fn signer(message: &Message) -> Option<NodeId> {
    match message {
        Message::Vote(signed) => Some(signed.vote.validator),
        Message::Proposal(signed) => Some(signed.proposal.validator),
        _ => None,
    }
}

impl Core {
    /// A verified ordering message: fed when its height runs, kept when it is next, answered when it is over.
    pub(super) fn receive_ordering(&mut self, from: NodeId, message: Message) {
        let Some(height) = message.height() else { return };
        let next = self.head.height + 1;
        self.witness(&message);
        if height < next {
            self.help(from, height);
        } else if height == next && self.current.running {
            self.feed(message);
        } else if self.rules.contains_key(&height) {
            self.later.keep(height, message);
            if height > next {
                self.request_from(from);
            }
        }
    }

    /// Gives the engine a message of the running height.
    pub(super) fn feed(&mut self, message: Message) {
        match message {
            Message::Proposal(signed) => self.offer(signed),
            Message::Vote(vote) => self.engine_input(EngineInput::Vote(vote)),
            Message::Polka(certificate) => self.engine_input(EngineInput::Polka(certificate)),
            Message::Round(certificate) => self.engine_input(EngineInput::Round(certificate)),
            _ => {}
        }
    }
}
