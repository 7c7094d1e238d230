//! A device that counts, and a guard that knows how far.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use super::*;
use crate::device::{Count, DeviceInfo, KeyInfo};
use crate::guard::{BURST, Note, PERIOD, Ticket};
use crate::protocol::DataKeyEpochs;

/// The word of the device's owner.
const OWNER: &[u8] = b"of the owner";

/// What somebody does while the device counts.
type Meanwhile = Arc<dyn Fn() + Send + Sync>;

/// A device whose counter can be lost, late, or busy.
struct Moody {
    soft: SoftDevice,
    /// Why it does not count when it is to.
    refuses: Mutex<Option<Cause>>,
    /// It counts and the answer is lost.
    is_late: AtomicBool,
    /// Steps that are made besides those that are asked for.
    besides: AtomicU32,
    /// Asked for its counter.
    asked: AtomicU32,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Moody {
    fn new(soft: SoftDevice) -> Self {
        let refuses = Mutex::new(None);
        let (is_late, besides, asked) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        Self { soft, refuses, is_late, besides, asked, meanwhile: Mutex::new(None) }
    }

    fn refuse(&self, cause: Option<Cause>) {
        *self.refuses.lock().unwrap() = cause;
    }

    fn expect_mood(&self) -> Result<(), DeviceError> {
        let refuses = *self.refuses.lock().unwrap();
        refuses.map_or(Ok(()), |cause| Err(DeviceError::new("counter", cause, "as told")))
    }
}

impl KeyDevice for Moody {
    fn info(&self) -> DeviceInfo {
        self.soft.info()
    }

    fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
        self.soft.list()
    }

    fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
        self.soft.generate(spec)
    }

    fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
        self.soft.public_key(key)
    }

    fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.soft.sign_digest(key, digest)
    }

    fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; 32]) -> Result<(), DeviceError> {
        self.soft.prf(key, input, out)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
        self.soft.random(out)
    }

    fn attest(&self, key: &KeyRef) -> Result<crate::device::Attestation, DeviceError> {
        self.soft.attest(key)
    }

    fn health(&self) -> Result<(), DeviceError> {
        self.soft.health()
    }

    fn counter(&self) -> Result<Option<Count>, DeviceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.expect_mood()?;
        self.soft.counter()
    }

    fn advance_counter(&self) -> Result<Count, DeviceError> {
        self.expect_mood()?;
        let meanwhile = self.meanwhile.lock().unwrap().clone();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        for _ in 0..self.besides.swap(0, Ordering::SeqCst) {
            self.soft.advance_counter()?;
        }
        let counted = self.soft.advance_counter()?;
        match self.is_late.load(Ordering::SeqCst) {
            true => Err(DeviceError::new("advance_counter", Cause::Timeout, "no answer")),
            false => Ok(counted),
        }
    }

    fn renew_counter(&self, owner_authorization: &Secret) -> Result<(), DeviceError> {
        if owner_authorization.as_slice() != OWNER {
            return Err(DeviceError::new("renew_counter", Cause::Rejected, "another's word"));
        }
        self.refuse(None);
        self.soft.advance_counter().map(drop)
    }
}

/// A vault of which its version is known.
struct Versioned(AtomicU64);

impl DataKeys for Versioned {
    fn vault_version(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn epochs(&self) -> Result<DataKeyEpochs, Refusal> {
        Ok(DataKeyEpochs { current: 1, known: vec![1] })
    }

    fn suite(&self) -> AtRest {
        AtRest::Sm4Gcm
    }

    fn begin_epoch(&self, _: u32, _: Option<AtRest>) -> Result<DataKeyEpochs, Refusal> {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.epochs()
    }

    fn expect_droppable(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn drop_epochs(&self, _: u32) -> Result<DataKeyEpochs, Refusal> {
        self.epochs()
    }
}

struct Counted {
    device: Arc<Moody>,
    vault: Arc<Versioned>,
    dir: tempfile::TempDir,
}

impl Counted {
    fn new() -> Self {
        Self::with(SoftDevice::seeded("test", 5).with_counter())
    }

    fn with(soft: SoftDevice) -> Self {
        soft.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).unwrap();
        soft.generate(&KeySpec::new("tls", KeyKind::Sm2Sign)).unwrap();
        let (device, vault) = (Arc::new(Moody::new(soft)), Arc::new(Versioned(AtomicU64::new(1))));
        let new = Self { device, vault, dir: tempfile::tempdir().unwrap() };
        let noted = new.device.soft.counter().unwrap().map(|count| Note::begin(count, 1));
        Guard::create_noted(Arc::new(PreadStorage::new()), new.path(), ring(), CHAIN, noted).unwrap();
        new
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("guard")
    }

    /// A process that begins.
    fn begin(&self, audit: Arc<dyn Audit>) -> SigningService {
        let key = |label: &str| self.device.list().unwrap().into_iter().find(|key| key.label == label).unwrap().uri;
        let params = Params {
            device: self.device.clone(),
            device_calls_max: 4,
            keys: Keys { consensus: key("consensus"), tls: Some(key("tls")), kek: None },
            guard: Guard::open(Arc::new(PreadStorage::new()), self.path(), ring(), CHAIN).unwrap(),
            chain: CHAIN,
            suite: CryptoSuite::Sm,
            retry: RetryPolicy { attempts_max: 1, ..PATIENCE },
            custody: CustodyPolicy::Any,
            audit,
        };
        SigningService::new(params).unwrap().with_data_keys(self.vault.clone())
    }

    fn count(&self) -> u64 {
        self.device.soft.counter().unwrap().unwrap().value
    }
}

/// The word of an owner who has none.
fn nobody() -> Secret {
    Secret::from_slice(&[])
}

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap()
}

