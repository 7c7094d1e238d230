use std::os::unix::net::UnixListener;
use std::sync::{Arc, mpsc};

use bixi_hsm::protocol::{Message as _, Refusal, Request, Response};

use super::*;
use crate::server::tests::{params, spawner};
use crate::server::{Handler, Server};

/// Nothing that comes takes longer, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with a letter of its own before what it was asked.
struct Marked(u8);

impl Handler for Marked {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&[self.0], frame].concat())
    }
}

struct Bench {
    path: PathBuf,
    listener: UnixListener,
    _place: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        Self { listener: socket::listen(&path).unwrap(), path, _place: place }
    }

    /// One worker, as a supervisor starts it: on the socket that stays.
    fn worker(&self, letter: u8) -> Server {
        let socket = self.listener.try_clone().unwrap();
        Server::start(socket, &spawner(), params(), Arc::new(Marked(letter))).unwrap()
    }

    fn channel(&self, patience: Duration) -> SocketChannel {
        SocketChannel::new(&self.path, patience)
    }
}

fn ask(channel: &SocketChannel, asked: &[u8]) -> Result<Vec<u8>, String> {
    let answer = channel.exchange(asked, Priority::Statement);
    answer.map(|answer| answer.to_vec()).map_err(|error| error.to_string())
}

#[test]
fn the_next_worker_answers_what_the_last_one_did_not() {
    let bench = Bench::new();
    let channel = bench.channel(PATIENCE);
    let first = bench.worker(b'a');
    assert_eq!(ask(&channel, b"1").unwrap(), b"a1");
    assert_eq!(channel.idle.lock().unwrap().len(), 1, "the connection is kept");
    assert!(first.stop(PATIENCE));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&channel, b"2"));
        let _second = bench.worker(b'b');
        assert_eq!(waiting.join().unwrap().unwrap(), b"b2");
    });
}

#[test]
fn who_listens_to_nobody_is_told_at_once_and_who_does_not_answer_in_time() {
    let bench = Bench::new();
    let short = bench.channel(Duration::from_millis(50));
    let error = ask(&short, b"1").unwrap_err();
    assert!(error.contains("no answer") && error.contains("50 ms"), "{error}");
    let nowhere = SocketChannel::new(bench.path.with_file_name("other.sock"), PATIENCE);
    let began = Instant::now();
    let error = ask(&nowhere, b"1").unwrap_err();
    assert!(error.contains("other.sock") && error.contains("bixi hsm serve"), "{error}");
    assert!(began.elapsed() < PATIENCE, "patience is for workers that come back");
}

#[test]
fn who_is_refused_when_it_connects_is_told_why() {
    let bench = Bench::new();
    let refusing = crate::server::Params { uid: u32::MAX, ..params() };
    let socket = bench.listener.try_clone().unwrap();
    let _server = Server::start(socket, &spawner(), refusing, Arc::new(Marked(b'a'))).unwrap();
    for _ in 0..20 {
        let told = bench.channel(PATIENCE).exchange(&Request::Health.encode(), Priority::Keeping).unwrap();
        assert!(matches!(Response::decode(&told), Ok(Response::Refused(Refusal::Connection(_)))));
    }
}

#[test]
fn whoever_is_not_believed_is_asked_nothing() {
    let bench = Bench::new();
    let _server = bench.worker(b'a');
    let mut channel = bench.channel(PATIENCE);
    let us = std::mem::take(&mut channel.believed)[0];
    let error = ask(&channel, b"1").unwrap_err();
    assert!(error.contains(&format!("of user {us} listens")) && error.contains("hsm.broker_uid"), "{error}");
    assert_eq!(ask(&channel.believing(us), b"1").unwrap(), b"a1");
}

#[test]
fn a_queue_full_of_callers_is_waited_for_no_longer_than_an_answer() {
    let bench = Bench::new();
    let mut waiting = Vec::new();
    while let Ok(stream) = socket::connect(&bench.path, Duration::from_millis(20)) {
        waiting.push(stream);
    }
    let error = ask(&bench.channel(Duration::from_millis(50)), b"1").unwrap_err();
    assert!(error.contains("queue is full") && error.contains("50 ms"), "{error}");
}

/// Answers when it may.
struct Late(Mutex<mpsc::Receiver<()>>);

impl Handler for Late {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let _ = self.0.lock().unwrap().recv();
        Zeroizing::new(frame.to_vec())
    }
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_the_next() {
    let bench = Bench::new();
    let (let_it, may) = mpsc::channel();
    let socket = bench.listener.try_clone().unwrap();
    let _server = Server::start(socket, &spawner(), params(), Arc::new(Late(Mutex::new(may)))).unwrap();
    let mut channel = bench.channel(Duration::from_millis(50));
    ask(&channel, b"1").unwrap_err();
    drop(let_it);
    channel.patience = PATIENCE;
    assert_eq!(ask(&channel, b"2").unwrap(), b"2");
}

#[test]
fn handshakes_leave_connections_to_votes() {
    let bench = Bench::new();
    let (let_it, may) = mpsc::channel::<()>();
    let socket = bench.listener.try_clone().unwrap();
    let _server = Server::start(socket, &spawner(), params(), Arc::new(Late(Mutex::new(may)))).unwrap();
    let channel = bench.channel(PATIENCE);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS_MAX / 4 {
            scope.spawn(|| channel.exchange(b"h", Priority::Handshake).unwrap());
        }
        let began = Instant::now();
        // Those that are waited for hold their connections; one more gets none, and a vote does.
        while channel.gate.enter(Priority::Handshake, Duration::ZERO).is_some() {
            assert!(began.elapsed() < PATIENCE, "handshakes do not begin");
            std::thread::yield_now();
        }
        assert!(channel.gate.enter(Priority::Statement, Duration::ZERO).is_some());
        drop(let_it);
    });
}
