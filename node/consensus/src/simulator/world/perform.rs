//! Performs effects: what the disk, the network, the signer and the executor of a node do.

use bixi_types::consensus::{CommitCertificate, SignatureBytes};

use super::*;
use crate::simulator::trace::{describe, describe_message};

impl World {
    pub(super) fn perform(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(left) = &mut self.machines[node].crash_in {
                *left -= 1;
                if *left == 0 {
                    return self.crash_here(node);
                }
            }
            self.perform_one(node, effect);
        }
        let life = self.machines[node].life;
        let deadline = self.machines[node].core.as_ref().and_then(Core::deadline_ms);
        let scheduled = self.machines[node].tick_at_ms;
        if let Some(at_ms) = deadline.filter(|at_ms| scheduled.is_none_or(|scheduled| *at_ms < scheduled)) {
            self.machines[node].tick_at_ms = Some(at_ms);
            self.at(at_ms.max(self.now_ms), Event::Tick { node, life });
        }
    }

    fn perform_one(&mut self, node: usize, effect: Effect) {
        self.trace(|| format!("{node} {}", describe(&effect)));
        let life = self.machines[node].life;
        match effect {
            Effect::Append(entry) => {
                self.machines[node].appended += 1;
                self.machines[node].unflushed.push(entry);
            }
            Effect::Flush { id } => {
                let delay_ms = self.random.between(1, 6);
                self.after(delay_ms, Event::Flushed { node, life, id });
            }
            Effect::Sign { id, statement } => self.sign(node, id, &statement),
            Effect::Send { to, message } => self.publish(node, to, &message),
            Effect::BuildValue { height, round, .. } => {
                let count = self.random.between(0, 3);
                let batches = (0..count).map(|_| H256([self.random.next() as u8; 32])).collect::<BTreeSet<_>>();
                let input = Input::ValueBuilt { height, round, batches: batches.into_iter().collect() };
                let delay_ms = self.random.between(1, 10);
                self.after(delay_ms, Event::Answer { node, life, input });
            }
            Effect::EnsureBatches { id, .. } => {
                let delay_ms = self.random.between(1, 25);
                self.after(delay_ms, Event::Answer { node, life, input: Input::BatchesDurable { value: id } });
            }
            Effect::Decide { height, value, certificate } => {
                self.check_availability(&value, certificate.value);
                self.observer.decided(node, certificate.value, &value, (CHAIN, GENESIS_MS));
                self.execute(node, height, value, certificate);
            }
            Effect::CheckpointCertified { height, header_hash, signatures } => {
                self.observer.certified(node, height, header_hash);
                self.commit(node, height, header_hash, signatures);
            }
            Effect::Serve { to, height } => self.serve(node, to, height),
            Effect::Forget { height } => self.machines[node].disk.log.retain(|entry| entry.height() > height),
            Effect::Halt(reason) => self.halted(node, &reason.to_string()),
            Effect::RoundStarted { round, .. } => {
                if round > 0 {
                    self.see("later rounds");
                }
            }
            Effect::ModeChanged(mode) => self.mode_changed(node, &mode),
            Effect::Evidence(evidence) => self.evidence(node, &evidence),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.outcome.seen.entry(what).or_default() += 1;
    }

    fn mode_changed(&mut self, node: usize, mode: &Mode) {
        match mode {
            Mode::Abstaining => self.see("abstained after start"),
            Mode::Voting => {}
            Mode::Follower(Reason::Conflict { .. }) => {
                self.see("followed: conflict");
                if !self.machines[node].restored {
                    self.observer.violation(format!("node {node} met a conflict with its own disk intact"));
                }
            }
            Mode::Follower(Reason::SignerUnavailable) => self.see("followed: signer away"),
            Mode::Follower(Reason::MarkAhead { .. }) => {
                self.see("followed: mark ahead");
                let honest = self.plan.babbler != Some(node) && self.plan.mutation.is_none();
                if honest && !self.machines[node].restored {
                    self.observer.violation(format!("node {node} distrusts its own intact disk"));
                }
            }
            Mode::Follower(Reason::GuardStorage | Reason::Refused { .. } | Reason::EngineFault { .. }) => {
                self.observer.violation(format!("node {node}: {mode:?}"));
            }
        }
    }

    fn is_babbler(&self, id: &NodeId) -> bool {
        self.plan.babbler.is_some_and(|node| self.machines[node].id == *id)
    }

    fn evidence(&mut self, node: usize, evidence: &Evidence) {
        match evidence {
            Evidence::Divergence { .. } => self.see("divergence noticed"),
            Evidence::CheckpointRefused { .. } if self.machines[node].restored => self.see("checkpoint refused"),
            Evidence::Equivocation { node, .. } if self.is_babbler(node) => self.see("equivocation proven"),
            Evidence::CheckpointEquivocation { votes } if self.is_babbler(&votes[0].validator) => {
                self.see("equivocation proven");
            }
            other => {
                if self.plan.mutation.is_none() {
                    self.observer.violation(format!("node {node} accuses an honest node: {other:?}"));
                }
            }
        }
    }

    fn halted(&mut self, node: usize, reason: &str) {
        self.machines[node].halted = true;
        self.machines[node].core = None;
        self.machines[node].life += 1;
        if self.plan.diverge.is_none_or(|(diverging, _)| diverging != node) {
            self.observer.violation(format!("node {node} halted: {reason}"));
        }
    }

    fn publish(&mut self, node: usize, to: Destination, message: &Message) {
        let id = self.machines[node].id;
        self.observer.said(id, message);
        self.check_durable(node, message);
        match to {
            Destination::Broadcast => {
                for other in (0..self.plan.validators).filter(|other| *other != node) {
                    self.send(node, other, message);
                }
            }
            Destination::Node(to) => {
                let other = self.machines.iter().position(|machine| machine.id == to).expect("a known node");
                self.send(node, other, message);
            }
        }
    }

    /// What we say in our own name is in our durable log, and a prevote names a value whose batches are durable.
    fn check_durable(&mut self, node: usize, message: &Message) {
        let machine = &self.machines[node];
        let entry = match message {
            Message::Vote(signed) if signed.vote.validator == machine.id => LogEntry::Vote(signed.clone()),
            Message::Proposal(signed) if signed.proposal.validator == machine.id => LogEntry::Proposal(signed.clone()),
            Message::Checkpoint(vote) if vote.validator == machine.id => LogEntry::Checkpoint(vote.clone()),
            _ => return,
        };
        if entry.height() > machine.height() && !machine.disk.log.contains(&entry) {
            let text = format!("node {node} said what its log does not hold: {}", describe_message(message));
            return self.observer.violation(text);
        }
        let LogEntry::Vote(signed) = &entry else { return };
        let Some(value) = signed.vote.value else { return };
        let without_batches = machine.disk.log.iter().any(|entry| {
            matches!(entry, LogEntry::Proposal(known) if known.proposal.value == value && known.value.batches.is_empty())
        });
        if entry.height() > machine.height() && !without_batches && !machine.disk.batches.contains(&value) {
            self.observer.violation(format!("node {node} voted before the batches of {value} were durable"));
        }
    }

    /// A decided value survives any loss of a third: a quorum holds its batches.
    fn check_availability(&mut self, value: &Value, id: H256) {
        let holding = self.machines.iter().filter(|machine| machine.disk.batches.contains(&id)).count() as u64;
        if !value.batches.is_empty() && holding < self.rules(value.height).validators.quorum_weight() {
            self.observer.violation(format!("availability: height {} decided with {holding} copies", value.height));
        }
    }

    fn sign(&mut self, node: usize, id: u64, statement: &Statement) {
        let (now_ms, life) = (self.now_ms, self.machines[node].life);
        self.check_not_signed_again(node, statement);
        let hash = match statement {
            Statement::Checkpoint(header) => Some(header.state_root),
            _ => None,
        };
        let fails = self.stormy && self.random.chance(self.plan.sign_fail_permille);
        let hangs = fails && self.random.chance(100);
        let latency_ms = self.plan.signer_ms[node];
        let machine = &mut self.machines[node];
        let down = machine.signer_down_until_ms > now_ms;
        let result = machine.guard.allow(statement, hash).and_then(|bytes| {
            if down || fails {
                Err(SignError::Device("CKR_DEVICE_ERROR".into()))
            } else {
                Ok(signature(&machine.id, &bytes))
            }
        });
        machine.signer_free_ms = machine.signer_free_ms.max(now_ms) + latency_ms;
        let at_ms = machine.signer_free_ms;
        if let Err(SignError::Device(_)) = result {
            self.count("failed signature");
        }
        if hangs {
            return self.count("hung signer");
        }
        self.at(at_ms, Event::Answer { node, life, input: Input::Signed { id, result } });
    }

    fn check_not_signed_again(&mut self, node: usize, statement: &Statement) {
        let log = &self.machines[node].disk.log;
        let again = match statement {
            Statement::Vote(vote) => {
                log.iter().any(|entry| matches!(entry, LogEntry::Vote(known) if known.vote == *vote))
            }
            Statement::Proposal(proposal) => {
                log.iter().any(|entry| matches!(entry, LogEntry::Proposal(known) if known.proposal == *proposal))
            }
            Statement::Checkpoint(_) => false,
        };
        if again {
            self.observer.violation(format!("replay: node {node} asked to sign what its log holds: {statement:?}"));
        }
    }

    /// Executes by hashing; a diverging node adds a speck of dust.
    fn execute(&mut self, node: usize, height: u64, value: Value, certificate: CommitCertificate) {
        let life = self.machines[node].life;
        let dust = self.plan.diverge.is_some_and(|(diverging, from)| diverging == node && height >= from);
        let previous = self.machines[node].last_header;
        let header_hash = SUITE.hash(&[&previous.0, &certificate.value.0, &[u8::from(dust)]]);
        let header = BlockHeader { number: height as i64, state_root: header_hash, ..BlockHeader::default() };
        let certified = CheckpointCertificate { height, header_hash, signatures: Vec::new() };
        let machine = &mut self.machines[node];
        machine.last_header = header_hash;
        machine.executed.push(Block { value, certificate, header_hash, certified });
        machine.executor_free_ms = machine.executor_free_ms.max(self.now_ms) + self.random.between(1, 30);
        let at_ms = machine.executor_free_ms;
        if dust {
            self.count("diverging result");
        }
        let input = Input::Executed { height, header: Box::new(header), header_hash };
        self.at(at_ms, Event::Answer { node, life, input });
    }

    fn commit(&mut self, node: usize, height: u64, header_hash: H256, signatures: Vec<(u32, SignatureBytes)>) {
        let life = self.machines[node].life;
        let rules = self.rules(height);
        let members = rules.validators.members();
        let signatures =
            signatures.iter().map(|(index, signature)| (members[*index as usize].id, *signature)).collect();
        let machine = &mut self.machines[node];
        let position = machine.executed.iter().position(|block| block.value.height == height).expect("executed before");
        let mut block = machine.executed.remove(position);
        block.certified = CheckpointCertificate { height, header_hash, signatures };
        machine.ledger_free_ms = machine.ledger_free_ms.max(self.now_ms) + self.random.between(1, 15);
        let at_ms = machine.ledger_free_ms;
        self.at(at_ms, Event::Committed { node, life, block: Box::new(block) });
    }

    fn serve(&mut self, node: usize, to: NodeId, height: u64) {
        self.see("served from the ledger");
        let block = self.machines[node].disk.ledger[height as usize - 1].clone();
        let Block { value, certificate, certified, .. } = block;
        self.publish(node, Destination::Node(to), &Message::Decided { value, certificate });
        self.publish(node, Destination::Node(to), &Message::Certified(certified));
    }
}