fn vote(service: &SigningService, height: u64) -> Result<(), SignError> {
    let validator = service.node_id();
    let vote = Vote { chain: CHAIN, height, round: 0, kind: VoteKind::Prevote, value: None, validator };
    service.sign(&Statement::Vote(vote)).map(drop)
}

#[test]
fn it_counts_what_is_signed_and_nothing_else() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    service.expect_newest().unwrap();
    let begin = Instant::now();
    let told_at = |seconds: u64, request: Request| {
        assert_eq!(service.handle_at(&request, begin + Duration::from_secs(seconds)), Response::Settled);
        bench.count()
    };
    assert_eq!(told_at(0, Request::TellDue), 0, "nothing was signed");
    vote(&service, 1).unwrap();
    assert_eq!(told_at(1, Request::TellDue), 1);
    vote(&service, 2).unwrap();
    assert_eq!(told_at(600, Request::TellDue), 1);
    assert_eq!(told_at(602, Request::TellDue), 2);
    assert_eq!(told_at(2_000, Request::TellDue), 2, "nothing was signed since");
    vote(&service, 3).unwrap();
    assert_eq!(told_at(2_001, Request::Settle), 3);
    // A node that was taken over asks as often as it likes.
    for height in 4..50 {
        vote(&service, height).unwrap();
        assert_eq!(told_at(2_002, Request::Settle), 3);
    }
}

/// Whoever starts and stops it wears it no faster in the long run.
#[test]
fn stops_and_starts_have_it_count_no_oftener_than_their_budget_allows() {
    let bench = Counted::new();
    let begin = Instant::now();
    for round in 0..240 {
        let service = bench.begin(Arc::new(TraceAudit));
        vote(&service, round + 1).unwrap();
        let now = begin + Duration::from_secs(16 * round);
        assert_eq!(service.handle_at(&Request::Settle, now), Response::Settled);
    }
    let periods = 240 * 16 / PERIOD.as_secs();
    let allowed = u64::from(BURST) + periods + 1;
    assert!((u64::from(BURST)..=allowed).contains(&bench.count()), "{} of {allowed}", bench.count());
}

/// The thread that tells beside a node that stops: neither waits for the device that the other has asked, for long.
#[test]
fn two_who_ask_at_once_have_it_count_once() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    let (begun, done) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let barriers = (Arc::clone(&begun), Arc::clone(&done));
    let is_first = AtomicBool::new(true);
    *bench.device.meanwhile.lock().unwrap() = Some(Arc::new(move || {
        if is_first.swap(false, Ordering::SeqCst) {
            barriers.0.wait();
            barriers.1.wait();
        }
    }));
    vote(&service, 1).unwrap();
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| service.handle(&Request::TellDue));
        begun.wait();
        // The device is at it: the second asker goes on without, though it would be due again.
        let later = Instant::now() + 2 * PERIOD;
        assert_eq!(service.handle_at(&Request::TellDue, later), Response::Settled);
        let ended = Instant::now();
        assert_eq!(service.handle_at(&Request::Settle, later), Response::Settled);
        assert!(ended.elapsed() >= Duration::from_secs(1), "an end waits a little");
        assert_eq!(service.handle(&Request::Counter), Response::Counter(service.counter_report()));
        done.wait();
        assert_eq!(counting.join().unwrap(), Response::Settled);
    });
    assert_eq!(bench.count(), 1);
    service.expect_newest().unwrap();
}

