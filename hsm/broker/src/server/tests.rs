use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc;

use bixi_hsm::protocol::{FRAME_BYTES_MAX, Message as _, Request, Response};
use bixi_platform::placement::{Params as Placement, Plan};
use bixi_platform::topology::Topology;
use proptest::prelude::*;

use super::*;
use crate::{frame, socket};

/// Nothing that comes takes longer, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with what it was asked.
struct Echo;

impl Handler for Echo {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(frame.to_vec())
    }
}

pub(crate) fn spawner() -> Spawner {
    Spawner::new(Plan::make(&Topology::flat(), &Placement { force_shared: true, ..Placement::default() }))
}

/// Long bounds: no test waits for them.
pub(crate) fn params() -> Params {
    Params { connections_max: 8, idle: PATIENCE, frame: PATIENCE, ..Params::for_user(own_uid()) }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

struct Bench {
    path: PathBuf,
    server: Server,
    _place: tempfile::TempDir,
}

impl Bench {
    fn new(params: Params, handler: Arc<dyn Handler>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        let server = Server::start(socket::listen(&path).unwrap(), &spawner(), params, handler).unwrap();
        Self { path, server, _place: place }
    }

    fn call(&self) -> UnixStream {
        let stream = socket::connect(&self.path, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

fn ask(mut stream: &UnixStream, asked: &[u8]) -> Vec<u8> {
    frame::write(&mut stream, asked).unwrap();
    frame::read(&mut stream).unwrap().to_vec()
}

/// The reason that a caller is told, after which its connection ends.
fn refusal(mut stream: &UnixStream) -> Refusal {
    let told = frame::read(&mut stream).expect("a reason");
    let Response::Refused(refusal) = Response::decode(&told).unwrap() else { panic!("an answer") };
    // What the caller had sent besides may be thrown away with a reset.
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "the connection goes on");
    refusal
}

#[test]
fn callers_are_answered_side_by_side_and_one_after_the_other() {
    let bench = Bench::new(params(), Arc::new(Echo));
    let callers: Vec<_> = (0..8).map(|_| bench.call()).collect();
    for round in 1..=5_u8 {
        for (number, caller) in (0_u8..).zip(&callers) {
            assert_eq!(ask(caller, &[round, number]), [round, number]);
        }
    }
}

#[test]
fn another_user_is_told_and_not_served() {
    let bench = Bench::new(Params { uid: own_uid() + 1, ..params() }, Arc::new(Echo));
    let caller = bench.call();
    let Refusal::Connection(reason) = refusal(&caller) else { panic!("another reason") };
    let (us, process) = (own_uid(), std::process::id());
    assert!(reason.contains(&format!("process {process} of user {us} asks; user {} is served", us + 1)), "{reason}");
}

#[test]
fn too_long_and_empty_frames_end_the_connection_with_the_reason() {
    let bench = Bench::new(params(), Arc::new(Echo));
    for (announced, words) in [(FRAME_BYTES_MAX as u32 + 1, "262145 bytes"), (u32::MAX, "at most"), (0, "empty")] {
        let caller = bench.call();
        (&caller).write_all(&announced.to_le_bytes()).unwrap();
        let Refusal::Malformed(reason) = refusal(&caller) else { panic!("another reason") };
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(ask(&bench.call(), b"on"), b"on");
}

#[test]
fn a_frame_that_drips_is_ended_and_one_that_never_begins_too() {
    let short = Duration::from_millis(50);
    let bench = Bench::new(Params { frame: short, ..params() }, Arc::new(Echo));
    let caller = bench.call();
    (&caller).write_all(&[9, 0]).unwrap();
    assert!(matches!(refusal(&caller), Refusal::Connection(_)), "asked again elsewhere");
    let bench = Bench::new(Params { idle: short, ..params() }, Arc::new(Echo));
    assert_eq!(bench.call().read(&mut [0]).unwrap(), 0, "its place is free again, without a word");
}

/// Notes what it was asked, and that nobody is taken any more.
#[derive(Default)]
struct Noted {
    asked: Mutex<Vec<Vec<u8>>>,
    unattended: Mutex<Vec<String>>,
}

impl Handler for Noted {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        self.asked.lock().unwrap().push(frame.to_vec());
        Zeroizing::new(frame.to_vec())
    }

    fn unattended(&self, reason: &str) {
        self.unattended.lock().unwrap().push(reason.to_owned());
    }
}

/// While nobody was there its caller gave up, and asks elsewhere by now.
#[test]
fn what_a_caller_asked_that_hung_up_is_not_done() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("broker.sock");
    let listener = socket::listen(&path).unwrap();
    let gone = socket::connect(&path, PATIENCE).unwrap();
    frame::write(&mut &gone, b"gone").unwrap();
    drop(gone);
    let quiet = socket::connect(&path, PATIENCE).unwrap();
    frame::write(&mut &quiet, b"quiet").unwrap();
    quiet.shutdown(std::net::Shutdown::Write).unwrap();
    let noted = Arc::new(Noted::default());
    let server = Server::start(listener, &spawner(), params(), Arc::clone(&noted) as _).unwrap();
    assert_eq!(*frame::read(&mut &quiet).unwrap(), *b"quiet", "it sends no more and waits");
    drop(quiet);
    let began = Instant::now();
    while server.shared.open().connections > 0 {
        assert!(began.elapsed() < PATIENCE, "a place is lost");
        std::thread::yield_now();
    }
    assert_eq!(*noted.asked.lock().unwrap(), [b"quiet".to_vec()]);
}

#[test]
fn whoever_takes_callers_no_more_is_noticed_and_a_stop_is_not() {
    let noted = Arc::new(Noted::default());
    let shared =
        Shared { params: params(), handler: Arc::clone(&noted) as _, open: Mutex::default(), changed: Condvar::new() };
    let shared = Arc::new(shared);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _attended = Attended(&shared);
        panic!("of the accepting thread");
    }));
    assert!(panicked.is_err());
    assert_eq!(noted.unattended.lock().unwrap().len(), 1);
    let (listener, (open, ended)) = {
        let place = tempfile::tempdir().unwrap();
        (socket::listen(&place.path().join("broker.sock")).unwrap(), UnixStream::pair().unwrap())
    };
    drop(open);
    assert!(shared.accept_all(&listener, &ended, &spawner()), "the server was dropped");
}

