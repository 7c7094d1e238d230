//! Starting a node: a chain of named steps, each logged, each undone in reverse order at the end.

mod adopted;
mod chain_state;
mod checks;
mod credentials;
mod members;
mod network;
mod params;
mod recheck;
mod replay;
mod threads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bixi_consensus::Core;
use bixi_execution::{ExecutionParams, Executor};
use bixi_hsm::audit::AuditLog;
use bixi_hsm::{DeviceError, KeyDevice};
use bixi_ledger::Ledger;
use bixi_network::solitary::Solitary;
use bixi_platform::io::Storage;
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::{LiveThread, Spawner};
use bixi_rpc::Server;
use bixi_txpool::{Admission, TxPool};
use bixi_types::ports::Signer as _;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};
use tokio::runtime::Runtime;

use crate::api::Api;
use crate::batches::{BatchStore, Batcher, BatcherParams};
use crate::clock::Clock;
use crate::event::{Event, Fault};
use crate::exchange::Queues;
use crate::health::{Certificates, Device, LedgerReads};
use crate::keys::{self, Unlocked};
use crate::links::Links;
use crate::metrics::{self, NodeMetrics};
use crate::ordering_log::OrderingLog;
use crate::pipeline::Pipeline;
use crate::placement;
use crate::reload::Reloaded;
use crate::settings::Settings;
use crate::snapshot::JoinProgress;
use crate::view::View;
use network::P2p;
pub use replay::{Accepted, Replay, Replayed, Verdict, replay};
#[cfg(test)]
pub(crate) use threads::tests::run_of;
use threads::{Parts, Threads};

/// How often the pool looks for transactions that waited too long.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// How often the trail of ordinary signatures is made durable; refusals and key management are at once.
const AUDIT_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// How often the log tells how far a long catching up has come.
const CATCH_UP_TOLD: Duration = Duration::from_secs(5);
/// How long a stop waits for the threads behind consensus.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why a node did not start: the step, the reason and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct LaunchError {
    /// The step that failed.
    pub step: &'static str,
    reason: Failure,
}

