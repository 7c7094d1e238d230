//! A guard, an audit trail or a vault that only a person can put right: no worker is started again and again, and none sends the PIN for it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::wait_until;
use bixi_types::ports::Signer as _;
use rustix::process::Signal;

use crate::bench::Bench;
use crate::device::{Device, Fault};

/// `EX_CONFIG`, in the unit's RestartPreventExitStatus.
const CONFIGURATION: i32 = 78;

fn data(bench: &Bench, name: &str) -> PathBuf {
    bench.config.with_file_name("data").join(name)
}

/// A byte in the middle of a sealed file.
fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn refused(device: &Device, words: &str) {
    let ended = device.spawned().wait_end();
    assert_eq!(ended.status.code(), Some(CONFIGURATION), "{}", ended.said);
    assert!(ended.said.contains(words), "{words}: {}", ended.said);
    assert!(!ended.said.contains("another one starts"), "{}", ended.said);
}

/// A login would wait for ever, and be noted.
#[test]
fn what_is_missing_ends_the_broker_before_a_pin_is_sent() {
    let bench = Bench::new();
    let device = Device::new(&bench);
    device.set(Fault::SlowLogin, true);
    for name in ["guard", "vault"] {
        let (there, away) = (data(&bench, name), data(&bench, "away"));
        fs::rename(&there, &away).unwrap();
        refused(&device, "is missing");
        fs::rename(&away, &there).unwrap();
    }
    assert!(!data(&bench, "pin-state").exists(), "a PIN was sent");
    device.set(Fault::SlowLogin, false);
    drop(device.broker());
}

#[test]
fn what_is_damaged_ends_the_broker_and_no_other_worker_is_started() {
    let bench = Bench::new();
    let device = Device::new(&bench);
    let broker = device.broker();
    let client = bench.client();
    for height in 1..4 {
        client.sign(&bench.statement(&client, height, 1)).unwrap();
    }
    assert!(broker.stop().status.success());
    for name in ["guard", "vault", "audit/audit-000001.log"] {
        let path = data(&bench, name);
        let sound = fs::read(&path).unwrap();
        flip(&path);
        refused(&device, name);
        fs::write(&path, sound).unwrap();
    }
    drop(device.broker());
}

/// Each start would be a login, and says no more than the one before.
#[test]
fn what_becomes_unusable_while_the_broker_runs_is_left_alone_for_long() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    fs::rename(data(&bench, "guard"), data(&bench, "away")).unwrap();
    broker.signal_worker(Signal::KILL);
    wait_until("it rests", || broker.said().contains("pause_ms=600000"));
    sleep(Duration::from_secs(3));
    assert_eq!(broker.said().matches("another one starts").count(), 2, "{}", broker.said());
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
}

/// Its supervisor may end before it, and a second signer of one key would contradict it.
#[test]
fn a_worker_holds_the_brokers_lock_and_gives_it_to_no_program() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let worker = PathBuf::from(format!("/proc/{}", broker.worker()));
    let lock = fs::canonicalize(data(&bench, "broker.lock")).unwrap();
    let open = match fs::read_dir(worker.join("fd")) {
        // A hardened process shows its descriptors to root only.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return,
        open => open.unwrap().map(|entry| entry.unwrap()),
    };
    let held = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == lock)).collect::<Vec<_>>();
    let [held] = &held[..] else { panic!("{} descriptors", held.len()) };
    let info = fs::read_to_string(worker.join("fdinfo").join(held.file_name())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim().to_owned();
    let (flags, close_on_exec) = (u32::from_str_radix(&flags, 8).unwrap(), 0o2_000_000);
    assert_eq!(flags & close_on_exec, close_on_exec, "{info}");
}