#[test]
fn an_old_copy_signs_nothing_until_an_officer_takes_it_up() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    let copy = fs::read(bench.path()).unwrap();
    vote(&service, 1).unwrap();
    service.handle(&Request::TellDue);
    drop(service);
    bench.begin(Arc::new(TraceAudit)).expect_newest().expect("the newest");

    fs::write(bench.path(), &copy).unwrap();
    let recorder = Arc::new(Recorder::default());
    let service = bench.begin(recorder.clone());
    let refused = service.expect_newest().unwrap_err();
    assert!(matches!(&refused, CountError::Guard(_)) && refused.to_string().contains("old copy"), "{refused}");
    assert!(recorder.subjects().contains(&"compared with the count of the device".to_owned()));
    assert!(service.may_be_old_copy().unwrap().is_some());
    assert!(service.adopt_guard(None).is_err(), "a move of host is another matter");
    let Err(SignError::Storage(reason)) = vote(&service, 5) else { panic!("it must not sign") };
    assert!(reason.contains("old copy"), "{reason}");
    // It counts in no case: that would hide what it is.
    assert_eq!(service.handle(&Request::Settle), Response::Settled);
    assert_eq!(bench.count(), 1);
    let newest = Note::begin(bench.device.soft.counter().unwrap().unwrap(), 1);
    service.adopt_old_copy(&nobody()).unwrap();
    service.expect_newest().unwrap();
    assert!(bench.count() > newest.at_most.value + 1, "what the newest disk may note at most is an old copy now");
    vote(&service, 5).unwrap();
}

/// Two copies of one disk at work: the one that counts second ends, in the process that runs.
#[test]
fn a_node_at_work_signs_nothing_more_once_another_copy_was_counted() {
    for look in [true, false] {
        let bench = Counted::new();
        let recorder = Arc::new(Recorder::default());
        let service = bench.begin(recorder.clone());
        vote(&service, 1).unwrap();
        match look {
            // It counted before, and between its look and its step.
            true => drop(bench.device.soft.advance_counter().unwrap()),
            false => bench.device.besides.store(1, Ordering::SeqCst),
        }
        let told = refusal(service.handle(&Request::TellDue));
        assert!(matches!(&told, Refusal::Storage(reason) if reason.contains("old copy")), "{told}");
        assert!(matches!(vote(&service, 2), Err(SignError::Storage(_))));
        let heads = |recorder: &Recorder| recorder.subjects().iter().filter(|one| one.contains("compared")).count();
        assert_eq!(heads(&recorder), 1);
        assert_eq!(service.handle(&Request::TellDue), Response::Settled, "told once");
        assert_eq!(heads(&recorder), 1);
        let Response::Counter(Some(report)) = service.handle(&Request::Counter) else { panic!("it has one") };
        assert!(report.doubted);
    }
}

#[test]
fn a_counter_that_is_gone_ends_signing_and_one_that_is_away_does_not() {
    let bench = Counted::new();
    let recorder = Arc::new(Recorder::default());
    let service = bench.begin(recorder.clone());
    let begin = Instant::now();
    let told_at = |seconds: u64| service.handle_at(&Request::TellDue, begin + Duration::from_secs(seconds));
    let report = || match service.handle(&Request::Counter) {
        Response::Counter(Some(report)) => report,
        other => panic!("{other:?}"),
    };
    vote(&service, 1).unwrap();
    bench.device.refuse(Some(Cause::Busy));
    assert_eq!(told_at(0), Response::Settled);
    assert!(report().failed.is_some_and(|error| error.contains("as told")) && report().uncounted_ms.is_some());
    vote(&service, 2).expect("it is asked again");
    let overdue = || recorder.subjects().iter().any(|one| one.contains("does not count"));
    assert_eq!(told_at(1_700), Response::Settled);
    assert!(!overdue());
    assert_eq!(told_at(1_801), Response::Settled);
    assert!(overdue(), "the trail tells once");
    bench.device.refuse(None);
    assert_eq!(told_at(1_820), Response::Settled);
    assert_eq!((bench.count(), report().failed, report().uncounted_ms), (1, None, None));

    vote(&service, 3).unwrap();
    bench.device.refuse(Some(Cause::CounterRemoved));
    let told = refusal(told_at(9_000));
    assert!(matches!(&told, Refusal::Storage(reason) if reason.contains("makes another counter")), "{told}");
    assert!(matches!(vote(&service, 4), Err(SignError::Storage(_))));
    drop(service);
    let service = bench.begin(Arc::new(TraceAudit));
    assert!(matches!(service.expect_newest(), Err(CountError::Guard(_))));
    assert!(service.may_be_old_copy().unwrap().is_some(), "and not an error");
    let refused = service.adopt_old_copy(&nobody()).unwrap_err();
    assert!(matches!(&refused, Refusal::Device(error) if error.cause == Cause::Rejected), "{refused}");
    service.adopt_old_copy(&Secret::from_slice(OWNER)).unwrap();
    service.expect_newest().unwrap();
    vote(&service, 4).unwrap();
}

