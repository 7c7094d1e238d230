//! Values: building ours, judging everyone's.
//!
//! A rule that depends on the clock never makes a value invalid, only late: a verdict of invalid is for ever, and a quorum
//! with better clocks may decide the value.

use bixi_types::consensus::SignedProposal;
use bixi_types::limits::VALUE_BATCHES_MAX;

use super::*;
use crate::engine::Verdict;

/// Values looked at per round; an honest proposer makes one.
const VALUES_PER_ROUND_MAX: usize = 3;

/// Rounds ahead of ours a proposal may be; the engine looks no further either.
const ROUNDS_AHEAD_MAX: u32 = 10;

/// How far a value is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not looked at, or its time has not come.
    Waiting,
    /// The host is making its batches durable.
    Batches,
    /// Judged.
    Done,
}

/// A value proposed at the running height.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) value: Value,
    pub(super) round: u32,
    pub(super) pol_round: Option<u32>,
    pub(super) proposer: NodeId,
    /// Who should hold its batches: the last one who proposed it.
    pub(super) holder: NodeId,
    /// Built by us for `round` in this run.
    pub(super) ours: bool,
    pub(super) progress: Progress,
}

impl Core {
    /// Gives the engine the value it wants: the one the log remembers, or a new one.
    pub(super) fn provide_value(&mut self) -> bool {
        if self.engine.awaits_signature() {
            return false;
        }
        let Some(round) = self.current.wanted.take() else { return false };
        if round != self.current.round || self.has_proposed(round) {
            return true;
        }
        if let Some(value) = self.value_built_before(round) {
            self.engine_input(EngineInput::Propose { round, value });
            return true;
        }
        let wait_ms = self.params.timeouts.duration_ms(crate::TimeoutKind::Propose, round);
        self.current.asked = Some(round);
        self.out.push(Effect::BuildValue {
            height: self.head.height + 1,
            round,
            deadline_ms: self.now.monotonic_ms + wait_ms,
        });
        true
    }

    fn has_proposed(&self, round: u32) -> bool {
        let node = self.params.node;
        self.current.log.iter().any(|entry| {
            matches!(entry, LogEntry::Proposal(signed)
                if signed.proposal.round == round && signed.proposal.validator == node)
        })
    }

    /// Before a crash we built this value for `round`; another one would contradict a signature the guard may hold.
    fn value_built_before(&self, round: u32) -> Option<Value> {
        let node = self.params.node;
        self.current.log.iter().find_map(|entry| match entry {
            LogEntry::Verdict(verdict) if verdict.round == round && verdict.proposer == node => {
                verdict.pol_round.is_none().then(|| verdict.value.clone())
            }
            _ => None,
        })
    }

    pub(super) fn value_built(&mut self, height: u64, round: u32, mut batches: Vec<H256>) {
        let current = height == self.head.height + 1 && self.current.running && round == self.current.round;
        if !current || self.current.asked.take() != Some(round) {
            return;
        }
        let rules = &self.rules[&height];
        let Some(builder) = rules.validators.index_of(&self.params.node) else { return };
        batches.truncate(VALUE_BATCHES_MAX);
        let value = Value {
            height,
            parent: self.head.id,
            timestamp_ms: self.next_timestamp_ms(),
            builder: builder as u32,
            protocol_version: rules.protocol_version,
            batches,
        };
        let id = value.id(self.params.suite);
        let proposer = self.params.node;
        let progress = Progress::Waiting;
        let candidate = Candidate { value, round, pol_round: None, proposer, holder: proposer, ours: true, progress };
        self.current.candidates.insert(id, candidate);
        self.judge(id);
    }

    fn next_timestamp_ms(&self) -> u64 {
        if self.timestamps_ignored() {
            return self.now.unix_ms;
        }
        self.now.unix_ms.max(self.head.timestamp_ms + 1)
    }

    /// A verified proposal of the running height.
    pub(super) fn offer(&mut self, signed: SignedProposal) {
        let proposal = &signed.proposal;
        let id = proposal.value;
        if !self.current.candidates.contains_key(&id) {
            let round = proposal.round;
            if round > self.current.round.saturating_add(ROUNDS_AHEAD_MAX) {
                return;
            }
            let same_round = self.current.candidates.values().filter(|known| known.round == round).count();
            if same_round >= VALUES_PER_ROUND_MAX {
                return;
            }
            let candidate = Candidate {
                value: signed.value.clone(),
                round,
                pol_round: proposal.pol_round,
                proposer: proposal.validator,
                holder: proposal.validator,
                ours: false,
                progress: Progress::Waiting,
            };
            self.current.candidates.insert(id, candidate);
        }
        let holder = signed.proposal.validator;
        self.engine_input(EngineInput::Proposal(signed));
        self.judge(id);
        self.fetch_from(id, holder);
    }

    /// A value whose batches are still missing was proposed by somebody else too: they may be there.
    fn fetch_from(&mut self, id: H256, holder: NodeId) {
        let Some(candidate) = self.current.candidates.get_mut(&id) else { return };
        if candidate.progress == Progress::Batches && candidate.holder != holder {
            candidate.holder = holder;
            let value = candidate.value.clone();
            self.out.push(Effect::EnsureBatches { id, value, from: holder, is_decided: false });
        }
    }

