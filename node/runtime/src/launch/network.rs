//! The node's network: who it is in TLS, whom it lets in, and what stands behind its door.
//!
//! ```text
//! p2p.ca, p2p.crl ─▶ Trust ───────────┐
//! p2p.certificate, TLS key in device ─┼─▶ Network ─▶ Door
//! p2p.allow, p2p.deny, chain's nodes ─┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bixi_accel::sm2::Registry;
use bixi_hsm::protocol::{KeyRole, Request, Response, TlsTranscript};
use bixi_hsm::verify::SmVerifier;
use bixi_ledger::Ledger;
use bixi_network::pki::PkiError;
use bixi_network::tls::{Identity, TlsKey, TlsKeyError, TrustStore};
use bixi_network::{Channel, Inbox, Limits, Network, Params, SessionKey, TlsSettings, VERSIONS};
use bixi_platform::placement::{Plan, Role};
use bixi_platform::threads::Spawner;
use bixi_types::NodeId;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Signer as _;
use bixi_types::session::SessionProof;
use tokio::runtime::Runtime;

use super::Failure;
use super::credentials::Credentials;
use super::members::Members;
use super::recheck::Recheck;
use crate::exchange::Door;
use crate::health::Certificates;
use crate::keys::NodeSigner;
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
    pub signer: Arc<NodeSigner>,
    pub ledger: Arc<Ledger>,
    pub door: Arc<Door>,
}

impl P2p {
    /// Listens where the settings say, and begins to call the peers.
    pub(super) fn start(settings: &Settings, spawner: &Spawner, plan: &Plan, parts: Parts) -> Result<Self, Failure> {
        let Parts { signer, ledger, door } = parts;
        let (p2p, suite) = (&settings.config.p2p, settings.genesis.suite);
        let listen = p2p.listen.ok_or("p2p.listen is not set")?;
        let credentials = Credentials::read(settings)?;
        let trust = Arc::new(TrustStore::new(credentials.trust(suite)?));
        let keys = Arc::new(Keys::of(Arc::clone(&signer))?);
        let identity = Identity::new(suite, &credentials.chain, Arc::clone(&keys) as _);
        let identity = identity.map_err(|error| refused_certificate(settings, &error))?;
        // Read before anybody can knock: a disk that does not tell the chain's nodes opens no door.
        let members = Arc::new(Members::new(ledger, p2p, credentials)?);
        let params = Params {
            node: signer.node_id(),
            chain: settings.genesis.hash(),
            suite,
            listen,
            peers: p2p.peers.clone(),
            versions: VERSIONS,
            limits: Limits::default(),
        };
        let parts = bixi_network::Parts {
            tls: TlsSettings { identity: identity.clone(), trust: Arc::clone(&trust) },
            session_key: keys,
            // One proof for each session: nobody's table is worth its memory.
            verifier: Arc::new(SmVerifier::new(Arc::new(Registry::new(0)))),
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
        let trust = credentials.trust(settings.genesis.suite)?;
        trust.check_not_older_than(&self.trust.current()).map_err(|error| format!("p2p.crl: {error}"))?;
        self.identity.replace_chain(&credentials.chain).map_err(|error| refused_certificate(settings, &error))?;
        self.trust.replace(trust);
        let told = self.members.replace(p2p, credentials);
        self.network.call_only(&p2p.peers);
        self.network.recheck();
        Ok(told)
    }
}

fn refused_certificate(settings: &Settings, error: &PkiError) -> String {
    format!("p2p.certificate {}: {error}", settings.path(&settings.config.p2p.certificate).display())
}

/// The node's keys, in the device.
#[derive(Debug)]
struct Keys {
    signer: Arc<NodeSigner>,
    tls: [u8; 64],
}

impl Keys {
    fn of(signer: Arc<NodeSigner>) -> Result<Self, Failure> {
        match signer.ask(&Request::PublicKey(KeyRole::Tls)).map_err(|error| format!("hsm.tls_key: {error}"))? {
            Response::PublicKey(tls) => Ok(Self { signer, tls }),
            _ => Err("the signing service answered something else than its TLS key".into()),
        }
    }
}

impl TlsKey for Keys {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        let transcript = TlsTranscript::from_content(content).ok_or_else(TlsKeyError::foreign)?;
        match self.signer.ask(&Request::SignTls(transcript)).map_err(|error| TlsKeyError(error.to_string()))? {
            Response::Signature(signature) => Ok(signature.0),
            _ => Err(TlsKeyError("the signing service answered something else".into())),
        }
    }

    fn public_key(&self) -> [u8; 64] {
        self.tls
    }
}

impl SessionKey for Keys {
    fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, String> {
        self.signer.sign_session(proof).map_err(|error| error.to_string())
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
