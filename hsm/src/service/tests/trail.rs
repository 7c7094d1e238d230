//! What the audit trail is told, when, and what happens while it takes nothing.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bixi_platform::io::{Faults, FaultyStorage, MemoryDisk, Storage};

use super::*;
use crate::audit::{AuditError, AuditLog, Entry, verify_chain};

/// Keeps the events, and takes none while it is broken, which it learns by writing only.
#[derive(Default)]
pub(super) struct Recorder {
    events: Mutex<Vec<(Event, Durability)>>,
    is_broken: AtomicBool,
}

impl Recorder {
    pub(super) fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
    }

    pub(super) fn subjects(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|(event, _)| event.subject.clone()).collect()
    }
}

impl Audit for Recorder {
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(AuditError::Storage { path: "audit".into(), reason: "disk full".to_owned() });
        }
        self.events.lock().unwrap().push((event.clone(), durability));
        Ok(())
    }

    fn check(&self) -> Result<(), AuditError> {
        Ok(())
    }
}

#[test]
fn every_decision_is_recorded_and_nothing_leaves_unrecorded() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let statement = Statement::Vote(bench.vote(5, None));
    bench.service.sign(&statement).unwrap();
    bench.service.sign(&statement).unwrap();
    bench.service.sign(&Statement::Vote(bench.vote(4, None))).unwrap_err();
    bench.service.handle_frame(&[9, 9, 9]);
    let events = std::mem::take(&mut *recorder.events.lock().unwrap());
    let outcomes: Vec<_> = events.iter().map(|(event, _)| event.outcome.clone()).collect();
    assert!(
        matches!(&outcomes[..], [Outcome::Signed, Outcome::Stored, Outcome::Refused(_), Outcome::Refused(_)]),
        "{outcomes:?}"
    );
    assert_eq!(events[0].0.subject, "height 5 round 0 Prevote");
    assert!(
        events[2].0.digest.is_some_and(|digest| Some(digest) != events[0].0.digest),
        "what was refused is on record"
    );
    assert_eq!((&*events[3].0.request, &*events[3].0.subject), ("malformed", "frame of 3 bytes"));
    recorder.set_broken(true);
    assert!(matches!(bench.service.sign(&statement), Err(SignError::Storage(_))));
    for frame in [&[9, 9, 9][..], &Request::Marks.encode()] {
        let answer = Response::decode(&bench.service.handle_frame(frame)).unwrap();
        assert!(matches!(refusal(answer), Refusal::Audit(_)));
    }
}

#[test]
fn refusals_and_key_management_are_durable_before_they_are_answered() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let durability_of = |request: Request| {
        let refused = matches!(bench.service.handle(&request), Response::Refused(_));
        (refused, recorder.events.lock().unwrap().pop().unwrap().1)
    };
    let transcript = TlsTranscript { role: TlsRole::Client, hash: [1; 32] };
    for daily in [
        Request::SignVote(bench.vote(5, None)),
        Request::SignCheckpoint { header: bench.header(5, 1).encode() },
        Request::SignTls(transcript),
        Request::SignSession(bench.session()),
        Request::Random { len: 8 },
        Request::PublicKey(KeyRole::Tls),
        Request::Marks,
    ] {
        assert_eq!(durability_of(daily.clone()), (false, Durability::Grouped), "{daily:?}");
    }
    for rare in [Request::Prf { input: PRF_DOMAIN.to_vec() }, Request::Attest(KeyRole::Kek), Request::Settle] {
        assert_eq!(durability_of(rare.clone()), (false, Durability::AtOnce), "{rare:?}");
    }
    for refused in [
        Request::SignVote(bench.vote(5, Some(H256([9; 32])))),
        Request::SignCheckpoint { header: bench.header(5, 2).encode() },
        Request::SignCertificateRequest { info: vec![] },
        Request::Random { len: u32::MAX },
    ] {
        assert_eq!(durability_of(refused.clone()), (true, Durability::AtOnce), "{refused:?}");
    }
}

#[test]
fn looks_at_the_device_leave_no_entry() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    assert!(matches!(bench.service.handle(&Request::Health), Response::Healthy(_)));
    bench.device.set_pulled(true);
    assert!(matches!(refusal(bench.service.handle(&Request::Health)), Refusal::Device(_)));
    assert_eq!(recorder.subjects(), [""; 0]);
}

#[test]
fn handshakes_that_strangers_cause_make_one_entry_and_those_of_peers_one_each() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    for role in [TlsRole::Server, TlsRole::Client] {
        for number in 0..20 {
            let request = Request::SignTls(TlsTranscript { role, hash: [number; 32] });
            assert!(matches!(bench.service.handle(&request), Response::Signature(_)));
        }
    }
    let events = recorder.events.lock().unwrap();
    let of = |role: &str| events.iter().filter(|(event, _)| event.subject.starts_with(role)).count();
    // A minute may pass on a machine that stands still.
    assert!((1..20).contains(&of("Server")), "{}", of("Server"));
    assert_eq!(of("Client"), 20);
}

fn handshake(number: u8) -> Request {
    Request::SignTls(TlsTranscript { role: TlsRole::Server, hash: [number; 32] })
}

/// Handshakes that the entries tell of: the one an entry is about, and those it counts.
fn handshakes_told(recorder: &Recorder) -> u64 {
    let told = |event: &Event| {
        let counted = event.subject.split(' ').filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        counted + u64::from(event.request == "sign-tls")
    };
    recorder.events.lock().unwrap().iter().map(|(event, _)| told(event)).sum()
}

