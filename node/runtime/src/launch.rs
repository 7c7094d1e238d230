//! Starting a node: a chain of named steps, each logged, each undone in reverse order at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bixi_accel::{cpu, selftest};
use bixi_consensus::{Core, Head, Input, LogEntry, Start, Timeouts};
use bixi_execution::{ExecutionParams, Executor, genesis_writes};
use bixi_hsm::guard::{Guard, Position};
use bixi_ledger::Ledger;
use bixi_network::solitary::Solitary;
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::{LiveThread, Spawner};
use bixi_rpc::{ChainInfo, NodeInfo, Server};
use bixi_txpool::{Admission, AdmissionParams, PoolParams, TxPool};
use bixi_types::consensus::Value;
use bixi_types::genesis::Genesis;
use bixi_types::header::BlockHeader;
use bixi_types::ports::Signer;
use bixi_types::transaction::ChainIdentity;
use bixi_types::{CryptoSuite, H256, NodeId};
use crossbeam_channel::Sender;
use tokio::runtime::Runtime;

use crate::api::Api;
use crate::batches::{BatchStore, VerifiedBatch};
use crate::clock::Clock;
use crate::driver::{ChainBound, Driver, sign_all};
use crate::event::{Event, Fault};
use crate::health::Device;
use crate::keys::{self, Unlocked};
use crate::metrics::NodeMetrics;
use crate::ordering_log::{OrderingLog, Record};
use crate::pipeline::{HEADER_VERSION, Pipeline, rules_of};
use crate::settings::Settings;
use crate::view::View;
use crate::{log_thread, placement};

/// Unverified transactions waiting for a signature check.
const ADMISSION_QUEUE_MAX: usize = 16_384;
/// Signatures checked in one batch.
const VERIFY_BATCH_MAX: usize = 64;
/// How often the pool looks for transactions that waited too long.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);

/// Why a node did not start: the step and its reason.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct LaunchError {
    /// The step that failed.
    pub step: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

fn step<T, E: std::fmt::Display>(name: &'static str, run: impl FnOnce() -> Result<T, E>) -> Result<T, LaunchError> {
    let started = Instant::now();
    let result = run().map_err(|error| LaunchError { step: name, reason: error.to_string() })?;
    tracing::info!(step = name, elapsed_ms = started.elapsed().as_millis() as u64, "done");
    Ok(result)
}

/// A running node.
pub struct Node {
    rpc_address: SocketAddr,
    spawner: Spawner,
    plan: Plan,
    events: Sender<Event>,
    consensus: Option<JoinHandle<Option<Fault>>>,
    rooms: Rooms,
}

/// What is stopped, in this order, once consensus has ended.
struct Rooms {
    rpc: Option<(Server, Runtime)>,
    helpers: Vec<JoinHandle<()>>,
    stop_helpers: Vec<Sender<()>>,
    ledger: Arc<Ledger>,
}

