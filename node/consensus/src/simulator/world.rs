//! The event loop: performs effects, delays answers, loses messages, cuts power.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bixi_types::consensus::{CommitCertificate, SignatureBytes, Validator, ValidatorSet, Value};
use bixi_types::header::BlockHeader;
use bixi_types::ports::{Destination, SignError, Statement};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::guard::Guard;
use super::liar::INVALID_BATCH;
use super::machine::{Block, Clock, Machine, Record, signature};
use super::observer::Observer;
use super::plan::DiskFault;
use super::twins::TwinGuard;
use super::{Mutation, Plan, Random};
use crate::log::LogEntry;
use crate::message::{CheckpointCertificate, Message};
use crate::{Core, Effect, Evidence, Head, HeightRules, Input, Mode, Now, Params, Reason, Start};

const SUITE: CryptoSuite = CryptoSuite::Std;
const CHAIN: H256 = H256([0xc0; 32]);
const GENESIS_MS: u64 = 1_000_000;
/// Wall clock at the start of a run: a day and a half after genesis, so that a clock may be a day behind.
const EPOCH_MS: u64 = 130_000_000;
/// Messages a liar remembers.
const MEMORY_MAX: usize = 600;

mod checks;
mod faults;
mod life;
mod network;
mod perform;

#[derive(Debug, Clone)]
enum Event {
    Deliver { from: usize, to: usize, message: Message },
    Answer { node: usize, life: u64, input: Input },
    Signed { node: usize, life: u64, id: u64, ticket: u64, result: Result<SignatureBytes, SignError> },
    Flushed { node: usize, life: u64, upto: u64, answer: Input },
    Fetch { node: usize, life: u64, id: H256, value: Box<Value> },
    Committed { node: usize, life: u64, block: Box<Block> },
    Tick { node: usize, life: u64 },
    Restart { node: usize },
    ArmCrash { node: usize },
    Blackout,
    Copy { node: usize },
    Damage { node: usize, fault: DiskFault },
    Outage { node: usize, until_ms: u64 },
    Partition { sides: u64 },
    SetClock { node: usize, offset_ms: i64 },
    Calm,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    /// Faults injected, by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Lies told, by kind.
    pub(crate) lies: BTreeMap<&'static str, u64>,
    /// What the nodes went through, by kind.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    /// Heights committed by all nodes together, and by the chain.
    pub(crate) heights: u64,
    pub(crate) chain_heights: u64,
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
    /// The validators in order, then the twins.
    machines: Vec<Machine>,
    guards: Vec<Guard>,
    members: Vec<Validator>,
    observer: Observer,
    stormy: bool,
    /// Bit per machine: which side of the partition it is on; none when whole.
    sides: Option<u64>,
    /// When each turn began, for the scenes of twins.
    turns: BTreeMap<u64, u64>,
    /// What was said lately, for liars.
    memory: VecDeque<Message>,
    /// Every batch that an honest host made.
    batches: BTreeSet<H256>,
    /// Height every live node must commit; in the storm there is always work.
    goal: u64,
    outcome: Outcome,
    tracing: bool,
}

fn id(index: usize) -> NodeId {
    NodeId([index as u8 + 1; 64])
}

