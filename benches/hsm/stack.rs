//! Our stack over one module: pool, service, broker; and the token the module holds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::scope;
use std::time::Duration;
use std::{fs, io};

use bixi_hsm::audit::AuditLog;
use bixi_hsm::guard::{Claim, Position, Step};
use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::service::{Channel, Client, CustodyPolicy, InProcess, Keys, Params, RetryPolicy, SigningService};
use bixi_hsm::{Guard, KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_broker::{CallWatch, Limits, Server, SocketChannel, Watched, server, socket};
use bixi_hsm_pkcs11::{Initialisation, Pkcs11Device, TokenSelector, initialise_token};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::metered::{Meter, MeteredStorage};
use bixi_platform::io::{PreadStorage, Storage};
use bixi_platform::placement::{self, Plan};
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;
use bixi_platform::topology::Topology;
use bixi_sealed::{AtRest, KeyRing};
use bixi_types::consensus::{Vote, VoteKind};
use bixi_types::ports::{Signer as _, Statement};
use bixi_types::session::{EXPORTER_BYTES, SessionProof, SessionRole};
use bixi_types::{CryptoSuite, H256, NodeId};

pub(crate) const TOKEN: &str = "bench";
pub(crate) const KEY: &str = "consensus";
const SO_PIN: &[u8] = b"so-secret-1";
const PIN: &[u8] = b"user-secret-1";
const CHAIN: H256 = H256([0xC4; 32]);
const PATIENCE: Duration = Duration::from_secs(60);
/// Handshakes have a quarter of the places at the device: with so many times as many, all who call have one.
const PLACES_FOR_ONE: usize = 4;

/// The fixture that hands every call to our token, and can take its time: a device as slow as one likes.
pub(crate) fn module(directory: &Path) -> PathBuf {
    let (source, module) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/device.c"), directory.join("device.so"));
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&module).arg(source).arg("-ldl").status();
    assert!(compiled.expect("a C compiler").success(), "tests/fixtures/device.c");
    module
}

/// The token's library, beside this program.
pub(crate) fn token() -> io::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let found = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_token.so")).find(|path| path.exists());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "libbixi_token.so: cargo build -p bixi-hsm-token"))
}

/// Makes the token and its keys.
pub(crate) fn make_token(directory: &Path, module: &Path) {
    let request = Initialisation {
        module_path: module.to_owned(),
        slot: None,
        label: TOKEN.to_owned(),
        so_pin: Secret::from_slice(SO_PIN),
        user_pin: Secret::from_slice(PIN),
        destroy: None,
    };
    initialise_token(&request).expect("a token");
    fs::write(directory.join("pin"), PIN).expect("the PIN's file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
    fs::set_permissions(directory.join("pin"), mode).expect("its mode");
    let device = open(directory, module, 1);
    for (label, kind) in [(KEY, KeyKind::Sm2Sign), ("kek", KeyKind::Kek)] {
        device.generate(&KeySpec::new(label, kind)).expect("a key");
    }
}

/// The device as a node opens it.
pub(crate) fn open(directory: &Path, module: &Path, sessions_max: usize) -> Arc<Pkcs11Device> {
    let device = Pkcs11Device::open(bixi_hsm_pkcs11::Params {
        module_path: module.to_owned(),
        token: TokenSelector::label(TOKEN),
        pin: PinSource::File(directory.join("pin")),
        pin_state_path: directory.join("pin.state"),
        profile: ProfileChoice::Named("bixi-token".to_owned()),
        sessions_max,
        timeout_ms: PATIENCE.as_millis() as u64,
    });
    Arc::new(device.expect("the device"))
}

pub(crate) fn key(device: &dyn KeyDevice) -> KeyRef {
    device.list().expect("keys").into_iter().find(|key| key.label == KEY).expect("the key").uri
}

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).expect("a ring")
}

/// A signing service with guard and audit trail on a disk that counts.
pub(crate) struct Side {
    service: Arc<SigningService>,
    pub(crate) guard_meter: Meter,
    pub(crate) audit_meter: Meter,
    audit: Arc<AuditLog>,
    voted: AtomicU64,
}

impl Side {
    /// Made in a directory of its own.
    fn new(place: &Path, device: Arc<dyn KeyDevice>, callers: usize) -> Self {
        fs::create_dir(place).expect("a directory");
        let (of_guard, guard_meter) = counting_disk();
        let guard = Guard::create(of_guard, place.join("guard"), ring(), CHAIN).expect("a guard");
        let (of_audit, audit_meter) = counting_disk();
        let audit = Arc::new(AuditLog::open(of_audit, place.join("audit"), ring()).expect("an audit trail"));
        let keys = Keys { consensus: key(device.as_ref()), tls: None, kek: None };
        let service = SigningService::new(Params {
            device,
            device_calls_max: PLACES_FOR_ONE * callers,
            keys,
            guard,
            chain: CHAIN,
            suite: CryptoSuite::Sm,
            retry: RetryPolicy { deadline_ms: PATIENCE.as_millis() as u64, ..RetryPolicy::default() },
            custody: CustodyPolicy::Any,
            audit: Arc::clone(&audit) as _,
        });
        let service = Arc::new(service.expect("a service"));
        Self { service, guard_meter, audit_meter, audit, voted: AtomicU64::new(0) }
    }

