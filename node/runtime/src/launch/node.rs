//! A node at work: the steps after consensus has begun, what is looked at now and then, reloading, and the stop in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bixi_hsm::audit::AuditLog;
use bixi_ledger::Ledger;
use bixi_platform::placement::Role;
use bixi_platform::threads::{LiveThread, Spawner};
use bixi_rpc::Server;
use bixi_txpool::TxPool;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use tokio::runtime::Runtime;

use super::network::P2p;
use super::{Failure, Ground, LaunchError, chain_state, params, recheck, step};
use crate::api::Api;
use crate::batches::Batcher;
use crate::data_keys::control::{Control, Desk};
use crate::data_keys::{self, Exchange};
use crate::event::{Event, Fault};
use crate::health::{Certificates, Device};
use crate::keys::{self, Unlocked};
use crate::reload::Reloaded;
use crate::scrub::{Scrubber, Scrubbing};
use crate::settings::Settings;

/// How often the pool looks for transactions that waited too long.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// How often the log tells how far a long catching up has come.
const CATCH_UP_TOLD: Duration = Duration::from_secs(5);
/// How long a stop waits for the threads behind consensus.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// A running node.
pub struct Node {
    pub(super) ground: Ground,
    pub(super) events: Sender<Event>,
    pub(super) consensus: Option<JoinHandle<Option<Fault>>>,
    pub(super) rooms: Rooms,
}

/// What is stopped, in this order, once consensus has ended.
pub(super) struct Rooms {
    pub(super) rpc: Option<(Server, Runtime)>,
    pub(super) control: Option<(Control, Arc<Exchange>)>,
    pub(super) p2p: Option<P2p>,
    pub(super) stop_watchers: Vec<Sender<()>>,
    pub(super) helpers: Vec<JoinHandle<()>>,
    pub(super) ledger: Arc<Ledger>,
}

/// What is looked at now and then.
pub(super) struct Watched {
    pub(super) device_health: Arc<Device>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) pool: Arc<TxPool>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) exchange: Arc<Exchange>,
    /// What of the node has to do with its data keys.
    pub(super) resealed: data_keys::Parts,
    pub(super) scrubbing: Arc<Scrubbing>,
    pub(super) scrubber: Option<Scrubber>,
}

/// Waits for a thread to end; its name when it does not. One that hangs in a device's library ends with the process: everything durable is durable
/// without it.
fn join_before(thread: JoinHandle<()>, deadline: Instant) -> Option<String> {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            let name = thread.thread().name().unwrap_or("?").to_owned();
            tracing::error!(thread = name, "did not end in time; it is left behind");
            return Some(name);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = thread.join();
    None
}

/// A node that ended to start again must not, beside something of it that goes on.
fn end_of(fault: Option<Fault>, left_behind: Option<String>) -> Option<Fault> {
    match (fault, left_behind) {
        (Some(Fault::Joined { .. }), Some(what)) => Some(Fault::LeftBehind(what)),
        (fault, _) => fault,
    }
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
    pub(super) fn open(
        &mut self,
        settings: &Settings,
        api: Arc<Api>,
        highest_decided: u64,
        watched: Watched,
    ) -> Result<(), LaunchError> {
        step("catch up", || self.catch_up(highest_decided))?;
        let Watched { device_health, certificates, pool, batcher, exchange, resealed, scrubbing, scrubber } = watched;
        step("watchers", || {
            let (rooms, spawner) = (&mut self.rooms, &self.ground.spawner);
            let Unlocked { signer, audit, .. } = self.ground.unlocked.clone();
            let asked = Arc::clone(&signer);
            rooms.watch(spawner, "device-watch", Device::PERIOD, move || device_health.look(&asked))?;
            // The trail of a broker is the broker's.
            if let Some(audit) = audit {
                rooms.watch(spawner, "audit-sync", AuditLog::SYNC_PERIOD, move || {
                    // The log is broken from then on, or the guard was refused: the next signature is, too, and stops the node.
                    if let Err(error) = keys::tell_and_sync(&signer, &audit) {
                        tracing::error!(%error, "nothing more will be signed");
                    }
                })?;
            }
            if let Some(mut recheck) = rooms.p2p.as_ref().map(|p2p| p2p.recheck(certificates)) {
                rooms.watch(spawner, "p2p-recheck", recheck::PERIOD, move || recheck.look())?;
            }
            if let Some(scrubber) = scrubber {
                let (stop, stopped) = bounded::<()>(0);
                rooms.helpers.push(spawner.spawn(Role::Other, "scrub", move || scrubber.run(&stopped))?);
                rooms.stop_watchers.push(stop);
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
        step("control socket", || {
            let desk = Desk { exchange: Arc::clone(&exchange), scrubbing };
            let control = Control::start(settings, &self.ground.spawner, desk)?;
            self.rooms.control = Some((control, Arc::clone(&exchange)));
            let run = move || data_keys::run(&exchange, &resealed);
            self.rooms.helpers.push(self.ground.spawner.spawn(Role::Other, "data-keys", run)?);
            Ok::<_, Failure>(())
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
        if let Some((_, exchange)) = self.rooms.control.take() {
            // It holds the way to the ordering log.
            exchange.stop();
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
        let mut left_behind = None;
        for helper in self.rooms.helpers.drain(..) {
            left_behind = join_before(helper, deadline).map(|name| format!("thread {name}")).or(left_behind);
        }
        // Nobody asks for a signature any more.
        if let Err(error) = self.ground.unlocked.signer.settle() {
            tracing::error!(%error, "what came last was not settled: the audit log may not tell of it, or the device has not counted it");
        }
        tracing::info!(height = self.rooms.ledger.height(), "stopped");
        // Whoever starts again opens it anew: the last reader must be gone.
        while matches!(fault, Some(Fault::Joined { .. }))
            && Arc::strong_count(&self.rooms.ledger) > 1
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if Arc::strong_count(&self.rooms.ledger) > 1 {
            left_behind.get_or_insert_with(|| "last reader of the ledger".to_owned());
        }
        end_of(fault, left_behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_thread_is_left_behind_does_not_start_again() {
        let (release, held) = bounded::<()>(0);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(work).expect("a thread")
        };
        let stuck = spawn("stuck", Box::new(move || held.iter().for_each(drop)));
        let left = join_before(stuck, Instant::now());
        assert_eq!(left.as_deref(), Some("stuck"));
        let quick = spawn("quick", Box::new(|| ()));
        assert_eq!(join_before(quick, Instant::now() + Duration::from_secs(60)), None);
        drop(release);
        let joined = || Some(Fault::Joined { height: 7 });
        assert_eq!(end_of(joined(), None), joined());
        assert_eq!(end_of(joined(), left.clone()), Some(Fault::LeftBehind("stuck".into())));
        // Where the process ends, the thread ends with it.
        assert_eq!(end_of(None, left), None);
    }
}
