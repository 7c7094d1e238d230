mod counting;
mod officers;
mod trail;

use bixi_accel::sm2::Signature;
use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};
use bixi_types::consensus::{Proposal, Vote, VoteKind};
use bixi_types::header::BlockHeader;
use bixi_types::ports::{Check, Verifier};
use bixi_types::session::SessionRole;

use super::*;
use crate::audit::TraceAudit;
use crate::device::decorators::Failing;
use crate::device::{Custody, ErrorKind, KeyKind, KeySpec};
use crate::protocol::TlsRole;
use crate::soft::SoftDevice;
use crate::verify::SmVerifier;

use trail::Recorder;

const CHAIN: H256 = H256([0xC4; 32]);
const PATIENCE: RetryPolicy = RetryPolicy { attempts_max: 4, deadline_ms: 5_000, pause_ms: 0 };

struct Bench {
    device: Arc<Failing<SoftDevice>>,
    service: Arc<SigningService>,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    bench_with(0, Arc::new(TraceAudit))
}

fn bench_with(per_thousand: u64, audit: Arc<dyn Audit>) -> Bench {
    let soft = SoftDevice::seeded("test", 1);
    let key = |label, kind| soft.generate(&KeySpec::new(label, kind)).unwrap();
    let keys = Keys {
        consensus: key("consensus", KeyKind::Sm2Sign),
        tls: Some(key("tls", KeyKind::Sm2Sign)),
        kek: Some(key("kek", KeyKind::Kek)),
    };
    let device = Arc::new(Failing::new(soft, 42, per_thousand));
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap();
    let guard = Guard::create(Arc::new(PreadStorage::new()), dir.path().join("guard"), ring, CHAIN).unwrap();
    let params = Params {
        device: device.clone(),
        device_calls_max: 4,
        keys,
        guard,
        chain: CHAIN,
        suite: CryptoSuite::Sm,
        retry: PATIENCE,
        custody: CustodyPolicy::Any,
        audit,
    };
    let service = Arc::new(SigningService::new(params).unwrap());
    Bench { device, service, _dir: dir }
}

impl Bench {
    fn node(&self) -> NodeId {
        self.service.node_id()
    }

    fn vote(&self, height: u64, value: Option<H256>) -> Vote {
        Vote { chain: CHAIN, height, round: 0, kind: VoteKind::Prevote, value, validator: self.node() }
    }

    fn session(&self) -> SessionProof {
        let (role, exporter) = (SessionRole::Client, [6; 32]);
        SessionProof { chain: CHAIN, node: self.node(), role, protocol_version: 1, exporter }
    }

    fn header(&self, number: i64, state: u8) -> BlockHeader {
        BlockHeader {
            number,
            state_root: H256([state; 32]),
            sealer_list: vec![self.node()],
            consensus_weights: vec![1],
            gas_used: "0".to_owned(),
            ..BlockHeader::default()
        }
    }
}

fn verifies(node: &NodeId, message: &[u8], signature: &SignatureBytes) -> bool {
    SmVerifier::new(Arc::new(sm2::Registry::new(1))).verify(&[Check { node, message, signature }])[0]
}

fn refusal(response: Response) -> Refusal {
    match response {
        Response::Refused(refusal) => refusal,
        other => panic!("answered {other:?}"),
    }
}

#[test]
fn signs_each_statement_over_the_channel_and_directly() {
    let bench = bench();
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    let node = client.node_id();
    assert_eq!(node, bench.node());
    let proposal =
        Proposal { chain: CHAIN, height: 1, round: 0, value: H256([2; 32]), pol_round: None, validator: node };
    let signature = client.sign(&Statement::Proposal(proposal.clone())).unwrap();
    assert!(verifies(&node, &proposal.sign_bytes(), &signature));
    let vote = bench.vote(1, Some(H256([2; 32])));
    let signature = client.sign(&Statement::Vote(vote.clone())).unwrap();
    assert!(verifies(&node, &vote.sign_bytes(), &signature));
    assert!(!verifies(&node, &bench.vote(1, None).sign_bytes(), &signature));
    let header = bench.header(1, 5);
    let signature = client.sign(&Statement::Checkpoint(Box::new(header.clone()))).unwrap();
    assert!(verifies(&node, &header.hash(CryptoSuite::Sm).0, &signature));
    assert_eq!(
        bench.service.sign(&Statement::Vote(vote)).unwrap(),
        client.sign(&Statement::Vote(bench.vote(1, Some(H256([2; 32]))))).unwrap()
    );
}

