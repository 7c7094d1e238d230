//! Sees everything every node says and decides, and remembers it across their crashes.

use std::collections::{BTreeMap, BTreeSet};

use bixi_types::consensus::Value;
use bixi_types::{H256, NodeId};

use crate::message::{Mark, Message, Step};

/// What must hold, checked as it happens.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    decided: BTreeMap<u64, (H256, u64)>,
    certified: BTreeMap<u64, H256>,
    said: BTreeMap<(NodeId, Mark), Vec<u8>>,
    said_checkpoints: BTreeMap<(NodeId, u64), H256>,
    /// Validators that may contradict themselves: what they say is counted, not refused.
    faulty: BTreeSet<NodeId>,
    /// Places in which a faulty validator said two things.
    pub(crate) contradictions: u64,
    pub(crate) violations: Vec<String>,
}

impl Observer {
    pub(crate) fn excuse(&mut self, node: NodeId) {
        self.faulty.insert(node);
    }

    pub(crate) fn is_faulty(&self, node: &NodeId) -> bool {
        self.faulty.contains(node)
    }

    pub(crate) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Highest height anybody decided.
    pub(crate) fn height(&self) -> u64 {
        self.decided.keys().next_back().copied().unwrap_or(0)
    }

    /// A node regards `value` as decided. `genesis` is the head at height 0: id and timestamp. `latest_ms` is the latest
    /// timestamp that a validator whose clock is well accepts at this moment.
    pub(crate) fn decided(&mut self, node: usize, id: H256, value: &Value, genesis: (H256, u64), latest_ms: u64) {
        match self.decided.get(&value.height) {
            Some((known, _)) if *known == id => return,
            Some((known, _)) => {
                return self
                    .violation(format!("agreement: height {} is {known} and for node {node} {id}", value.height));
            }
            None => {}
        }
        let parent = if value.height == 1 { Some(genesis) } else { self.decided.get(&(value.height - 1)).copied() };
        match parent {
            Some((parent, _)) if parent != value.parent => {
                self.violation(format!("validity: value of height {} does not build on its parent", value.height));
            }
            Some((_, timestamp_ms)) if timestamp_ms >= value.timestamp_ms => {
                self.violation(format!("validity: time stands still at height {}", value.height));
            }
            _ => {}
        }
        if value.timestamp_ms > latest_ms {
            let (height, ahead_ms) = (value.height, value.timestamp_ms - latest_ms);
            self.violation(format!("validity: the time of height {height} is {ahead_ms} ms above every good clock"));
        }
        self.decided.insert(value.height, (id, value.timestamp_ms));
    }

    /// A node regards a header as certified.
    pub(crate) fn certified(&mut self, node: usize, height: u64, header_hash: H256) {
        let known = *self.certified.entry(height).or_insert(header_hash);
        if known != header_hash {
            self.violation(format!("agreement: header {height} is {known} and for node {node} {header_hash}"));
        }
    }

    /// `node` says something; only statements of its own are looked at.
    pub(crate) fn said(&mut self, node: NodeId, message: &Message) {
        let (mark, bytes) = match message {
            Message::Vote(signed) if signed.vote.validator == node => {
                (Mark::of_vote(&signed.vote), signed.vote.sign_bytes())
            }
            Message::Proposal(signed) if signed.proposal.validator == node => {
                let mark = Mark { height: signed.proposal.height, round: signed.proposal.round, step: Step::Propose };
                (mark, signed.proposal.sign_bytes())
            }
            Message::Checkpoint(vote) if vote.validator == node => {
                let known = *self.said_checkpoints.entry((node, vote.height)).or_insert(vote.header_hash);
                if known != vote.header_hash {
                    self.contradiction(node, format!("two headers of height {}", vote.height));
                }
                return;
            }
            _ => return,
        };
        let known = self.said.entry((node, mark)).or_insert_with(|| bytes.clone());
        if *known != bytes {
            self.contradiction(node, format!("{mark:?}"));
        }
    }

    fn contradiction(&mut self, node: NodeId, place: String) {
        self.contradictions += 1;
        if !self.is_faulty(&node) {
            self.violation(format!("double signature: {place} of node {:02x}", node.0[0]));
        }
    }
}
