//! The event loop: performs effects, delays answers, loses messages, cuts power.

use std::collections::{BTreeMap, BTreeSet};

use bixi_types::consensus::{Validator, ValidatorSet, Value};
use bixi_types::header::BlockHeader;
use bixi_types::ports::{Destination, SignError, Statement};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::host::{Block, Machine, signature};
use super::observer::Observer;
use super::{Mutation, Plan, Random};
use crate::log::LogEntry;
use crate::message::{CheckpointCertificate, Mark, Message};
use crate::{Core, Effect, Evidence, Head, HeightRules, Input, Mode, Now, Params, Reason, Start};

const SUITE: CryptoSuite = CryptoSuite::Std;
const CHAIN: H256 = H256([0xc0; 32]);
const GENESIS_MS: u64 = 1_000_000;
/// Wall clock at the start of a run.
const EPOCH_MS: u64 = 2_000_000;

#[derive(Debug, Clone)]
enum Event {
    Deliver { from: usize, to: usize, message: Message },
    Answer { node: usize, life: u64, input: Input },
    Flushed { node: usize, life: u64, id: u64 },
    Committed { node: usize, life: u64, block: Box<Block> },
    Tick { node: usize, life: u64 },
    Restart { node: usize },
    ArmCrash { node: usize },
    Blackout,
    Copy { node: usize },
    Restore { node: usize },
    Outage { node: usize, until_ms: u64 },
    Partition { sides: u64 },
    Calm,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    /// Faults injected, by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What the nodes went through, by kind.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    /// Heights committed by all nodes together, and the least by a live one.
    pub(crate) heights: u64,
    pub(crate) events: u64,
    pub(crate) virtual_ms: u64,
    /// From the end of the storm until every live node reached the goal.
    pub(crate) recovery_ms: u64,
    pub(crate) trace: Vec<String>,
}

