//! The signing service behind its socket: what a caller gets is what it would get in process.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bixi_hsm::audit::TraceAudit;
use bixi_hsm::device::decorators::Failing;
use bixi_hsm::protocol::{KeyRole, PRF_DOMAIN, Refusal, Request};
use bixi_hsm::service::{Client, ClientError, CustodyPolicy, InProcess, Keys, Params, RetryPolicy, SigningService};
use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{Cause, Guard, KeyDevice, KeyKind, KeySpec};
use bixi_hsm_broker::{Handler, Server, SocketChannel, server, socket};
use bixi_platform::io::PreadStorage;
use bixi_platform::placement::{self, Plan};
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;
use bixi_platform::topology::Topology;
use bixi_sealed::{AtRest, KeyRing};
use bixi_types::consensus::{Vote, VoteKind};
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::{CryptoSuite, H256};

const CHAIN: H256 = H256([0xC4; 32]);
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    device: Arc<Failing<SoftDevice>>,
    service: Arc<SigningService>,
    path: PathBuf,
    _server: Server,
    _place: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let soft = SoftDevice::seeded("test", 1);
        let key = |label, kind| soft.generate(&KeySpec::new(label, kind)).unwrap();
        let keys = Keys {
            consensus: key("consensus", KeyKind::Sm2Sign),
            tls: Some(key("tls", KeyKind::Sm2Sign)),
            kek: Some(key("kek", KeyKind::Kek)),
        };
        let device = Arc::new(Failing::new(soft, 42, 0));
        let place = tempfile::tempdir().unwrap();
        let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap();
        let guard = Guard::create(Arc::new(PreadStorage::new()), place.path().join("guard"), ring, CHAIN).unwrap();
        let service = SigningService::new(Params {
            device: device.clone(),
            device_calls_max: 4,
            keys,
            guard,
            chain: CHAIN,
            suite: CryptoSuite::Sm,
            retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() },
            custody: CustodyPolicy::Any,
            audit: Arc::new(TraceAudit),
        });
        let (service, path) = (Arc::new(service.unwrap()), place.path().join("broker.sock"));
        let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
        let spawner = Spawner::new(Plan::make(&Topology::flat(), &everywhere));
        let bounds = server::Params::for_user(rustix::process::geteuid().as_raw());
        let handler = Arc::clone(&service) as Arc<dyn Handler>;
        let server = Server::start(socket::listen(&path).unwrap(), &spawner, bounds, handler).unwrap();
        Self { device, service, path, _server: server, _place: place }
    }

    fn client(&self) -> Client<SocketChannel> {
        Client::connect(SocketChannel::new(&self.path, PATIENCE)).unwrap()
    }

    fn vote(&self, height: u64, value: u8) -> Statement {
        let (kind, validator) = (VoteKind::Prevote, self.service.node_id());
        Statement::Vote(Vote { chain: CHAIN, height, round: 0, kind, value: Some(H256([value; 32])), validator })
    }
}

#[test]
fn signatures_and_secrets_are_those_that_are_given_in_process() {
    let bench = Bench::new();
    let (there, here) = (bench.client(), Client::connect(InProcess(bench.service.clone())).unwrap());
    assert_eq!(there.node_id(), here.node_id());
    // The second one to ask gets the signature that the guard keeps.
    let (first, second) = (bench.vote(1, 1), bench.vote(2, 1));
    let signed = there.sign(&first).unwrap();
    assert_eq!(here.sign(&first).unwrap(), signed);
    let signed = here.sign(&second).unwrap();
    assert_eq!(there.sign(&second).unwrap(), signed);
    let input = [PRF_DOMAIN, b"salt"].concat();
    assert_eq!(there.derive(&input).unwrap(), here.derive(&input).unwrap());
    assert_eq!(there.marks().unwrap(), here.marks().unwrap());
    assert_eq!(there.attest(KeyRole::Tls).unwrap(), here.attest(KeyRole::Tls).unwrap());
}

#[test]
fn refusals_and_errors_of_the_device_arrive_as_what_they_are() {
    let bench = Bench::new();
    let client = bench.client();
    client.sign(&bench.vote(5, 1)).unwrap();
    for contradiction in [bench.vote(5, 2), bench.vote(4, 1)] {
        assert!(matches!(client.sign(&contradiction), Err(SignError::Conflict(_))));
    }
    bench.device.set_pulled(true);
    assert!(matches!(client.sign(&bench.vote(6, 1)), Err(SignError::Device(reason)) if reason.contains("0x00000032")));
    let Err(ClientError::Refused(Refusal::Device(error))) = client.health() else { panic!("well") };
    assert_eq!((error.cause, error.code), (Cause::Absent, Some(0x32)));
    bench.device.set_pulled(false);
    client.sign(&bench.vote(6, 1)).expect("the same statement, once the device is back");
    let foreign = client.ask(&Request::Prf { input: b"anything".to_vec() });
    assert!(matches!(foreign, Err(ClientError::Refused(Refusal::Foreign(_)))));
}

#[test]
fn many_threads_contradict_each_other_and_one_signature_is_given_for_a_position() {
    let bench = Bench::new();
    let client = bench.client();
    let signed: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u8)
            .map(|value| {
                let (client, bench) = (&client, &bench);
                scope.spawn(move || (1..=20).map(|height| client.sign(&bench.vote(height, value)).is_ok()).collect())
            })
            .collect();
        let outcomes: Vec<Vec<bool>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (0..20).map(|height| outcomes.iter().filter(|outcome| outcome[height]).count()).collect()
    });
    assert!(signed.iter().all(|count| *count <= 1), "{signed:?}");
    assert_eq!(signed.last(), Some(&1), "the last height is nobody's past");
}
