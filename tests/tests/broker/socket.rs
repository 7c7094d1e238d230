//! Who is at the other end: junk, a service manager, a node that comes first.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use bixi_tests::broker::{RunningBroker, socket};
use bixi_tests::chain::wait_until;
use bixi_tests::node::{RunningNode, service};
use bixi_types::ports::Signer as _;
use serde_json::{Value, json};

use crate::bench::{Bench, PATIENCE};

#[test]
fn junk_is_told_its_reason_and_costs_nobody_else() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    // An announced frame that is too long, an empty one, one that is no request, and one that ends in the middle.
    for junk in [&[0xFF; 16][..], &[0; 4], &[3, 0, 0, 0, 9, 9, 9], &[200, 0, 0, 0, 1, 2, 3]] {
        let mut stream = UnixStream::connect(socket(&bench.config)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(junk).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut told = Vec::new();
        // The end may be a reset: what was sent is not read to its end.
        let _ = stream.read_to_end(&mut told);
        assert!(!told.is_empty(), "no reason for {junk:?}");
    }
    for height in 1..=5 {
        client.sign(&bench.statement(&client, height, 1)).unwrap();
    }
    assert!(!broker.said().contains("it ended"), "{}", broker.said());
    assert!(broker.said().contains("a caller's connection is ended"), "{}", broker.said());
}

#[test]
fn the_socket_of_a_service_manager_is_taken() {
    let bench = Bench::new();
    let path = socket(&bench.config);
    let listener = UnixListener::bind(&path).unwrap();
    // As systemd does: the socket in descriptor 3, the process named by its own number, which the shell hands on.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]);
    let inner = service();
    command.arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let broker = RunningBroker::try_start_by(command, &bench.config).unwrap_or_else(|ended| panic!("{}", ended.said));
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
    assert!(path.exists(), "it is the manager's to remove");
}

#[test]
fn node_and_broker_may_start_in_any_order_and_stop_one_after_the_other() {
    let bench = Bench::new();
    let (node, broker) = std::thread::scope(|scope| {
        let starting = scope.spawn(|| RunningNode::start(&bench.config));
        let broker = RunningBroker::start(&bench.config);
        (starting.join().expect("it waits for its broker"), broker)
    });
    assert_eq!(node.height(), 0);
    wait_until("the broker was asked for its device", || {
        let status = node.call("getNodeStatus", json!(["group0", ""])).expect("a status");
        status["custody"] == "software token (key in another process's memory)"
    });
    for ended in [node.stop(), broker.stop()] {
        assert!(ended.status.success(), "{}", ended.said);
    }
    assert!(!socket(&bench.config).exists(), "the socket goes with its broker");
}

#[test]
fn doctor_says_what_the_broker_says_and_takes_no_pin() {
    let bench = Bench::new();
    let doctor = || {
        let ran = service().args(["doctor", "--json", "--config"]).arg(&bench.config).output().expect("bixi starts");
        let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let checks = report["checks"].as_array().expect("checks").clone();
        let device = checks.into_iter().find(|check| check["check"] == "key device").expect("a line about the device");
        (device["verdict"].clone(), device["detail"].as_str().expect("a text").to_owned(), report["keys"].clone())
    };
    let (verdict, detail, _) = doctor();
    assert!(verdict == "BAD" && detail.contains("bixi hsm serve"), "{detail}");
    let broker = RunningBroker::start(&bench.config);
    std::fs::remove_file(bench.pin_file()).unwrap();
    let (verdict, detail, keys) = doctor();
    assert!(verdict == "warn" && detail.contains("another process's memory"), "{detail}");
    let keys = keys.as_array().expect("keys").clone();
    assert_eq!(keys.len(), 3);
    for key in keys {
        assert_eq!(key["extractable"], false);
        assert!(key["custody"].as_str().is_some_and(|custody| custody.contains("another process")), "{key}");
    }
    drop(broker);
}
