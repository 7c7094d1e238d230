//! The threads between a statement of consensus and a durable block: ordering log, signer, executor, committer and consensus
//! itself, joined by channels; with peers also those that check and answer what they send, and the batcher.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use bixi_accel::sm2::Registry;
use bixi_hsm::verify::SmVerifier;
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use bixi_types::limits::VALIDATORS_MAX;
use bixi_types::transaction::ChainIdentity;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Failure;
use super::parts::Parts;
use crate::driver::{Driver, DriverParts, Lines, sign_all};
use crate::event::{Arrived, Event, Fault, PanicWitness};
use crate::evidence::Keeper;
use crate::exchange::{BatchChecks, HeightChecks, Heights, MessageCheck, MessageChecks, Queues, Server};
use crate::links::Links;
use crate::log_thread;
use crate::pipeline::Pipeline;
use crate::snapshot::{JoinParams, JoinProgress, Joiner, SnapshotServer};

/// The running threads. The helpers end by themselves, in the order of the channels, once consensus has ended.
pub(super) struct Threads {
    pub consensus: JoinHandle<Option<Fault>>,
    pub helpers: Vec<JoinHandle<()>>,
    /// To the ordering log, whose thread ends when nobody holds this any more.
    pub log: Sender<log_thread::Command>,
}

/// Threads that stop the node when they panic.
struct Witnessed<'a> {
    spawner: &'a Spawner,
    events: &'a Sender<Event>,
    running: Vec<JoinHandle<()>>,
}

impl Witnessed<'_> {
    fn spawn(&mut self, role: Role, name: &'static str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let witness = PanicWitness::new(name, self.events.clone());
        let thread = self.spawner.spawn(role, name, move || {
            let _witness = witness;
            work();
        })?;
        self.running.push(thread);
        Ok(())
    }
}

/// Starts them all. The queues need no bound of their own: consensus is the only producer of most, and it holds at most
/// `pipeline_depth` decided heights and one statement per step of a round; what peers send is bounded at the door.
pub(super) fn start(spawner: &Spawner, parts: Parts) -> Result<Threads, Failure> {
    let Parts {
        core,
        start,
        clock,
        pipeline,
        log,
        signer,
        batcher,
        batcher_woken,
        evidence_dir,
        links,
        queues,
        work,
        events_in,
        events,
        block_interval_ms,
        join,
        joining,
    } = parts;
    let ledger = &pipeline.ledger;
    let parent = ledger.hash_of(ledger.height())?.ok_or("the ledger has no head")?;
    let (log_in, log_commands) = unbounded();
    let (sign_in, statements) = unbounded();
    let (execute_in, execute_jobs) = unbounded();
    let (commit_in, commit_jobs) = unbounded();
    let (checks_in, message_checks) = unbounded();
    let (heights_in, height_checks) = unbounded();
    let (evidence_in, found) = unbounded();
    let snapshots_stopping = Arc::new(AtomicBool::new(false));

    let mut helpers = Witnessed { spawner, events: &events_in, running: Vec::new() };
    let (executor, committer, executed_in) = (Arc::clone(&pipeline), Arc::clone(&pipeline), commit_in.clone());
    let disputed = evidence_in.clone();
    let (log_events, sign_events, node) = (events_in.clone(), events_in.clone(), signer.node_id());
    helpers.spawn(Role::Storage, "ordering-log", move || log_thread::run(log, &log_commands, &log_events))?;
    helpers.spawn(Role::Signer, "sign", move || sign_all(&statements, signer.as_ref(), &sign_events))?;
    helpers.spawn(Role::Executor, "execute", move || executor.execute_all(&execute_jobs, &executed_in, parent))?;
    helpers.spawn(Role::Storage, "commit", move || committer.commit_all(&commit_jobs, &disputed))?;
    helpers.spawn(Role::Other, "evidence", move || Keeper::new(evidence_dir, node).run(&found))?;
    if !links.is_solitary() {
        let (batcher, events) = (Arc::clone(&batcher), events_in.clone());
        helpers.spawn(Role::Verifier, "batcher", move || batcher.run(&batcher_woken, &events))?;
        spawn_exchange(&mut helpers, &pipeline, &links, &queues, (message_checks, height_checks))?;
        spawn_snapshots(&mut helpers, &pipeline, &links, &queues, (&snapshots_stopping, join, &joining))?;
    }
    let log_beside = log_in.clone();
    let lines = Lines {
        log: log_in,
        signer: sign_in,
        execute: execute_in,
        commit: commit_in,
        checks: checks_in,
        height_checks: heights_in,
        batch_jobs: queues.batch_jobs.0,
        serve: queues.serve_jobs.0,
        snapshots: queues.snapshot_jobs.0,
        joins: queues.joins.0,
        snapshots_stopping,
        evidence: evidence_in,
        links,
    };
    let offences = queues.offences;
    let helpers = helpers.running;
    let parts = DriverParts { core, node, clock, events, lines, batcher, offences, joining, work, block_interval_ms };
    let driver = Driver::new(parts, &pipeline);
    let consensus = spawner.spawn(Role::Consensus, "consensus", move || driver.run(start))?;
    Ok(Threads { consensus, helpers, log: log_beside })
}

