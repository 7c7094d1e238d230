//! A consortium in memory: an authority, nodes with soft keys, networks on free ports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_types::consensus::SignatureBytes;
use bixi_types::session::SessionProof;
use bixi_types::{CryptoSuite, H256, NodeId};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::super::*;
use crate::session::VERSIONS;
use crate::session::{Door, Local, Opened, Refusal, Remote, SessionError, unix_time_ms};
use crate::tls::fixtures::{Authority, Checker, Key, Node};
use crate::tls::{Trust, TrustStore};

pub(super) const CHAIN: H256 = H256([0xC4; 32]);
/// Far longer than anything takes, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A consensus key in memory.
pub(super) struct SoftKey {
    key: Key,
    /// Done once, before the next signature: the peer's hello was judged, and the session stands in no table yet.
    pub(super) before: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl SessionKey for SoftKey {
    fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, String> {
        let before = self.before.lock().take();
        if let Some(act) = before {
            act();
        }
        Ok(SignatureBytes(self.key.sign(&proof.sign_bytes())))
    }
}

/// Membership that tests change.
#[derive(Default)]
pub(super) struct Members {
    pub(super) denied: Mutex<Vec<NodeId>>,
}

impl Admission for Members {
    fn admit(&self, node: &NodeId) -> Result<(), String> {
        if self.denied.lock().contains(node) { Err("the group does not know this node".into()) } else { Ok(()) }
    }
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Received(NodeId, Channel, Vec<u8>),
    Connected(NodeId),
    Disconnected(NodeId),
}

#[derive(Default)]
pub(super) struct Recorder {
    seen: Mutex<Vec<Seen>>,
    /// Held by tests while the layers above are slow.
    pub(super) slow: Mutex<()>,
}

/// A payload that the recorder calls an offence.
pub(super) const OFFENCE: &[u8] = b"an offence";
/// A payload that takes as long as [`Recorder::slow`] is held.
pub(super) const SLOW: &[u8] = b"much work";

impl Recorder {
    pub(super) fn has(&self, seen: &Seen) -> bool {
        self.seen.lock().contains(seen)
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        let seen = self.seen.lock();
        let last =
            seen.iter().rev().find(|seen| matches!(seen, Seen::Connected(of) | Seen::Disconnected(of) if *of == node));
        matches!(last, Some(Seen::Connected(_)))
    }
}

impl Inbox for Recorder {
    fn received(&self, from: NodeId, channel: Channel, payload: Vec<u8>) -> Result<(), String> {
        if payload == OFFENCE {
            return Err("a vote signed by nobody".into());
        }
        if payload == SLOW {
            drop(self.slow.lock());
        }
        let (mut all, seen) = (self.seen.lock(), Seen::Received(from, channel, payload));
        // Tests send again until all have it.
        if !all.contains(&seen) {
            all.push(seen);
        }
        Ok(())
    }

    fn connected(&self, node: NodeId) {
        self.seen.lock().push(Seen::Connected(node));
    }

    fn disconnected(&self, node: NodeId) {
        self.seen.lock().push(Seen::Disconnected(node));
    }
}

/// A runtime as the platform's spawner makes one.
pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// What makes a node, before it runs. Tests change what they are about.
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) key: Arc<SoftKey>,
    pub(super) certified: Node,
    pub(super) trust: Arc<TrustStore>,
    pub(super) chain: H256,
    pub(super) suite: CryptoSuite,
    pub(super) versions: Versions,
    pub(super) limits: Limits,
    pub(super) admission: Arc<Members>,
    pub(super) inbox: Arc<Recorder>,
}

impl Member {
    pub(super) fn new(certified: Node, trust: Trust) -> Self {
        let suite = trust.suite();
        let key = SoftKey { key: Key::new(suite), before: Mutex::default() };
        // Pauses between calls are waited for by tests.
        let limits = Limits { pause_first_ms: 20, pause_max_ms: 500, handshake_ms: 60_000, ..Limits::default() };
        Self {
            node: NodeId(key.key.public_key()),
            key: Arc::new(key),
            certified,
            trust: Arc::new(TrustStore::new(trust)),
            chain: CHAIN,
            suite,
            versions: VERSIONS,
            limits,
            admission: Arc::default(),
            inbox: Arc::default(),
        }
    }

    pub(super) fn of(ca: &Authority, serial: u8) -> Self {
        Self::new(ca.node(serial), ca.trust())
    }

    fn tls(&self) -> TlsSettings {
        TlsSettings { identity: self.certified.identity(), trust: Arc::clone(&self.trust) }
    }

    /// Starts a network that calls `peers`.
    pub(super) fn start(&self, runtime: &Runtime, peers: &[&Network]) -> Network {
        self.try_start(runtime, peers).expect("it starts")
    }

    pub(super) fn try_start(&self, runtime: &Runtime, peers: &[&Network]) -> Result<Network, NetworkError> {
        let params = Params {
            node: self.node,
            chain: self.chain,
            suite: self.suite,
            listen: "127.0.0.1:0".parse().expect("an address"),
            peers: peers.iter().map(|peer| peer.address().to_string()).collect(),
            versions: self.versions,
            limits: self.limits.clone(),
        };
        let parts = Parts {
            tls: self.tls(),
            session_key: self.key.clone(),
            verifier: Arc::new(Checker(self.suite)),
            admission: self.admission.clone(),
            inbox: self.inbox.clone(),
        };
        Network::start(params, parts, runtime.handle().clone())
    }

    /// One end of sessions without a network around it.
    pub(super) fn local(&self) -> Local {
        let slots = SigningSlots::new(2);
        let (client, server) = Local::tls(&self.tls(), &slots).expect("a configuration");
        Local {
            node: self.node,
            chain: self.chain,
            versions: self.versions,
            listen_port: 0,
            instance: 1,
            deadline: PATIENCE,
            clock: unix_time_ms,
            client,
            server,
            key: self.key.clone(),
            verifier: Arc::new(Checker(self.suite)),
            slots,
        }
    }

    /// Opens a session by hand, from a source address.
    pub(super) async fn open(&self, source: &str, to: &Network, channel: Channel) -> Result<Opened, SessionError> {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(source.parse().expect("an address")).expect("a source on this machine");
        let tcp = socket.connect(to.address()).await.expect("it listens");
        crate::session::call(&self.local(), tcp, channel, &Open).await
    }
}

/// Lets everybody in.
pub(super) struct Open;

impl Door for Open {
    fn judge(&self, _: &Remote) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Whether a network has noted a refusal whose words contain all of these.
pub(super) fn noted(network: &Network, words: &[&str]) -> bool {
    let texts = network.refusals().into_iter().map(|record| record.error.to_string());
    texts.into_iter().any(|text| words.iter().all(|word| text.contains(word)))
}

/// Waits until a network has noted it; shows what it has noted if it does not.
pub(super) fn notes(network: &Network, words: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while !noted(network, words) {
        assert!(Instant::now() < deadline, "nothing with {words:?} among {:#?}", network.refusals());
        std::thread::sleep(Duration::from_millis(5));
    }
}