/// Starts a node and returns when it takes transactions.
pub fn launch(settings: &Settings) -> Result<Node, LaunchError> {
    let genesis = &settings.genesis;
    step("self-tests", self_test)?;
    step("check the chain", || check_chain(genesis))?;
    let plan = step("placement", || placement::plan(settings))?;
    let spawner = Spawner::new(plan.clone());
    let storage = step("storage", || settings.storage(&spawner))?;
    let Unlocked { device, ring, signer } = step("unlock keys", || keys::unlock(settings, &storage))?;
    step("membership", || check_membership(genesis, signer.as_ref()))?;
    let ledger = Arc::new(step("ledger", || {
        let ledger = open_ledger(settings, &storage, &ring)?;
        spawner.adopt_by_name("rocksdb:", Role::Storage)?;
        Ok::<_, Box<dyn std::error::Error>>(ledger)
    })?);
    let (log, records) =
        step("ordering log", || OrderingLog::open(Arc::clone(&storage), &settings.data("ordering"), ring.clone()))?;
    let batches = Arc::new(BatchStore::default());
    let start = step("replay", || {
        check_head(&ledger, &records, checkpoint_mark(signer.guard(), &signer.node_id()))?;
        replay(genesis, &ledger, &batches, records)
    })?;

    let clock = Clock::start();
    let (events_in, events) = crossbeam_channel::unbounded();
    let core = Core::new(consensus_params(settings, signer.as_ref()));
    let view = Arc::new(View::new(core.status(), genesis.block_tx_count_max as usize));
    let pool = Arc::new(TxPool::new(pool_params(settings), Arc::clone(&ledger) as _, ledger.height()));
    let work = Arc::new(AtomicBool::new(false));
    let admission = step("verifiers", || {
        let (work, events) = (Arc::clone(&work), events_in.clone());
        let on_admitted = Box::new(move || {
            if !work.swap(true, Ordering::AcqRel) {
                let _ = events.send(Event::Work);
            }
        });
        Admission::start(admission_params(settings, &plan), Arc::clone(&pool), &spawner, on_admitted)
    })?;
    let metrics_ledger = Arc::clone(&ledger);
    let device_health = Arc::new(Device::default());
    let api = Arc::new(Api {
        chain: chain_info(settings, signer.as_ref()),
        ledger: Arc::clone(&ledger),
        executor: Executor::new(ExecutionParams::from(genesis)),
        pool: Arc::clone(&pool),
        admission,
        view: Arc::clone(&view),
        device: Arc::clone(&device_health),
        metrics: NodeMetrics::new(),
        receipt_timeout: Duration::from_millis(settings.config.rpc.receipt_timeout_ms),
    });

    let mut rooms = Rooms { rpc: None, helpers: Vec::new(), stop_helpers: Vec::new(), ledger: metrics_ledger };
    let consensus = step("consensus", || {
        let (log_in, log_commands) = crossbeam_channel::unbounded();
        let (sign_in, statements) = crossbeam_channel::unbounded();
        let (execute_in, execute_jobs) = crossbeam_channel::unbounded();
        let (commit_in, commit_jobs) = crossbeam_channel::unbounded();
        let pipeline = Arc::new(Pipeline {
            genesis: genesis.clone(),
            executor: Executor::new(ExecutionParams::from(genesis)),
            ledger: Arc::clone(&ledger),
            batches: Arc::clone(&batches),
            pool: Arc::clone(&pool),
            view: Arc::clone(&view),
            events: events_in.clone(),
        });
        let parent = ledger.hash_of(ledger.height())?.ok_or("the ledger has no head")?;
        let log_events = events_in.clone();
        rooms.helpers.push(
            spawner.spawn(Role::Storage, "ordering-log", move || log_thread::run(log, &log_commands, &log_events))?,
        );
        let sign_events = events_in.clone();
        let statement_signer = Arc::clone(&signer);
        rooms.helpers.push(
            spawner
                .spawn(Role::Signer, "sign", move || sign_all(&statements, statement_signer.as_ref(), &sign_events))?,
        );
        let (executor, commit_out) = (Arc::clone(&pipeline), commit_in.clone());
        rooms.helpers.push(
            spawner
                .spawn(Role::Executor, "execute", move || executor.execute_all(&execute_jobs, &commit_out, parent))?,
        );
        rooms.helpers.push(spawner.spawn(Role::Storage, "commit", move || pipeline.commit_all(&commit_jobs))?);
        let driver = Driver {
            core,
            clock,
            suite: genesis.suite,
            chain_bound: ChainBound { block_transactions_max: genesis.block_tx_count_max as usize },
            events,
            log: log_in,
            signer: sign_in,
            execute: execute_in,
            commit: commit_in,
            transport: Arc::new(Solitary),
            batches: Arc::clone(&batches),
            pool: Arc::clone(&pool),
            view: Arc::clone(&view),
            work: Arc::clone(&work),
            block_interval_ms: settings.config.consensus.block_interval_ms,
            building: None,
            work_told: false,
            last_decided_ms: 0,
        };
        let handle = spawner.spawn(Role::Consensus, "consensus", move || driver.run(start))?;
        Ok::<_, Box<dyn std::error::Error>>(handle)
    })?;

    step("watchers", || {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let device = Arc::clone(&device);
        rooms.helpers.push(spawner.spawn(Role::Other, "device-watch", move || device_health.watch(&device, &stopped))?);
        rooms.stop_helpers.push(stop);
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        rooms.helpers.push(spawner.spawn(Role::Other, "pool-expiry", move || {
            while stopped.recv_timeout(EXPIRY_PERIOD) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                pool.expire(Instant::now());
            }
        })?);
        rooms.stop_helpers.push(stop);
        Ok::<_, std::io::Error>(())
    })?;

    let (server, runtime) = step("rpc", || {
        let runtime = spawner.tokio(Role::Rpc, "rpc", plan.instances(Role::Rpc).max(1))?;
        let server = runtime.block_on(bixi_rpc::serve(rpc_params(settings), api))?;
        Ok::<_, Box<dyn std::error::Error>>((server, runtime))
    })?;
    let rpc_address = server.address();
    rooms.rpc = Some((server, runtime));
    tracing::info!(height = ledger.height(), rpc = %rpc_address, "ready");
    Ok(Node { rpc_address, spawner, plan, events: events_in, consensus: Some(consensus), rooms })
}

