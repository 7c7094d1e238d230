//! Heights: started when there is reason and room, finished by a decision.

use std::collections::BTreeMap;

use super::values::Candidate;
use super::*;

/// The height being ordered or waited for.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// Whether the engine works on it. A height that is not running rests.
    pub(super) running: bool,
    /// Its round.
    pub(super) round: u32,
    /// What the log holds of it.
    pub(super) log: Vec<LogEntry>,
    /// Values proposed in it, by id.
    pub(super) candidates: BTreeMap<H256, Candidate>,
    /// Round the engine wants a value for.
    pub(super) wanted: Option<u32>,
    /// Round the host was asked to build a value for.
    pub(super) asked: Option<u32>,
    /// Set by the engine when it decided.
    pub(super) decided: Option<CommitCertificate>,
    /// Set by the engine when it cannot go on.
    pub(super) fault: Option<String>,
}

impl Current {
    /// Whether the log already holds exactly this message.
    pub(super) fn knows(&self, message: &Message) -> bool {
        match message {
            Message::Vote(vote) => self.log.iter().any(|entry| matches!(entry, LogEntry::Vote(known) if known == vote)),
            Message::Proposal(signed) => {
                self.log.iter().any(|entry| matches!(entry, LogEntry::Proposal(known) if known == signed))
            }
            _ => false,
        }
    }
}

impl Core {
    /// Takes over what the ledger and the log know, and goes on from there.
    pub(super) fn start(&mut self, start: Start) {
        assert!(!self.started, "started once");
        let sets = start.rules.iter().map(|rules| rules.validators.members());
        assert!(sets.clone().count() > 0 && sets.clone().all(|set| !set.is_empty()), "every height has validators");
        self.started = true;
        self.head = start.committed;
        self.committed = start.committed.height;
        self.checkpoints.resume(self.committed);
        self.rules = (self.committed + 1..).zip(start.rules).collect();
        for entry in start.log {
            self.recover(entry);
        }
        self.current.log.retain(|entry| entry.height() == self.head.height + 1);
        self.recover_candidates();
        self.timers.set(Timer::Status, self.now.monotonic_ms + self.params.status_ms);
        self.timers.set(Timer::Resend, self.now.monotonic_ms + self.params.resend_ms);
        self.begin_marks(start.signed);
    }

    fn recover(&mut self, entry: LogEntry) {
        if entry.height() <= self.committed {
            return;
        }
        match entry {
            LogEntry::Decided { value, certificate } if value.height == self.head.height + 1 => {
                self.move_head(value.clone(), certificate.clone());
                self.out.push(Effect::Decide { height: value.height, value, certificate });
            }
            LogEntry::Decided { .. } => {}
            LogEntry::Checkpoint(vote) => self.checkpoints.recover(vote),
            other => self.current.log.push(other),
        }
    }

    /// The next height, when its rules are known (back-pressure) and somebody has something to say (idle rule).
    pub(super) fn start_next_height(&mut self) -> bool {
        let height = self.head.height + 1;
        if self.current.running || !self.rules.contains_key(&height) {
            return false;
        }
        if !self.work_pending && self.current.log.is_empty() && !self.later.has(height) {
            return false;
        }
        self.current.running = true;
        self.refresh_mode(height);
        self.start_engine();
        for message in self.later.take(height) {
            self.feed(message);
        }
        self.judge_waiting();
        true
    }

    /// A follower whose reason has passed votes again.
    fn refresh_mode(&mut self, height: u64) {
        let passed = match &self.mode {
            Mode::Follower(
                Reason::Conflict { height: at }
                | Reason::Refused { height: at, .. }
                | Reason::EngineFault { height: at, .. },
            ) => height > *at,
            Mode::Follower(Reason::MarkAhead { until } | Reason::Behind { until }) => height > *until,
            _ => false,
        };
        if passed {
            self.set_mode(Mode::Voting);
        }
    }

    /// Starts or restarts the engine at the running height from its log.
    pub(super) fn start_engine(&mut self) {
        let height = self.head.height + 1;
        let validators = &self.rules[&height].validators;
        let enabled = self.mode == Mode::Voting;
        self.current.wanted = None;
        self.current.asked = None;
        self.signing.forget_unless_probing(&mut self.timers);
        let outputs = self.engine.start(HeightStart { height, validators, enabled, log: &self.current.log });
        self.perform(outputs);
    }

    /// Changes whether we vote, in the middle of a height if need be.
    pub(super) fn change_mode(&mut self, mode: Mode) {
        self.set_mode(mode);
        if self.current.running {
            self.start_engine();
        }
    }

    pub(super) fn handle_fault(&mut self) -> bool {
        let Some(detail) = self.current.fault.take() else { return false };
        let height = self.head.height + 1;
        if self.mode != Mode::Voting {
            self.halt(HaltReason::EngineFault { height, detail });
            return true;
        }
        self.signing.forget(&mut self.timers);
        self.change_mode(Mode::Follower(Reason::EngineFault { height, detail }));
        true
    }

    pub(super) fn finish_decided(&mut self) -> bool {
        let Some(certificate) = self.current.decided.take() else { return false };
        let Some(candidate) = self.current.candidates.get(&certificate.value) else {
            let detail = "decided a value that was never judged".to_owned();
            self.halt(HaltReason::EngineFault { height: certificate.height, detail });
            return true;
        };
        let value = candidate.value.clone();
        self.decide(value, certificate);
        true
    }

    /// The height is over: remember, tell the host, rest.
    pub(super) fn decide(&mut self, value: Value, certificate: CommitCertificate) {
        let height = value.height;
        let entry = LogEntry::Decided { value: value.clone(), certificate: certificate.clone() };
        self.outbox.append(entry, &mut self.out);
        self.outbox.after_flush(Effect::Decide { height, value: value.clone(), certificate: certificate.clone() });
        self.timers.cancel_rounds();
        self.timers.cancel(Timer::Values);
        self.signing.forget_unless_probing(&mut self.timers);
        self.current = Current::default();
        self.move_head(value, certificate);
    }

    fn move_head(&mut self, value: Value, certificate: CommitCertificate) {
        let id = certificate.value;
        self.head = Head { height: value.height, id, timestamp_ms: value.timestamp_ms };
        self.decisions.insert(value.height, Decision { value, certificate });
        self.later.drop_below(self.head.height + 1);
        self.sync.decided(self.head.height);
    }

    pub(super) fn ledger_committed(&mut self, height: u64, rules: HeightRules) {
        assert_eq!(height, self.committed + 1, "the ledger commits heights in order");
        assert!(!rules.validators.members().is_empty(), "a chain without validators cannot go on");
        self.committed = height;
        self.rules.insert(height + self.params.pipeline_depth + 1, rules);
        self.rules.retain(|known, _| *known > height);
        self.decisions.retain(|decided, _| decided + sync::KEPT_HEIGHTS > height);
        self.checkpoints.forget(height);
        // Of a height executed before its validators were known nothing has been certified yet.
        self.certify();
        self.sign_next_checkpoint();
        self.out.push(Effect::Forget { height });
        self.request_more();
    }
}