#[test]
fn repeats_the_stored_signature_without_asking_the_device() {
    let bench = bench();
    let statement = Statement::Vote(bench.vote(3, None));
    let first = bench.service.sign(&statement).unwrap();
    let calls = bench.device.calls();
    assert_eq!(bench.service.sign(&statement).unwrap(), first);
    assert_eq!(bench.device.calls(), calls);
}

#[test]
fn refuses_to_contradict_itself() {
    let bench = bench();
    bench.service.sign(&Statement::Vote(bench.vote(3, None))).unwrap();
    let calls = bench.device.calls();
    for vote in [bench.vote(3, Some(H256([1; 32]))), bench.vote(2, None)] {
        assert!(matches!(bench.service.sign(&Statement::Vote(vote)), Err(SignError::Conflict(_))));
    }
    bench.service.sign(&Statement::Checkpoint(Box::new(bench.header(9, 1)))).unwrap();
    let changed = Statement::Checkpoint(Box::new(bench.header(9, 2)));
    assert!(matches!(bench.service.sign(&changed), Err(SignError::Conflict(_))));
    assert_eq!(bench.device.calls(), calls + 1, "the device never saw a contradiction");
}

#[test]
fn refuses_other_chains_other_validators_and_headers_that_do_not_list_it() {
    let bench = bench();
    let foreign = [
        Request::SignVote(Vote { chain: H256([1; 32]), ..bench.vote(1, None) }),
        Request::SignVote(Vote { validator: NodeId([9; 64]), ..bench.vote(1, None) }),
        Request::SignCheckpoint { header: BlockHeader { sealer_list: vec![], ..bench.header(1, 1) }.encode() },
        Request::SignCheckpoint { header: bench.header(-1, 1).encode() },
        Request::SignCheckpoint { header: bench.header(0, 1).encode() },
        Request::Prf { input: b"anything".to_vec() },
    ];
    for request in foreign {
        assert!(matches!(refusal(bench.service.handle(&request)), Refusal::Foreign(_)), "{request:?}");
    }
    let other_chain = Statement::Vote(Vote { chain: H256([1; 32]), ..bench.vote(1, None) });
    let refused = bench.service.sign(&other_chain);
    assert!(
        matches!(&refused, Err(SignError::Refused(reason)) if reason.contains("of chain")),
        "no conflict: {refused:?}"
    );
    let garbage = Request::SignCheckpoint { header: vec![0xFF; 40] };
    assert!(matches!(refusal(bench.service.handle(&garbage)), Refusal::Malformed(_)));
    assert!(bench.service.guard().marks(&bench.node()).is_empty(), "no refusal moved a mark");
}

#[test]
fn a_wrong_signature_of_the_device_never_leaves() {
    let bench = bench();
    bench.device.set_corrupt_signatures(true);
    let request = Request::SignVote(bench.vote(1, None));
    let refused = refusal(bench.service.handle(&request));
    assert_eq!(refused.kind(), ErrorKind::Halt, "{refused}");
    bench.device.set_corrupt_signatures(false);
    assert!(matches!(bench.service.handle(&request), Response::Signature(_)), "the same statement may be signed later");
}

#[test]
fn retries_within_bounds_and_recovers_when_the_device_does() {
    let bench = bench_with(300, Arc::new(TraceAudit));
    let signed =
        (1..=100).filter(|height| bench.service.sign(&Statement::Vote(bench.vote(*height, None))).is_ok()).count();
    assert!(signed >= 95, "0.3^4 of 100 fail on average, {signed} succeeded");
    bench.device.set_pulled(true);
    let calls = bench.device.calls();
    let statement = Statement::Vote(bench.vote(200, None));
    let error = bench.service.sign(&statement).unwrap_err();
    assert!(matches!(&error, SignError::Device(reason) if reason.contains("0x00000032")), "{error}");
    assert_eq!(bench.device.calls(), calls + u64::from(PATIENCE.attempts_max));
    bench.device.set_pulled(false);
    assert!((0..20).any(|_| bench.service.sign(&statement).is_ok()));
}

