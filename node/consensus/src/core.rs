//! The host duties around an ordering engine, as pure code.
//!
//! Invariants (each with its test in the README):
//! - Nothing signed by us leaves before the log holds it and everything it follows from.
//! - A statement goes to the signer only when the log already holds everything it follows from, so a replay derives the same
//!   statement and the guard gives the stored signature.
//! - A value is voted for only when every rule holds and its batches are durable here.
//! - Replay and sync never call the signer for anything recorded.

use std::collections::BTreeMap;

use bixi_types::consensus::{CommitCertificate, Value};
use bixi_types::ports::{Destination, Statement};
use bixi_types::{H256, NodeId};

use crate::effect::{Effect, Evidence, HaltReason};
use crate::engine::{EngineInput, EngineOutput, HeightStart, OrderingEngine, Tendermint};
use crate::input::{Head, HeightRules, Input, Now, Start};
use crate::log::LogEntry;
use crate::message::{Message, SignatureCheck, Unchecked};
use crate::params::{Mode, Params, Reason, Status};

mod checkpoints;
mod heights;
mod later;
mod marks;
mod outbox;
mod signing;
mod sync;
mod timers;
mod values;

use checkpoints::Checkpoints;
use heights::Current;
use later::Later;
use marks::Marks;
use outbox::Outbox;
use signing::Signing;
use sync::Sync;
use timers::{Timer, Timers};

/// A decision with its proof.
#[derive(Debug, Clone)]
struct Decision {
    value: Value,
    certificate: CommitCertificate,
}

