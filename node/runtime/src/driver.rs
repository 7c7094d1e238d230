//! The consensus thread: feeds events to the pure core and performs its effects.

mod ahead;
mod build;
mod catch_up;
mod early;
mod effects;
mod fetch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bixi_consensus::{Core, Input, Message, Unchecked};
use bixi_ledger::Ledger;
use bixi_txpool::TxPool;
use bixi_types::consensus::ValidatorSet;
use bixi_types::ports::Statement;
use bixi_types::{CryptoSuite, NodeId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::batches::{BatchStore, Batcher};
use crate::clock::Clock;
use crate::event::{Arrived, Event, Fault};
use crate::evidence::Found;
use crate::exchange::{BatchJob, Heights, MessageCheck, Offences, ServeJob};
use crate::links::Links;
use crate::log_thread::Command;
use crate::pipeline::{CommitJob, ExecuteJob, Pipeline};
use crate::snapshot::{JoinEvent, JoinProgress, SnapshotJob};
use crate::view::View;
use build::Building;
use catch_up::CatchUp;
use early::Early;
pub(crate) use effects::sign_all;
use fetch::Fetches;

/// Where the core's effects go.
pub(crate) struct Lines {
    pub log: Sender<Command>,
    pub signer: Sender<(u64, Statement)>,
    pub execute: Sender<ExecuteJob>,
    pub commit: Sender<CommitJob>,
    pub checks: Sender<MessageCheck>,
    pub height_checks: Sender<Arrived<Heights>>,
    pub batch_jobs: Sender<BatchJob>,
    pub serve: Sender<ServeJob>,
    pub snapshots: Sender<SnapshotJob>,
    pub joins: Sender<JoinEvent>,
    /// Tells who reads a whole state for a snapshot that nobody waits for it any more.
    pub snapshots_stopping: Arc<AtomicBool>,
    pub evidence: Sender<Found>,
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
    pub joining: Arc<JoinProgress>,
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
    joining: Arc<JoinProgress>,
    ledger: Arc<Ledger>,
    pool: Arc<TxPool>,
    view: Arc<View>,
    work: Arc<AtomicBool>,
    block_interval_ms: u64,
    building: Option<Building>,
    fetches: Fetches,
    early: Early,
    catch_up: CatchUp,
    suite: CryptoSuite,
    pipeline_depth: u64,
    block_limit: u32,
    /// The validators last known; their keys have tables.
    validators: ValidatorSet,
    work_told: bool,
    /// What waits may have changed: look at it once the effects at hand are done.
    work_changed: bool,
    last_decided_ms: u64,
    clock_is_behind: bool,
}

impl Driver {
    /// A driver at rest; [`Self::run`] gives it its first input.
    pub(crate) fn new(parts: DriverParts, pipeline: &Pipeline) -> Self {
        pipeline.view.set_decided(pipeline.ledger.height());
        let DriverParts { core, node, clock, events, lines, batcher, offences, joining, work, block_interval_ms } =
            parts;
        Self {
            core,
            clock,
            node,
            events,
            lines,
            batcher,
            batches: Arc::clone(&pipeline.batches),
            offences,
            joining,
            ledger: Arc::clone(&pipeline.ledger),
            pool: Arc::clone(&pipeline.pool),
            view: Arc::clone(&pipeline.view),
            work,
            block_interval_ms,
            building: None,
            fetches: Fetches::default(),
            early: Early::default(),
            catch_up: CatchUp::default(),
            suite: pipeline.genesis.suite,
            pipeline_depth: pipeline.genesis.pipeline_depth.into(),
            block_limit: pipeline.genesis.block_limit,
            validators: ValidatorSet::default(),
            work_told: false,
            work_changed: true,
            last_decided_ms: 0,
            clock_is_behind: false,
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
        let fetching = self.fetches.deadline_ms().into_iter().chain(self.catch_up.deadline_ms());
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
                self.heard();
                self.catch_up.wake();
            }
            Event::Heights(answer) => {
                // Answers nobody waits for are ignored.
                if self.catch_up.expects(answer.from, &answer.what, self.clock.now().monotonic_ms) {
                    let _ = self.lines.height_checks.send(answer);
                }
            }
            Event::Proven(Arrived { from, what, .. }) => {
                self.catch_up.keep(from, what, self.clock.now().monotonic_ms);
            }
            Event::Work => {
                self.work.store(false, Ordering::Release);
                self.work_changed = true;
            }
            Event::Fault(fault) => return Err(fault),
            Event::Joined { height } => return Err(Fault::Joined { height }),
            Event::Stop => {}
        }
        self.after_effects()
    }

    fn after_effects(&mut self) -> Result<(), Fault> {
        self.settle_fetches()?;
        self.catch_up()?;
        if std::mem::take(&mut self.work_changed) {
            self.tell_work()?;
        }
        self.build_when_ready()?;
        let now_ms = self.clock.now().monotonic_ms;
        self.fetches.ask(now_ms, self.node, &self.batches, self.lines.links.as_ref());
        Ok(())
    }

    /// How far the chain is, by the word of enough validators to be believed.
    fn believed_head(&self) -> Option<u64> {
        self.view.believed_head(&self.lines.links.peers())
    }

    /// A peer told how far it is.
    fn heard(&self) {
        if let Some(head) = self.believed_head() {
            self.joining.heard(head, self.ledger.height());
        }
    }

    /// Has the signatures of a peer's message checked before it is fed; one without signatures is fed at once.
    fn receive(&mut self, arrived: Arrived<Box<Message>>) -> Result<(), Fault> {
        if let Message::Status { certified, .. } = *arrived.what {
            let links = Arc::clone(&self.lines.links);
            self.view.set_certified(arrived.from, certified, |peer| !links.peers().contains(peer));
            self.heard();
        }
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
        let (executed, committed) = (executed_by(&input), self.core.status().committed);
        let effects = self.core.step(self.clock.now(), input);
        for effect in effects {
            self.perform(effect)?;
        }
        let status = self.core.status();
        if status.committed > committed {
            self.catch_up.reached(status.committed, self.clock.now().monotonic_ms);
        }
        self.tell_clock(status.clock_behind_ms);
        let is_open = |height: &u64| *height > status.certified;
        self.view.set_consensus(status.clone());
        match executed.filter(is_open).and_then(|height| self.catch_up.certificate_of(height)) {
            Some((from, message)) => self.feed(Input::Message { from, message }),
            None => Ok(()),
        }
    }

    /// A clock that jumps back under a running node ends no session, so no greeting would tell of it.
    fn tell_clock(&mut self, behind_ms: u64) {
        let is_behind = behind_ms > 0;
        if std::mem::replace(&mut self.clock_is_behind, is_behind) == is_behind {
            return;
        }
        if is_behind {
            tracing::error!(
                behind_ms,
                "the head's timestamp is above what this host's clock allows: no block is accepted here until the clock is right (NTP)"
            );
        } else {
            tracing::info!("the head's timestamp is within what this host's clock allows");
        }
    }

    /// The signatures of the next height's validators are checked with tables of their keys.
    fn pin_validators(&mut self, input: &Input) {
        let rules = match input {
            Input::Start(start) => start.rules.last(),
            Input::LedgerCommitted { rules, .. } => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules.filter(|rules| rules.validators != self.validators) {
            self.validators = rules.validators.clone();
            self.view.set_validators(self.validators.clone());
            let ids = self.validators.members().iter().map(|member| member.id).collect();
            let _ = self.lines.checks.send(MessageCheck::Pin(ids));
        }
    }
}

/// The height an input reports as executed.
fn executed_by(input: &Input) -> Option<u64> {
    match input {
        Input::Executed { height, .. } => Some(*height),
        _ => None,
    }
}

/// The threads that others can hand work to end with consensus.
impl Drop for Driver {
    fn drop(&mut self) {
        self.batcher.stop();
        let _ = self.lines.batch_jobs.send(BatchJob::Stop);
        let _ = self.lines.serve.send(ServeJob::Stop);
        self.lines.snapshots_stopping.store(true, Ordering::Relaxed);
        let _ = self.lines.snapshots.send(SnapshotJob::Stop);
        let _ = self.lines.joins.send(JoinEvent::Stop);
    }
}