#[test]
fn tls_content_is_signed_with_its_own_identity_and_key() {
    let bench = bench();
    let ask = |role| match bench.service.handle(&Request::PublicKey(role)) {
        Response::PublicKey(key) => PublicKey::from_bytes(&key).unwrap(),
        other => panic!("{other:?}"),
    };
    let (tls, consensus) = (ask(KeyRole::Tls), ask(KeyRole::Consensus));
    let transcript = TlsTranscript { role: TlsRole::Server, hash: [7; 32] };
    let Response::Signature(signature) = bench.service.handle(&Request::SignTls(transcript)) else { panic!("refused") };
    let (content, signature) = (transcript.content(), Signature(signature.0));
    assert!(sm2::verify(&tls, sm2::TLS_ID, &content, &signature));
    assert!(!sm2::verify(&tls, sm2::DEFAULT_ID, &content, &signature));
    assert!(!sm2::verify(&consensus, sm2::TLS_ID, &content, &signature));
}

#[test]
fn sessions_are_opened_by_the_consensus_key_for_its_own_node_and_chain_only() {
    let bench = bench();
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    let proof = bench.session();
    let signature = client.sign_session(&proof).unwrap();
    assert!(verifies(&bench.node(), &proof.sign_bytes(), &signature));
    for other in [
        SessionProof { exporter: [7; 32], ..proof.clone() },
        SessionProof { role: SessionRole::Server, ..proof.clone() },
        SessionProof { protocol_version: 2, ..proof.clone() },
    ] {
        assert!(!verifies(&bench.node(), &other.sign_bytes(), &signature), "{other:?}");
        client.sign_session(&other).expect("openings never contradict each other");
    }
    let calls = bench.device.calls();
    for foreign in [
        SessionProof { chain: H256([1; 32]), ..proof.clone() },
        SessionProof { node: NodeId([9; 64]), ..proof.clone() },
    ] {
        assert!(matches!(client.sign_session(&foreign), Err(SignError::Refused(_))), "{foreign:?}");
    }
    assert_eq!(bench.device.calls(), calls, "the device never saw what is not ours");
    assert!(bench.service.guard().marks(&bench.node()).is_empty(), "no lane of the guard moved");
}

#[test]
fn whatever_an_opening_holds_its_signature_is_worth_nothing_as_a_vote_or_a_checkpoint() {
    // All that the asker chooses is the exporter and the version: they stand behind a domain no other statement begins with.
    let bench = bench();
    let header = bench.header(1, 5);
    let proof = SessionProof { exporter: header.hash(CryptoSuite::Sm).0, ..bench.session() };
    let Response::Signature(signature) = bench.service.handle(&Request::SignSession(proof.clone())) else {
        panic!("refused")
    };
    assert!(verifies(&bench.node(), &proof.sign_bytes(), &signature));
    for message in [header.hash(CryptoSuite::Sm).0.to_vec(), bench.vote(1, None).sign_bytes()] {
        assert!(!verifies(&bench.node(), &message, &signature));
    }
    for domain in [Vote::DOMAIN, Proposal::DOMAIN] {
        assert!(!proof.sign_bytes().starts_with(domain));
    }
}

#[test]
fn certificate_requests_are_for_the_tls_key_alone() {
    let bench = bench();
    let Response::PublicKey(tls) = bench.service.handle(&Request::PublicKey(KeyRole::Tls)) else { panic!("refused") };
    // SEQUENCE of version 0, an empty subject, the key, no attributes.
    let algorithm =
        [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 1, 0x82, 0x2D];
    let info = |key: &[u8]| {
        let head = [0x30, 0x62, 2, 1, 0, 0x30, 0, 0x30, 0x59, 0x30, 0x13];
        [&head[..], &algorithm, &[3, 0x42, 0, 4], key, &[0xA0, 0]].concat()
    };
    let own = Request::SignCertificateRequest { info: info(&tls) };
    let Response::Signature(signature) = bench.service.handle(&own) else { panic!("refused") };
    let public = PublicKey::from_bytes(&tls).unwrap();
    assert!(sm2::verify(&public, sm2::DEFAULT_ID, &info(&tls), &Signature(signature.0)));
    let content = TlsTranscript { role: TlsRole::Server, hash: [7; 32] }.content();
    for bytes in [info(&bench.node().0), info(&tls)[1..].to_vec(), [info(&tls), vec![0]].concat(), content, vec![]] {
        let request = Request::SignCertificateRequest { info: bytes };
        assert!(matches!(refusal(bench.service.handle(&request)), Refusal::Foreign(_)), "{request:?}");
    }
}

