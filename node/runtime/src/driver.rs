//! The consensus thread: feeds events to the pure core and performs its effects.

mod early;
mod fetch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bixi_consensus::{Core, Effect, Evidence, Input, Message, Mode, Unchecked};
use bixi_ledger::Ledger;
use bixi_txpool::TxPool;
use bixi_types::consensus::{Validator, Value};
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::{H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::batches::{BatchStore, Batcher};
use crate::clock::Clock;
use crate::event::{Arrived, Event, Fault};
use crate::exchange::{Asked, BatchJob, MessageCheck, Offences, ServeJob, tell_head};
use crate::links::{Channel, Links};
use crate::log_thread::{Answer, Command};
use crate::ordering_log::Record;
use crate::pipeline::{CommitJob, ExecuteJob, Pipeline};
use crate::view::View;
use early::Early;
use fetch::{Fetches, Progress};

/// Where the core's effects go.
pub(crate) struct Lines {
    pub log: Sender<Command>,
    pub signer: Sender<(u64, Statement)>,
    pub execute: Sender<ExecuteJob>,
    pub commit: Sender<CommitJob>,
    pub checks: Sender<MessageCheck>,
    pub batch_jobs: Sender<BatchJob>,
    pub serve: Sender<ServeJob>,
    pub evidence: Sender<Evidence>,
    pub links: Arc<dyn Links>,
}

/// What a driver is made of.
pub(crate) struct DriverParts {
    pub core: Core,
    pub node: NodeId,
    pub clock: Clock,
    pub events: Receiver<Event>,
    pub lines: Lines,
    pub batcher: Arc<Batcher>,
    pub offences: Arc<Offences>,
    /// Set by the pool when transactions arrive, cleared by the driver: one event for many arrivals.
    pub work: Arc<AtomicBool>,
    pub block_interval_ms: u64,
}

/// Everything the thread works with.
pub(crate) struct Driver {
    core: Core,
    clock: Clock,
    node: NodeId,
    events: Receiver<Event>,
    lines: Lines,
    batcher: Arc<Batcher>,
    batches: Arc<BatchStore>,
    offences: Arc<Offences>,
    ledger: Arc<Ledger>,
    pool: Arc<TxPool>,
    view: Arc<View>,
    work: Arc<AtomicBool>,
    block_interval_ms: u64,
    building: Option<Building>,
    fetches: Fetches,
    early: Early,
    /// Validators whose keys have tables.
    pinned: Vec<Validator>,
    work_told: bool,
    /// What waits may have changed: look at it once the effects at hand are done.
    work_changed: bool,
    last_decided_ms: u64,
}

/// A value being collected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Building {
    height: u64,
    round: u32,
    ready_ms: u64,
}

impl Driver {
    /// A driver at rest; [`Self::run`] gives it its first input.
    pub(crate) fn new(parts: DriverParts, pipeline: &Pipeline) -> Self {
        pipeline.view.set_decided(pipeline.ledger.height());
        let DriverParts { core, node, clock, events, lines, batcher, offences, work, block_interval_ms } = parts;
        Self {
            core,
            clock,
            node,
            events,
            lines,
            batcher,
            batches: Arc::clone(&pipeline.batches),
            offences,
            ledger: Arc::clone(&pipeline.ledger),
            pool: Arc::clone(&pipeline.pool),
            view: Arc::clone(&pipeline.view),
            work,
            block_interval_ms,
            building: None,
            fetches: Fetches::default(),
            early: Early::default(),
            pinned: Vec::new(),
            work_told: false,
            work_changed: true,
            last_decided_ms: 0,
        }
    }

    /// Runs until told to stop or until the node cannot go on; then says why.
    pub(crate) fn run(mut self, start: Input) -> Option<Fault> {
        let mut outcome = self.feed(start).and_then(|()| self.after_effects());
        while outcome.is_ok() {
            outcome = match self.next_event() {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => self.feed(Input::Tick).and_then(|()| self.after_effects()),
            };
        }
        outcome.err()
    }

    fn next_event(&self) -> Result<Event, RecvTimeoutError> {
        let building = self.building.filter(|building| self.may_build(building)).map(|building| building.ready_ms);
        let fetching = self.fetches.deadline_ms();
        match self.core.deadline_ms().into_iter().chain(building).chain(fetching).min() {
            Some(deadline) => self.events.recv_deadline(self.clock.instant(deadline)),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Input(input) => self.feed_answer(*input)?,
            Event::Checked(Arrived { from, what, .. }) => self.feed(Input::Message { from, message: *what })?,
            Event::Peer(arrived) => self.receive(arrived)?,
            Event::Head(Arrived { from, what, .. }) => {
                let links = Arc::clone(&self.lines.links);
                self.view.set_head(from, what, |peer| !links.peers().contains(peer));
            }
            Event::Heights(Arrived { from, what, .. }) => {
                tracing::trace!(peer = %from, first = what.first, heights = what.proofs.len(), "nobody waits for these");
            }
            Event::Work => {
                self.work.store(false, Ordering::Release);
                self.work_changed = true;
            }
            Event::Fault(fault) => return Err(fault),
            Event::Stop => {}
        }
        self.after_effects()
    }

