//! The event loop: performs effects, delays answers, loses messages, cuts power.

use std::collections::{BTreeMap, BTreeSet};

use bixi_types::consensus::{Validator, ValidatorSet, Value};
use bixi_types::header::BlockHeader;
use bixi_types::ports::{Destination, SignError, Statement};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::babbler;
use super::host::{Block, Machine, signature};
use super::observer::Observer;
use super::{Mutation, Plan, Random};
use crate::log::LogEntry;
use crate::message::{CheckpointCertificate, Message};
use crate::{Core, Effect, Evidence, Head, HeightRules, Input, Mode, Now, Params, Reason, Start};

const SUITE: CryptoSuite = CryptoSuite::Std;
const CHAIN: H256 = H256([0xc0; 32]);
const GENESIS_MS: u64 = 1_000_000;
/// Wall clock at the start of a run.
const EPOCH_MS: u64 = 2_000_000;

mod perform;

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
    /// Nodes that stopped for good.
    pub(crate) halted: Vec<usize>,
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
        self.outcome.halted = (0..self.plan.validators).filter(|node| self.machines[*node].halted).collect();
        self.outcome.recovery_ms = self.now_ms.saturating_sub(self.plan.storm_ms);
        self.outcome.heights = self.machines.iter().map(Machine::height).sum();
        self.outcome.violations = std::mem::take(&mut self.observer.violations);
        self.outcome
    }

    fn finished(&self) -> bool {
        let lies = |index| self.plan.babbler == Some(index);
        let mut machines = self.machines.iter().enumerate();
        !self.stormy && machines.all(|(index, machine)| machine.halted || lies(index) || machine.height() >= self.goal)
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
        let machine = &self.machines[node];
        // Of two lives on an old disk one learns of it from its own guard, the other from its peers.
        let signed = machine.guard.mark().filter(|_| machine.restored && machine.life.is_multiple_of(2));
        let start = Start { committed, rules: heights.map(|height| self.rules(height)).collect(), log, signed };
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
            if self.plan.babbler != Some(from) {
                self.observer.violation(format!("node {from} sent a wrong signature"));
            }
            return;
        }
        let from = self.machines[from].id;
        self.step(to, Input::Message { from, message });
    }

    /// What a lying node really sends.
    fn babble(&mut self, from: usize, message: &Message) -> Message {
        if self.plan.babbler != Some(from) || !self.random.chance(300) {
            return message.clone();
        }
        self.count("lie");
        babbler::twist(&mut self.random, &self.machines[from].id, message)
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
            let message = self.babble(from, message);
            self.after(delay_ms, Event::Deliver { from, to, message });
        }
    }
}
