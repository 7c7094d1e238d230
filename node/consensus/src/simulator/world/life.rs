//! Starts of a node, its clock and its parameters, and inputs on their way to its core.

use super::*;
use crate::Timeouts;

impl World {
    /// The validators of a height.
    pub(super) fn validators(&self, height: u64) -> ValidatorSet {
        let mut members = self.members.clone();
        if self.plan.rotate {
            members.remove((height / 3) as usize % members.len());
        }
        ValidatorSet::new(members)
    }

    /// What `node` takes for the rules of a height.
    fn rules(&self, node: usize, height: u64) -> HeightRules {
        let version = if self.is_odd(node) && self.plan.seed.is_multiple_of(4) { 2 } else { 1 };
        HeightRules { validators: self.validators(height), protocol_version: version }
    }

    fn is_odd(&self, node: usize) -> bool {
        self.plan.odd == Some(node)
    }

    pub(super) fn params(&self, node: usize) -> Params {
        let params = Params::new(self.machines[node].id, CHAIN, SUITE, self.plan.depth);
        if self.is_odd(node) { odd(params, self.plan.seed) } else { params }
    }

    pub(super) fn start(&mut self, node: usize) {
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
            machine.disk.entries().map(|entry| LogEntry::decode(&entry.encode()).expect("round trip")).collect();
        let heights = committed.height + 1..=committed.height + self.params(node).pipeline_depth + 1;
        let machine = &self.machines[node];
        // Of two lives on another disk one learns of it from its own guard, the other from its peers.
        let signed = self.guards[machine.guard].mark().filter(|_| machine.restored && machine.life.is_multiple_of(2));
        let start = Start { committed, rules: heights.map(|height| self.rules(node, height)).collect(), log, signed };
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
        // Twins with a guard each are the byzantine ones: they do not mind meeting themselves.
        let careless = self.plan.twins.is_some() && self.observer.is_faulty(&self.machines[node].id);
        core.mutate(if careless { Some(Mutation::IgnoreOwnTraces) } else { self.plan.mutation });
        core
    }

    pub(super) fn now(&self, node: usize) -> Now {
        self.machines[node].clock.read(self.now_ms, EPOCH_MS)
    }

    /// The pool has batches until the target is decided.
    pub(super) fn offer_work(&mut self, node: usize) {
        let Some(core) = &self.machines[node].core else { return };
        let pending = self.stormy || core.status().decided < self.goal;
        if pending != self.machines[node].working {
            self.machines[node].working = pending;
            self.step(node, Input::WorkPending(pending));
        }
    }

    pub(super) fn step(&mut self, node: usize, input: Input) {
        let now = self.now(node);
        let Some(core) = &mut self.machines[node].core else { return };
        let effects = core.step(now, input);
        self.perform(node, effects);
        self.offer_work(node);
    }

    pub(super) fn answer(&mut self, node: usize, life: u64, input: Input) {
        if self.machines[node].life == life {
            self.step(node, input);
        }
    }

    pub(super) fn committed(&mut self, node: usize, life: u64, block: Block) {
        if self.machines[node].life != life {
            return;
        }
        let height = block.value.height;
        self.machines[node].disk.ledger.push(block);
        let rules = self.rules(node, height + self.params(node).pipeline_depth + 1);
        self.step(node, Input::LedgerCommitted { height, rules });
    }
}

/// Parameters that are wrong in many ways at once.
fn odd(mut params: Params, seed: u64) -> Params {
    let mut random = Random::new(seed ^ 0x0dd);
    let mut scaled = |ms: u64| match random.between(0, 3) {
        0 => (ms / 50).max(1),
        1 => ms * 40,
        _ => ms,
    };
    let waits = Timeouts::default();
    params.timeouts = Timeouts {
        propose_ms: (scaled(waits.propose_ms.0), scaled(waits.propose_ms.1)),
        prevote_ms: (scaled(waits.prevote_ms.0), scaled(waits.prevote_ms.1)),
        precommit_ms: (scaled(waits.precommit_ms.0), scaled(waits.precommit_ms.1)),
        rebroadcast_ms: (scaled(waits.rebroadcast_ms.0), scaled(waits.rebroadcast_ms.1)),
        max_ms: scaled(waits.max_ms),
    };
    params.clock_drift_ms = scaled(params.clock_drift_ms);
    params.sign_retry_ms = scaled(params.sign_retry_ms);
    params.sign_deadline_ms = scaled(params.sign_deadline_ms);
    params.sign_probe_ms = scaled(params.sign_probe_ms);
    params.resend_ms = scaled(params.resend_ms);
    params.status_ms = scaled(params.status_ms);
    params.pipeline_depth = random.between(1, 9);
    params
}
