//! The node's network: who it is in TLS, whom it lets in, and what stands behind its door.
//!
//! ```text
//! p2p.ca, p2p.crl ─▶ Trust ───────────┐
//! p2p.certificate, TLS key in device ─┼─▶ Network ─▶ Door
//! p2p.allow, p2p.deny, chain's nodes ─┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bixi_config::P2p as Section;
use bixi_execution::{ExecutionError, system};
use bixi_hsm::protocol::{Request, Response, TlsTranscript};
use bixi_hsm::service::{Client, InProcess};
use bixi_ledger::Ledger;
use bixi_network::tls::{Identity, TlsKey, TlsKeyError, TrustStore};
use bixi_network::{Admission, Channel, Inbox, Limits, Network, Params, SessionKey, TlsSettings, VERSIONS};
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::Spawner;
use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Signer as _;
use bixi_types::session::SessionProof;
use parking_lot::RwLock;
use tokio::runtime::Runtime;

use super::Failure;
use super::credentials::Credentials;
use super::recheck::Recheck;
use crate::exchange::Door;
use crate::health::Certificates;
use crate::settings::Settings;

/// How long the runtime's threads may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A network, what it runs on, and what can be exchanged while it runs.
pub(super) struct P2p {
    pub network: Network,
    runtime: Runtime,
    trust: Arc<TrustStore>,
    identity: Identity,
    members: Arc<Members>,
}

/// What the network is made of, settings aside.
pub(super) struct Parts {
    pub signer: Arc<Client<InProcess>>,
    pub ledger: Arc<Ledger>,
    pub door: Arc<Door>,
}

impl P2p {
    /// Listens where the settings say, and begins to call the peers.
    pub(super) fn start(settings: &Settings, spawner: &Spawner, plan: &Plan, parts: Parts) -> Result<Self, Failure> {
        let Parts { signer, ledger, door } = parts;
        let p2p = &settings.config.p2p;
        let listen = p2p.listen.ok_or("p2p.listen is not set")?;
        let credentials = Credentials::read(settings)?;
        let trust = Arc::new(TrustStore::new(credentials.trust()?));
        let keys = Arc::new(Keys(Arc::clone(&signer)));
        let identity = Identity::new(&credentials.chain, Arc::clone(&keys) as _)?;
        let members = Members { ledger, lists: RwLock::new(Lists::from(p2p)), credentials: RwLock::new(credentials) };
        let members = Arc::new(members);
        let params = Params {
            node: signer.node_id(),
            chain: settings.genesis.hash(),
            listen,
            peers: p2p.peers.clone(),
            versions: VERSIONS,
            limits: Limits::default(),
        };
        let parts = bixi_network::Parts {
            tls: TlsSettings { identity: identity.clone(), trust: Arc::clone(&trust) },
            session_key: keys,
            admission: Arc::clone(&members) as _,
            inbox: Arc::new(Behind(door)),
        };
        let runtime = spawner.tokio(Role::Network, "p2p", plan.instances(Role::Network).max(1))?;
        let network = Network::start(params, parts, runtime.handle().clone())?;
        Ok(Self { network, runtime, trust, identity, members })
    }

    /// Looks after the sessions that stand.
    pub(super) fn recheck(&self, certificates: Arc<Certificates>) -> Recheck {
        Recheck::new(self.network.clone(), Arc::clone(&self.members), certificates)
    }

    /// Tells the peers and closes every session.
    pub(super) fn stop(self) {
        self.network.stop();
        self.runtime.shutdown_timeout(STOP_PATIENCE);
    }

