//! The network: loses, doubles, delays and cuts; and what liars put on it.

use super::*;
use crate::simulator::liar::Liar;
use crate::simulator::twins::SCENE_MS;

impl World {
    pub(super) fn publish(&mut self, node: usize, to: Destination, message: &Message) {
        let id = self.machines[node].id;
        self.observer.said(id, message);
        if !self.observer.is_faulty(&id) {
            self.check_durable(node, message);
        }
        self.remember(message);
        for other in 0..self.machines.len() {
            let meant = match to {
                Destination::Broadcast => true,
                Destination::Node(to) => self.machines[other].id == to,
            };
            if other != node && meant {
                self.send(node, other, message);
            }
        }
    }

    fn remember(&mut self, message: &Message) {
        if self.plan.liars.is_empty() {
            return;
        }
        if self.memory.len() >= MEMORY_MAX {
            self.memory.pop_front();
        }
        self.memory.push_back(message.clone());
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        let (lose, double) = if self.stormy {
            (self.random.chance(self.plan.drop_permille), self.random.chance(self.plan.duplicate_permille))
        } else {
            (false, false)
        };
        if lose {
            return self.count("lost message");
        }
        if double {
            self.count("doubled message");
        }
        for _ in 0..=u8::from(double) {
            let delay_ms = self.random.between(1, self.plan.delay_ms);
            let message = self.maybe_lie(from, to, message);
            self.after(delay_ms, Event::Deliver { from, to, message });
        }
    }

    /// What a lying node really sends.
    fn maybe_lie(&mut self, from: usize, to: usize, message: &Message) -> Message {
        if !self.plan.liars.contains(&from) || !self.random.chance(300) {
            return message.clone();
        }
        let mut liar = Liar {
            random: &mut self.random,
            node: self.machines[from].id,
            to: self.machines[to].id,
            memory: &self.memory,
            truth: message,
        };
        let Some((name, lie)) = liar.tell() else { return message.clone() };
        *self.outcome.lies.entry(name).or_default() += 1;
        lie
    }

    /// Whether nothing passes between two machines now; `turn` is the turn a message belongs to.
    pub(super) fn is_cut(&mut self, from: usize, to: usize, turn: u64) -> bool {
        if self.sides.is_some_and(|sides| (sides >> from) & 1 != (sides >> to) & 1) {
            return true;
        }
        let Some(twins) = self.plan.twins.as_ref().filter(|_| self.stormy) else { return false };
        let began_ms = *self.turns.entry(turn).or_insert(self.now_ms);
        self.now_ms < began_ms + SCENE_MS && !twins.hears(turn, from, to)
    }

    /// The turn a message belongs to: its own, or that of its sender.
    fn turn(&self, from: usize, message: &Message) -> u64 {
        let round = match message {
            Message::Proposal(signed) => Some(signed.proposal.round),
            Message::Vote(signed) => Some(signed.vote.round),
            Message::Polka(polka) => Some(polka.round),
            Message::Round(certificate) => Some(certificate.round),
            _ => None,
        };
        match (message.height(), round) {
            (Some(height), Some(round)) => height.saturating_add(u64::from(round)),
            _ => self.turn_of(from),
        }
    }

    pub(super) fn turn_of(&self, node: usize) -> u64 {
        let status = self.machines[node].core.as_ref().map(Core::status);
        status.map_or(0, |status| status.height + u64::from(status.round))
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let turn = self.turn(from, &message);
        if self.is_cut(from, to, turn) {
            return self.count("cut off");
        }
        let lies = self.plan.liars.contains(&from);
        let Some(message) = self.over_the_wire(message, lies) else { return };
        let Some(core) = &self.machines[to].core else { return };
        let Ok(checks) = core.checks(&message) else { return };
        let verified = self.plan.mutation != Some(Mutation::AcceptUnverified);
        if verified && checks.iter().any(|check| signature(&check.node, &check.bytes) != check.signature) {
            if !lies {
                self.observer.violation(format!("node {from} sent a wrong signature"));
            }
            return;
        }
        let from = self.machines[from].id;
        self.step(to, Input::Message { from, message });
    }

    /// Encodes and decodes now and then, and always what a liar sends.
    fn over_the_wire(&mut self, message: Message, lies: bool) -> Option<Message> {
        if !lies && !self.random.chance(60) {
            return Some(message);
        }
        let mut bytes = message.encode();
        if lies && self.random.chance(20) {
            let at = self.random.between(0, bytes.len() as u64 - 1) as usize;
            bytes[at] ^= 1 << self.random.between(0, 7);
            *self.outcome.lies.entry("bytes: flipped").or_default() += 1;
        }
        let decoded = Message::decode(&bytes);
        assert!(lies || decoded.is_ok(), "what we say is well-formed");
        if decoded.is_err() {
            self.see("refused by the decoder");
        }
        decoded.ok()
    }
}