/// The threads behind the door.
fn spawn_exchange(
    helpers: &mut Witnessed<'_>,
    pipeline: &Pipeline,
    links: &Arc<dyn Links>,
    queues: &Queues,
    (message_checks, height_checks): (Receiver<MessageCheck>, Receiver<Arrived<Heights>>),
) -> std::io::Result<()> {
    let (batches, ledger) = (Arc::clone(&pipeline.batches), Arc::clone(&pipeline.ledger));
    let validators = Arc::new(Registry::new(VALIDATORS_MAX));
    let (offences, events) = (Arc::clone(&queues.offences), pipeline.events.clone());
    let messages = MessageChecks { verifier: SmVerifier::new(Arc::clone(&validators)), offences, events };
    let heights = HeightChecks {
        suite: pipeline.genesis.suite,
        chain: pipeline.genesis.hash(),
        verifier: SmVerifier::new(validators),
        offences: Arc::clone(&queues.offences),
        events: pipeline.events.clone(),
    };
    let arriving = BatchChecks {
        suite: pipeline.genesis.suite,
        chain: ChainIdentity::from(&pipeline.genesis),
        batches: Arc::clone(&batches),
        ledger: Arc::clone(&ledger),
        offences: Arc::clone(&queues.offences),
        events: pipeline.events.clone(),
    };
    let server = Server { ledger, batches, links: Arc::clone(links) };
    let (batch_jobs, serve_jobs) = (queues.batch_jobs.1.clone(), queues.serve_jobs.1.clone());
    helpers.spawn(Role::Verifier, "message-checks", move || messages.run(&message_checks))?;
    helpers.spawn(Role::Verifier, "height-checks", move || heights.run(&height_checks))?;
    helpers.spawn(Role::Verifier, "batch-checks", move || arriving.run(&batch_jobs))?;
    helpers.spawn(Role::Other, "serve", move || server.run(&serve_jobs))
}

/// The threads that give and fetch snapshots.
fn spawn_snapshots(
    helpers: &mut Witnessed<'_>,
    pipeline: &Pipeline,
    links: &Arc<dyn Links>,
    queues: &Queues,
    (stopping, params, progress): (&Arc<AtomicBool>, JoinParams, &Arc<JoinProgress>),
) -> std::io::Result<()> {
    let server = SnapshotServer {
        suite: pipeline.genesis.suite,
        ledger: Arc::clone(&pipeline.ledger),
        links: Arc::clone(links),
        stopping: Arc::clone(stopping),
    };
    let jobs = queues.snapshot_jobs.1.clone();
    helpers.spawn(Role::Other, "snapshot-serve", move || server.run(&jobs))?;
    let joiner = Joiner {
        params,
        ledger: Arc::clone(&pipeline.ledger),
        links: Arc::clone(links),
        view: Arc::clone(&pipeline.view),
        offences: Arc::clone(&queues.offences),
        progress: Arc::clone(progress),
        events: pipeline.events.clone(),
    };
    let inbox = queues.joins.1.clone();
    helpers.spawn(Role::Other, "snapshot-join", move || joiner.run(&inbox))
}

#[cfg(test)]
pub(crate) mod tests;