impl LaunchError {
    /// The key device refused the PIN, or nobody may try it again: another start cannot do better before a person has acted.
    pub fn is_pin_refused(&self) -> bool {
        let first: &(dyn std::error::Error + 'static) = self.reason.as_ref();
        std::iter::successors(Some(first), |error| error.source())
            .filter_map(|error| error.downcast_ref::<DeviceError>())
            .any(|error| error.cause.concerns_pin())
    }
}

fn step<T, E: Into<Failure>>(name: &'static str, run: impl FnOnce() -> Result<T, E>) -> Result<T, LaunchError> {
    let started = Instant::now();
    let result = run().map_err(|error| LaunchError { step: name, reason: error.into() })?;
    tracing::info!(step = name, elapsed_ms = started.elapsed().as_millis() as u64, "done");
    Ok(result)
}

/// A running node.
pub struct Node {
    ground: Ground,
    events: Sender<Event>,
    consensus: Option<JoinHandle<Option<Fault>>>,
    rooms: Rooms,
}

/// What is stopped, in this order, once consensus has ended.
struct Rooms {
    rpc: Option<(Server, Runtime)>,
    p2p: Option<P2p>,
    stop_watchers: Vec<Sender<()>>,
    helpers: Vec<JoinHandle<()>>,
    ledger: Arc<Ledger>,
}

/// What outlives a node that starts again in its process: the unlocked keys, the placement, where it listens.
#[derive(Clone)]
pub struct Ground {
    spawner: Spawner,
    plan: Plan,
    storage: Arc<dyn Storage>,
    unlocked: Unlocked,
    rpc_listen: SocketAddr,
}

/// Starts a node and returns when it takes transactions.
pub fn launch(settings: &Settings) -> Result<Node, LaunchError> {
    let has_network = settings.config.p2p.listen.is_some();
    step("self-tests", checks::self_test)?;
    step("check the chain", || checks::check_chain(&settings.genesis, has_network))?;
    let plan = step("placement", || placement::plan(settings))?;
    let spawner = Spawner::new(plan.clone());
    let storage = step("storage", || settings.storage(&spawner))?;
    let unlocked = step("unlock keys", || keys::unlock(settings, &storage))?;
    launch_on(settings, Ground { spawner, plan, storage, unlocked, rpc_listen: settings.config.rpc.listen })
}

/// Starts a node anew on what another left: no PIN is asked for.
pub fn launch_on(settings: &Settings, ground: Ground) -> Result<Node, LaunchError> {
    let genesis = &settings.genesis;
    let has_network = settings.config.p2p.listen.is_some();
    let Ground { spawner, plan, storage, unlocked: Unlocked { device, ring, signer, audit }, .. } = ground.clone();
    let node_id = signer.node_id();
    step("membership", || checks::check_membership(genesis, node_id, has_network))?;
    let ledger_params = params::ledger_params(settings, Arc::clone(&storage), ring.clone());
    step("fetched snapshot", || adopted::adopt_snapshot(&ledger_params))?;
    let ledger = Arc::new(step("ledger", || {
        let ledger = chain_state::open_ledger(genesis, ledger_params.clone())?;
        spawner.adopt_by_name("rocksdb:", Role::Storage)?;
        Ok::<_, Failure>(ledger)
    })?);
    let (log, recovered) =
        step("ordering log", || OrderingLog::open(Arc::clone(&storage), &settings.data("ordering"), ring.clone()))?;
    let batches = Arc::new(BatchStore::default());
    let highest_decided = checks::highest_decided(&recovered.records);
    let start = step("replay", || {
        // What the key has signed, by its guard: ledger and log must remember it.
        let signed = signer.marks()?;
        let forgotten = checks::forgotten(ledger.height(), &recovered, &signed);
        let signed = checks::check_memory(chain_state::validators(&ledger)?, forgotten)?;
        chain_state::replay(genesis, &ledger, &batches, recovered.records, signed)
    })?;

    let (events_in, events) = unbounded();
    let queues = Queues::new(genesis.suite, &batches, &events_in);
    let p2p = step("network", || {
        let parts =
            network::Parts { signer: Arc::clone(&signer), ledger: Arc::clone(&ledger), door: Arc::clone(&queues.door) };
        has_network.then(|| P2p::start(settings, &spawner, &plan, parts)).transpose()
    })?;
    let links: Arc<dyn Links> = match &p2p {
        Some(p2p) => Arc::new(p2p.network.clone()),
        None => Arc::new(Solitary),
    };
    let core = Core::new(params::consensus_params(settings, node_id));
    let view = Arc::new(View::new(core.status(), genesis.block_tx_count_max as usize));
    let pool = Arc::new(TxPool::new(params::pool_params(settings), Arc::clone(&ledger) as _, ledger.height()));
    let work = Arc::new(AtomicBool::new(false));
    let (batcher, batcher_woken) = Batcher::new(BatcherParams {
        suite: genesis.suite,
        genesis_transactions_max: genesis.block_tx_count_max as usize,
        pool: Arc::clone(&pool),
        batches: Arc::clone(&batches),
        view: Arc::clone(&view),
        links: Arc::clone(&links),
    });
    let batcher = Arc::new(batcher);
    let admission = step("verifiers", || {
        let tell = tell_work(Arc::clone(&work), events_in.clone(), Arc::clone(&batcher));
        Admission::start(params::admission_params(settings, &plan), Arc::clone(&pool), &spawner, tell)
    })?;
    let (device_health, certificates) = (Arc::new(Device::default()), Arc::new(Certificates::default()));
    let joining = Arc::new(JoinProgress::new(settings.config.sync.snapshot_after_blocks));
    let executor = Arc::new(Executor::new(ExecutionParams::from(genesis)));
    let api = Arc::new(Api {
        chain: params::chain_info(settings, node_id),
        ledger: Arc::clone(&ledger),
        executor: Arc::clone(&executor),
        pool: Arc::clone(&pool),
        admission,
        view: Arc::clone(&view),
        joining: Arc::clone(&joining),
        links: Arc::clone(&links),
        device: Arc::clone(&device_health),
        ledger_reads: LedgerReads::default(),
        metrics: NodeMetrics::new(metrics::Sources {
            links: Arc::clone(&links),
            certificates: Arc::clone(&certificates),
            batches: Arc::clone(&batches),
            view: Arc::clone(&view),
            ledger: Arc::clone(&ledger),
        }),
        receipt_timeout: Duration::from_millis(settings.config.rpc.receipt_timeout_ms),
    });
    let pipeline = Arc::new(Pipeline {
        genesis: genesis.clone(),
        executor,
        ledger: Arc::clone(&ledger),
        batches,
        pool: Arc::clone(&pool),
        view,
        events: events_in.clone(),
    });
    let Threads { consensus, helpers } = step("consensus", || {
        let parts = Parts {
            core,
            start,
            clock: Clock::start(),
            pipeline,
            log,
            signer,
            batcher: Arc::clone(&batcher),
            batcher_woken,
            evidence_dir: settings.data("evidence"),
            links,
            queues,
            work,
            events_in: events_in.clone(),
            events,
            block_interval_ms: settings.config.consensus.block_interval_ms,
            join: params::join_params(settings, &ledger_params),
            joining: Arc::clone(&joining),
        };
        threads::start(&spawner, parts)
    })?;
    let rooms = Rooms { rpc: None, p2p, stop_watchers: Vec::new(), helpers, ledger };
    let mut node = Node { ground, events: events_in, consensus: Some(consensus), rooms };
    let watched = Watched { device, device_health, certificates, audit, pool, batcher };
    match node.open(settings, api, highest_decided, watched) {
        Ok(()) => Ok(node),
        Err(mut error) => {
            if let Some(fault) = node.stop() {
                error.reason = fault.into();
            }
            Err(error)
        }
    }
}

/// What is looked at now and then.
struct Watched {
    device: Arc<dyn KeyDevice>,
    device_health: Arc<Device>,
    certificates: Arc<Certificates>,
    audit: Arc<AuditLog>,
    pool: Arc<TxPool>,
    batcher: Arc<Batcher>,
}

/// Waits for a thread to end. One that hangs in a device's library ends with the process: everything durable is durable
/// without it.
fn join_before(thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            let name = thread.thread().name().unwrap_or("?").to_owned();
            tracing::error!(thread = name, "did not end in time; it is left behind");
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = thread.join();
}

/// One event for any number of arrivals, until consensus has looked.
fn tell_work(work: Arc<AtomicBool>, events: Sender<Event>, batcher: Arc<Batcher>) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        batcher.wake();
        if !work.swap(true, Ordering::AcqRel) {
            let _ = events.send(Event::Work);
        }
    })
}

