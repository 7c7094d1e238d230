//! Starting a node: a chain of named steps, each logged, each undone in reverse order at the end.

mod adopted;
mod chain_state;
mod checks;
mod credentials;
mod members;
mod network;
mod node;
mod params;
mod parts;
mod recheck;
mod replay;
mod threads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bixi_hsm::audit::AuditError;
use bixi_hsm::guard::GuardError;
use bixi_hsm::self_test::SelfTestError;
use bixi_hsm::{Cause, DeviceError, ServiceError};
use bixi_hsm_vault::VaultError;
use bixi_ledger::engine::CipherFsError;
use bixi_network::solitary::Solitary;
use bixi_platform::credentials::CredentialError;
use bixi_platform::io::Storage;
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::Spawner;
use bixi_txpool::Admission;
use bixi_types::ports::Signer as _;
use crossbeam_channel::Sender;

use crate::accelerator::{self, Bulk};
use crate::api::Api;
use crate::batches::Batcher;
use crate::data_keys::{self, Exchange};
use crate::event::Event;
use crate::health::{Certificates, Device, LedgerReads};
use crate::keys::{self, Unlocked};
use crate::lifecycle::sealing::expect_sealed;
use crate::links::Links;
use crate::metrics::{self, NodeMetrics};
use crate::placement;
use crate::scrub::{Scrubber, Scrubbing};
use crate::settings::Settings;
use network::P2p;
pub use node::Node;
use node::{Rooms, Watched};
use parts::{Opened, Parts};
pub use replay::{Accepted, Replay, Replayed, Verdict, replay};
use threads::Threads;
#[cfg(test)]
pub(crate) use threads::tests::run_of;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

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
        self.causes().any(Cause::is_pin_refusal)
    }

    /// The last attempts with the PIN never came back, and it is not sent again before a person has acted. Another start does no harm.
    pub fn is_pin_unanswered(&self) -> bool {
        self.causes().any(|cause| cause == Cause::PinUnanswered)
    }

    /// The settings allow no such keys: another start cannot do better before a person has changed them.
    pub fn is_forbidden(&self) -> bool {
        self.errors().filter_map(|error| error.downcast_ref::<ServiceError>()).any(|error| {
            matches!(error, ServiceError::Custody { .. } | ServiceError::Suite(_) | ServiceError::SharedKey(_))
        })
    }

    /// Guard, audit trail or vault is missing, damaged, of another release, ended, or an old copy, or the ledger is not sealed: another start cannot do better before a person has
    /// put that right. A disk that fails, and a file that another process has, may do better by themselves.
    pub fn is_file_unusable(&self) -> bool {
        self.errors().any(|error| {
            let guard = error.downcast_ref::<GuardError>().is_some_and(|error| {
                use GuardError::{Awaiting, Damaged, Linked, Missing, OldCopy, OtherHost, Retired, RetiredFor};
                let is_bad = matches!(error, Missing { .. } | Damaged { .. } | Linked { .. });
                let is_elsewhere =
                    matches!(error, Retired { .. } | RetiredFor { .. } | Awaiting { .. } | OtherHost { .. });
                is_bad || is_elsewhere || matches!(error, OldCopy { .. })
            });
            let audit = error.downcast_ref::<AuditError>();
            let vault = error.downcast_ref::<VaultError>().is_some_and(|error| {
                use VaultError::{Altered, Damaged, Missing, Version, WrongKek};
                matches!(error, Missing { .. } | Damaged { .. } | Altered { .. } | Version { .. } | WrongKek { .. })
            });
            // A ledger in plaintext, or one that nobody has verified yet.
            let ledger = error.downcast_ref::<CipherFsError>().is_some_and(|error| {
                use CipherFsError::{HalfSealed, LostCurrent, Mixture, NotSealed, Unverified};
                matches!(
                    error,
                    NotSealed { .. } | HalfSealed { .. } | Unverified { .. } | LostCurrent { .. } | Mixture { .. }
                )
            });
            guard
                || vault
                || ledger
                || audit.is_some_and(|error| matches!(error, AuditError::Damaged { .. } | AuditError::Broken { .. }))
        })
    }

    /// A module, profile, token name or PIN source of the settings cannot be used: another start cannot do better before a person has
    /// corrected it.
    pub fn is_misconfigured(&self) -> bool {
        self.causes().any(|cause| cause == Cause::Setup)
            || self.errors().any(|error| error.downcast_ref::<CredentialError>().is_some())
    }

    /// The key device failed its self-test: a person has to look at it.
    pub fn is_device_unsound(&self) -> bool {
        self.errors().filter_map(|error| error.downcast_ref::<SelfTestError>()).any(SelfTestError::is_of_the_device)
    }

    /// What its device said.
    fn causes(&self) -> impl Iterator<Item = Cause> {
        self.errors().filter_map(|error| error.downcast_ref::<DeviceError>()).map(|error| error.cause)
    }

    /// The reason and its causes.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        let first: &(dyn std::error::Error + 'static) = self.reason.as_ref();
        std::iter::successors(Some(first), |error| error.source())
    }
}

pub(crate) use chain_state::{NodeLists, genesis_header, node_lists};
pub(crate) use checks::{forgotten, self_test as check_kernels};
pub(crate) use params::{STAGING_MEMORY, ledger_params};