impl Node {
    /// Where JSON-RPC listens.
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc_address
    }

    /// Where the node's threads run.
    pub fn threads(&self) -> Vec<LiveThread> {
        self.spawner.live()
    }

    /// Whether the plan pins threads or shares all cores, in words.
    pub fn placement_mode(&self) -> &'static str {
        if self.plan.is_shared() { "shared" } else { "pinned" }
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
        self.rooms.stop_helpers.clear();
        for helper in self.rooms.helpers.drain(..) {
            let _ = helper.join();
        }
        tracing::info!(height = self.rooms.ledger.height(), "stopped");
        fault
    }
}

type Failure = Box<dyn std::error::Error>;

/// Chooses the kernels and runs their known answers before any key is touched (GM/T 0028's power-on self-test).
fn self_test() -> Result<(), Failure> {
    cpu::configure_from_env()?;
    selftest::run()?;
    Ok(())
}

fn check_chain(genesis: &Genesis) -> Result<(), Failure> {
    if genesis.suite != CryptoSuite::Sm {
        return Err("genesis names suite \"std\"; this release runs suite \"sm\" only".into());
    }
    if genesis.validators.len() != 1 {
        let count = genesis.validators.len();
        return Err(format!("genesis names {count} validators; this release runs one, having no network yet").into());
    }
    Ok(())
}

fn check_membership(genesis: &Genesis, signer: &dyn Signer) -> Result<(), Failure> {
    if genesis.validators.iter().any(|validator| validator.id == signer.node_id()) {
        return Ok(());
    }
    let id = signer.node_id().to_hex();
    Err(format!(
        "the consensus key {id} is not a validator of this genesis; check hsm.token, hsm.consensus_key and genesis"
    )
    .into())
}

fn open_ledger(
    settings: &Settings,
    storage: &Arc<dyn bixi_platform::io::Storage>,
    ring: &bixi_sealed::KeyRing,
) -> Result<Ledger, Failure> {
    let genesis = &settings.genesis;
    let memory_mb = settings.config.memory_mb_max as usize;
    let ledger = Ledger::open(bixi_ledger::Params {
        dir: settings.data("ledger"),
        storage: Arc::clone(storage),
        keyring: ring.clone(),
        suite: genesis.suite,
        genesis: Some(genesis.hash()),
        block_cache_mb: memory_mb / 4,
        write_buffer_mb: memory_mb / 4,
        state_cache_mb: memory_mb / 4,
    })?;
    if ledger.genesis().is_none() {
        let writes = genesis_writes(genesis);
        let header = genesis_header(genesis, ledger.genesis_state_root(&writes));
        ledger.initialise(genesis, &writes, &header)?;
        tracing::info!(genesis = %genesis.hash(), "made the ledger of a new chain");
    }
    Ok(ledger)
}

fn genesis_header(genesis: &Genesis, state_root: H256) -> BlockHeader {
    let set = bixi_types::consensus::ValidatorSet::new(genesis.validators.clone());
    BlockHeader {
        version: HEADER_VERSION,
        state_root,
        gas_used: "0".into(),
        timestamp: i64::try_from(genesis.timestamp_ms).unwrap_or(i64::MAX),
        sealer_list: set.members().iter().map(|member| member.id).collect(),
        consensus_weights: set.members().iter().map(|member| member.weight as i64).collect(),
        extra_data: genesis.hash().0.to_vec(),
        ..BlockHeader::default()
    }
}

/// Height of the last header the guard saw signed with this key.
fn checkpoint_mark(guard: &Guard, key: &NodeId) -> Option<u64> {
    let heights = guard.marks(key).into_iter().filter_map(|position| match position {
        Position::Checkpoint { height } => Some(height),
        _ => None,
    });
    heights.max()
}

/// A header is signed only after its decision is durable: whoever signed height h must find h in the ledger or in the ordering
/// log. Less is a disk that lost acknowledged bytes, or an old copy of one.
fn check_head(ledger: &Ledger, records: &[Record], signed: Option<u64>) -> Result<(), Failure> {
    let decided = records.iter().filter_map(|record| match record {
        Record::Entry(entry) if matches!(**entry, LogEntry::Decided { .. }) => Some(entry.height()),
        _ => None,
    });
    let reached = decided.max().unwrap_or(0).max(ledger.height());
    match signed {
        Some(height) if height > reached => Err(format!(
            "this key signed the header of height {height}, but ledger and ordering log reach only {reached}: \
             they are an old copy or lost their tail; restore the newer disk or resynchronise from peers"
        )
        .into()),
        _ => Ok(()),
    }
}