#[test]
fn prf_random_attest_and_health_answer_within_bounds() {
    let bench = bench();
    let prf = Request::Prf { input: [PRF_DOMAIN, b"salt"].concat() };
    let Response::Derived(first) = bench.service.handle(&prf) else { panic!("refused") };
    assert!(matches!(bench.service.handle(&prf), Response::Derived(second) if second == first));
    assert!(
        matches!(bench.service.handle(&Request::Random { len: 33 }), Response::Random(drawn) if drawn.0.len() == 33)
    );
    let greedy = Request::Random { len: RANDOM_BYTES_MAX + 1 };
    assert!(matches!(refusal(bench.service.handle(&greedy)), Refusal::Malformed(_)));
    let Response::Attestation(attestation) = bench.service.handle(&Request::Attest(KeyRole::Consensus)) else {
        panic!("refused")
    };
    assert_eq!(attestation.public_key, Some(bench.node().0));
    assert!(matches!(bench.service.handle(&Request::Health), Response::Healthy(_)));
    assert_eq!(refusal(bench.service.handle(&Request::PublicKey(KeyRole::Kek))), Refusal::NoKey(KeyRole::Kek));
    let answer = bench.service.handle_frame(&[9, 9, 9]);
    assert!(matches!(refusal(Response::decode(&answer).unwrap()), Refusal::Malformed(_)));
}

#[test]
fn a_client_sees_marks_and_each_refusal_as_what_it_is() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    assert_eq!(client.marks(), Ok(vec![]));
    let vote = bench.vote(5, None);
    client.sign(&Statement::Vote(vote.clone())).unwrap();
    client.sign(&Statement::Checkpoint(Box::new(bench.header(4, 1)))).unwrap();
    assert_eq!(client.marks().unwrap(), bench.service.guard().marks(&bench.node()));
    assert!(client.marks().unwrap().contains(&crate::guard::Position::Checkpoint { height: 4 }));

    let other = Statement::Vote(Vote { value: Some(H256([1; 32])), ..vote });
    assert!(matches!(client.sign(&other), Err(SignError::Conflict(reason)) if reason.contains("height 5")));
    bench.device.set_pulled(true);
    let next = Statement::Vote(bench.vote(6, None));
    assert!(matches!(client.sign(&next), Err(SignError::Device(reason)) if reason.contains("pulled")));
    assert_eq!(client.ask(&Request::Health).unwrap_err().kind(), ErrorKind::Retry);
    bench.device.set_pulled(false);
    let foreign = client.ask(&Request::Prf { input: vec![] }).unwrap_err();
    assert!(matches!(&foreign, ClientError::Refused(Refusal::Foreign(_))) && foreign.kind() == ErrorKind::Refuse);
    recorder.set_broken(true);
    assert!(matches!(client.sign(&next), Err(SignError::Storage(reason)) if reason.contains("disk full")));
}

#[test]
fn a_device_error_reaches_whoever_asked_as_it_was() {
    let bench = bench();
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    bench.device.set_pulled(true);
    let told = DeviceError::from(client.health().unwrap_err());
    assert_eq!((told.cause, told.code, &*told.function), (Cause::Absent, Some(0x32), "health"));
    bench.device.set_pulled(false);
    assert_eq!(client.health().unwrap(), bench.device.info());
    assert_eq!(client.attest(KeyRole::Consensus).unwrap().public_key, Some(bench.node().0));
    let input = [PRF_DOMAIN, b"salt"].concat();
    assert_eq!(client.derive(&input).unwrap(), client.derive(&input).unwrap());
    let causes = [
        (ClientError::Channel(ChannelError("away".to_owned())), Cause::Absent),
        (ClientError::Refused(Refusal::Audit("disk full".to_owned())), Cause::Setup),
        (ClientError::Refused(Refusal::NoKey(KeyRole::Kek)), Cause::Rejected),
        (ClientError::Confused { asked: "prf" }, Cause::BadAnswer),
    ];
    for (error, cause) in causes {
        assert_eq!(DeviceError::from(error).cause, cause);
    }
}

#[test]
fn a_vote_waits_for_no_handshake() {
    let bench = bench();
    let places: Vec<_> = std::iter::from_fn(|| bench.service.gate.enter(Priority::Handshake, Duration::ZERO)).collect();
    assert_eq!(places.len(), 1, "a quarter of four");
    bench.service.sign(&Statement::Vote(bench.vote(1, None))).unwrap();
    drop(places);
    let transcript = TlsTranscript { role: TlsRole::Client, hash: [1; 32] };
    assert!(matches!(bench.service.handle(&Request::SignTls(transcript)), Response::Signature(_)));
}

