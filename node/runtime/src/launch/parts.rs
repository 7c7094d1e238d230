//! From what lies on the disk to what the threads are made of: the same for a node and for the tests of its threads.
//!
//! ```text
//! ledger, ordering log, what the key signed ─▶ Opened ─ door ─▶ network ─ links ─┐
//!                                                 └────────────────────────────▶ Parts ─▶ threads
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bixi_consensus::{Core, Input};
use bixi_execution::{ExecutionParams, Executor};
use bixi_hsm::guard::Position;
use bixi_ledger::Ledger;
use bixi_txpool::{PoolParams, TxPool};
use bixi_types::genesis::Genesis;
use bixi_types::ports::Signer;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::adopted::{Fetched, adopt_snapshot};
use super::{Failure, LaunchError, chain_state, checks, step};
use crate::batches::{BatchStore, Batcher, BatcherParams, Wake};
use crate::clock::Clock;
use crate::event::Event;
use crate::exchange::Queues;
use crate::links::Links;
use crate::ordering_log::OrderingLog;
use crate::pipeline::Pipeline;
use crate::snapshot::{JoinParams, JoinProgress};
use crate::view::View;

/// What the disk holds, opened, and the door for peers.
pub(super) struct Opened {
    pub(super) ledger: Arc<Ledger>,
    pub(super) queues: Queues,
    /// The highest height whose decision the ordering log holds, 0 when there is none.
    pub(super) highest_decided: u64,
    log: OrderingLog,
    batches: Arc<BatchStore>,
    start: Input,
    joining: JoinProgress,
    events_in: Sender<Event>,
    events: Receiver<Event>,
}

impl Opened {
    /// Opens the ordering log, puts a fetched snapshot in its place unless the log speaks against it, opens the ledger, and holds log and
    /// ledger against what the key has `signed`. Snapshots are wanted that are `snapshot_after_blocks` ahead; 0 for none.
    pub(super) fn open(
        genesis: &Genesis,
        params: &bixi_ledger::Params,
        ordering_dir: &Path,
        snapshot_after_blocks: u64,
        signed: impl FnOnce() -> Result<Vec<Position>, Failure>,
    ) -> Result<Self, LaunchError> {
        let (log, recovered) = step("ordering log", || {
            OrderingLog::open(Arc::clone(&params.storage), ordering_dir, params.keyring.clone())
        })?;
        let fetched =
            step("fetched snapshot", || adopt_snapshot(params, &recovered.records, snapshot_after_blocks > 0))?;
        let ledger = Arc::new(step("ledger", || chain_state::open_ledger(genesis, params.clone()))?);
        let batches = Arc::new(BatchStore::default());
        let highest_decided = checks::highest_decided(&recovered.records);
        let start = step("replay", || {
            // What the key has signed, by its guard: ledger and log must remember it.
            let forgotten = checks::forgotten(ledger.height(), &recovered, &signed()?);
            let validators = chain_state::validators(&ledger)?;
            checks::expect_no_gap(validators, ledger.height(), &recovered.records)?;
            let signed = checks::check_memory(validators, forgotten)?;
            chain_state::replay(genesis, &ledger, &batches, recovered.records, signed)
        })?;
        let (events_in, events) = unbounded();
        let queues = Queues::new(genesis.suite, &batches, &events_in);
        // One that stays is kept: this process fetches no other.
        let after_blocks = if fetched == Fetched::Left { 0 } else { snapshot_after_blocks };
        let joining = JoinProgress::new(after_blocks, fetched == Fetched::Adopted);
        Ok(Self { ledger, queues, highest_decided, log, batches, start, joining, events_in, events })
    }
}

/// What the rooms of the threads are told.
pub(super) struct RoomParams {
    pub(super) consensus: bixi_consensus::Params,
    pub(super) pool: PoolParams,
    /// Where evidence is kept.
    pub(super) evidence_dir: PathBuf,
    pub(super) block_interval_ms: u64,
    /// How a snapshot is fetched when the chain is far ahead.
    pub(super) join: JoinParams,
}

/// What the threads are made of.
pub(super) struct Parts {
    pub(super) core: Core,
    /// The first input of the core.
    pub(super) start: Input,
    pub(super) clock: Clock,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) log: OrderingLog,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) batcher_woken: Receiver<Wake>,
    pub(super) evidence_dir: PathBuf,
    pub(super) links: Arc<dyn Links>,
    pub(super) queues: Queues,
    /// Set by the pool when transactions arrive.
    pub(super) work: Arc<AtomicBool>,
    pub(super) events_in: Sender<Event>,
    pub(super) events: Receiver<Event>,
    pub(super) block_interval_ms: u64,
    pub(super) join: JoinParams,
    pub(super) joining: Arc<JoinProgress>,
}

impl Parts {
    /// Joins the rooms around what was opened.
    pub(super) fn new(
        genesis: &Genesis,
        opened: Opened,
        links: Arc<dyn Links>,
        signer: Arc<dyn Signer>,
        params: RoomParams,
    ) -> Self {
        let Opened { ledger, queues, log, batches, start, joining, events_in, events, .. } = opened;
        let core = Core::new(params.consensus);
        let transactions_max = genesis.block_tx_count_max as usize;
        let view = Arc::new(View::new(core.status(), transactions_max));
        let pool = Arc::new(TxPool::new(params.pool, Arc::clone(&ledger) as _, ledger.height()));
        let (batcher, batcher_woken) = Batcher::new(BatcherParams {
            suite: genesis.suite,
            genesis_transactions_max: transactions_max,
            pool: Arc::clone(&pool),
            batches: Arc::clone(&batches),
            view: Arc::clone(&view),
            links: Arc::clone(&links),
        });
        let pipeline = Arc::new(Pipeline {
            genesis: genesis.clone(),
            executor: Arc::new(Executor::new(ExecutionParams::from(genesis))),
            ledger,
            batches,
            pool,
            view,
            events: events_in.clone(),
        });
        Self {
            core,
            start,
            clock: Clock::start(),
            pipeline,
            log,
            signer,
            batcher: Arc::new(batcher),
            batcher_woken,
            evidence_dir: params.evidence_dir,
            links,
            queues,
            work: Arc::default(),
            events_in,
            events,
            block_interval_ms: params.block_interval_ms,
            join: params.join,
            joining: Arc::new(joining),
        }
    }
}