    /// What the log says about values, after a start.
    pub(super) fn recover_candidates(&mut self) {
        let suite = self.params.suite;
        for entry in &self.current.log {
            let (id, candidate) = match entry {
                LogEntry::Proposal(SignedProposal { proposal, value, .. }) => {
                    let candidate = Candidate {
                        value: value.clone(),
                        round: proposal.round,
                        pol_round: proposal.pol_round,
                        proposer: proposal.validator,
                        holder: proposal.validator,
                        ours: false,
                        progress: Progress::Waiting,
                    };
                    (proposal.value, candidate)
                }
                LogEntry::Verdict(Verdict { value, round, pol_round, proposer, .. }) => {
                    let candidate = Candidate {
                        value: value.clone(),
                        round: *round,
                        pol_round: *pol_round,
                        proposer: *proposer,
                        holder: *proposer,
                        ours: false,
                        progress: Progress::Done,
                    };
                    (value.id(suite), candidate)
                }
                _ => continue,
            };
            let known = self
                .current
                .candidates
                .entry(id)
                .or_insert_with(|| Candidate { progress: Progress::Waiting, ..candidate });
            if matches!(entry, LogEntry::Verdict(_)) {
                known.progress = Progress::Done;
            }
        }
    }

    /// Looks again at every value whose time had not come.
    pub(super) fn judge_waiting(&mut self) {
        let waiting = self.current.candidates.iter().filter(|(_, known)| known.progress == Progress::Waiting);
        let ids: Vec<H256> = waiting.map(|(id, _)| *id).collect();
        for id in ids {
            self.judge(id);
        }
    }

    fn judge(&mut self, id: H256) {
        let Some(candidate) = self.current.candidates.get_mut(&id) else { return };
        if candidate.progress != Progress::Waiting || !self.current.running {
            return;
        }
        let value = candidate.value.clone();
        if self.broken_rule(&value).is_some() {
            return self.conclude(id, false);
        }
        let acceptable_at_ms = value.timestamp_ms.saturating_sub(self.params.clock_drift_ms);
        if acceptable_at_ms > self.now.unix_ms {
            let wait_ms = (acceptable_at_ms - self.now.unix_ms).min(self.params.timeouts.max_ms);
            return self.timers.set_earlier(Timer::Values, self.now.monotonic_ms + wait_ms);
        }
        if value.batches.is_empty() {
            return self.conclude(id, true);
        }
        self.ensure_batches(id, value);
    }

    fn ensure_batches(&mut self, id: H256, value: Value) {
        let Some(candidate) = self.current.candidates.get_mut(&id) else { return };
        candidate.progress = Progress::Batches;
        let from = candidate.holder;
        self.out.push(Effect::EnsureBatches { id, value, from, is_decided: false });
        #[cfg(test)]
        if self.mutated(crate::simulator::Mutation::PrevoteWithoutBatches) {
            self.conclude(id, true);
        }
    }

    /// The rule `value` breaks, if any. Depends on the chain only, never on our clock.
    fn broken_rule(&self, value: &Value) -> Option<&'static str> {
        let rules = self.rules.get(&value.height)?;
        let mut sorted = value.batches.clone();
        sorted.sort_unstable();
        if value.height != self.head.height + 1 || value.parent != self.head.id {
            Some("does not build on the head")
        } else if value.timestamp_ms <= self.head.timestamp_ms && !self.timestamps_ignored() {
            Some("timestamp not above its parent's")
        } else if value.builder as usize >= rules.validators.members().len() {
            Some("builder is not a validator")
        } else if value.protocol_version != rules.protocol_version {
            Some("another protocol version")
        } else if value.batches.len() > VALUE_BATCHES_MAX {
            Some("too many batches")
        } else if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            Some("a batch twice")
        } else {
            None
        }
    }

    #[cfg(test)]
    fn timestamps_ignored(&self) -> bool {
        self.mutated(crate::simulator::Mutation::AcceptLowerTimestamp)
    }

    #[cfg(not(test))]
    fn timestamps_ignored(&self) -> bool {
        false
    }

    /// Tells the engine what we think of a value; ours is proposed instead.
    fn conclude(&mut self, id: H256, valid: bool) {
        let Some(candidate) = self.current.candidates.get_mut(&id) else { return };
        candidate.progress = Progress::Done;
        let (value, round) = (candidate.value.clone(), candidate.round);
        if candidate.ours && valid {
            return self.engine_input(EngineInput::Propose { round, value });
        }
        let (pol_round, proposer) = (candidate.pol_round, candidate.proposer);
        self.engine_input(EngineInput::Verdict(Verdict { value, round, pol_round, proposer, valid }));
    }

    pub(super) fn batches_durable(&mut self, id: H256) {
        self.sync.durable(id);
        if self.current.candidates.get(&id).is_some_and(|known| known.progress == Progress::Batches) {
            self.conclude(id, true);
        }
    }

    pub(super) fn batches_invalid(&mut self, id: H256) {
        if self.sync.is_certified(id) {
            let (height, detail) =
                (self.head.height + 1, format!("a quorum decided {id}, whose batches break our rules"));
            return self.halt(HaltReason::EngineFault { height, detail });
        }
        if self.current.candidates.get(&id).is_some_and(|known| known.progress == Progress::Batches) {
            self.conclude(id, false);
        }
    }
}
