//! The consensus thread: feeds events to the pure core and performs its effects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bixi_consensus::{Core, Effect, Input, Mode};
use bixi_txpool::TxPool;
use bixi_types::consensus::Value;
use bixi_types::ports::{SignError, Signer, Statement, Transport};
use bixi_types::{CryptoSuite, H256, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::batches::{self, BatchStore};
use crate::clock::Clock;
use crate::event::{Event, Fault};
use crate::log_thread::{Answer, Command};
use crate::ordering_log::Record;
use crate::pipeline::{CommitJob, ExecuteJob, Pipeline};
use crate::view::View;

/// Where the core's effects go.
pub(crate) struct Lines {
    pub log: Sender<Command>,
    pub signer: Sender<(u64, Statement)>,
    pub execute: Sender<ExecuteJob>,
    pub commit: Sender<CommitJob>,
    pub transport: Arc<dyn Transport>,
}

/// Everything the thread works with.
pub(crate) struct Driver {
    core: Core,
    clock: Clock,
    suite: CryptoSuite,
    /// Genesis' bound on the transactions of a block; configuration may lower it.
    genesis_transactions_max: usize,
    events: Receiver<Event>,
    lines: Lines,
    batches: Arc<BatchStore>,
    pool: Arc<TxPool>,
    view: Arc<View>,
    /// Set by the pool when transactions arrive, cleared here: one event for many arrivals.
    work: Arc<AtomicBool>,
    block_interval_ms: u64,
    building: Option<Building>,
    work_told: bool,
    /// Transactions went back to the pool: look at it once the effects at hand are done.
    work_returned: bool,
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
    pub(crate) fn new(
        core: Core,
        clock: Clock,
        events: Receiver<Event>,
        lines: Lines,
        pipeline: &Pipeline,
        work: Arc<AtomicBool>,
        block_interval_ms: u64,
    ) -> Self {
        Self {
            core,
            clock,
            suite: pipeline.genesis.suite,
            genesis_transactions_max: pipeline.genesis.block_tx_count_max as usize,
            events,
            lines,
            batches: Arc::clone(&pipeline.batches),
            pool: Arc::clone(&pipeline.pool),
            view: Arc::clone(&pipeline.view),
            work,
            block_interval_ms,
            building: None,
            work_told: false,
            work_returned: false,
            last_decided_ms: 0,
        }
    }

    /// Runs until told to stop or until the node cannot go on; then says why.
    pub(crate) fn run(mut self, start: Input) -> Option<Fault> {
        let mut outcome = self.feed(start);
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
        let building = self.building.map(|building| building.ready_ms);
        match self.core.deadline_ms().into_iter().chain(building).min() {
            Some(deadline) => self.events.recv_deadline(self.clock.instant(deadline)),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Input(input) => self.feed(*input)?,
            Event::Work => self.tell_work()?,
            Event::Fault(fault) => return Err(fault),
            Event::Stop => {}
        }
        self.after_effects()
    }

    fn after_effects(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.work_returned) {
            self.tell_work()?;
        }
        self.build_when_ready()
    }

    /// Tells the core that transactions wait, once until they were taken.
    fn tell_work(&mut self) -> Result<(), Fault> {
        self.work.store(false, Ordering::Release);
        if self.work_told || self.pool.waiting().0 == 0 {
            return Ok(());
        }
        self.work_told = true;
        self.feed(Input::WorkPending(true))
    }

    fn feed(&mut self, input: Input) -> Result<(), Fault> {
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
            Effect::Send { to, message } => self.lines.transport.send(to, message.encode()),
            Effect::BuildValue { height, round, deadline_ms } => self.begin_building(height, round, deadline_ms),
            Effect::EnsureBatches { id, value, from } => self.ensure_batches(id, &value, from),
            Effect::Decide { height, value, certificate } => {
                self.last_decided_ms = self.clock.now().monotonic_ms;
                let _ = self.lines.execute.send(ExecuteJob { height, value, certificate });
            }
            Effect::CheckpointCertified { height, header_hash, signatures } => {
                let _ = self.lines.commit.send(CommitJob::Certified { height, header_hash, signatures });
            }
            Effect::Serve { to, height } => {
                tracing::debug!(peer = %to, height, "asked for a height; there is no network to serve it on");
            }
            Effect::Forget { height } => self.forget(height),
            Effect::RoundStarted { height, round, proposer } => {
                tracing::debug!(height, round, %proposer, "round started");
                self.view.set_proposer(proposer);
            }
            Effect::ModeChanged(Mode::Follower(reason)) => tracing::warn!(?reason, "this validator only follows"),
            Effect::ModeChanged(mode) => tracing::info!(?mode, "consensus mode"),
            Effect::Evidence(evidence) => tracing::error!(?evidence, "a validator contradicts itself or us"),
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

    fn build_when_ready(&mut self) -> Result<(), Fault> {
        let Some(building) = self.building else { return Ok(()) };
        let core = self.core.status();
        if (core.height, core.round, core.resting) != (building.height, building.round, false) {
            // The round has passed: a value for it would be ignored, and its transactions would stay packed.
            self.building = None;
            return Ok(());
        }
        let full = self.pool.waiting().0 >= self.block_transactions_max();
        if !full && self.clock.now().monotonic_ms < building.ready_ms {
            return Ok(());
        }
        self.building = None;
        self.build(building.height, building.round)
    }

    fn block_transactions_max(&self) -> usize {
        self.view.block_transactions_max().min(self.genesis_transactions_max)
    }

    fn build(&mut self, height: u64, round: u32) -> Result<(), Fault> {
        let started = Instant::now();
        let built = batches::build(&self.pool, self.suite, self.block_transactions_max());
        let digests: Vec<H256> = built.iter().map(|(verified, _)| verified.digest).collect();
        for (verified, batch) in built {
            self.batches.insert(height, verified);
            self.tell_log(Command::Append(Record::Batch { height, batch }));
        }
        tracing::trace!(height, round, batches = digests.len(), elapsed = ?started.elapsed(), "built a value");
        self.feed(Input::ValueBuilt { height, round, batches: digests })?;
        self.work_told = self.pool.waiting().0 > 0;
        self.feed(Input::WorkPending(self.work_told))
    }

    fn ensure_batches(&self, id: H256, value: &Value, from: NodeId) {
        match self.batches.of_value(&value.batches) {
            // Every batch here was appended before: one flush makes them all durable.
            Ok(_) => self.tell_log(Command::Flush(Answer::BatchesDurable(id))),
            // Fetching is the network's work; without it the round passes and somebody else proposes.
            Err(missing) => tracing::warn!(%missing, holder = %from, "a proposal names a batch that is not here"),
        }
    }

    fn forget(&mut self, height: u64) {
        self.tell_log(Command::Forget(height));
        for batch in self.batches.forget(height) {
            // What was decided has left the pool; what is still packed was in a value that lost.
            let hashes: Vec<H256> = batch.transactions.iter().map(|transaction| transaction.hash).collect();
            self.pool.unpack(&hashes);
            self.work_returned = true;
        }
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
