//! The signing service of a node at work changes the vault.

use std::collections::BTreeMap;

use bixi_hsm::audit::{AuditLog, verify_chain};
use bixi_hsm::guard::{Claim, Position, Step};
use bixi_hsm::protocol::{DataKeyEpochs, Refusal, Request, Response};
use bixi_hsm::{CustodyPolicy, Guard, Keys, Params, RetryPolicy, SigningService};
use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk};
use bixi_sealed::{inspect_path, reseal};
use bixi_types::{CryptoSuite, H256, NodeId};

use super::*;

const CHAIN: H256 = H256([7; 32]);
const DATA: &str = "/data";

fn at(name: &str) -> PathBuf {
    Path::new(DATA).join(name)
}

/// The keys of a node, whose files are on `disk`.
struct Node {
    device: Arc<SoftDevice>,
    keys: Keys,
}

/// What a process holds.
struct Life {
    service: SigningService,
    ring: KeyRing,
    audit: Arc<AuditLog>,
}

const CLAIM: Claim = Claim {
    key: NodeId([9; 64]),
    position: Position::Ordering { height: 5, round: 0, step: Step::Proposal },
    digest: [3; 32],
};

impl Node {
    fn new() -> Self {
        let device = SoftDevice::seeded("test", 1);
        let key = |label, kind| device.generate(&KeySpec::new(label, kind)).unwrap();
        let keys = Keys {
            consensus: key("consensus", KeyKind::Sm2Sign),
            tls: Some(key("tls", KeyKind::Sm2Sign)),
            kek: Some(key("kek", KeyKind::Kek)),
        };
        Self { device: Arc::new(device), keys }
    }

    fn kek(&self) -> &KeyRef {
        self.keys.kek.as_ref().unwrap()
    }

    fn vault(&self, storage: Arc<dyn Storage>) -> Vault {
        let kek = DeviceKek { device: self.device.as_ref(), key: self.kek() };
        Vault::open(storage, at("vault"), &kek).unwrap()
    }

    /// Makes the files.
    fn seal(&self, storage: &Arc<dyn Storage>) {
        storage.create_dir_all(Path::new(DATA)).unwrap();
        let device = self.device.as_ref();
        let vault = Vault::create(Arc::clone(storage), at("vault"), AtRest::Sm4Gcm, device, self.kek()).unwrap();
        let guard = Guard::create(Arc::clone(storage), at("guard"), vault.key_ring(), CHAIN).unwrap();
        guard.claim(&CLAIM).unwrap();
        AuditLog::open(Arc::clone(storage), at("audit"), vault.key_ring()).unwrap();
        storage.sync_dir(Path::new(DATA)).unwrap();
    }

    fn start(&self, storage: &Arc<dyn Storage>) -> Life {
        let vault = self.vault(Arc::clone(storage));
        let ring = vault.key_ring();
        let audit = Arc::new(AuditLog::open(Arc::clone(storage), at("audit"), ring.clone()).unwrap());
        let guard = Guard::open(Arc::clone(storage), at("guard"), ring.clone(), CHAIN).unwrap();
        let device: Arc<dyn KeyDevice> = self.device.clone();
        let kek = self.kek().clone();
        let keeper = Keeper::new(Arc::clone(storage), Arc::clone(&device), kek, &vault).allow_dropping(true);
        let service = SigningService::new(Params {
            device,
            device_calls_max: 4,
            keys: self.keys.clone(),
            guard,
            chain: CHAIN,
            suite: CryptoSuite::Sm,
            retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() },
            custody: CustodyPolicy::Any,
            audit: Arc::clone(&audit) as _,
        });
        Life { service: service.unwrap().with_data_keys(Arc::new(keeper)), ring, audit }
    }
}

fn known(current: u32, known: &[u32]) -> Response {
    Response::DataKeys(DataKeyEpochs { current, known: known.to_vec() })
}