    /// Takes authorities, revocation lists, certificate chain, lists of nodes and addresses from newer settings; sessions that no
    /// longer pass end. Nothing is taken unless everything can be. What is other than before, in words.
    pub(super) fn reload(&self, settings: &Settings) -> Result<Vec<String>, Failure> {
        let p2p = &settings.config.p2p;
        let credentials = Credentials::read(settings)?;
        let trust = credentials.trust()?;
        let chain = settings.path(&p2p.certificate);
        self.identity.replace_chain(&credentials.chain).map_err(|error| format!("{}: {error}", chain.display()))?;
        self.trust.replace(trust);
        *self.members.lists.write() = Lists::from(p2p);
        let old = std::mem::replace(&mut *self.members.credentials.write(), credentials);
        self.network.call_only(&p2p.peers);
        self.network.recheck();
        Ok(self.members.credentials.read().differences(&old))
    }
}

/// The node's keys, in the device.
#[derive(Debug)]
struct Keys(Arc<Client<InProcess>>);

impl TlsKey for Keys {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        let transcript = TlsTranscript::from_content(content)
            .ok_or_else(|| TlsKeyError("this is no content of a TLS 1.3 CertificateVerify".into()))?;
        match self.0.ask(&Request::SignTls(transcript)).map_err(|error| TlsKeyError(error.to_string()))? {
            Response::Signature(signature) => Ok(signature.0),
            _ => Err(TlsKeyError("the signing service answered something else".into())),
        }
    }
}

impl SessionKey for Keys {
    fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, String> {
        self.0.sign_session(proof).map_err(|error| error.to_string())
    }
}

/// Nodes let in and kept out, by consensus key.
struct Lists {
    allow: Vec<NodeId>,
    deny: Vec<NodeId>,
}

impl From<&Section> for Lists {
    fn from(p2p: &Section) -> Self {
        Self { allow: p2p.allow.clone(), deny: p2p.deny.clone() }
    }
}

/// Who may be a peer: validators and observers of the chain, unless the operator's lists say otherwise.
pub(super) struct Members {
    ledger: Arc<Ledger>,
    lists: RwLock<Lists>,
    credentials: RwLock<Credentials>,
}

impl Members {
    /// Whoever is validator or observer at the next height, or will be: whoever joins must catch up before its first height, and
    /// whoever leaves takes part until its last one.
    pub(super) fn now(&self) -> Result<BTreeSet<NodeId>, ExecutionError> {
        let view = self.ledger.committed_view();
        let mut members = BTreeSet::new();
        for height in [self.ledger.height() + 1, u64::MAX] {
            members.extend(system::node_list(view.as_ref(), height)?.iter().map(|member| member.id));
        }
        Ok(members)
    }

    /// The last second of each certificate that the node shows, believes or has met, with a name for it.
    pub(super) fn certificate_ends(&self, network: &Network) -> Vec<(String, u64)> {
        let mut ends: Vec<(String, u64)> = self.credentials.read().ends().collect();
        for peer in network.peers() {
            let end = peer.sessions.iter().map(|session| session.certificate_not_after_s).min();
            ends.extend(peer.node.zip(end).map(|(node, end)| (node.to_hex(), end)));
        }
        ends
    }
}

impl Admission for Members {
    fn admit(&self, node: &NodeId) -> Result<(), String> {
        let lists = self.lists.read();
        if lists.deny.contains(node) {
            return Err("the node stands in p2p.deny".into());
        }
        if !lists.allow.is_empty() && !lists.allow.contains(node) {
            return Err("the node does not stand in p2p.allow".into());
        }
        let members = self.now().map_err(|error| format!("the chain's nodes cannot be read: {error}"))?;
        if members.contains(node) {
            return Ok(());
        }
        Err("the node is neither validator nor observer of this chain; add it by a transaction first".into())
    }
}

/// The door as the network knows it.
struct Behind(Arc<Door>);

impl Inbox for Behind {
    fn received(&self, from: NodeId, channel: Channel, payload: Vec<u8>) -> Result<(), String> {
        self.0.received(from, channel, &payload)
    }

    fn connected(&self, node: NodeId) {
        self.0.connected(node);
    }

    fn disconnected(&self, node: NodeId) {
        self.0.disconnected(node);
    }
}