/// An answer that is lost leaves nobody knowing whether it counted: the next life makes up for it at its first look.
#[test]
fn a_life_after_a_count_that_nobody_knows_of_makes_up_for_it() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    vote(&service, 1).unwrap();
    bench.device.is_late.store(true, Ordering::SeqCst);
    assert_eq!(service.handle(&Request::TellDue), Response::Settled);
    let copy = fs::read(bench.path()).unwrap();
    drop(service);
    bench.device.is_late.store(false, Ordering::SeqCst);
    let service = bench.begin(Arc::new(TraceAudit));
    service.expect_newest().unwrap();
    let later = Instant::now() + Duration::from_secs(20);
    assert_eq!(service.handle_at(&Request::TellDue, later), Response::Settled);
    assert_eq!(bench.count(), 2);
    drop(service);
    fs::write(bench.path(), copy).unwrap();
    assert!(bench.begin(Arc::new(TraceAudit)).expect_newest().is_err());
}

/// The marks have left for another host: the guard from before must not sign beside it.
#[test]
fn a_guard_from_before_its_export_is_an_old_copy_when_the_file_leaves() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    vote(&service, 1).unwrap();
    service.handle(&Request::Settle);
    let copy = fs::read(bench.path()).unwrap();
    let ticket = Ticket::new([5; 16]).text(&CHAIN, &service.node_id());
    // The device has to have counted first; the command is repeated.
    bench.device.refuse(Some(Cause::Timeout));
    assert!(matches!(service.export_guard(&ticket, None), Err(Refusal::Device(_))));
    bench.device.refuse(None);
    service.export_guard(&ticket, None).unwrap();
    drop(service);
    bench.begin(Arc::new(TraceAudit)).expect_newest().expect("retired, and the newest");
    fs::write(bench.path(), copy).unwrap();
    assert!(bench.begin(Arc::new(TraceAudit)).expect_newest().is_err());
}

#[test]
fn a_vault_that_was_written_is_counted_soon_and_an_older_one_is_refused() {
    let bench = Counted::new();
    let service = bench.begin(Arc::new(TraceAudit));
    let rotated = service.handle(&Request::RotateDataKey { after: 1 });
    assert!(matches!(rotated, Response::DataKeys(_)), "{rotated:?}");
    assert_eq!((bench.count(), service.guard().noted().unwrap().vault), (1, 2));
    drop(service);
    bench.vault.0.store(1, Ordering::SeqCst);
    let refused = bench.begin(Arc::new(TraceAudit)).expect_newest().unwrap_err().to_string();
    assert!(refused.contains("version 2 of the vault, and the vault beside it is version 1"), "{refused}");
    bench.vault.0.store(3, Ordering::SeqCst);
    let service = bench.begin(Arc::new(TraceAudit));
    service.expect_newest().expect("one that was written by a command");
    let later = Instant::now() + Duration::from_secs(20);
    assert_eq!(service.handle_at(&Request::TellDue, later), Response::Settled);
    assert_eq!(service.guard().noted().unwrap().vault, 3);
}

/// A guard that is refused is told of by a trail whose head is signed as ever.
#[test]
fn the_head_of_the_trail_is_signed_although_the_count_was_refused() {
    let bench = Counted::new();
    let storage: Arc<dyn bixi_platform::io::Storage> = Arc::new(PreadStorage::new());
    let log = Arc::new(crate::audit::AuditLog::open(storage, bench.dir.path().join("audit"), ring()).unwrap());
    let service = bench.begin(log.clone());
    vote(&service, 1).unwrap();
    bench.device.soft.advance_counter().unwrap();
    assert!(matches!(service.handle(&Request::Settle), Response::Refused(Refusal::Storage(_))));
    assert_eq!(log.sealed(), log.head().entries);
}

#[test]
fn a_device_without_a_counter_is_not_asked() {
    let bench = Counted::with(SoftDevice::seeded("test", 5));
    let service = bench.begin(Arc::new(TraceAudit));
    service.expect_newest().unwrap();
    vote(&service, 1).unwrap();
    assert_eq!(service.handle(&Request::Settle), Response::Settled);
    assert_eq!(service.guard().noted(), None);
    assert_eq!(service.handle(&Request::Counter), Response::Counter(None));
    assert_eq!(bench.device.asked.load(Ordering::SeqCst), 0);
}