impl Rooms {
    /// Runs `work` now and then every `period`, on a thread of its own, until the node stops.
    fn watch(
        &mut self,
        spawner: &Spawner,
        name: &str,
        period: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> std::io::Result<()> {
        let (stop, stopped) = bounded::<()>(0);
        self.helpers.push(spawner.spawn(Role::Other, name, move || {
            work();
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                work();
            }
        })?);
        self.stop_watchers.push(stop);
        Ok(())
    }
}

impl Node {
    /// The steps after consensus has begun. When one fails the node is stopped in order.
    fn open(
        &mut self,
        settings: &Settings,
        api: Arc<Api>,
        highest_decided: u64,
        watched: Watched,
    ) -> Result<(), LaunchError> {
        step("catch up", || self.catch_up(highest_decided))?;
        let Watched { device, device_health, certificates, audit, pool, batcher } = watched;
        step("watchers", || {
            let (rooms, spawner) = (&mut self.rooms, &self.ground.spawner);
            rooms.watch(spawner, "device-watch", Device::PERIOD, move || device_health.look(device.as_ref()))?;
            rooms.watch(spawner, "audit-sync", AUDIT_SYNC_PERIOD, move || {
                // The log is broken from then on: the next signature is refused and stops the node.
                if let Err(error) = audit.sync() {
                    tracing::error!(%error, "the audit log cannot be written; nothing more will be signed");
                }
            })?;
            if let Some(mut recheck) = rooms.p2p.as_ref().map(|p2p| p2p.recheck(certificates)) {
                rooms.watch(spawner, "p2p-recheck", recheck::PERIOD, move || recheck.look())?;
            }
            rooms.watch(spawner, "pool-expiry", EXPIRY_PERIOD, move || {
                batcher.expire(Instant::now());
                pool.expire(Instant::now());
            })
        })?;
        let (server, runtime) = step("rpc", || {
            let runtime = self.ground.spawner.tokio(Role::Rpc, "rpc", self.ground.plan.instances(Role::Rpc).max(1))?;
            let params = bixi_rpc::Params { listen: self.ground.rpc_listen, ..params::rpc_params(settings) };
            let server = runtime.block_on(bixi_rpc::serve(params, api))?;
            Ok::<_, Failure>((server, runtime))
        })?;
        self.ground.rpc_listen = server.address();
        self.rooms.rpc = Some((server, runtime));
        tracing::info!(height = self.rooms.ledger.height(), rpc = %self.rpc_address(), "ready");
        Ok(())
    }