pub(crate) fn step<T, E: Into<Failure>>(
    name: &'static str,
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, LaunchError> {
    let started = Instant::now();
    let result = run().map_err(|error| LaunchError { step: name, reason: error.into() })?;
    tracing::info!(step = name, elapsed_ms = started.elapsed().as_millis() as u64, "done");
    Ok(result)
}

/// What outlives a node that starts again in its process: the unlocked keys, the placement, the accelerator, where it listens.
#[derive(Clone)]
pub struct Ground {
    spawner: Spawner,
    plan: Plan,
    storage: Arc<dyn Storage>,
    unlocked: Unlocked,
    accelerator: Option<Arc<Bulk>>,
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
    // Before a PIN is sent: no start can do better before somebody has acted.
    step("ledger", || expect_sealed(settings, storage.as_ref()))?;
    let unlocked = step("unlock keys", || keys::unlock(settings, &storage))?;
    let accelerator = step("accelerator", || Ok::<_, Failure>(accelerator::of_node(settings)))?;
    let rpc_listen = settings.config.rpc.listen;
    launch_on(settings, Ground { spawner, plan, storage, unlocked, accelerator, rpc_listen })
}

/// Starts a node anew on what another left: no PIN is asked for.
pub fn launch_on(settings: &Settings, ground: Ground) -> Result<Node, LaunchError> {
    let genesis = &settings.genesis;
    let has_network = settings.config.p2p.listen.is_some();
    let Ground { spawner, plan, storage, unlocked: Unlocked { ring, signer, .. }, accelerator, .. } = ground.clone();
    let asked = Arc::clone(&signer);
    let node_id = signer.node_id();
    step("membership", || checks::check_membership(genesis, node_id, has_network))?;
    let ledger_params = params::ledger_params(settings, Arc::clone(&storage), ring.clone());
    let signed = || Ok(signer.marks()?);
    let snapshot_after_blocks = settings.config.sync.snapshot_after_blocks;
    let opened = Opened::open(genesis, &ledger_params, &settings.data("ordering"), snapshot_after_blocks, signed)?;
    step("threads of the database", || spawner.adopt_by_name("rocksdb:", Role::Storage))?;
    let (ledger, highest_decided) = (Arc::clone(&opened.ledger), opened.highest_decided);
    let p2p = step("network", || {
        let (signer, door) = (Arc::clone(&signer), Arc::clone(&opened.queues.door));
        let parts = network::Parts { signer, ledger: Arc::clone(&ledger), door };
        has_network.then(|| P2p::start(settings, &spawner, &plan, parts)).transpose()
    })?;
    let links: Arc<dyn Links> = match &p2p {
        Some(p2p) => Arc::new(p2p.network.clone()),
        None => Arc::new(Solitary),
    };
    let rooms = params::room_params(settings, node_id, &ledger_params, accelerator.clone());
    let parts = Parts::new(genesis, opened, Arc::clone(&links), signer, rooms);
    let (pipeline, batcher, events) =
        (Arc::clone(&parts.pipeline), Arc::clone(&parts.batcher), parts.events_in.clone());
    let admission = step("verifiers", || {
        let tell = tell_work(Arc::clone(&parts.work), events.clone(), Arc::clone(&batcher));
        let pool = Arc::clone(&pipeline.pool);
        Admission::start(params::admission_params(settings, &plan), pool, &spawner, tell)
    })?;
    let scrubbing = Arc::<Scrubbing>::default();
    let (device_health, certificates) = (Arc::new(Device::default()), Arc::new(Certificates::default()));
    let exchange = Arc::new(Exchange::default());
    let api = Arc::new(Api {
        chain: params::chain_info(settings, node_id),
        ledger: Arc::clone(&ledger),
        executor: Arc::clone(&pipeline.executor),
        pool: Arc::clone(&pipeline.pool),
        admission,
        view: Arc::clone(&pipeline.view),
        joining: Arc::clone(&parts.joining),
        links: Arc::clone(&links),
        device: Arc::clone(&device_health),
        ledger_reads: LedgerReads::default(),
        scrubbing: Arc::clone(&scrubbing),
        metrics: NodeMetrics::new(metrics::Sources {
            links,
            certificates: Arc::clone(&certificates),
            batches: Arc::clone(&pipeline.batches),
            view: Arc::clone(&pipeline.view),
            ledger: Arc::clone(&ledger),
            accelerator,
            exchange: Arc::clone(&exchange),
            scrubbing: Arc::clone(&scrubbing),
            device: Arc::clone(&device_health),
        }),
        receipt_timeout: Duration::from_millis(settings.config.rpc.receipt_timeout_ms),
    });
    let Threads { consensus, helpers, log } = step("consensus", || threads::start(&spawner, parts))?;
    let (data, how) = (settings.data(""), &settings.config.storage);
    let scrubber = Scrubber::new(Arc::clone(&storage), ring.clone(), data, how, Arc::clone(&scrubbing));
    let resealed =
        data_keys::Parts { settings: settings.clone(), storage, ring, signer: asked, ledger: Arc::clone(&ledger), log };
    let rooms = Rooms { rpc: None, control: None, p2p, stop_watchers: Vec::new(), helpers, ledger };
    let mut node = Node { ground, events, consensus: Some(consensus), rooms };
    let pool = Arc::clone(&pipeline.pool);
    let watched = Watched { device_health, certificates, pool, batcher, exchange, resealed, scrubbing, scrubber };
    // A stop waits for the last reader of the ledger.
    drop(pipeline);
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

/// One event for any number of arrivals, until consensus has looked.
fn tell_work(work: Arc<AtomicBool>, events: Sender<Event>, batcher: Arc<Batcher>) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        batcher.wake();
        if !work.swap(true, Ordering::AcqRel) {
            let _ = events.send(Event::Work);
        }
    })
}