fn refusal(response: Response) -> String {
    match response {
        Response::Refused(Refusal::DataKeys(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Files of a node by the epochs of their headers.
fn headers(storage: &dyn Storage) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for dir in [PathBuf::from(DATA), at("audit")] {
        reseal::headers(storage, &dir, |path, header, _| _ = found.insert(path, header.epoch)).unwrap();
    }
    found
}

#[test]
fn guard_and_trail_go_on_under_the_new_epoch_and_the_older_one_is_dropped_when_nothing_needs_it() {
    let (disk, node) = (MemoryDisk::new(), Node::new());
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    node.seal(&storage);
    let life = node.start(&storage);
    let handle = |request| life.service.handle(&request);
    assert_eq!(handle(Request::RotateDataKey { after: 1 }), known(2, &[1, 2]));
    // Asked again by whoever lost the answer.
    let version = node.vault(Arc::clone(&storage)).version();
    assert_eq!(handle(Request::RotateDataKey { after: 1 }), known(2, &[1, 2]));
    assert_eq!(node.vault(Arc::clone(&storage)).version(), version);
    assert!(refusal(handle(Request::RotateDataKey { after: 3 })).contains("epoch 2 is the current one"));
    let of = |name: &str| headers(&disk)[&at(name)];
    assert_eq!((of("guard"), of("audit/audit-000001.log"), of("audit/audit-000002.log")), (2, 1, 2));
    let kept = refusal(handle(Request::DropDataKeys { below: 2 }));
    assert!(kept.contains("audit-000001.log needs epoch 1"), "{kept}");
    assert!(refusal(handle(Request::DropDataKeys { below: 3 })).contains("nothing is dropped"));
    let Response::Resealed(moved) = handle(Request::ResealTrail) else { panic!("not moved") };
    assert!(moved.bytes > 0 && moved.files_left == 0, "{moved:?}");
    assert_eq!(handle(Request::DropDataKeys { below: 2 }), known(2, &[2]));
    assert_eq!(life.ring.epochs(), [2]);
    // A later life has the present vault alone.
    drop(life);
    let life = node.start(&storage);
    assert!(life.service.guard().claim(&Claim { digest: [4; 32], ..CLAIM }).is_err(), "the marks were kept");
    drop(life);
    let mut requests = Vec::new();
    let ring = node.vault(Arc::clone(&storage)).key_ring();
    verify_chain(&disk, &at("audit"), &ring, |entry| requests.push(entry.event.request)).unwrap();
    for told in ["rotate-data-key", "reseal-trail", "drop-data-key"] {
        assert!(requests.iter().any(|request| request == told), "{told}: {requests:?}");
    }
}

#[test]
fn a_node_at_work_is_given_another_cipher_with_an_epoch_and_the_trail_tells_which() {
    let (disk, node) = (MemoryDisk::new(), Node::new());
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    node.seal(&storage);
    let life = node.start(&storage);
    let suite = AtRest::Aes256Gcm;
    assert_eq!(life.service.handle(&Request::RotateDataKeyTo { after: 1, suite }), known(2, &[1, 2]));
    assert_eq!(life.ring.current(), Current { epoch: 2, suite });
    // Whoever lost the answer; who wanted another cipher after the same epoch is not told that he got it.
    assert_eq!(life.service.handle(&Request::RotateDataKeyTo { after: 1, suite }), known(2, &[1, 2]));
    let late = Request::RotateDataKeyTo { after: 1, suite: AtRest::Sm4Gcm };
    let refused = refusal(life.service.handle(&late));
    assert!(refused.contains("epoch 2 was begun with AES-256-GCM, and SM4-GCM is asked for"), "{refused}");
    assert_eq!(node.vault(Arc::clone(&storage)).key_ring().current(), Current { epoch: 2, suite });
    for name in ["guard", "audit/audit-000002.log"] {
        assert_eq!(inspect_path(&disk, &at(name)).unwrap().suite, suite, "{name}");
    }
    drop(life);
    let (ring, mut subjects) = (node.vault(Arc::clone(&storage)).key_ring(), Vec::new());
    verify_chain(&disk, &at("audit"), &ring, |entry| subjects.push(entry.event.subject)).unwrap();
    let told = "data key epoch 2 with AES-256-GCM";
    assert!(subjects.iter().any(|subject| subject == told), "{subjects:?}");
    assert!(subjects.iter().any(|subject| *subject == format!("{told}, about to begin")), "{subjects:?}");
}

/// Whatever fails once, and after it the power: the vault has one epoch or both, guard and trail open, and the rest is done when it is
/// asked for again.
#[test]
fn a_change_that_fails_anywhere_is_told_and_done_by_the_next_life() {
    for arm in [Faults::fail_once_at, Faults::dead_from] {
        for number in 1.. {
            let (disk, faults, node) = (MemoryDisk::new(), Faults::none(), Node::new());
            let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults.clone()));
            node.seal(&storage);
            let life = node.start(&storage);
            arm(&faults, faults.operations() + number);
            let work = [Request::RotateDataKey { after: 1 }, Request::ResealTrail, Request::DropDataKeys { below: 2 }];
            let answers = work.each_ref().map(|request| life.service.handle(request));
            let is_done = answers.iter().all(|answer| !matches!(answer, Response::Refused(_)));
            drop(life);
            disk.crash(Crash::Torn { seed: number });
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            let life = node.start(&storage);
            assert!(life.service.guard().claim(&Claim { digest: [4; 32], ..CLAIM }).is_err(), "{number}");
            let [rotated, _, _] = work.each_ref().map(|request| life.service.handle(request));
            assert!(matches!(rotated, Response::DataKeys(_)), "{number}: {rotated:?}");
            while !matches!(life.service.handle(&Request::ResealTrail), Response::Resealed(moved) if moved.files_left == 0)
            {
            }
            assert_eq!(life.service.handle(&work[2]), known(2, &[2]), "{number}");
            assert!(headers(&disk).values().all(|epoch| *epoch == 2), "{number}: {:?}", headers(&disk));
            let Life { service, audit, .. } = life;
            drop((service, audit));
            let ring = node.vault(Arc::clone(&storage)).key_ring();
            verify_chain(&disk, &at("audit"), &ring, |_| {}).unwrap_or_else(|error| panic!("{number}: {error}"));
            if is_done {
                assert!(number > 20, "{number} operations are fewer than it takes");
                break;
            }
        }
    }
}