/// A run in progress.
pub(crate) struct World {
    plan: Plan,
    random: Random,
    now_ms: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    machines: Vec<Machine>,
    members: Vec<Validator>,
    observer: Observer,
    stormy: bool,
    /// Bit per node: which side of the partition it is on; none when whole.
    sides: Option<u64>,
    /// Height every live node must commit; in the storm there is always work.
    goal: u64,
    outcome: Outcome,
    tracing: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, tracing: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let id = |index: usize| NodeId([index as u8 + 1; 64]);
        let members = (0..plan.validators).map(|index| Validator { id: id(index), weight: 1 }).collect();
        let skew_ms = plan.skew_ms;
        let machines = (0..plan.validators)
            .map(|index| {
                let mut machine = Machine::new(id(index), random.between(0, 2 * skew_ms) as i64 - skew_ms as i64);
                machine.guard.skipped = plan.mutation == Some(Mutation::SkipGuard);
                machine
            })
            .collect();
        Self {
            stormy: plan.storm_ms > 0,
            goal: plan.target,
            plan,
            random,
            now_ms: 0,
            sequence: 0,
            events: BTreeMap::new(),
            machines,
            members,
            observer: Observer::default(),
            sides: None,
            outcome: Outcome::default(),
            tracing,
        }
    }

    /// The validators of a height.
    fn rules(&self, height: u64) -> HeightRules {
        let mut members = self.members.clone();
        if self.plan.rotate {
            members.remove((height / 3) as usize % members.len());
        }
        HeightRules { validators: ValidatorSet::new(members), protocol_version: 1 }
    }

    /// Runs to the end: the target reached by every live node, a violation, or no more time.
    pub(crate) fn run(mut self) -> Outcome {
        self.schedule_faults();
        self.machines[0].crash_in = self.plan.crash_at.map(|at| at.effect);
        for node in 0..self.plan.validators {
            self.start(node);
        }
        let limit_ms = self.plan.storm_ms + self.plan.calm_ms;
        while let Some(((at_ms, _), event)) = self.events.pop_first() {
            self.now_ms = at_ms;
            if !self.observer.violations.is_empty() || self.finished() {
                break;
            }
            if at_ms > limit_ms {
                self.report_stall();
                break;
            }
            self.outcome.events += 1;
            self.handle(event);
        }
        self.outcome.virtual_ms = self.now_ms;
        self.outcome.recovery_ms = self.now_ms.saturating_sub(self.plan.storm_ms);
        self.outcome.heights = self.machines.iter().map(Machine::height).sum();
        self.outcome.violations = std::mem::take(&mut self.observer.violations);
        self.outcome
    }

    fn finished(&self) -> bool {
        !self.stormy && self.machines.iter().all(|machine| machine.halted || machine.height() >= self.goal)
    }

    fn report_stall(&mut self) {
        let states: Vec<String> = self
            .machines
            .iter()
            .map(|machine| format!("{:?} ledger {}", machine.core.as_ref().map(Core::status), machine.height()))
            .collect();
        self.observer.violation(format!("liveness: goal {} not reached: {states:#?}", self.goal));
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at_ms, self.sequence), event);
    }

    fn after(&mut self, delay_ms: u64, event: Event) {
        self.at(self.now_ms + delay_ms, event);
    }

    fn count(&mut self, fault: &'static str) {
        *self.outcome.faults.entry(fault).or_default() += 1;
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let text = format!("{:>7} {}", self.now_ms, line());
            self.outcome.trace.push(text);
        }
    }

    fn schedule_faults(&mut self) {
        let plan = self.plan.clone();
        if plan.storm_ms == 0 {
            return;
        }
        let nodes = plan.validators as u64;
        for _ in 0..plan.crashes {
            let (at_ms, node) = (self.random.between(0, plan.storm_ms), self.random.between(0, nodes - 1) as usize);
            self.at(at_ms, Event::ArmCrash { node });
        }
        for _ in 0..plan.partitions {
            let (at_ms, sides) = (self.random.between(0, plan.storm_ms), self.random.between(0, (1 << nodes) - 1));
            self.at(at_ms, Event::Partition { sides });
        }
        for _ in 0..plan.outages {
            let (at_ms, node) = (self.random.between(0, plan.storm_ms), self.random.between(0, nodes - 1) as usize);
            let until_ms = (at_ms + self.random.between(100, 9_000)).min(plan.storm_ms);
            self.at(at_ms, Event::Outage { node, until_ms });
        }
        if plan.blackout {
            let at_ms = self.random.between(0, plan.storm_ms);
            self.at(at_ms, Event::Blackout);
        }
        if plan.restore {
            let node = self.random.between(0, nodes - 1) as usize;
            let copied_ms = self.random.between(0, plan.storm_ms);
            let restored_ms = self.random.between(copied_ms, plan.storm_ms);
            self.at(copied_ms, Event::Copy { node });
            self.at(restored_ms, Event::Restore { node });
        }
        self.at(plan.storm_ms, Event::Calm);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Answer { node, life, input } => self.answer(node, life, input),
            Event::Flushed { node, life, id } => {
                if self.machines[node].life == life {
                    self.machines[node].flush(id);
                    self.step(node, Input::LogFlushed { id });
                }
            }
            Event::Committed { node, life, block } => self.committed(node, life, *block),
            Event::Tick { node, life } => {
                if self.machines[node].life == life {
                    self.machines[node].tick_at_ms = None;
                    self.step(node, Input::Tick);
                }
            }
            Event::Restart { node } => self.start(node),
            Event::ArmCrash { node } => self.machines[node].crash_in = Some(self.random.between(1, 40)),
            Event::Blackout => {
                for node in 0..self.plan.validators {
                    self.crash(node, "blackout");
                }
            }
            Event::Copy { node } => self.machines[node].copy = Some(self.machines[node].disk.clone()),
            Event::Restore { node } => self.restore(node),
            Event::Outage { node, until_ms } => {
                self.machines[node].signer_down_until_ms = until_ms;
                self.count("device outage");
            }
            Event::Partition { sides } => {
                self.sides = if self.sides.is_some() { None } else { Some(sides) };
                self.count("partition");
            }
            Event::Calm => self.calm(),
        }
    }

    /// The storm is over: everything is repaired.
    fn calm(&mut self) {
        self.stormy = false;
        self.sides = None;
        self.goal = self.observer.height() + self.plan.target;
        self.trace(|| "calm".to_owned());
        for machine in &mut self.machines {
            machine.crash_in = None;
            machine.signer_down_until_ms = 0;
        }
    }

    fn crash(&mut self, node: usize, kind: &'static str) {
        if self.machines[node].core.is_none() || self.machines[node].halted {
            return;
        }
        let chance = self.random.between(0, 4) as usize;
        self.machines[node].crash(self.plan.crash_at.map_or(chance, |at| at.kept));
        self.count(kind);
        self.trace(|| format!("{node} {kind}"));
        let down_ms = self.random.between(1, 1_500);
        self.after(down_ms, Event::Restart { node });
    }

    fn crash_here(&mut self, node: usize) {
        if self.plan.crash_at.is_some_and(|at| at.all) {
            (0..self.plan.validators).for_each(|node| self.crash(node, "blackout"));
        } else {
            self.crash(node, "crash");
        }
    }

    fn restore(&mut self, node: usize) {
        let Some(copy) = self.machines[node].copy.take() else { return };
        if self.machines[node].halted {
            return;
        }
        self.crash(node, "old disk");
        self.machines[node].restored = true;
        self.machines[node].disk.log = copy.log;
        self.machines[node].disk.ledger = copy.ledger;
    }

    fn params(&self, node: usize) -> Params {
        Params::new(self.machines[node].id, CHAIN, SUITE, self.plan.depth)
    }

    fn start(&mut self, node: usize) {
        if self.machines[node].core.is_some() || self.machines[node].halted {
            return;
        }
        let machine = &mut self.machines[node];
        let last = machine.disk.ledger.last();
        let committed = last.map_or(Head { height: 0, id: CHAIN, timestamp_ms: GENESIS_MS }, |block| Head {
            height: block.value.height,
            id: block.certificate.value,
            timestamp_ms: block.value.timestamp_ms,
        });
        machine.last_header = last.map_or(H256::ZERO, |block| block.header_hash);
        machine.appended = 0;
        machine.durable = 0;
        let log: Vec<LogEntry> =
            machine.disk.log.iter().map(|entry| LogEntry::decode(&entry.encode()).expect("round trip")).collect();
        let heights = committed.height + 1..=committed.height + self.plan.depth + 1;
        let start = Start { committed, rules: heights.map(|height| self.rules(height)).collect(), log };
        let now = self.now(node);
        let mut core = self.fresh_core(node);
        let again = self.fresh_core(node).step(now, Input::Start(Box::new(start.clone())));
        let effects = core.step(now, Input::Start(Box::new(start)));
        if effects != again {
            self.observer.violation(format!("replay: node {node} answers the same log in two ways"));
        }
        self.machines[node].core = Some(core);
        self.trace(|| format!("{node} starts above height {}", committed.height));
        self.perform(node, effects);
        self.offer_work(node);
    }

    fn fresh_core(&self, node: usize) -> Core {
        let mut core = Core::new(self.params(node));
        core.mutate(self.plan.mutation);
        core
    }

    fn now(&self, node: usize) -> Now {
        let unix_ms = (EPOCH_MS + self.now_ms).saturating_add_signed(self.machines[node].skew_ms);
        Now { monotonic_ms: self.now_ms, unix_ms }
    }

    /// The pool has batches until the target is decided.
    fn offer_work(&mut self, node: usize) {
        let Some(core) = &self.machines[node].core else { return };
        let pending = self.stormy || core.status().decided < self.goal;
        if pending != self.machines[node].working {
            self.machines[node].working = pending;
            self.step(node, Input::WorkPending(pending));
        }
    }

    fn step(&mut self, node: usize, input: Input) {
        let now = self.now(node);
        let Some(core) = &mut self.machines[node].core else { return };
        let effects = core.step(now, input);
        self.perform(node, effects);
        self.offer_work(node);
    }

    fn answer(&mut self, node: usize, life: u64, input: Input) {
        if self.machines[node].life != life {
            return;
        }
        if let Input::BatchesDurable { value } = &input {
            self.make_durable(node, *value);
        }
        self.step(node, input);
    }

    /// The batches of a value are named by its id here: the simulator only needs to know which values are safe on which disk.
    fn make_durable(&mut self, node: usize, value: H256) {
        self.machines[node].disk.batches.insert(value);
    }

    fn committed(&mut self, node: usize, life: u64, block: Block) {
        if self.machines[node].life != life {
            return;
        }
        let height = block.value.height;
        self.machines[node].disk.ledger.push(block);
        let rules = self.rules(height + self.plan.depth + 1);
        self.step(node, Input::LedgerCommitted { height, rules });
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let cut = self.sides.is_some_and(|sides| (sides >> from) & 1 != (sides >> to) & 1);
        if cut {
            return self.count("cut off");
        }
        let message = if self.random.chance(60) {
            Message::decode(&message.encode()).expect("what we say is well-formed")
        } else {
            message
        };
        let Some(core) = &self.machines[to].core else { return };
        let Ok(checks) = core.checks(&message) else { return };
        if checks.iter().any(|check| signature(&check.node, &check.bytes) != check.signature) {
            return self.observer.violation(format!("node {from} sent a wrong signature"));
        }
        let from = self.machines[from].id;
        self.step(to, Input::Message { from, message });
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
            self.after(delay_ms, Event::Deliver { from, to, message: message.clone() });
        }
    }

    fn perform(&mut self, node: usize, effects: Vec<Effect>) {
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
                if !self.machines[node].restored && self.plan.mutation.is_none() {
                    self.observer.violation(format!("node {node} distrusts its own intact disk"));
                }
            }
            Mode::Follower(Reason::GuardStorage | Reason::EngineFault { .. }) => {
                self.observer.violation(format!("node {node}: {mode:?}"));
            }
        }
    }

    fn evidence(&mut self, node: usize, evidence: &Evidence) {
        match evidence {
            Evidence::Divergence { .. } => self.see("divergence noticed"),
            Evidence::CheckpointRefused { .. } if self.machines[node].restored => self.see("checkpoint refused"),
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
    fn execute(
        &mut self,
        node: usize,
        height: u64,
        value: Value,
        certificate: bixi_types::consensus::CommitCertificate,
    ) {
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

    fn commit(
        &mut self,
        node: usize,
        height: u64,
        header_hash: H256,
        signatures: Vec<(u32, bixi_types::consensus::SignatureBytes)>,
    ) {
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

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Append(entry) => format!("append {} h{}", entry_name(entry), entry.height()),
        Effect::Send { to, message } => match to {
            Destination::Broadcast => format!("says {}", describe_message(message)),
            Destination::Node(id) => format!("tells {} {}", id.0[0] - 1, describe_message(message)),
        },
        Effect::Sign { id, statement } => match statement {
            Statement::Vote(vote) => format!("sign #{id} {:?} {:?}", Mark::of_vote(vote), vote.value),
            Statement::Proposal(proposal) => format!("sign #{id} proposal {} {}", proposal.round, proposal.value),
            Statement::Checkpoint(header) => format!("sign #{id} checkpoint {}", header.number),
        },
        Effect::Decide { height, value, .. } => format!("DECIDE {height} built by {}", value.builder),
        Effect::CheckpointCertified { height, .. } => format!("CERTIFIED {height}"),
        other => format!("{other:?}").chars().take(160).collect(),
    }
}

fn entry_name(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Vote(signed) => {
            format!("vote {:?} of {}", Mark::of_vote(&signed.vote), signed.vote.validator.0[0] - 1)
        }
        LogEntry::Proposal(signed) => format!("proposal r{}", signed.proposal.round),
        LogEntry::Verdict(verdict) => format!("verdict {}", verdict.valid),
        LogEntry::Timeout { round, kind, .. } => format!("timeout {kind:?} r{round}"),
        LogEntry::Polka(_) => "polka".to_owned(),
        LogEntry::Decided { .. } => "decided".to_owned(),
        LogEntry::Checkpoint(_) => "checkpoint".to_owned(),
    }
}

fn describe_message(message: &Message) -> String {
    match message {
        Message::Vote(signed) => {
            let value = signed.vote.value.map_or("nil".to_owned(), |id| id.to_hex()[..8].to_owned());
            format!("{:?} {value}", Mark::of_vote(&signed.vote))
        }
        Message::Proposal(signed) => {
            let proposal = &signed.proposal;
            format!("proposal h{} r{} {}", proposal.height, proposal.round, &proposal.value.to_hex()[..8])
        }
        other => format!("{other:?}").chars().take(60).collect(),
    }
}
