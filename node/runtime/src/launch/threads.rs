//! The threads between a statement of consensus and a durable block: ordering log, signer, executor, committer and consensus
//! itself, joined by channels.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use bixi_consensus::{Core, Input};
use bixi_network::solitary::Solitary;
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use bixi_types::ports::Signer;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Failure;
use crate::clock::Clock;
use crate::driver::{Driver, Lines, sign_all};
use crate::event::{Event, Fault, PanicWitness};
use crate::log_thread;
use crate::ordering_log::OrderingLog;
use crate::pipeline::Pipeline;

/// What the threads are made of.
pub(super) struct Parts {
    pub core: Core,
    /// The first input of the core.
    pub start: Input,
    pub clock: Clock,
    pub pipeline: Arc<Pipeline>,
    pub log: OrderingLog,
    pub signer: Arc<dyn Signer>,
    /// Set by the pool when transactions arrive.
    pub work: Arc<AtomicBool>,
    pub events_in: Sender<Event>,
    pub events: Receiver<Event>,
    pub block_interval_ms: u64,
}

/// The running threads. The helpers end by themselves, in the order of the channels, once consensus has ended.
pub(super) struct Threads {
    pub consensus: JoinHandle<Option<Fault>>,
    pub helpers: Vec<JoinHandle<()>>,
}

/// Starts them all. The queues need no bound of their own: consensus is the only producer, and it holds at most
/// `pipeline_depth` decided heights and one statement per step of a round.
pub(super) fn start(spawner: &Spawner, parts: Parts) -> Result<Threads, Failure> {
    let Parts { core, start, clock, pipeline, log, signer, work, events_in, events, block_interval_ms } = parts;
    let ledger = &pipeline.ledger;
    let parent = ledger.hash_of(ledger.height())?.ok_or("the ledger has no head")?;
    let (log_in, log_commands) = unbounded();
    let (sign_in, statements) = unbounded();
    let (execute_in, execute_jobs) = unbounded();
    let (commit_in, commit_jobs) = unbounded();

    let (executor, committer, executed_in) = (Arc::clone(&pipeline), Arc::clone(&pipeline), commit_in.clone());
    let (log_events, sign_events) = (events_in.clone(), events_in.clone());
    let witnessed = |role, name, work: Box<dyn FnOnce() + Send>| {
        let witness = PanicWitness::new(name, events_in.clone());
        spawner.spawn(role, name, move || {
            let _witness = witness;
            work();
        })
    };
    let helpers = vec![
        witnessed(Role::Storage, "ordering-log", Box::new(move || log_thread::run(log, &log_commands, &log_events)))?,
        witnessed(Role::Signer, "sign", Box::new(move || sign_all(&statements, signer.as_ref(), &sign_events)))?,
        witnessed(
            Role::Executor,
            "execute",
            Box::new(move || executor.execute_all(&execute_jobs, &executed_in, parent)),
        )?,
        witnessed(Role::Storage, "commit", Box::new(move || committer.commit_all(&commit_jobs)))?,
    ];
    let lines =
        Lines { log: log_in, signer: sign_in, execute: execute_in, commit: commit_in, transport: Arc::new(Solitary) };
    let driver = Driver::new(core, clock, events, lines, &pipeline, work, block_interval_ms);
    let consensus = spawner.spawn(Role::Consensus, "consensus", move || driver.run(start))?;
    Ok(Threads { consensus, helpers })
}

#[cfg(test)]
mod tests;