#[test]
fn a_node_that_stops_tells_of_every_handshake_it_answered() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let client = Client::connect(InProcess(bench.service.clone())).unwrap();
    for number in 0..20 {
        assert!(matches!(bench.service.handle(&handshake(number)), Response::Signature(_)));
    }
    recorder.set_broken(true);
    assert!(matches!(client.settle(), Err(ClientError::Refused(Refusal::Audit(_)))));
    recorder.set_broken(false);
    assert!(handshakes_told(&recorder) < 20);
    client.settle().unwrap();
    assert_eq!(handshakes_told(&recorder), 20, "what could not be told was given back");
    client.settle().unwrap();
    assert_eq!(handshakes_told(&recorder), 20, "and is told once");
}

#[test]
fn no_handshake_is_signed_once_the_trails_disk_has_failed() {
    let (disk, faults) = (Arc::new(MemoryDisk::new()), Faults::none());
    let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(disk, faults.clone()));
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap();
    let log = Arc::new(AuditLog::open(storage, "/audit", ring).unwrap());
    let bench = bench_with(0, log.clone());
    for number in 0..3 {
        assert!(matches!(bench.service.handle(&handshake(number)), Response::Signature(_)));
    }
    faults.dead_from(faults.operations() + 1);
    log.sync().unwrap_err();
    let calls = bench.device.calls();
    for number in 3..20 {
        assert!(matches!(refusal(bench.service.handle(&handshake(number))), Refusal::Audit(_)));
    }
    assert_eq!(bench.device.calls(), calls, "the device is not asked");
    for request in [handshake(3), Request::SignVote(bench.vote(1, None)), Request::Settle] {
        let refused = refusal(bench.service.handle(&request));
        assert!(matches!(refused, Refusal::Audit(_)), "{request:?}: {refused}");
    }
}

/// A process that is killed again and again before its time is the reason to count in the trail and not in the process.
#[test]
fn heads_are_due_by_what_the_trail_has_had_since_the_last_one() {
    let ring = || KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap();
    let disk: Arc<dyn Storage> = Arc::new(MemoryDisk::new());
    let open = || Arc::new(AuditLog::open(Arc::clone(&disk), "/audit", ring()).unwrap());
    let heads = || {
        let mut heads = 0;
        let is_head = |entry: Entry| heads += u64::from(matches!(entry.event.outcome, Outcome::HeadSigned(_)));
        verify_chain(disk.as_ref(), Path::new("/audit"), &ring(), is_head).unwrap();
        heads
    };
    let event = Event { request: "sign-vote".into(), subject: "x".into(), digest: None, outcome: Outcome::Signed };
    for lives in 1..=2 {
        for _ in 0..2 {
            let log = open();
            (0..5_000).for_each(|_| log.record(&event, Durability::Grouped).unwrap());
        }
        let log = open();
        let bench = bench_with(0, log.clone());
        assert_eq!(bench.service.handle(&Request::TellDue), Response::Settled);
        assert_eq!((heads(), bench.service.handle(&Request::TellDue)), (lives, Response::Settled));
        assert_eq!(heads(), lives, "there is nothing new");
    }
}

#[test]
fn a_flood_that_ends_is_told_of_by_time_and_no_further_handshake() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let begin = Instant::now();
    let at = |request: &Request, second| bench.service.handle_at(request, begin + Duration::from_secs(second));
    for number in 0..90 {
        assert!(matches!(at(&handshake(number), u64::from(number) / 2), Response::Signature(_)));
        assert_eq!(at(&Request::TellDue, u64::from(number) / 2), Response::Settled);
    }
    assert_eq!(handshakes_told(&recorder), 1);
    assert_eq!(at(&Request::TellDue, 59), Response::Settled);
    assert_eq!(handshakes_told(&recorder), 1, "its minute is not over");
    recorder.set_broken(true);
    assert!(matches!(refusal(at(&Request::TellDue, 60)), Refusal::Audit(_)));
    recorder.set_broken(false);
    for second in 61..600 {
        assert_eq!(at(&Request::TellDue, second), Response::Settled);
    }
    assert_eq!(handshakes_told(&recorder), 90);
    let told = "a minute has passed, and 89 more TLS handshakes answered since the last entry";
    assert_eq!(recorder.subjects()[1..], [told], "an idle trail has no entries");
}

#[test]
fn handshakes_that_fail_sync_the_disk_once_a_minute_and_say_why() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let begin = Instant::now();
    bench.device.set_pulled(true);
    for number in 0..160 {
        let answer = bench.service.handle_at(&handshake(number), begin + Duration::from_secs(u64::from(number) / 16));
        assert!(matches!(refusal(answer), Refusal::Device(_)), "the caller is told of each");
    }
    bench.device.set_pulled(false);
    let answer = bench.service.handle_at(&handshake(200), begin + Duration::from_secs(60));
    assert!(matches!(answer, Response::Signature(_)));
    let events = recorder.events.lock().unwrap();
    let [(first, at_once), (later, grouped)] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(&first.outcome, Outcome::Refused(reason) if reason.contains("pulled")), "{first:?}");
    assert_eq!((*at_once, *grouped), (Durability::AtOnce, Durability::Grouped));
    let counted = "0 more TLS handshakes answered and 159 more not signed since the last entry";
    assert!(later.subject.contains(counted) && later.subject.contains("pulled"), "{later:?}");
}

#[test]
fn a_handshake_whose_entry_fails_is_told_of_by_the_next() {
    let recorder = Arc::new(Recorder::default());
    let bench = bench_with(0, recorder.clone());
    let now = Instant::now();
    recorder.set_broken(true);
    assert!(matches!(refusal(bench.service.handle_at(&handshake(1), now)), Refusal::Audit(_)));
    recorder.set_broken(false);
    assert!(matches!(bench.service.handle_at(&handshake(2), now), Response::Signature(_)));
    assert_eq!(handshakes_told(&recorder), 2);
}
