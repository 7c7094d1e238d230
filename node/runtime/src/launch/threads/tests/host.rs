//! One node over real files: what outlives it, and what runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bixi_consensus::{Params, Timeouts};
use bixi_hsm::audit::AuditLog;
use bixi_hsm::device::decorators::Failing;
use bixi_hsm::guard::Position;
use bixi_hsm::service::{Channel, Client, InProcess, Keys};
use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{CustodyPolicy, Guard, KeyDevice, KeyKind, KeyRef, KeySpec, RetryPolicy, SigningService};
use bixi_ledger::Ledger;
use bixi_ledger::snapshot::Places;
use bixi_network::solitary::Solitary;
use bixi_platform::io::{Faults, FaultyStorage, PreadStorage, Storage};
use bixi_platform::placement::{self, Plan};
use bixi_platform::secret::Secret;
use bixi_platform::topology::Topology;
use bixi_sealed::{AtRest, KeyRing};
use bixi_txpool::{Outcome, PoolParams, TxPool};
use bixi_types::genesis::Genesis;
use bixi_types::ports::Signer;
use bixi_types::transaction::Verified;
use bixi_types::{CryptoSuite, NodeId};
use tempfile::TempDir;

use super::super::*;
use crate::batches::Batcher;
use crate::exchange::Door;
use crate::launch::chain_state;
use crate::launch::parts::{Opened, RoomParams};
use crate::launch::replay::tests::Stopped;
use crate::snapshot::Pace;
use crate::view::View;

/// Long enough for a slow disk under load; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// So few that a handful of transactions makes several blocks.
const BLOCK_TRANSACTIONS_MAX: u32 = 4;

/// What outlives a node: its disk and its device.
pub(super) struct Host {
    dir: TempDir,
    pub(super) faults: Faults,
    pub(super) device: Arc<Failing<SoftDevice>>,
    key: KeyRef,
    pub(super) genesis: Genesis,
    pub(super) timeouts: Timeouts,
    /// Heights behind the others above which a snapshot is fetched; 0 for never.
    pub(super) snapshot_after_blocks: u64,
    /// What the disk has left for a snapshot.
    pub(super) free_bytes: Arc<AtomicU64>,
    /// How often it was looked at.
    pub(super) free_looks: Arc<AtomicU64>,
}

/// A node at work.
pub(super) struct Running {
    pub(super) ledger: Arc<Ledger>,
    pub(super) pool: Arc<TxPool>,
    pub(super) view: Arc<View>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) door: Arc<Door>,
    events: Sender<Event>,
    pub(super) threads: Threads,
}

/// The way to the others of a chain.
pub(super) struct Peers(pub(super) Arc<dyn Links>);

impl Peers {
    /// There are none.
    pub(super) fn none() -> Self {
        Self(Arc::new(Solitary))
    }
}

pub(super) fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).expect("one epoch")
}

/// A device with its consensus key and the node that it makes.
fn device(seed: u64) -> (SoftDevice, KeyRef, NodeId) {
    let soft = SoftDevice::seeded("test", seed);
    let key = soft.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).expect("a key");
    let node = NodeId(soft.public_key(&key).expect("its public half"));
    (soft, key, node)
}

fn genesis(validators: &[NodeId]) -> Genesis {
    Genesis { block_tx_count_max: BLOCK_TRANSACTIONS_MAX, ..Genesis::fixture(validators) }
}

impl Host {
    /// A new chain of one validator on an empty disk; `failing` of 1,000 device calls fail.
    pub(super) fn alone(failing: u64) -> Self {
        let (soft, key, node) = device(1);
        Self::on_empty_disk(Failing::new(soft, 11, failing), key, genesis(&[node]))
    }

    /// A new chain of `validators`, and `observers` that follow it, on empty disks.
    pub(super) fn group(validators: u64, observers: u64) -> Vec<Self> {
        Self::group_of_blocks(validators, observers, BLOCK_TRANSACTIONS_MAX)
    }

