//! A validator whose keys are in a TPM: the ceremony's steps, a committed block, a loss of power of the TPM, a restart; and behind a broker
//! whose worker is killed and whose TPM stands still.

use std::fs;
use std::path::Path;
use std::process::Command;

use bixi_tests::broker::{self, RunningBroker};
use bixi_tests::chain::wait_until;
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, settings, swtpm_or_skip};
use rustix::process::Signal;
use serde_json::Value;

/// One step of the ceremony.
fn step(name: &str, node: &Path) {
    let done = Command::new(binary("bixi")).args(["chain", name, "--dir"]).arg(node).output().unwrap();
    assert!(done.status.success(), "bixi chain {name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `conf/keys.json`.
fn record(node: &Path) -> Value {
    serde_json::from_slice(&fs::read(node.join("conf/keys.json")).unwrap()).unwrap()
}

/// The record of the key of a role.
fn key(node: &Path, role: &str) -> Value {
    let record = record(node);
    let keys = record["keys"].as_array().unwrap();
    keys.iter().find(|key| key["role"] == role).unwrap().clone()
}

/// Has the node of a new chain of one take its steps again, with a TPM.
fn move_to_tpm(config: &Path, socket: &Path) {
    let node = config.parent().unwrap();
    settings::set(config, "hsm", "backend", "\"tpm\"");
    settings::set(config, "hsm", "module", &format!("{socket:?}"));
    settings::set(config, "hsm", "timeout_ms", "60000");
    let of_token = key(node, "consensus");
    fs::remove_file(node.join("conf/keys.json")).unwrap();
    fs::remove_dir_all(node.join("data")).unwrap();
    step("keys", node);
    let of_tpm = key(node, "consensus");
    assert!(of_tpm["uri"].as_str().unwrap().starts_with("tpm:token=bixi;object=consensus;"), "{of_tpm}");
    assert_eq!(of_tpm["extractable"], false);
    let ceremony = record(node)["tpm"].clone();
    assert_eq!(ceremony["parent_handle"], "0x81008000");
    // Algorithm and hash.
    for name in ["parent", "attestation_key"] {
        assert_eq!(ceremony[name].as_str().unwrap().len(), 2 * 34, "{ceremony}");
    }
    let id = |key: &Value| key["public_key"].as_str().unwrap().to_owned();
    let genesis = node.join("genesis.toml");
    let text = fs::read_to_string(&genesis).unwrap();
    let renamed = text.replace(&id(&of_token), &id(&of_tpm));
    assert_ne!(renamed, text, "the genesis names the validator");
    fs::write(&genesis, renamed).unwrap();
    step("seal", node);
}

/// A transaction that becomes final.
fn commit(node: &RunningNode, wallet: &mut Wallet, name: &str) {
    let transaction = wallet.user_add(name, 1, node.height() + 500);
    node.connect().unwrap().submit(&transaction.encode()).expect("final");
}

#[test]
fn a_tpm_behind_a_broker_outlives_its_worker_and_a_standstill() {
    let swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    move_to_tpm(&config, &swtpm.socket());
    fs::remove_dir_all(config.with_file_name("token")).unwrap();
    broker::configure(&config);
    settings::set(&config, "hsm", "timeout_ms", "5000");
    let broker = RunningBroker::start(&config);
    let (node, mut wallet) = (RunningNode::start(&config), Wallet::new(12));
    commit(&node, &mut wallet, "before");

    broker.signal_worker(Signal::KILL);
    commit(&node, &mut wallet, "by the next worker");
    assert_eq!(broker.workers().len(), 2, "{}", broker.said());

    let stood = node.height();
    let transaction = wallet.user_add("waits", 1, stood + 500);
    std::thread::scope(|scope| {
        swtpm.signal(Signal::STOP);
        let waiting = scope.spawn(|| node.connect().unwrap().submit(&transaction.encode()).is_ok());
        wait_until("it is missed", || node.said().contains("no answer in time"));
        swtpm.signal(Signal::CONT);
        waiting.join().unwrap();
    });
    wait_until("a block signed after the standstill", || node.height() > stood);
    commit(&node, &mut wallet, "after");
    let ended = node.stop();
    assert!(ended.status.success(), "{}", ended.said);
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
}

#[test]
fn a_validator_on_a_tpm_commits_and_outlives_a_loss_of_its_power() {
    let mut swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    move_to_tpm(&config, &swtpm.socket());
    // No module of a token is there to fall back to.
    fs::remove_dir_all(config.with_file_name("token")).unwrap();

    let mut wallet = Wallet::new(11);
    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, "before");
    swtpm.kill();
    swtpm.start();
    commit(&node, &mut wallet, "after");
    let height = node.height();
    assert!(height >= 2);
    let ended = node.stop();
    assert!(ended.status.success(), "{}", ended.said);

    let node = RunningNode::start(&config);
    assert_eq!(node.height(), height);
    commit(&node, &mut wallet, "again");
}