    /// How many votes it signed.
    pub(crate) fn voted(&self) -> u64 {
        self.voted.load(Ordering::Relaxed)
    }

    /// A vote at the next height: its claim is durable before the device is asked.
    pub(crate) fn vote<C: Channel>(&self, client: &Client<C>) {
        let height = self.voted.fetch_add(1, Ordering::Relaxed) + 1;
        let (kind, validator) = (VoteKind::Prevote, client.node_id());
        let vote = Vote { chain: CHAIN, height, round: 0, kind, value: Some(H256([7; 32])), validator };
        client.sign(&Statement::Vote(vote)).expect("a signature");
    }
}

/// Two services on one device: one asked in process, and one behind the socket whose device is watched, as a worker's is.
pub(crate) struct Service {
    pub(crate) here: Client<InProcess>,
    pub(crate) there: Client<SocketChannel>,
    pub(crate) inside: Side,
    pub(crate) behind: Side,
    _server: Server,
}

impl Service {
    /// Made in a directory of its own below `directory`.
    pub(crate) fn new(directory: &Path, device: Arc<Pkcs11Device>, callers: usize) -> Self {
        let place = directory.join(format!("service-{callers}"));
        fs::create_dir(&place).expect("a directory");
        let inside = Side::new(&place.join("inside"), Arc::clone(&device) as _, callers);
        let watch = CallWatch::new(Limits { call: PATIENCE, open: PATIENCE, pin: PATIENCE });
        let behind = Side::new(&place.join("behind"), Arc::new(Watched::new(device, watch)), callers);
        let path = place.join("broker.sock");
        let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
        let spawner = Spawner::new(Plan::make(&Topology::flat(), &everywhere));
        // SAFETY: it has no preconditions and cannot fail.
        let bounds =
            server::Params { connections_max: callers + 8, ..server::Params::for_user(unsafe { libc::geteuid() }) };
        let listener = socket::listen(&path).expect("a socket");
        let handler = Arc::clone(&behind.service) as _;
        let server = Server::start(listener, &spawner, bounds, handler).expect("a server");
        let here = Client::connect(InProcess(Arc::clone(&inside.service))).expect("the service");
        let there = Client::connect(SocketChannel::new(&path, PATIENCE)).expect("the broker");
        Self { here, there, inside, behind, _server: server }
    }

    /// Syncs the audit trails once every [`AuditLog::SYNC_PERIOD`], as a node does, while `work` is under way.
    pub(crate) fn while_syncing<T>(&self, work: impl FnOnce() -> T) -> T {
        let (end, ended) = channel::<()>();
        scope(|threads| {
            threads.spawn(move || {
                while ended.recv_timeout(AuditLog::SYNC_PERIOD) == Err(RecvTimeoutError::Timeout) {
                    for side in [&self.inside, &self.behind] {
                        side.audit.sync().expect("a disk");
                    }
                }
            });
            let done = work();
            drop(end);
            done
        })
    }
}

/// The file system's disk, counted.
fn counting_disk() -> (Arc<dyn Storage>, Meter) {
    let meter = Meter::default();
    (Arc::new(MeteredStorage::new(Arc::new(PreadStorage::new()), meter.clone())), meter)
}

/// The opening of one session with a peer: signed by the consensus key, verified, recorded, in no lane of the guard.
pub(crate) fn sign_session<C: Channel>(client: &Client<C>) {
    let proof = SessionProof {
        chain: CHAIN,
        node: client.node_id(),
        role: SessionRole::Client,
        protocol_version: 1,
        exporter: [7; EXPORTER_BYTES],
    };
    client.sign_session(&proof).expect("a signature");
}

/// A guard on a disk that counts, with claims of many keys.
pub(crate) struct Claims {
    guard: Guard,
    pub(crate) meter: Meter,
    height: AtomicU64,
}

impl Claims {
    pub(crate) fn new(directory: &Path) -> Self {
        let (disk, meter) = counting_disk();
        let guard = Guard::create(disk, directory.join("guard"), ring(), CHAIN).expect("a guard");
        Self { guard, meter, height: AtomicU64::new(1) }
    }

    /// How many claims were granted.
    pub(crate) fn made(&self) -> u64 {
        self.height.load(Ordering::Relaxed) - 1
    }

    /// One more claim of a caller, in a lane of its own.
    pub(crate) fn claim(&self, caller: usize) {
        let height = self.height.fetch_add(1, Ordering::Relaxed);
        let position = Position::Ordering { height, round: 0, step: Step::Prevote };
        let claim = Claim { key: NodeId([caller as u8; 64]), position, digest: [7; 32] };
        self.guard.claim(&claim).expect("a grant");
    }
}