#[test]
fn a_channel_that_breaks_or_lies_is_no_signature() {
    struct Answers(Result<Vec<u8>, ChannelError>);
    impl Channel for Answers {
        fn exchange(&self, request: &[u8], _: Priority) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
            match Request::decode(request) {
                Ok(Request::PublicKey(_)) => Ok(Response::PublicKey([7; 64]).encode()),
                _ => self.0.clone().map(Zeroizing::new),
            }
        }
    }
    let vote = bench().vote(1, None);
    let ask = |answer| Client::connect(Answers(answer)).unwrap().sign(&Statement::Vote(vote.clone()));
    let device = |result| matches!(result, Err(SignError::Device(_)));
    assert!(device(ask(Err(ChannelError("broken pipe".to_owned())))), "asked again, and the guard answers alike");
    assert!(device(ask(Ok(vec![]))));
    assert!(device(ask(Ok(Response::PublicKey([7; 64]).encode().to_vec()))));
    assert!(matches!(Client::connect(Answers(Ok(vec![]))).unwrap().marks(), Err(ClientError::Channel(_))));
    // One that is not served may be on another connection; one that speaks otherwise never will be.
    let slow = Response::Refused(Refusal::Connection("slow".to_owned())).encode().to_vec();
    assert!(device(ask(Ok(slow.clone()))));
    assert_eq!(Client::connect(Answers(Ok(slow))).unwrap().marks().unwrap_err().kind(), ErrorKind::Retry);
    let newer = vec![crate::protocol::VERSION + 1, 0];
    assert!(matches!(ask(Ok(newer.clone())), Err(SignError::Storage(reason)) if reason.contains("upgrade this side")));
    assert_eq!(Client::connect(Answers(Ok(newer))).unwrap().marks().unwrap_err().kind(), ErrorKind::Halt);
}

#[test]
fn one_key_has_one_use() {
    let device = SoftDevice::seeded("test", 1);
    let key = device.generate(&KeySpec::new("both", KeyKind::Sm2Sign)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap();
    let guard = Guard::create(Arc::new(PreadStorage::new()), dir.path().join("guard"), ring, CHAIN).unwrap();
    let mut uri = key.uri().clone();
    uri.id = None;
    let params = Params {
        device: Arc::new(device),
        device_calls_max: 4,
        keys: Keys { consensus: key, tls: Some(KeyRef::new(uri).unwrap()), kek: None },
        guard,
        chain: CHAIN,
        suite: CryptoSuite::Sm,
        retry: PATIENCE,
        custody: CustodyPolicy::Any,
        audit: Arc::new(TraceAudit),
    };
    assert!(matches!(SigningService::new(params), Err(ServiceError::SharedKey(_))));
}

#[test]
fn production_refuses_the_test_device_and_asks_before_a_software_token() {
    struct Claims(SoftDevice, &'static str, Custody);
    impl KeyDevice for Claims {
        fn info(&self) -> crate::DeviceInfo {
            crate::DeviceInfo { backend: self.1.to_owned(), custody: self.2, ..self.0.info() }
        }
        fn list(&self) -> Result<Vec<crate::KeyInfo>, DeviceError> {
            self.0.list()
        }
        fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
            self.0.generate(spec)
        }
        fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
            self.0.public_key(key)
        }
        fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
            self.0.sign_digest(key, digest)
        }
        fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; 32]) -> Result<(), DeviceError> {
            self.0.prf(key, input, out)
        }
        fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
            self.0.random(out)
        }
        fn attest(&self, key: &KeyRef) -> Result<crate::Attestation, DeviceError> {
            self.0.attest(key)
        }
        fn health(&self) -> Result<(), DeviceError> {
            self.0.health()
        }
    }
    let accepts = |backend, custody, software_token_allowed| {
        let device = Claims(SoftDevice::seeded("t", 1), backend, custody);
        CustodyPolicy::Production { software_token_allowed }.check(&device).is_ok()
    };
    assert!(!accepts("soft", Custody::ProcessMemory, true));
    assert!(!accepts("soft", Custody::Hardware, true), "whatever it says about itself");
    assert!(!accepts("pkcs11", Custody::ProcessMemory, false));
    assert!(accepts("pkcs11", Custody::ProcessMemory, true));
    assert!(accepts("pkcs11", Custody::Hardware, false));
    assert!(!accepts("pkcs11", Custody::Unknown, false), "what nobody vouches for is no hardware");
    assert!(CustodyPolicy::Any.check(&SoftDevice::new("t")).is_ok());
}