/// One node's consensus.
pub struct Core {
    params: Params,
    engine: Box<dyn OrderingEngine>,
    now: Now,
    out: Vec<Effect>,
    outbox: Outbox,
    timers: Timers,
    /// Rules of the heights above the committed one, as far as known.
    rules: BTreeMap<u64, HeightRules>,
    /// Last decided value.
    head: Head,
    /// Last height in the ledger.
    committed: u64,
    /// Decisions since a little before the committed height.
    decisions: BTreeMap<u64, Decision>,
    /// The height after the head.
    current: Current,
    later: Later,
    mode: Mode,
    marks: Marks,
    signing: Signing,
    checkpoints: Checkpoints,
    sync: Sync,
    work_pending: bool,
    started: bool,
    halted: bool,
    #[cfg(test)]
    mutation: Option<crate::simulator::Mutation>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Core {
    /// A node that orders by Tendermint.
    pub fn new(params: Params) -> Self {
        let engine = Box::new(Tendermint::new(params.node, params.chain, params.suite));
        Self::with_engine(params, engine)
    }

    /// A node that orders by `engine`.
    pub fn with_engine(params: Params, engine: Box<dyn OrderingEngine>) -> Self {
        let head = Head { height: 0, id: params.chain, timestamp_ms: 0 };
        Self {
            params,
            engine,
            now: Now::default(),
            out: Vec::new(),
            outbox: Outbox::default(),
            timers: Timers::default(),
            rules: BTreeMap::new(),
            head,
            committed: 0,
            decisions: BTreeMap::new(),
            current: Current::default(),
            later: Later::default(),
            mode: Mode::Abstaining,
            marks: Marks::default(),
            signing: Signing::default(),
            checkpoints: Checkpoints::default(),
            sync: Sync::default(),
            work_pending: false,
            started: false,
            halted: false,
            #[cfg(test)]
            mutation: None,
        }
    }

    /// Takes one input and answers with what is to be done. After [`Effect::Halt`] nothing more comes.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        if self.halted {
            return Vec::new();
        }
        assert!(self.started || matches!(input, Input::Start(_)), "the first input is Start");
        self.now = Now { monotonic_ms: now.monotonic_ms.max(self.now.monotonic_ms), unix_ms: now.unix_ms };
        self.accept(input);
        while let Some(timer) = self.timers.pop_due(self.now.monotonic_ms) {
            self.fire(timer);
        }
        self.advance();
        self.outbox.settle(&mut self.out);
        std::mem::take(&mut self.out)
    }

    /// When [`Input::Tick`] is due, in monotonic milliseconds.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.halted { None } else { self.timers.next_ms() }
    }

    /// Which signatures must be verified before `message` may be fed; an error means: drop it.
    pub fn checks(&self, message: &Message) -> Result<Vec<SignatureCheck>, Unchecked> {
        if let Message::MarkAnswer { held: Some(held), .. } = message {
            return held.check(self.params.chain, self.params.node).map(|check| vec![check]);
        }
        let Some(height) = message.height() else { return Ok(Vec::new()) };
        // Of heights we have finished only the number is used, to help the sender.
        if self.is_finished(message, height) {
            return Ok(Vec::new());
        }
        if let Message::Proposal(signed) = message
            && signed.value.id(self.params.suite) != signed.proposal.value
        {
            return Err(Unchecked::Malformed("proposal of another value than it carries"));
        }
        if let Message::Decided { value, certificate } = message
            && value.id(self.params.suite) != certificate.value
        {
            return Err(Unchecked::Malformed("decision of another value than it carries"));
        }
        if self.current.knows(message) || self.checkpoints.knows(message) {
            return Err(Unchecked::Known);
        }
        message.checks(self.params.chain, self.rules.get(&height).map(|rules| &rules.validators))
    }

    /// A snapshot for people and metrics.
    pub fn status(&self) -> Status {
        Status {
            height: self.head.height + 1,
            round: self.current.round,
            resting: !self.current.running,
            mode: self.mode.clone(),
            decided: self.head.height,
            certified: self.checkpoints.certified(),
            committed: self.committed,
            signing: self.signing.is_pending(),
            clock_behind_ms: self.head.timestamp_ms.saturating_sub(self.now.unix_ms + self.params.clock_drift_ms),
        }
    }

    /// The decision of a height that is not far below the committed one.
    pub fn decision(&self, height: u64) -> Option<(&Value, &CommitCertificate)> {
        self.decisions.get(&height).map(|decision| (&decision.value, &decision.certificate))
    }

    fn accept(&mut self, input: Input) {
        match input {
            Input::Start(start) => self.start(*start),
            Input::Tick => {}
            Input::Message { from, message } => self.receive(from, message),
            Input::WorkPending(pending) => self.work_pending = pending,
            Input::ValueBuilt { height, round, batches } => self.value_built(height, round, batches),
            Input::BatchesDurable { value } => self.batches_durable(value),
            Input::BatchesInvalid { value } => self.batches_invalid(value),
            Input::Signed { id, result } => self.signed(id, result),
            Input::LogFlushed { id } => self.outbox.flushed(id),
            Input::Executed { height, header, header_hash } => self.executed(height, header, header_hash),
            Input::LedgerCommitted { height, rules } => self.ledger_committed(height, rules),
        }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Proposal(_) | Message::Vote(_) | Message::Polka(_) | Message::Round(_) => {
                self.receive_ordering(from, message);
            }
            Message::Checkpoint(vote) => self.receive_checkpoint(from, vote),
            Message::Certified(certificate) => self.receive_certified(from, certificate),
            Message::Decided { value, certificate } => self.receive_decided(from, value, certificate),
            Message::Status { decided, certified } => self.receive_status(from, decided, certified),
            Message::Request { decided, certified } => self.receive_request(from, decided, certified),
            Message::MarkRequest { nonce } => self.answer_mark(from, nonce),
            Message::MarkAnswer { nonce, decided, held } => self.receive_mark(from, nonce, decided, held),
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Round(round, kind) => self.engine_input(EngineInput::Timeout { round, kind }),
            Timer::SignDeadline => self.sign_overdue(),
            Timer::SignRetry => self.sign_again(),
            Timer::CheckpointRetry => self.retry_checkpoint(),
            Timer::Resend => self.resend_checkpoints(),
            Timer::Status => self.send_status(),
            Timer::Marks => self.ask_marks(),
            Timer::Values => self.judge_waiting(),
        }
    }

    /// Does what became possible, until nothing more is.
    fn advance(&mut self) {
        while !self.halted {
            let progressed = self.handle_fault()
                || self.finish_decided()
                || self.adopt_decided()
                || self.start_next_height()
                || self.provide_value();
            if !progressed {
                break;
            }
        }
    }

    fn engine_input(&mut self, input: EngineInput) {
        if self.current.running {
            let outputs = self.engine.handle(input);
            self.perform(outputs);
        }
    }

    fn perform(&mut self, outputs: Vec<EngineOutput>) {
        for output in outputs {
            match output {
                EngineOutput::RoundStarted { round, proposer } => self.round_started(round, proposer),
                EngineOutput::Append(entry) => self.append_once(entry),
                EngineOutput::Sign(statement) => self.sign(statement),
                EngineOutput::Publish(message) => self.publish(message),
                EngineOutput::ScheduleTimeout { round, kind } => {
                    let duration_ms = self.params.timeouts.duration_ms(kind, round);
                    self.timers.set(Timer::Round(round, kind), self.now.monotonic_ms + duration_ms);
                }
                EngineOutput::CancelTimeout { round, kind } => self.timers.cancel(Timer::Round(round, kind)),
                EngineOutput::CancelTimeouts => self.timers.cancel_rounds(),
                EngineOutput::GetValue { round } => self.current.wanted = Some(round),
                EngineOutput::Decided(certificate) => self.current.decided = Some(certificate),
                EngineOutput::Equivocation(node, messages) => {
                    self.out.push(Effect::Evidence(Evidence::Equivocation { node, messages }));
                }
                EngineOutput::Failed(detail) => self.current.fault = Some(detail),
            }
        }
    }

    fn round_started(&mut self, round: u32, proposer: NodeId) {
        self.current.round = round;
        self.outbox.want_flush();
        let height = self.head.height + 1;
        self.out.push(Effect::RoundStarted { height, round, proposer });
    }

    /// Appends to the log of the running height what is not in it yet; a replay repeats what is.
    fn append_once(&mut self, entry: LogEntry) {
        if self.current.log.contains(&entry) {
            return;
        }
        self.current.log.push(entry.clone());
        self.outbox.append(entry, &mut self.out);
    }

    /// Says something once the log is durable.
    fn publish(&mut self, message: Message) {
        self.outbox.after_flush(Effect::Send { to: Destination::Broadcast, message });
    }

    /// Sends something that needs no durability.
    fn send(&mut self, to: NodeId, message: Message) {
        self.out.push(Effect::Send { to: Destination::Node(to), message });
    }

    fn broadcast(&mut self, message: Message) {
        self.out.push(Effect::Send { to: Destination::Broadcast, message });
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode.clone();
            self.out.push(Effect::ModeChanged(mode));
        }
    }

    fn halt(&mut self, reason: HaltReason) {
        self.halted = true;
        self.out.push(Effect::Halt(reason));
    }

    /// Breaks one rule, to show that the simulator notices.
    #[cfg(test)]
    pub(crate) fn mutate(&mut self, mutation: Option<crate::simulator::Mutation>) {
        self.mutation = mutation;
        self.outbox.skip_flush = mutation == Some(crate::simulator::Mutation::SkipFlush);
    }

    #[cfg(test)]
    fn mutated(&self, mutation: crate::simulator::Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

#[cfg(test)]
mod tests;