/// Gives the core what it must know: the ledger's head, the rules of the coming heights, its own log; refills the batches.
fn replay(genesis: &Genesis, ledger: &Ledger, batches: &BatchStore, records: Vec<Record>) -> Result<Input, Failure> {
    let committed = ledger.height();
    let mut log = Vec::new();
    let chain = ChainIdentity::from(genesis);
    for record in records {
        match record {
            Record::Entry(entry) => log.push(*entry),
            Record::Batch { height, batch } if height > committed => {
                batches.insert(height, VerifiedBatch::check(genesis.suite, &chain, &batch)?);
            }
            Record::Batch { .. } => {}
        }
    }
    tracing::info!(committed, entries = log.len(), batches = batches.len(), "replaying");
    let state = ledger.view();
    let ruled = committed + 1..=committed + u64::from(genesis.pipeline_depth) + 1;
    let rules = ruled.map(|height| rules_of(genesis, state.as_ref(), height)).collect::<Result<_, _>>()?;
    Ok(Input::Start(Box::new(Start { committed: head(genesis, ledger)?, rules, log })))
}

fn head(genesis: &Genesis, ledger: &Ledger) -> Result<Head, Failure> {
    let height = ledger.height();
    if height == 0 {
        return Ok(Head { height, id: genesis.hash(), timestamp_ms: genesis.timestamp_ms });
    }
    let block = ledger.block(height)?.ok_or("the ledger has no block at its head")?;
    let value: Value = borsh::from_slice(&block.value)?;
    Ok(Head { height, id: value.id(genesis.suite), timestamp_ms: value.timestamp_ms })
}

fn pool_params(settings: &Settings) -> PoolParams {
    let pool = &settings.config.txpool;
    PoolParams {
        transactions_max: pool.transactions_max as usize,
        account_transactions_max: pool.account_transactions_max as usize,
        expiry: Duration::from_millis(pool.expiry_ms),
        block_limit: settings.genesis.block_limit.into(),
    }
}

fn admission_params(settings: &Settings, plan: &Plan) -> AdmissionParams {
    let pool = &settings.config.txpool;
    let verifiers = if pool.verifiers == 0 { plan.instances(Role::Verifier) } else { pool.verifiers as usize };
    AdmissionParams {
        suite: settings.genesis.suite,
        chain: ChainIdentity::from(&settings.genesis),
        verifiers: verifiers.max(1),
        queue_max: ADMISSION_QUEUE_MAX,
        connection_pending_max: pool.connection_pending_max as usize,
        verify_batch_max: VERIFY_BATCH_MAX,
    }
}

fn consensus_params(settings: &Settings, signer: &dyn Signer) -> bixi_consensus::Params {
    let config = &settings.config.consensus;
    let genesis = &settings.genesis;
    let mut params =
        bixi_consensus::Params::new(signer.node_id(), genesis.hash(), genesis.suite, genesis.pipeline_depth.into());
    params.clock_drift_ms = config.clock_drift_ms_max;
    params.sign_deadline_ms = settings.config.hsm.timeout_ms;
    let vote = (config.vote_timeout_ms, config.vote_timeout_ms / 2);
    params.timeouts = Timeouts {
        propose_ms: (config.propose_timeout_ms, config.propose_timeout_ms / 2),
        prevote_ms: vote,
        precommit_ms: vote,
        ..Timeouts::default()
    };
    params
}

fn rpc_params(settings: &Settings) -> bixi_rpc::Params {
    let rpc = &settings.config.rpc;
    bixi_rpc::Params {
        listen: rpc.listen,
        connections_max: rpc.connections_max as usize,
        body_bytes_max: rpc.body_bytes_max as usize,
        batch_calls_max: rpc.batch_calls_max as usize,
    }
}

fn chain_info(settings: &Settings, signer: &dyn Signer) -> ChainInfo {
    let genesis = &settings.genesis;
    let sealers: Vec<_> = genesis
        .validators
        .iter()
        .map(|validator| serde_json::json!({"nodeID": validator.id.to_hex(), "weight": validator.weight}))
        .collect();
    ChainInfo {
        chain_id: genesis.chain_id.clone(),
        group_id: genesis.group_id.clone(),
        suite: genesis.suite,
        genesis_hash: genesis.hash(),
        genesis_json: serde_json::json!({
            "consensusType": "pbft",
            "blockTxCountLimit": genesis.block_tx_count_max,
            "txGasLimit": genesis.tx_gas_limit,
            "consensusLeaderPeriod": 1,
            "sealerList": sealers,
        }),
        node: NodeInfo {
            name: settings.config.name.clone(),
            id: signer.node_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    }
}