    /// Waits until the heights decided before the start are in the ledger again: a client must not miss a transaction it was
    /// told of. With more than one validator that takes their signatures, which may be long in coming, so only a chain of one
    /// waits.
    fn catch_up(&self, highest_decided: u64) -> Result<(), Failure> {
        let mut told = Instant::now();
        while self.rooms.ledger.height() < highest_decided && chain_state::validators(&self.rooms.ledger)? == 1 {
            if !self.is_running() {
                return Err("consensus ended while decided heights were executed again".into());
            }
            if told.elapsed() >= CATCH_UP_TOLD {
                told = Instant::now();
                tracing::info!(height = self.rooms.ledger.height(), to = highest_decided, "executing decided heights");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What another start in this process goes on from, once this node has stopped.
    pub fn ground(&self) -> Ground {
        self.ground.clone()
    }

    /// Where JSON-RPC listens.
    pub fn rpc_address(&self) -> SocketAddr {
        self.ground.rpc_listen
    }

    /// Where other nodes are awaited; nowhere when the node has no network.
    pub fn p2p_address(&self) -> Option<SocketAddr> {
        self.rooms.p2p.as_ref().map(|p2p| p2p.network.address())
    }

    /// Takes what can be exchanged while the node runs from newer settings, `running` being those in force; all of it or nothing.
    pub fn reload(&self, running: &Settings, newer: &Settings) -> Result<Reloaded, LaunchError> {
        step("reload", || {
            let mut reloaded = Reloaded::between(running, newer)?;
            if let Some(p2p) = &self.rooms.p2p {
                reloaded.taken.extend(p2p.reload(newer)?);
            }
            Ok::<_, Failure>(reloaded)
        })
    }

    /// Where the node's threads run.
    pub fn threads(&self) -> Vec<LiveThread> {
        self.ground.spawner.live()
    }

    /// Whether the plan pins threads or shares all cores, in words.
    pub fn placement_mode(&self) -> &'static str {
        if self.ground.plan.is_shared() { "shared" } else { "pinned" }
    }

    /// Whether the node runs still; when not, [`Node::stop`] says why.
    pub fn is_running(&self) -> bool {
        self.consensus.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops in order: no new requests, consensus, execution and commit of what is decided, logs, disk. The fault is why the
    /// node had stopped by itself, if it had.
    pub fn stop(mut self) -> Option<Fault> {
        if let Some((server, runtime)) = self.rooms.rpc.take() {
            runtime.block_on(server.stop());
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        let _ = self.events.send(Event::Stop);
        let fault = self.consensus.take().and_then(|thread| match thread.join() {
            Ok(fault) => fault,
            Err(_) => Some(Fault::Consensus("the consensus thread panicked; its message is in the log".into())),
        });
        if let Some(p2p) = self.rooms.p2p.take() {
            p2p.stop();
        }
        self.rooms.stop_watchers.clear();
        let deadline = Instant::now() + STOP_PATIENCE;
        for helper in self.rooms.helpers.drain(..) {
            join_before(helper, deadline);
        }
        // Nobody asks for a signature any more.
        if let Err(error) = self.ground.unlocked.signer.settle() {
            tracing::error!(%error, "the audit log may not tell of the last TLS handshakes");
        }
        tracing::info!(height = self.rooms.ledger.height(), "stopped");
        // Whoever starts again opens it anew: the last reader must be gone.
        while matches!(fault, Some(Fault::Joined { .. }))
            && Arc::strong_count(&self.rooms.ledger) > 1
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        fault
    }
}