#[test]
fn connections_are_bounded_and_come_back() {
    let bench = Bench::new(Params { connections_max: 1, ..params() }, Arc::new(Echo));
    let first = bench.call();
    assert_eq!(ask(&first, b"in"), b"in");
    let Refusal::Device(busy) = refusal(&bench.call()) else { panic!("another reason") };
    assert_eq!(busy.cause, Cause::Busy);
    drop(first);
    let began = Instant::now();
    loop {
        let caller = bench.call();
        // Who is refused may be so before it has asked.
        let _ = frame::write(&mut &caller, b"again");
        if *frame::read(&mut &caller).unwrap() == *b"again" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place stays taken");
    }
}

/// Says that it was asked, and answers when it may.
struct Slow {
    asked: mpsc::SyncSender<()>,
    may: Mutex<mpsc::Receiver<()>>,
}

impl Handler for Slow {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        self.asked.send(()).expect("somebody waits");
        self.may.lock().unwrap().recv().expect("somebody lets it");
        Zeroizing::new(frame.to_vec())
    }
}

fn slow() -> (Arc<Slow>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((asked, was_asked), (let_it, may)) = (mpsc::sync_channel(8), mpsc::channel());
    (Arc::new(Slow { asked, may: Mutex::new(may) }), was_asked, let_it)
}

#[test]
fn a_stop_waits_for_what_was_asked_and_takes_nothing_more() {
    let (handler, was_asked, let_it) = slow();
    let bench = Bench::new(params(), handler);
    let (early, late) = (bench.call(), bench.call());
    frame::write(&mut &early, b"before").unwrap();
    was_asked.recv().unwrap();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| bench.server.stop(PATIENCE));
        let_it.send(()).unwrap();
        assert!(stopping.join().unwrap(), "everything was answered");
    });
    assert_eq!(*frame::read(&mut &early).unwrap(), *b"before");
    // The connection may have ended already.
    let _ = frame::write(&mut &late, b"after");
    assert!(frame::read(&mut &late).is_err(), "answered after the end");
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let (handler, was_asked, _let_it) = slow();
    let bench = Bench::new(params(), handler);
    let caller = bench.call();
    frame::write(&mut &caller, b"x").unwrap();
    was_asked.recv().unwrap();
    assert!(!bench.server.stop(Duration::from_millis(20)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever somebody sends, in whatever pieces: others are served, and no thread or place is lost.
    #[test]
    fn junk_costs_nobody_else(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
        let bench = Bench::new(params(), Arc::new(Echo));
        let junk = bench.call();
        for piece in &pieces {
            // It may have been ended by an earlier piece.
            let _ = (&junk).write_all(piece);
        }
        prop_assert_eq!(ask(&bench.call(), &Request::Health.encode()), Request::Health.encode().to_vec());
        drop(junk);
        let began = Instant::now();
        while bench.server.shared.open().connections > 0 {
            prop_assert!(began.elapsed() < PATIENCE, "a place is lost");
            std::thread::yield_now();
        }
    }
}
