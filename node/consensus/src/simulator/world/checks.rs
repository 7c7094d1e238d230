//! What must hold at every effect of every node.

use super::*;
use crate::certificate;
use crate::message::{SignatureCheck, commit_checks};
use crate::simulator::trace::describe_message;

impl World {
    pub(super) fn mode_changed(&mut self, node: usize, mode: &Mode) {
        // An exchanged disk, or a twin under the same key: what this node remembers is not all that its key has signed.
        let intact = !self.machines[node].restored && !self.is_doubled(node);
        match mode {
            Mode::Abstaining => self.see("abstained after start"),
            Mode::Voting => {}
            Mode::Follower(Reason::Conflict { .. }) => {
                self.see("followed: conflict");
                if intact {
                    self.observer.violation(format!("node {node} met a conflict with its own disk intact"));
                }
            }
            Mode::Follower(Reason::SignerUnavailable) => self.see("followed: signer away"),
            Mode::Follower(Reason::Behind { .. }) => self.see("followed: behind"),
            Mode::Follower(Reason::MarkAhead { .. }) => {
                self.see("followed: mark ahead");
                let honest = !self.plan.liars.contains(&node) && self.plan.mutation.is_none();
                if honest && intact {
                    self.observer.violation(format!("node {node} distrusts its own intact disk"));
                }
            }
            // What its twin said is in its log, and is not what it would say.
            Mode::Follower(Reason::EngineFault { .. }) if self.is_doubled(node) => self.see("followed: engine fault"),
            Mode::Follower(Reason::GuardStorage | Reason::Refused { .. } | Reason::EngineFault { .. }) => {
                self.observer.violation(format!("node {node}: {mode:?}"));
            }
        }
    }

    /// Whether another machine has the same key.
    fn is_doubled(&self, node: usize) -> bool {
        self.machines.iter().filter(|machine| machine.id == self.machines[node].id).count() > 1
    }

    pub(super) fn evidence(&mut self, node: usize, evidence: &Evidence) {
        let shares_guard = self.machines.iter().filter(|other| other.guard == self.machines[node].guard).count() > 1;
        match evidence {
            Evidence::Divergence { .. } => self.see("divergence noticed"),
            Evidence::CheckpointRefused { .. } if self.machines[node].restored || shares_guard => {
                self.see("checkpoint refused");
            }
            Evidence::Equivocation { node, .. } if self.observer.is_faulty(node) => self.see("equivocation proven"),
            Evidence::CheckpointEquivocation { votes } if self.observer.is_faulty(&votes[0].validator) => {
                self.see("two headers of one validator noticed");
            }
            other => {
                if self.plan.mutation.is_none() {
                    self.observer.violation(format!("node {node} accuses an honest node: {other:?}"));
                }
            }
        }
    }

    pub(super) fn halted(&mut self, node: usize, reason: &str) {
        self.machines[node].halted = true;
        self.machines[node].core = None;
        self.machines[node].life += 1;
        if self.plan.diverge.is_none_or(|(diverging, _)| diverging != node) {
            self.observer.violation(format!("node {node} halted: {reason}"));
        }
    }

    /// What we say in our own name is in our durable log, and a prevote names a value whose batches are durable.
    pub(super) fn check_durable(&mut self, node: usize, message: &Message) {
        let machine = &self.machines[node];
        let entry = match message {
            Message::Vote(signed) if signed.vote.validator == machine.id => LogEntry::Vote(signed.clone()),
            Message::Proposal(signed) if signed.proposal.validator == machine.id => LogEntry::Proposal(signed.clone()),
            Message::Checkpoint(vote) if vote.validator == machine.id => LogEntry::Checkpoint(vote.clone()),
            _ => return,
        };
        if entry.height() > machine.height() && !machine.disk.entries().any(|known| *known == entry) {
            let text = format!("node {node} said what its log does not hold: {}", describe_message(message));
            return self.observer.violation(text);
        }
        let LogEntry::Vote(signed) = &entry else { return };
        let Some(value) = signed.vote.value else { return };
        let without_batches = machine.disk.entries().any(|entry| {
            matches!(entry, LogEntry::Proposal(known) if known.proposal.value == value && known.value.batches.is_empty())
        });
        if entry.height() > machine.height() && !without_batches && !machine.disk.holds(value) {
            self.observer.violation(format!("node {node} voted before the batches of {value} were durable"));
        }
    }

