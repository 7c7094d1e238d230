//! The node's place among its peers: a listener, a call for each address it was given, two sessions for each peer.
//!
//! ```text
//!   listen ─▶ gate (buckets, places) ─▶ TLS, hello, proof ─┐
//!   p2p.peers ─▶ call, pause, call again ──────────────────┴─▶ table: one session for each peer and channel
//!   send_on ─▶ queue of each session ─▶ its writer        its reader ─▶ Inbox, one frame at a time
//! ```
//!
//! All runs on the runtime it is given, in tasks that [`Network::stop`] waits for. Sending never blocks: what waits for one peer is
//! bounded in bytes. Receiving is back-pressure: a peer's next frame is read when the [`Inbox`] has taken the last one.

mod dialer;
mod gate;
mod limits;
mod listener;
mod pause;
mod shared;
mod status;
mod table;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bixi_platform::random::OsRandom;
use bixi_types::limits::MESSAGE_BYTES_MAX;
use bixi_types::ports::{Destination, Transport, Verifier};
use bixi_types::{CryptoSuite, H256, NodeId};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::peers::dialer::Callers;
use crate::peers::gate::Gate;
use crate::peers::shared::{Shared, announce};
use crate::peers::status::{Calls, Refusals};
use crate::peers::table::Table;
use crate::peers::tasks::Tasks;
use crate::session::{Channel, Local, RefusalKind, SessionKey, SigningSlots, TlsSettings, Versions, unix_time_ms};

pub use limits::Limits;
pub use status::{PeerStatus, RefusalRecord, SessionStatus};

/// How long [`Network::stop`] waits: a signature of the device and a frame the layers above work on end by themselves.
const STOP: Duration = Duration::from_secs(10);

/// Who we are and where.
#[derive(Debug, Clone)]
pub struct Params {
    /// Our consensus public key.
    pub node: NodeId,
    /// Genesis hash.
    pub chain: H256,
    /// The chain's suite.
    pub suite: CryptoSuite,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// "host:port" of others. Our own address may be among them: it is found out when it answers.
    pub peers: Vec<String>,
    /// Versions of the protocol it speaks, [`crate::VERSIONS`] in a release.
    pub versions: Versions,
    /// Bounds.
    pub limits: Limits,
}

/// What the network works with.
pub struct Parts {
    /// Who this node is in TLS, and whom it believes.
    pub tls: TlsSettings,
    /// Signs the openings of sessions.
    pub session_key: Arc<dyn SessionKey>,
    /// Checks what the peers' consensus keys signed, in the chain's suite.
    pub verifier: Arc<dyn Verifier>,
    /// Says who may be a peer.
    pub admission: Arc<dyn Admission>,
    /// Takes what arrives.
    pub inbox: Arc<dyn Inbox>,
}

/// What the layers above give to take what arrives.
pub trait Inbox: Send + Sync {
    /// A whole payload of an authenticated peer, one at a time for each of its two sessions; it may come before
    /// [`Self::connected`]. While it runs, nothing more is read from this session. An error is a protocol offence: it ends the
    /// session with that reason in both logs.
    fn received(&self, from: NodeId, channel: Channel, payload: Vec<u8>) -> Result<(), String>;
    /// Both sessions of the peer are open.
    fn connected(&self, node: NodeId);
    /// One of them is lost; it is being called again.
    fn disconnected(&self, node: NodeId);
}

/// Whether a node may be a peer at all. Asked after each hello, once more when the session has been entered, and for all open
/// sessions by [`Network::recheck`]. Must not block.
pub trait Admission: Send + Sync {
    /// The reason is told to the node.
    fn admit(&self, node: &NodeId) -> Result<(), String>;
}

/// Why a network does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The address cannot be had.
    #[error("p2p cannot listen on {address}: {source}; is another process there, and is the address this machine's?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Certificates of another suite than the chain's.
    #[error("p2p: the {what} of suite {found:?}, on a chain of suite {suite:?}; have them issued in the chain's suite")]
    Suite {
        /// What is of another suite.
        what: &'static str,
        /// Which one.
        found: CryptoSuite,
        /// The chain's.
        suite: CryptoSuite,
    },
    /// TLS cannot be configured.
    #[error("p2p TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A runtime of one thread would be blocked by each signature of the device.
    #[error("p2p needs a tokio runtime with worker threads")]
    Runtime,
    /// No random bytes.
    #[error("p2p: the system gives no random bytes: {0}")]
    Random(String),
}

/// The network. Clones are handles of one; it stops when the last one is dropped, or orderly by [`Self::stop`].
#[derive(Clone)]
pub struct Network(Arc<Owner>);