    /// The same with other blocks.
    pub(super) fn group_of_blocks(validators: u64, observers: u64, block_tx_count_max: u32) -> Vec<Self> {
        let devices: Vec<_> = (1..=validators + observers).map(device).collect();
        let ids: Vec<NodeId> = devices.iter().map(|(_, _, node)| *node).take(validators as usize).collect();
        // Turns of a node that is down pass sooner; where more rounds are needed, more are held.
        let timeouts = Timeouts {
            propose_ms: (400, 200),
            prevote_ms: (200, 100),
            precommit_ms: (200, 100),
            ..Timeouts::default()
        };
        let host = |(soft, key, _)| {
            let genesis = Genesis { block_tx_count_max, ..genesis(&ids) };
            Self { timeouts, ..Self::on_empty_disk(Failing::new(soft, 11, 0), key, genesis) }
        };
        devices.into_iter().map(host).collect()
    }

    fn on_empty_disk(device: Failing<SoftDevice>, key: KeyRef, genesis: Genesis) -> Self {
        let host = Self {
            dir: TempDir::new().expect("a directory"),
            faults: Faults::none(),
            device: Arc::new(device),
            key,
            genesis,
            timeouts: Timeouts::default(),
            snapshot_after_blocks: 0,
            free_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            free_looks: Arc::default(),
        };
        host.renew_guard();
        host
    }

    /// A guard for the genesis as it is now.
    pub(super) fn renew_guard(&self) {
        if self.path("guard").exists() {
            std::fs::remove_file(self.path("guard")).expect("a file");
        }
        Guard::create(self.storage(), self.path("guard"), ring(), self.genesis.hash()).expect("a guard");
    }