impl World {
    pub(crate) fn new(plan: Plan, tracing: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let validators = plan.validators();
        let members = (0..).zip(&plan.weights).map(|(index, weight)| Validator { id: id(index), weight: *weight });
        let copies = plan.twins.iter().flat_map(|twins| twins.copy_of.iter().copied());
        let shared = plan.twins.as_ref().is_some_and(|twins| twins.guard == TwinGuard::Shared);
        let skew_ms = plan.skew_ms;
        let mut machines: Vec<Machine> = (0..validators)
            .chain(copies)
            .enumerate()
            .map(|(index, validator)| {
                let offset_ms = random.between(0, 2 * skew_ms) as i64 - skew_ms as i64;
                let guard = if shared { validator } else { index };
                Machine::new(id(validator), guard, Clock { offset_ms, drift_permille: 0 })
            })
            .collect();
        for bad in &plan.clocks {
            let offset_ms = random.between(0, 2 * bad.off_ms) as i64 - bad.off_ms as i64;
            machines[bad.node].clock = Clock { offset_ms, drift_permille: bad.drift_permille };
        }
        let skipped = plan.mutation == Some(Mutation::SkipGuard);
        let guards = machines.iter().map(|_| Guard::new(skipped)).collect();
        let mut observer = Observer::default();
        plan.byzantine().into_iter().for_each(|node| observer.excuse(id(node)));
        Self {
            stormy: plan.storm_ms > 0,
            goal: plan.target,
            members: members.collect(),
            plan,
            random,
            now_ms: 0,
            sequence: 0,
            events: BTreeMap::new(),
            machines,
            guards,
            observer,
            sides: None,
            turns: BTreeMap::new(),
            memory: VecDeque::new(),
            batches: BTreeSet::new(),
            outcome: Outcome::default(),
            tracing,
        }
    }

    /// Runs to the end: the target reached by every live node, a violation, or no more time.
    pub(crate) fn run(mut self) -> Outcome {
        self.schedule_faults();
        self.machines[0].crash_in = self.plan.crash_at.map(|at| at.effect);
        for node in 0..self.machines.len() {
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
        self.outcome.halted = (0..self.machines.len()).filter(|node| self.machines[*node].halted).collect();
        self.outcome.recovery_ms = self.now_ms.saturating_sub(self.plan.storm_ms);
        self.outcome.heights = self.machines.iter().map(Machine::height).sum();
        self.outcome.chain_heights = self.machines.iter().map(Machine::height).max().unwrap_or(0);
        if self.observer.contradictions > 0 {
            self.outcome.seen.insert("contradictions of faulty validators", self.observer.contradictions);
        }
        self.outcome.violations = std::mem::take(&mut self.observer.violations);
        self.outcome
    }

    /// Liars and twins with a guard each owe nothing, nor does a machine that stopped for good.
    fn finished(&self) -> bool {
        let done =
            |machine: &Machine| machine.halted || self.observer.is_faulty(&machine.id) || machine.height() >= self.goal;
        !self.stormy && self.machines.iter().all(done)
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

    fn see(&mut self, what: &'static str) {
        *self.outcome.seen.entry(what).or_default() += 1;
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let text = format!("{:>7} {}", self.now_ms, line());
            self.outcome.trace.push(text);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Answer { node, life, input } => self.answer(node, life, input),
            Event::Signed { node, life, id, ticket, result } => {
                let guard = self.machines[node].guard;
                self.guards[guard].answered(ticket);
                self.answer(node, life, Input::Signed { id, result });
            }
            Event::Flushed { node, life, upto, answer } => {
                if self.machines[node].life == life {
                    self.machines[node].flush(upto);
                    self.step(node, answer);
                }
            }
            Event::Fetch { node, life, id, value } => self.fetch(node, life, id, value),
            Event::Committed { node, life, block } => self.committed(node, life, *block),
            Event::Tick { node, life } => {
                if self.machines[node].life == life {
                    self.machines[node].tick_at_ms = None;
                    self.step(node, Input::Tick);
                }
            }
            Event::Restart { node } => self.start(node),
            Event::ArmCrash { node } => self.machines[node].crash_in = Some(self.random.between(1, 40)),
            Event::Blackout => (0..self.machines.len()).for_each(|node| self.crash(node, "blackout")),
            Event::Copy { node } => self.copy_disk(node),
            Event::Damage { node, fault } => self.damage(node, fault),
            Event::Outage { node, until_ms } => {
                self.machines[node].signer_down_until_ms = until_ms;
                self.count("device outage");
            }
            Event::Partition { sides } => {
                self.sides = if self.sides.is_some() { None } else { Some(sides) };
                self.count("partition");
            }
            Event::SetClock { node, offset_ms } => {
                self.machines[node].clock.offset_ms = offset_ms;
                self.count("clock set");
            }
            Event::Calm => self.calm(),
        }
    }
}