/// The handles' common part: tasks hold [`Shared`] and do not keep the network alive.
struct Owner {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Network {
    /// Listens and begins to call.
    pub fn start(params: Params, parts: Parts, runtime: Handle) -> Result<Self, NetworkError> {
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err(NetworkError::Runtime);
        }
        let Params { node, chain, suite, listen, peers, versions, limits } = params;
        let Parts { tls, session_key, verifier, admission, inbox } = parts;
        for (what, found) in [("certificate", tls.identity.suite()), ("authorities", tls.trust.current().suite())] {
            if found != suite {
                return Err(NetworkError::Suite { what, found, suite });
            }
        }
        let (listener, address) = listener::bind(listen, &runtime)?;
        let slots = SigningSlots::new(limits.signatures_max);
        let (client, server) = Local::tls(&tls, &slots)?;
        let local = Local {
            node,
            chain,
            versions,
            listen_port: address.port(),
            instance: draw()?,
            deadline: Duration::from_millis(limits.handshake_ms),
            clock: unix_time_ms,
            client,
            server,
            key: session_key,
            verifier,
            slots,
        };
        let (table, events) = Table::new(node, limits.sessions_max);
        let shared = Arc::new(Shared {
            local,
            gate: Arc::new(Gate::new(&limits)),
            limits,
            trust: tls.trust,
            admission,
            inbox,
            table,
            tasks: Tasks::new(runtime),
            refusals: Refusals::default(),
            calls: Calls::default(),
            callers: Callers::default(),
        });
        shared.tasks.spawn_until_stop(announce(Arc::clone(&shared.inbox), events));
        shared.tasks.spawn_until_stop(listener::listen(Arc::clone(&shared), listener));
        tracing::info!(%address, node = %shared.local.node, "p2p listens");
        let network = Self(Arc::new(Owner { address, shared }));
        network.call_only(&peers);
        Ok(network)
    }

    /// Calls these addresses and no others from now on. Sessions that stand stay: whom the node calls is not whom it lets in.
    pub fn call_only(&self, peers: &[String]) {
        dialer::call_only(&self.0.shared, peers);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Queues `payload`; the number of peers whose queue took it. Never blocks: see [`Channel`] for what a full queue does.
    ///
    /// # Panics
    /// When the payload is longer than [`MESSAGE_BYTES_MAX`]: no peer would take it.
    pub fn send_on(&self, channel: Channel, to: Destination, payload: Vec<u8>) -> usize {
        let bytes = payload.len();
        assert!(bytes <= MESSAGE_BYTES_MAX, "a payload of {bytes} bytes; at most {MESSAGE_BYTES_MAX} are sent");
        let to = match &to {
            Destination::Broadcast => None,
            Destination::Node(node) => Some(node),
        };
        let payload = Arc::new(payload);
        let sessions = self.0.shared.table.on(channel, to);
        sessions.iter().filter(|session| session.queue.push(Arc::clone(&payload))).count()
    }

    /// Peers with their sessions, then addresses where nobody could be reached.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let shared = &self.0.shared;
        shared.calls.join(&shared.table.all())
    }

    /// The newest sessions that did not open or were ended by a side, oldest first.
    pub fn refusals(&self) -> Vec<RefusalRecord> {
        self.0.shared.refusals.all()
    }

    /// Sessions that did not open or were ended by a side since the start, by who ended them and why.
    pub fn refused(&self) -> BTreeMap<RefusalKind, u64> {
        self.0.shared.refusals.counts()
    }

    /// Callers closed before the handshake since the start, by reason.
    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        self.0.shared.gate.closed().into_iter().map(|(closed, count)| (closed.label(), count)).collect()
    }

    /// Judges all open sessions by the rules of now: certificates (their time and revocation too), lists and membership. Call it
    /// after each change of rules; a session that opens meanwhile is judged by the new ones.
    pub fn recheck(&self) {
        let shared = &self.0.shared;
        for session in shared.table.all() {
            if let Err(refusal) = shared.judge_by_rules_of_now(&session.remote) {
                session.refuse(refusal);
            }
        }
    }

    /// Tells the peers, closes everything and waits for all tasks. Call it from a thread that may wait, not from a task.
    pub fn stop(&self) {
        self.0.shared.stop();
        let left = self.0.shared.tasks.join(STOP);
        if left > 0 {
            tracing::error!(left, "p2p tasks do not end; is the inbox or the signing device blocked?");
        }
    }
}

impl Transport for Network {
    fn send(&self, to: Destination, message: Vec<u8>) {
        self.send_on(Channel::Consensus, to, message);
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network({:.16} on {})", self.0.shared.local.node.to_hex(), self.0.address)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

fn draw() -> Result<u64, NetworkError> {
    let mut bytes = [0; 8];
    OsRandom.fill(&mut bytes).map_err(|error| NetworkError::Random(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes))
}
