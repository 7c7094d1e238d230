//! Peers whose certificate is good, or was.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bixi_accel::sm2::{DEFAULT_ID, PrivateKey, Registry, TLS_ID, sign};
use bixi_hsm::verify::SmVerifier;
use bixi_network::pki::{self, Role};
use bixi_network::tls::{Identity, TlsKey, TlsKeyError, Trust, TrustParams, TrustStore};
use bixi_network::{Admission, Channel, Inbox, Limits, Network, Params, Parts, SessionKey, TlsSettings, VERSIONS};
use bixi_tests::console::Console;
use bixi_tests::settings::set;
use bixi_tests::wallet::Seeded;
use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::Destination;
use bixi_types::session::SessionProof;
use bixi_types::{CryptoSuite, NodeId};
use rustix::process::Signal;

use super::intruders::Authority;
use crate::field::Field;

const UNWELL: usize = 3;

/// Its sessions end, with the reason in both logs; with a new certificate it returns without a start.
pub(super) fn revoked(field: &mut Field<'_>) {
    let (home, others) = (field.home(UNWELL).to_owned(), field.others(UNWELL));
    let certificate = home.join("conf/node.crt");
    let list = field.chain.revoke(std::slice::from_ref(&certificate));
    for node in &others {
        fs::copy(&list, field.home(*node).join("conf/ca.crl")).expect("a list");
        set(&field.chain.configs[*node], "p2p", "crl", "[\"conf/ca.crl\"]");
        field.node(*node).signal(Signal::HUP);
    }
    for node in &others {
        field.says(*node, &["INFO", "reloaded", "p2p.crl"]);
    }
    field.says(others[0], &["WARN", "revoked"]);
    field.grow(&others, 10);
    fs::remove_file(&certificate).expect("a certificate");
    field.chain.certify();
    field.mend(&others);
    field.node(UNWELL).signal(Signal::HUP);
    field.recover(&others);
    field.return_of(UNWELL);
    field.votes_again(UNWELL);
    field.grow(&field.all(), 5);
    field.says(UNWELL, &["WARN", "revoked"]);
}

/// A member of the chain that says whatever it likes, for as long as the chain needs for some blocks.
pub(super) fn junk(field: &mut Field<'_>) {
    let observer = Arc::new(Observer::new(field.seed));
    let done = Console::new(field.seed).add_observer(field.node(0), &observer.node().to_hex());
    assert_eq!(done.code, 0, "everybody governs a chain of the ceremony");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let network = observer.start(field, &runtime);
    let (stop, random) = (AtomicBool::new(false), Seeded(field.seed));
    std::thread::scope(|scope| {
        scope.spawn(|| observer.talk(&network, random, &stop));
        let grown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            field.grow(&field.all(), 20);
            field.says(0, &["WARN", "a peer breaks the protocol"]);
        }));
        stop.store(true, Ordering::Relaxed);
        grown.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    network.stop();
    field.mend(&field.all());
    field.recover(&field.all());
    assert!(observer.heard.lock().expect("nobody panicked").len() > 1, "it had a session and heard what it repeats");
}

/// A node of the test's own, with keys in memory.
struct Observer {
    consensus: PrivateKey,
    tls: PrivateKey,
    /// What the chain's nodes said, the last so many.
    heard: Mutex<Vec<(Channel, Vec<u8>)>>,
}

impl Observer {
    /// Payloads that it remembers.
    const HEARD_MAX: usize = 256;
    const PAUSE: Duration = Duration::from_millis(5);

    fn new(seed: u64) -> Self {
        let mut random = Seeded(seed ^ 0x0b5e);
        let mut key = || PrivateKey::generate(&mut random).expect("a seeded generator is not stuck");
        Self { consensus: key(), tls: key(), heard: Mutex::default() }
    }

    fn node(&self) -> NodeId {
        NodeId(self.consensus.public_key().to_bytes())
    }

