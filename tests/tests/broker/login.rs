//! Devices that take their time to judge a PIN, never do, or refuse it in the middle of the work.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use bixi_hsm::service::Client;
use bixi_hsm_broker::SocketChannel;
use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::wait_until;
use bixi_tests::node::RunningNode;
use bixi_types::ports::{SignError, Signer as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, PATIENCE};
use crate::device::{Device, Fault};

/// `EX_NOPERM`, in the unit's RestartPreventExitStatus.
const WRONG_PIN: i32 = 77;
/// Longer than `TIMEOUT_MS` and a second, after which a call that is no login costs its worker.
const LONG: Duration = Duration::from_secs(8);
const TIMEOUT_MS: &str = "3000";

fn bench() -> (Bench, Device) {
    let bench = Bench::new();
    let device = Device::new(&bench);
    bench.set("timeout_ms", TIMEOUT_MS);
    (bench, device)
}

/// What is known of PINs that were tried and not right.
fn pin_state(bench: &Bench) -> PathBuf {
    bench.config.with_file_name("data/pin-state")
}

#[test]
fn a_login_may_take_longer_than_any_call() {
    let (bench, device) = bench();
    device.set(Fault::SlowLogin, true);
    let broker = device.spawned();
    let first = device.wait_for_login();
    sleep(LONG);
    device.set(Fault::SlowLogin, false);
    broker.wait_for_another(0);
    assert_eq!(broker.worker(), first, "{}", broker.said());
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
}

#[test]
fn a_login_in_the_middle_of_a_call_may_take_as_long() {
    let (bench, device) = bench();
    let broker = device.broker();
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    device.set(Fault::Gone, true);
    assert!(matches!(client.sign(&bench.statement(&client, 2, 1)), Err(SignError::Device(_))));
    device.set(Fault::SlowLogin, true);
    device.set(Fault::Gone, false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.sign(&bench.statement(&client, 2, 1)));
        let worker = device.wait_for_login();
        sleep(LONG);
        device.set(Fault::SlowLogin, false);
        waiting.join().unwrap().expect("signed once the device has logged in");
        assert_eq!(broker.worker(), worker, "{}", broker.said());
    });
}

/// Killed while its device judges the PIN, a worker leaves a try without a verdict; two of them hold a right PIN back.
#[test]
fn a_stop_in_the_middle_of_a_login_is_in_order_and_costs_no_try() {
    let (bench, device) = bench();
    for _ in 0..3 {
        device.set(Fault::SlowLogin, true);
        let broker = device.spawned();
        let worker = Pid::from_raw(device.wait_for_login()).expect("a process");
        assert!(pin_state(&bench).exists(), "noted before it is sent");
        // A service manager tells every process of the service.
        kill_process(worker, Signal::TERM).unwrap();
        broker.signal(Signal::TERM);
        wait_until("it hears", || broker.said().contains("stopping in order"));
        device.set(Fault::SlowLogin, false);
        let ended = broker.wait_end();
        assert!(ended.status.success(), "{}", ended.said);
        assert!(!pin_state(&bench).exists(), "the verdict was waited for: {}", ended.said);
    }
    drop(device.broker());
}

/// Neither the first nor the second signal, of any command that opens the device by itself.
#[test]
fn no_command_ends_between_a_pin_and_its_verdict() {
    let (bench, device) = bench();
    bench.set("broker", "\"\"");
    for arguments in [&["hsm", "list"][..], &["hsm", "guard", "show"], &["doctor"], &["run"]] {
        device.set(Fault::SlowLogin, true);
        let mut command = device.command();
        command.args(arguments).arg("--config").arg(&bench.config);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Pid::from_raw(device.wait_for_login()).expect("a process");
        assert_eq!(process, Pid::from_child(&child));
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            // To a service SIGHUP says something else, and it does not listen yet.
            if arguments[0] != "run" || signal != Signal::HUP {
                kill_process(process, signal).unwrap();
                sleep(Duration::from_millis(200));
            }
            assert_eq!(child.try_wait().unwrap(), None, "{arguments:?} ended by {signal:?}");
        }
        assert!(pin_state(&bench).exists(), "{arguments:?} has sent no PIN");
        device.set(Fault::SlowLogin, false);
        let ended = child.wait().unwrap();
        assert!(ended.signal().is_some(), "{arguments:?} went on: {ended}");
        assert!(!pin_state(&bench).exists(), "{arguments:?}: the verdict was not waited for");
    }
}

/// A node that is started beside its broker waits for it as long as that says what it waits for itself.
#[test]
fn a_node_hears_what_its_broker_waits_for() {
    let (bench, device) = bench();
    device.set(Fault::SlowLogin, true);
    let broker = device.spawned();
    device.wait_for_login();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| RunningNode::start(&bench.config));
        let client = SocketChannel::new(bench.config.with_file_name("broker.sock"), PATIENCE);
        let told = Client::connect(client).unwrap_err().to_string();
        assert!(told.contains("being started: judging the PIN"), "{told}");
        assert!(!starting.is_finished(), "{}", broker.said());
        device.set(Fault::SlowLogin, false);
        let node = starting.join().unwrap();
        wait_until("it was told", || node.said().contains("being started: judging the PIN"));
    });
}

#[test]
fn a_pin_that_never_came_back_is_held_back_and_the_broker_waits_for_a_person() {
    let (bench, device) = bench();
    device.set(Fault::SlowLogin, true);
    let broker = device.spawned();
    for _ in 0..2 {
        let worker = Pid::from_raw(device.wait_for_login()).expect("a process");
        kill_process(worker, Signal::KILL).unwrap();
    }
    assert!(broker.said().contains("waiting before the next attempt"), "the second try waited: {}", broker.said());
    wait_until("it is held back", || broker.said().contains("ended without a verdict"));
    wait_until("it rests", || broker.said().contains("pause_ms=60000"));
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
    // The device was asked twice and no more, and answers a person who has looked.
    device.set(Fault::SlowLogin, false);
    fs::remove_file(pin_state(&bench)).unwrap();
    drop(device.broker());
}

/// The pool of its device asks nothing any more: a worker that went on would beat for ever and sign nothing.
#[test]
fn a_pin_that_is_refused_in_the_middle_of_the_work_ends_the_broker() {
    let (bench, device) = bench();
    let broker = device.broker();
    let client: Client<SocketChannel> = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    for fault in [Fault::Gone, Fault::Refuses] {
        device.set(fault, true);
    }
    assert!(matches!(client.sign(&bench.statement(&client, 2, 1)), Err(SignError::Device(_))));
    device.set(Fault::Gone, false);
    assert!(matches!(client.sign(&bench.statement(&client, 2, 1)), Err(SignError::Device(_))));
    let ended = broker.wait_end();
    assert_eq!(ended.status.code(), Some(WRONG_PIN), "{}", ended.said);
    assert!(!ended.said.contains("another one starts"), "{}", ended.said);
}

/// Before it touches the socket that callers use, and before it reads a PIN.
#[test]
fn a_second_broker_of_a_node_is_refused_and_disturbs_nobody() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    fs::remove_file(bench.pin_file()).unwrap();
    let ended = RunningBroker::try_start(&bench.config).err().expect("one broker serves a node");
    assert!(ended.said.contains("another `bixi hsm serve` of this node runs"), "{}", ended.said);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
}