    /// A decision is one for all, follows the rules of values, carries a proof that anybody can check, and can be executed
    /// whichever third is lost.
    pub(super) fn check_decision(&mut self, node: usize, value: &Value, certificate: &CommitCertificate) {
        let proven = certificate::commit(&self.validators(value.height), value.height, &certificate.value, certificate);
        let verified = verify(&commit_checks(certificate, CHAIN));
        if proven.is_err() || !verified {
            self.observer.violation(format!("node {node} decided height {} without a proof", value.height));
        }
        self.check_availability(value, certificate.value);
        let latest_ms = self.latest_timestamp_ms();
        self.observer.decided(node, certificate.value, value, (CHAIN, GENESIS_MS), latest_ms);
    }

    /// What the fastest of the clocks that are well allows.
    fn latest_timestamp_ms(&self) -> u64 {
        EPOCH_MS + self.now_ms + self.plan.skew_ms + Params::new(id(0), CHAIN, SUITE, 1).clock_drift_ms
    }

    /// Of the quorum that voted for a value all but the faulty hold its batches.
    fn check_availability(&mut self, value: &Value, id: H256) {
        if value.batches.is_empty() {
            return;
        }
        let set = self.validators(value.height);
        let weight = |wanted: &dyn Fn(&Machine) -> bool| -> u64 {
            let found = |member: &&Validator| self.machines.iter().any(|other| other.id == member.id && wanted(other));
            set.members().iter().filter(found).map(|member| member.weight).sum()
        };
        let holding = weight(&|machine| machine.disk.holds(id));
        let unfit = weight(&|machine| machine.restored || self.observer.is_faulty(&machine.id));
        if holding + unfit < set.quorum_weight() {
            let text = format!("availability: height {} decided, a weight of {holding} holds it", value.height);
            self.observer.violation(text);
        }
    }

    pub(super) fn check_certified(
        &mut self,
        node: usize,
        height: u64,
        header_hash: H256,
        signatures: &[(u32, SignatureBytes)],
    ) {
        let set = self.validators(height);
        let signers: Vec<&NodeId> = signatures.iter().map(|(index, _)| &set.members()[*index as usize].id).collect();
        let check = |(node, (_, found)): (&&NodeId, &(u32, SignatureBytes))| signature(node, &header_hash.0) == *found;
        let verified = signers.iter().zip(signatures).all(check);
        if !verified || certificate::quorum(&set, signers).is_err() {
            self.observer.violation(format!("node {node} certified height {height} without a proof"));
        }
        self.observer.certified(node, height, header_hash);
    }

    pub(super) fn check_not_signed_again(&mut self, node: usize, statement: &Statement) {
        let mut entries = self.machines[node].disk.entries();
        let again = match statement {
            Statement::Vote(vote) => entries.any(|entry| matches!(entry, LogEntry::Vote(known) if known.vote == *vote)),
            Statement::Proposal(proposal) => {
                entries.any(|entry| matches!(entry, LogEntry::Proposal(known) if known.proposal == *proposal))
            }
            Statement::Checkpoint(_) => false,
        };
        // A twin's log holds what the other said.
        if again && !self.is_doubled(node) {
            self.observer.violation(format!("replay: node {node} asked to sign what its log holds: {statement:?}"));
        }
    }
}

fn verify(checks: &[SignatureCheck]) -> bool {
    checks.iter().all(|check| signature(&check.node, &check.bytes) == check.signature)
}
