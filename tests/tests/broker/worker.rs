//! A worker that is killed, stopped or hangs in its device is replaced; what was asked is answered by the next one.

use std::fs;
use std::process::Command;

use bixi_accel::sm2;
use bixi_hsm::verify::SmVerifier;
use bixi_hsm::{Custody, ErrorKind};
use bixi_tests::binary;
use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::wait_until;
use bixi_tests::process::is_running;
use bixi_types::ports::{Check, SignError, Signer as _, Verifier as _};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, test_kill_process_group};

use crate::bench::Bench;
use crate::device::{Device, Fault};

#[test]
fn the_next_worker_gives_the_signatures_of_the_last_one_and_no_others() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    let vote = bench.vote(&client, 1, 1);
    let signature = client.sign(&bench.statement(&client, 1, 1)).unwrap();
    let (node, message) = (client.node_id(), vote.sign_bytes());
    let check = Check { node: &node, message: &message, signature: &signature };
    assert!(SmVerifier::new(std::sync::Arc::new(sm2::Registry::new(1))).verify(&[check])[0]);
    // Durable with the next claim: what comes before it is given again by whoever comes after.
    client.sign(&bench.statement(&client, 2, 1)).unwrap();
    assert_eq!(client.health().unwrap().custody, Custody::OtherProcess);
    broker.signal_worker(Signal::KILL);
    assert_eq!(client.sign(&bench.statement(&client, 1, 1)).unwrap(), signature);
    for contradiction in [bench.statement(&client, 1, 2), bench.statement(&client, 2, 2)] {
        assert!(matches!(client.sign(&contradiction), Err(SignError::Conflict(_))));
    }
    broker.wait_for_another(1);
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
    assert_eq!(client.health().unwrap_err().kind(), ErrorKind::Retry, "nobody is there");
    // Another supervisor, another worker, the same guard.
    let _broker = RunningBroker::start(&bench.config);
    assert_eq!(client.sign(&bench.statement(&client, 1, 1)).unwrap(), signature);
}

#[test]
fn a_stopped_worker_is_killed_and_replaced() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    broker.signal_worker(Signal::STOP);
    client.sign(&bench.statement(&client, 2, 1)).expect("signed by the next worker");
    broker.wait_for_another(1);
    assert!(broker.said().contains("said nothing"), "{}", broker.said());
}

#[test]
fn a_device_that_hangs_ends_its_worker_and_the_next_one_signs() {
    let bench = Bench::new();
    let device = Device::new(&bench);
    bench.set("timeout_ms", "1000");
    let broker = device.broker();
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    let hung = broker.worker();
    device.set(Fault::Hangs, true);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.sign(&bench.statement(&client, 2, 1)));
        wait_until("the worker ends", || broker.said().contains("the device hangs"));
        device.set(Fault::Hangs, false);
        waiting.join().unwrap().expect("signed by a worker whose device does not hang");
    });
    broker.wait_for_another(1);
    assert!(matches!(client.sign(&bench.statement(&client, 2, 2)), Err(SignError::Conflict(_))));
    // What the library forked held the locks of guard and audit trail, too.
    let group = Pid::from_raw(hung).expect("a process");
    assert_eq!(test_kill_process_group(group), Err(Errno::SRCH), "something of worker {hung} is left");
    assert!(broker.said().contains("its device hung"), "{}", broker.said());
}

/// It serves with what its supervisor read, and whatever is written there meanwhile counts at the next start of that.
#[test]
fn files_that_are_being_edited_are_no_matter_of_the_next_worker() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    fs::write(&bench.config, "[hsm]\ntoken = \"anot").unwrap();
    fs::remove_file(bench.config.with_file_name("genesis.toml")).unwrap();
    broker.signal_worker(Signal::KILL);
    client.sign(&bench.statement(&client, 2, 1)).expect("signed by the next worker");
    broker.wait_for_another(1);
    assert!(broker.stop().status.success());
}

#[test]
fn a_worker_is_replaced_also_when_its_program_is() {
    let bench = Bench::new();
    let program = bench.place.path().join("bixi");
    fs::copy(binary("bixi"), &program).unwrap();
    let broker = RunningBroker::try_start_by(Command::new(&program), &bench.config);
    let broker = broker.unwrap_or_else(|ended| panic!("{}", ended.said));
    fs::remove_file(&program).unwrap();
    broker.signal_worker(Signal::KILL);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).expect("signed by a worker of the program that runs");
}

#[test]
fn a_worker_does_not_outlive_its_supervisor() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let worker = broker.worker();
    broker.signal(Signal::KILL);
    wait_until("the worker ends", || !is_running(worker));
    drop(broker);
    let broker = RunningBroker::start(&bench.config);
    let worker = broker.worker();
    broker.signal_worker(Signal::STOP);
    broker.signal(Signal::KILL);
    wait_until("the stopped worker ends", || !is_running(worker));
}