    /// Its consensus key.
    pub(super) fn node(&self) -> NodeId {
        NodeId(self.device.public_key(&self.key).expect("the device works"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(FaultyStorage::new(Arc::new(PreadStorage), self.faults.clone()))
    }

    pub(super) fn signer(&self) -> Result<(Arc<dyn Signer>, Vec<Position>), Failure> {
        let guard = Guard::open(self.storage(), self.path("guard"), ring(), self.genesis.hash())?;
        let service = SigningService::new(bixi_hsm::Params {
            device: Arc::clone(&self.device) as _,
            device_calls_max: 4,
            keys: Keys { consensus: self.key.clone(), tls: None, kek: None },
            guard,
            chain: self.genesis.hash(),
            suite: CryptoSuite::Sm,
            retry: RetryPolicy::default(),
            custody: CustodyPolicy::Any,
            audit: Arc::new(AuditLog::open(self.storage(), self.path("audit"), ring())?),
        })?;
        let channel: Arc<dyn Channel> = Arc::new(InProcess(Arc::new(service)));
        let signer = Client::connect(channel)?;
        let signed = signer.marks()?;
        Ok((Arc::new(signer), signed))
    }

    pub(in crate::launch) fn open_ledger(&self) -> Result<Ledger, Failure> {
        chain_state::open_ledger(&self.genesis, self.ledger_params())
    }

    /// What `bixi db replay` works on.
    pub(super) fn stopped(&self) -> Stopped<'_> {
        Stopped {
            genesis: &self.genesis,
            node: self.node(),
            ordering: self.path("ordering"),
            evidence: self.path("evidence"),
            audit: self.path("audit"),
            ring: ring(),
        }
    }

    pub(super) fn ledger_params(&self) -> bixi_ledger::Params {
        bixi_ledger::Params {
            dir: self.path("ledger"),
            storage: self.storage(),
            keyring: ring(),
            suite: CryptoSuite::Sm,
            genesis: Some(self.genesis.hash()),
            block_cache_mb: 4,
            write_buffer_mb: 4,
            state_cache_mb: 1,
        }
    }

    /// Looks often and waits long: what a test waits for comes at once, and what comes late under load is no failure.
    fn join_params(&self) -> JoinParams {
        let places = Places::around(&self.path("ledger"));
        let (free_bytes, looks) = (Arc::clone(&self.free_bytes), Arc::clone(&self.free_looks));
        JoinParams {
            staging: bixi_ledger::Params { dir: places.joining.clone(), ..self.ledger_params() },
            places,
            free_bytes: Box::new(move || {
                looks.fetch_add(1, Ordering::SeqCst);
                free_bytes.load(Ordering::SeqCst)
            }),
            digest: None,
            pace: Pace {
                look: Duration::from_millis(20),
                offers: Duration::from_millis(500),
                answer: Duration::from_secs(3),
                failed: Duration::from_millis(200),
                no_room: Duration::from_millis(200),
                ..Pace::default()
            },
        }
    }

    fn room_params(&self, node: NodeId) -> RoomParams {
        let mut consensus = Params::new(node, self.genesis.hash(), CryptoSuite::Sm, self.genesis.pipeline_depth.into());
        consensus.timeouts = self.timeouts;
        RoomParams {
            consensus,
            pool: PoolParams {
                transactions_max: 10_000,
                bytes_max: usize::MAX,
                account_transactions_max: 10_000,
                expiry: Duration::from_secs(60),
                block_limit: self.genesis.block_limit.into(),
                signer_tables_bytes_max: 0,
            },
            evidence_dir: self.path("evidence"),
            block_interval_ms: 1,
            join: self.join_params(),
        }
    }

    /// The steps of `launch` from keys to consensus.
    pub(super) fn start(&self) -> Result<Running, Failure> {
        self.start_among(Peers::none())
    }

    pub(super) fn start_among(&self, peers: Peers) -> Result<Running, Failure> {
        let (signer, signed) = self.signer()?;
        self.start_with(signer, &signed, peers)
    }

    pub(super) fn start_with(
        &self,
        signer: Arc<dyn Signer>,
        signed: &[Position],
        Peers(links): Peers,
    ) -> Result<Running, Failure> {
        let (ledger_params, ordering_dir) = (self.ledger_params(), self.path("ordering"));
        let signed = || Ok(signed.to_vec());
        let opened = Opened::open(&self.genesis, &ledger_params, &ordering_dir, self.snapshot_after_blocks, signed)?;
        let door = Arc::clone(&opened.queues.door);
        let parts = Parts::new(&self.genesis, opened, links, Arc::clone(&signer), self.room_params(signer.node_id()));
        let (pipeline, batcher, events) =
            (Arc::clone(&parts.pipeline), Arc::clone(&parts.batcher), parts.events_in.clone());
        let topology = Topology::detect()?;
        let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
        let spawner = Spawner::new(Plan::make(&topology, &everywhere));
        let threads = super::super::start(&spawner, parts)?;
        let (ledger, pool, view) =
            (Arc::clone(&pipeline.ledger), Arc::clone(&pipeline.pool), Arc::clone(&pipeline.view));
        Ok(Running { ledger, pool, view, batcher, door, events, threads })
    }
}

impl Running {
    pub(super) fn submit(&self, transaction: &Verified) -> mpsc::Receiver<Outcome> {
        let (told, outcome) = mpsc::channel();
        self.pool.insert(vec![(transaction.clone(), Box::new(move |outcome| drop(told.send(outcome))))]);
        self.batcher.wake();
        let _ = self.events.send(Event::Work);
        outcome
    }

    /// Whether the transaction was acknowledged before the node gave up.
    pub(super) fn acknowledged(&self, outcome: &mpsc::Receiver<Outcome>) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.threads.consensus.is_finished() {
            match outcome.recv_timeout(Duration::from_millis(2)) {
                Ok(Outcome::Final { .. }) => return true,
                Ok(Outcome::Refused(refusal)) => panic!("refused: {refusal:?}"),
                Err(_) => assert!(Instant::now() < deadline, "neither a block nor a fault"),
            }
        }
        matches!(outcome.try_recv(), Ok(Outcome::Final { .. }))
    }

    /// Ends every thread in the node's order.
    pub(super) fn stop(self) -> Option<Fault> {
        let _ = self.events.send(Event::Stop);
        let fault = self.threads.consensus.join().expect("consensus did not panic");
        drop(self.threads.log);
        for helper in self.threads.helpers {
            helper.join().expect("no helper panicked");
        }
        fault
    }
}

/// Waits until something is so that will be so.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
