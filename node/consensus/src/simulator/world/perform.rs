//! Performs effects: what the disk, the network, the signer and the executor of a node do.

use super::*;
use crate::simulator::trace::describe;

/// Pause before batches are asked for again.
const FETCH_AGAIN_MS: u64 = 200;

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
        let machine = &self.machines[node];
        let (life, clock, scheduled) = (machine.life, machine.clock, machine.tick_at_ms);
        let deadline = machine.core.as_ref().and_then(Core::deadline_ms).map(|at_ms| clock.true_ms(at_ms));
        if let Some(at_ms) = deadline.filter(|at_ms| scheduled.is_none_or(|scheduled| *at_ms < scheduled)) {
            self.machines[node].tick_at_ms = Some(at_ms);
            self.at(at_ms.max(self.now_ms), Event::Tick { node, life });
        }
    }

    fn perform_one(&mut self, node: usize, effect: Effect) {
        self.trace(|| format!("{node} {}", describe(&effect)));
        let life = self.machines[node].life;
        match effect {
            Effect::Append(entry) => self.machines[node].append(Record::Entry(Box::new(entry))),
            Effect::Flush { id } => self.flush(node, Input::LogFlushed { id }),
            Effect::Sign { id, statement } => self.sign(node, id, &statement),
            Effect::Send { to, message } => self.publish(node, to, &message),
            Effect::BuildValue { height, round, .. } => self.build(node, height, round),
            Effect::EnsureBatches { id, value, .. } => {
                let delay_ms = self.random.between(1, 20);
                self.after(delay_ms, Event::Fetch { node, life, id, value: Box::new(value) });
            }
            Effect::Decide { height, value, certificate } => {
                self.check_decision(node, &value, &certificate);
                self.execute(node, height, value, certificate);
            }
            Effect::CheckpointCertified { height, header_hash, signatures } => {
                self.check_certified(node, height, header_hash, &signatures);
                self.commit(node, height, header_hash, signatures);
            }
            Effect::Serve { to, height } => self.serve(node, to, height),
            Effect::Forget { height } => self.machines[node].disk.forget(height),
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

    fn flush(&mut self, node: usize, answer: Input) {
        let (life, upto) = (self.machines[node].life, self.machines[node].appended);
        let delay_ms = self.random.between(1, 6);
        self.after(delay_ms, Event::Flushed { node, life, upto, answer });
    }

    fn build(&mut self, node: usize, height: u64, round: u32) {
        let life = self.machines[node].life;
        let count = self.random.between(0, 3);
        let made: BTreeSet<H256> = (0..count).map(|_| H256([self.random.next() as u8 & 0x7f; 32])).collect();
        self.batches.extend(&made);
        self.machines[node].pool.extend(&made);
        let input = Input::ValueBuilt { height, round, batches: made.into_iter().collect() };
        let delay_ms = self.random.between(1, 10);
        self.after(delay_ms, Event::Answer { node, life, input });
    }

    /// Batches come from whoever made them or has them on its disk, and are flushed before they count. Those that no host
    /// made (a liar named them) never come, or are seen to break a rule.
    pub(super) fn fetch(&mut self, node: usize, life: u64, id: H256, value: Box<Value>) {
        if self.machines[node].life != life {
            return;
        }
        if value.batches.contains(&INVALID_BATCH) {
            return self.step(node, Input::BatchesInvalid { value: id });
        }
        if self.machines[node].disk.holds(id) {
            return self.step(node, Input::BatchesDurable { value: id });
        }
        let turn = self.turn_of(node);
        let made = value.batches.iter().all(|batch| self.batches.contains(batch));
        let found = made && (0..self.machines.len()).any(|other| self.can_fetch(node, other, turn, id, &value));
        if !found {
            return self.after(FETCH_AGAIN_MS, Event::Fetch { node, life, id, value });
        }
        if self.plan.mutation == Some(Mutation::SkipBatchFlush) {
            return self.step(node, Input::BatchesDurable { value: id });
        }
        self.machines[node].append(Record::Batches { height: value.height, value: id });
        self.flush(node, Input::BatchesDurable { value: id });
    }

    fn can_fetch(&mut self, node: usize, other: usize, turn: u64, id: H256, value: &Value) -> bool {
        let machine = &self.machines[other];
        let has = machine.disk.holds(id) || value.batches.iter().all(|batch| machine.pool.contains(batch));
        has && machine.core.is_some() && (other == node || !self.is_cut(other, node, turn))
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
        let validator = usize::from(self.machines[node].id.0[0]) - 1;
        let latency_ms = self.plan.signer_ms[validator];
        let machine = &mut self.machines[node];
        let down = machine.signer_down_until_ms > now_ms;
        let (ticket, result) = match self.guards[machine.guard].allow(statement, hash) {
            Ok((ticket, _)) if down || fails => (ticket, Err(SignError::Device("CKR_DEVICE_ERROR".into()))),
            Ok((ticket, bytes)) => (ticket, Ok(signature(&machine.id, &bytes))),
            Err(refused) => (0, Err(refused)),
        };
        machine.signer_free_ms = machine.signer_free_ms.max(now_ms) + latency_ms;
        let at_ms = machine.signer_free_ms;
        if let Err(SignError::Device(_)) = result {
            self.count("failed signature");
        }
        if hangs {
            return self.count("hung signer");
        }
        self.at(at_ms, Event::Signed { node, life, id, ticket, result });
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
        let set = self.validators(height);
        let signatures =
            signatures.iter().map(|(index, signature)| (set.members()[*index as usize].id, *signature)).collect();
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
