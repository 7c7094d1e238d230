//! The node's network: who it is in TLS, whom it lets in, and what stands behind its door.
//!
//! ```text
//! p2p.ca, p2p.crl ─▶ Trust ───────────┐
//! p2p.certificate, TLS key in device ─┼─▶ Network ─▶ Door
//! p2p.allow, p2p.deny, chain's nodes ─┘
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bixi_config::P2p as Section;
use bixi_execution::system;
use bixi_hsm::protocol::{Request, Response, TlsTranscript};
use bixi_hsm::service::{Client, InProcess};
use bixi_ledger::Ledger;
use bixi_network::tls::{Identity, TlsKey, TlsKeyError, Trust, TrustParams, TrustStore};
use bixi_network::{Admission, Channel, Inbox, Limits, Network, Params, SessionKey, TlsSettings, pki};
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::Spawner;
use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Signer as _;
use bixi_types::session::SessionProof;
use parking_lot::RwLock;
use tokio::runtime::Runtime;

use super::Failure;
use crate::exchange::Door;
use crate::settings::Settings;

/// How long the runtime's threads may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Largest file of certificates or revocation lists read.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A network, what it runs on, and what can be exchanged while it runs.
pub(super) struct P2p {
    pub network: Network,
    runtime: Runtime,
    trust: Arc<TrustStore>,
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
        let trust = Arc::new(TrustStore::new(read_trust(settings)?));
        let chain = read_certificates(&settings.path(&p2p.certificate))?;
        let keys = Arc::new(Keys(Arc::clone(&signer)));
        let identity = Identity::new(&chain, Arc::clone(&keys) as _)?;
        let members = Arc::new(Members { ledger, lists: RwLock::new(Lists::from(p2p)) });
        let params = Params {
            node: signer.node_id(),
            chain: settings.genesis.hash(),
            listen,
            peers: p2p.peers.clone(),
            limits: Limits::default(),
        };
        let tls = TlsSettings { identity, trust: Arc::clone(&trust) };
        let runtime = spawner.tokio(Role::Network, "p2p", plan.instances(Role::Network).max(1))?;
        let (admission, inbox) = (Arc::clone(&members) as _, Arc::new(Behind(door)));
        let network = Network::start(params, tls, keys, admission, inbox, runtime.handle().clone())?;
        Ok(Self { network, runtime, trust, members })
    }

    /// Tells the peers and closes every session.
    pub(super) fn stop(self) {
        self.network.stop();
        self.runtime.shutdown_timeout(STOP_PATIENCE);
    }

    /// Takes authorities, revocation lists and lists of nodes from newer settings; sessions that no longer pass end.
    pub(super) fn reload(&self, settings: &Settings) -> Result<(), Failure> {
        let trust = read_trust(settings)?;
        self.trust.replace(trust);
        *self.members.lists.write() = Lists::from(&settings.config.p2p);
        self.network.recheck();
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(at)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes; is it the right file?", path.display()).into());
    }
    Ok(bytes)
}

fn read_certificates(path: &Path) -> Result<Vec<pki::Certificate>, Failure> {
    pki::chain_from_pem(&read(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn read_trust(settings: &Settings) -> Result<Trust, Failure> {
    let p2p = &settings.config.p2p;
    let mut authorities = Vec::new();
    for path in &p2p.ca {
        authorities.extend(read_certificates(&settings.path(path))?);
    }
    let mut lists = Vec::new();
    for path in p2p.crl.iter().map(|path| settings.path(path)) {
        let list = pki::revocation_list_der(&read(&path)?);
        lists.push(list.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let params = TrustParams { authorities: &authorities, revocation_lists: &lists, ..TrustParams::default() };
    Ok(Trust::new(&params)?)
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
struct Members {
    ledger: Arc<Ledger>,
    lists: RwLock<Lists>,
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
        let view = self.ledger.committed_view();
        // Whoever joins must catch up before its first height, and whoever leaves takes part until its last one.
        for height in [self.ledger.height() + 1, u64::MAX] {
            let nodes = system::node_list(view.as_ref(), height)
                .map_err(|error| format!("the chain's nodes cannot be read: {error}"))?;
            if nodes.iter().any(|member| member.id == *node) {
                return Ok(());
            }
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