    fn start(self: &Arc<Self>, field: &Field<'_>, runtime: &tokio::runtime::Runtime) -> Network {
        let ours = Authority::ours(field);
        let certificate = ours.issue(Role::Node, "CN=observer", &self.tls.public_key().to_bytes(), 1);
        let chain = pki::chain_from_pem(certificate.as_bytes()).expect("a certificate");
        let theirs = fs::read_to_string(field.home(0).join("conf/ca.crt")).expect("the chain's authority");
        let authorities = [pki::from_pem(&theirs).expect("a certificate")];
        let trust = Trust::new(CryptoSuite::Sm, &TrustParams { authorities: &authorities, ..TrustParams::default() })
            .expect("trust");
        let genesis = field.home(0).join("genesis.toml");
        let params = Params {
            node: self.node(),
            chain: genesis_hash(&genesis),
            suite: CryptoSuite::Sm,
            listen: "0.0.0.0:0".parse().expect("an address"),
            peers: field.all().into_iter().map(|node| field.stranger_address(node).to_string()).collect(),
            versions: VERSIONS,
            // It calls again as soon as it is refused.
            limits: Limits { pause_first_ms: 20, pause_max_ms: 500, ..Limits::default() },
        };
        let identity = Identity::new(CryptoSuite::Sm, &chain, Arc::clone(self) as _).expect("an identity");
        let parts = Parts {
            tls: TlsSettings { identity, trust: Arc::new(TrustStore::new(trust)) },
            session_key: Arc::clone(self) as _,
            verifier: Arc::new(SmVerifier::new(Arc::new(Registry::new(0)))),
            admission: Arc::new(Everybody),
            inbox: Arc::clone(self) as _,
        };
        Network::start(params, parts, runtime.handle().clone()).expect("it starts")
    }

    fn talk(&self, network: &Network, mut random: Seeded, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let (channel, payload) = self.words(&mut random);
            network.send_on(channel, Destination::Broadcast, payload);
            std::thread::sleep(Self::PAUSE);
        }
    }

    /// Noise, or what was heard: again, with a flipped bit, cut off, continued, or on the other connection.
    fn words(&self, random: &mut Seeded) -> (Channel, Vec<u8>) {
        let heard = self.heard.lock().expect("nobody panicked");
        let noise = random.below(8) == 0 || heard.is_empty();
        if noise {
            let length = random.below(4096) as usize;
            return (Channel::ALL[random.below(2) as usize], random.bytes(length));
        }
        let (channel, mut payload) = heard[random.below(heard.len() as u64) as usize].clone();
        drop(heard);
        match random.below(5) {
            0 if !payload.is_empty() => {
                let at = random.below(payload.len() as u64) as usize;
                payload[at] ^= 1 << random.below(8);
            }
            1 => payload.truncate(random.below(1 + payload.len() as u64) as usize),
            2 => payload.extend(random.bytes(16)),
            3 => return (Channel::ALL[random.below(2) as usize], payload),
            _ => {}
        }
        (channel, payload)
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer(..)")
    }
}

impl TlsKey for Observer {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        Ok(sign(&self.tls, TLS_ID, content, &mut Seeded(11)).map_err(|error| TlsKeyError(error.to_string()))?.0)
    }

    fn public_key(&self) -> [u8; 64] {
        self.tls.public_key().to_bytes()
    }
}

impl SessionKey for Observer {
    fn sign_session(&self, proof: &SessionProof) -> Result<SignatureBytes, String> {
        let signature = sign(&self.consensus, DEFAULT_ID, &proof.sign_bytes(), &mut Seeded(13));
        Ok(SignatureBytes(signature.map_err(|error| error.to_string())?.0))
    }
}

impl Inbox for Observer {
    fn received(&self, _: NodeId, channel: Channel, payload: Vec<u8>) -> Result<(), String> {
        let mut heard = self.heard.lock().expect("nobody panicked");
        if heard.len() == Self::HEARD_MAX {
            heard.remove(0);
        }
        heard.push((channel, payload));
        Ok(())
    }

    fn connected(&self, _: NodeId) {}

    fn disconnected(&self, _: NodeId) {}
}

struct Everybody;

impl Admission for Everybody {
    fn admit(&self, _: &NodeId) -> Result<(), String> {
        Ok(())
    }
}

fn genesis_hash(file: &Path) -> bixi_types::H256 {
    let text = fs::read_to_string(file).expect("a genesis");
    bixi_config::parse_genesis(file, &text).expect("a genesis").hash()
}