    fn after_effects(&mut self) -> Result<(), Fault> {
        self.settle_fetches()?;
        if std::mem::take(&mut self.work_changed) {
            self.tell_work()?;
        }
        self.build_when_ready()?;
        let now_ms = self.clock.now().monotonic_ms;
        self.fetches.ask(now_ms, self.node, &self.batches, self.lines.links.as_ref());
        Ok(())
    }

    /// Has the signatures of a peer's message checked before it is fed; one without signatures is fed at once.
    fn receive(&mut self, arrived: Arrived<Box<Message>>) -> Result<(), Fault> {
        match self.core.checks(&arrived.what) {
            Ok(checks) if checks.is_empty() => self.feed(Input::Message { from: arrived.from, message: *arrived.what }),
            Ok(checks) => {
                let _ = self.lines.checks.send(MessageCheck::Message(arrived, checks));
                Ok(())
            }
            Err(offence @ (Unchecked::NotMember | Unchecked::Malformed(_))) => {
                self.offences.charge(arrived.from, offence.to_string());
                Ok(())
            }
            Err(Unchecked::UnknownHeight(_)) => {
                self.early.keep(self.core.status().decided, arrived);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// A commit tells the validators of one height more: what came too early for it is looked at again.
    fn feed_answer(&mut self, input: Input) -> Result<(), Fault> {
        let is_commit = matches!(input, Input::LedgerCommitted { .. });
        self.feed(input)?;
        let early = if is_commit { self.early.take() } else { Vec::new() };
        early.into_iter().try_for_each(|arrived| self.receive(arrived))
    }

    /// Tells the core whether work waits that stands in no value of the running height.
    fn tell_work(&mut self) -> Result<(), Fault> {
        let waits = self.pool.waiting().0 > 0 || self.batches.is_pending(self.view.undecided());
        if waits == self.work_told {
            return Ok(());
        }
        self.work_told = waits;
        self.feed(Input::WorkPending(waits))
    }

    fn feed(&mut self, input: Input) -> Result<(), Fault> {
        self.pin_validators(&input);
        let effects = self.core.step(self.clock.now(), input);
        for effect in effects {
            self.perform(effect)?;
        }
        self.view.set_consensus(self.core.status());
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Fault> {
        match effect {
            Effect::Append(entry) => self.tell_log(Command::Append(Record::Entry(Box::new(entry)))),
            Effect::Flush { id } => self.tell_log(Command::Flush(Answer::Flushed(id))),
            Effect::Sign { id, statement } => {
                let _ = self.lines.signer.send((id, statement));
            }
            Effect::Send { to, message } => {
                if let Message::Status { .. } = message {
                    tell_head(&self.ledger, self.lines.links.as_ref(), to);
                }
                self.lines.links.send_on(Channel::Consensus, to, message.encode());
            }
            Effect::BuildValue { height, round, deadline_ms } => self.begin_building(height, round, deadline_ms),
            Effect::EnsureBatches { id, value, from } => self.ensure_batches(id, &value, from),
            Effect::Decide { height, value, certificate } => {
                self.last_decided_ms = self.clock.now().monotonic_ms;
                self.batches.decided(&value.batches, height);
                self.view.set_decided(height);
                self.work_changed = true;
                let _ = self.lines.execute.send(ExecuteJob { height, value, certificate });
            }
            Effect::CheckpointCertified { height, header_hash, signatures } => {
                let _ = self.lines.commit.send(CommitJob::Certified { height, header_hash, signatures });
            }
            Effect::Serve { to, height } => {
                let asked = Asked::Height(height);
                let _ = self.lines.serve.send(ServeJob::Answer { to, asked, _ticket: None });
            }
            Effect::Forget { height } => self.forget(height),
            Effect::RoundStarted { height, round, proposer } => {
                tracing::debug!(height, round, %proposer, "round started");
                self.view.set_proposer(proposer);
            }
            Effect::ModeChanged(Mode::Follower(reason)) => tracing::warn!(?reason, "this validator only follows"),
            Effect::ModeChanged(mode) => tracing::info!(?mode, "consensus mode"),
            Effect::Evidence(evidence) => {
                let _ = self.lines.evidence.send(evidence);
            }
            Effect::Halt(reason) => return Err(Fault::Consensus(reason.to_string())),
        }
        Ok(())
    }

    fn tell_log(&self, command: Command) {
        // A log thread that is gone has sent its fault before: the next event ends this thread.
        let _ = self.lines.log.send(command);
    }

    /// A block is worth waiting for a moment: more transactions share its signatures and fsyncs. Half of the time to propose
    /// is left for building and for the durable log.
    fn begin_building(&mut self, height: u64, round: u32, deadline_ms: u64) {
        let now = self.clock.now().monotonic_ms;
        let latest_ms = now + deadline_ms.saturating_sub(now) / 2;
        let ready_ms = (self.last_decided_ms + self.block_interval_ms).clamp(now, latest_ms);
        self.building = Some(Building { height, round, ready_ms });
    }

    /// While the decision below is not durable, its batches still wait and would be proposed again.
    fn may_build(&self, building: &Building) -> bool {
        building.height <= self.view.undecided()
    }

    fn build_when_ready(&mut self) -> Result<(), Fault> {
        let Some(building) = self.building else { return Ok(()) };
        let core = self.core.status();
        if (core.height, core.round, core.resting) != (building.height, building.round, false) {
            // The round has passed: a value for it would be ignored, and its transactions would stay packed.
            self.building = None;
            return Ok(());
        }
        if !self.may_build(&building) {
            return Ok(());
        }
        let waiting = self.batches.waiting_transactions() + self.pool.waiting().0;
        let is_full = waiting >= self.batcher.block_transactions_max();
        if !is_full && self.clock.now().monotonic_ms < building.ready_ms {
            return Ok(());
        }
        self.building = None;
        self.build(building.height, building.round)
    }

    /// Proposes the batches that wait, whoever built them. What is in the pool is batched now when it would go to nobody else before,
    /// or when nothing else waits.
    fn build(&mut self, height: u64, round: u32) -> Result<(), Fault> {
        let started = Instant::now();
        let transactions_max = self.batcher.block_transactions_max();
        let waiting = self.batches.waiting_transactions();
        if self.batcher.is_alone() || waiting == 0 {
            self.batcher.seal_waiting(transactions_max.saturating_sub(waiting));
        }
        let digests = self.batches.propose(transactions_max);
        self.log_batches(&digests, height);
        tracing::trace!(height, round, batches = digests.len(), elapsed = ?started.elapsed(), "built a value");
        self.feed(Input::ValueBuilt { height, round, batches: digests })?;
        // Before anything is decided: the next height must not start for what this one holds.
        self.tell_work()
    }

    /// Appends the batches of a value to the ordering log, each once for a height; `false` when some are not here.
    fn log_batches(&mut self, digests: &[H256], height: u64) -> bool {
        let Ok(fresh) = self.batches.pin(digests, height) else { return false };
        for batch in fresh {
            self.tell_log(Command::Append(Record::Batch { height, batch: batch.to_batch() }));
        }
        self.work_changed = true;
        true
    }

    fn ensure_batches(&mut self, id: H256, value: &Value, from: NodeId) {
        if self.log_batches(&value.batches, value.height) {
            // Every batch was appended before: one flush makes them all durable.
            return self.tell_log(Command::Flush(Answer::BatchesDurable(id)));
        }
        self.fetches.begin(id, value, from, self.clock.now().monotonic_ms);
        self.fetches.tell_wanted(&self.batches);
    }

    fn settle_fetches(&mut self) -> Result<(), Fault> {
        for (id, value, progress) in self.fetches.settle(self.core.status().decided, &self.batches) {
            match progress {
                Progress::Complete => self.ensure_batches(id, &value, self.node),
                Progress::Invalid => self.feed(Input::BatchesInvalid { value: id })?,
                Progress::Missing => {}
            }
        }
        Ok(())
    }

    /// The signatures of the next height's validators are checked with tables of their keys.
    fn pin_validators(&mut self, input: &Input) {
        let rules = match input {
            Input::Start(start) => start.rules.last(),
            Input::LedgerCommitted { rules, .. } => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules.filter(|rules| rules.validators.members() != self.pinned) {
            self.pinned = rules.validators.members().to_vec();
            let ids = self.pinned.iter().map(|member| member.id).collect();
            let _ = self.lines.checks.send(MessageCheck::Pin(ids));
        }
    }

    fn forget(&mut self, height: u64) {
        self.tell_log(Command::Forget(height));
        self.batches.forget(height);
        // Transactions that only found the block full are back in the pool.
        self.batcher.wake();
        self.work_changed = true;
    }
}

/// The threads that others can hand work to end with consensus.
impl Drop for Driver {
    fn drop(&mut self) {
        self.batcher.stop();
        let _ = self.lines.batch_jobs.send(BatchJob::Stop);
        let _ = self.lines.serve.send(ServeJob::Stop);
    }
}

/// The signer thread: one statement after the other, in the order asked. Ends with a fault when the guard or the audit trail
/// cannot be written: after a failed write nobody knows what the disk holds, so nothing may be signed before a new start.
pub(crate) fn sign_all(statements: &Receiver<(u64, Statement)>, signer: &dyn Signer, events: &Sender<Event>) {
    while let Ok((id, statement)) = statements.recv() {
        let result = signer.sign(&statement);
        match &result {
            Ok(_) => {}
            Err(SignError::Storage(detail)) => {
                let fault = Fault::Durability { what: "the record of what was signed", detail: detail.clone() };
                let _ = events.send(Event::Fault(fault));
                return;
            }
            Err(error) => tracing::warn!(%error, "a statement was not signed"),
        }
        let _ = events.send(Event::Input(Box::new(Input::Signed { id, result })));
    }
}
