//! A validator whose keys are in a TPM: the ceremony's steps, a committed block, a loss of power of the TPM, a restart; behind a broker
//! whose worker is killed and whose TPM stands still; and a whole disk put back, which the TPM has counted beyond.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bixi_hsm::service::COUNT_PAUSE;
use bixi_tests::broker::{self, RunningBroker};
use bixi_tests::chain::wait_until;
use bixi_tests::disk::copy;
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
    assert!(node.stop().status.success());
    // A ledger that waits for its verification: the guard is looked into for the count, and held while all is read.
    let mark = config.with_file_name("data").join("ledger/sealing");
    fs::create_dir(&mark).unwrap();
    assert!(refused_start(&config).contains("`bixi db seal`"));
    let (accepted, said) = seal(&config);
    assert!(accepted && !mark.exists(), "{said}");
    let node = RunningNode::start(&config);
    assert!(node.stop().status.success());
}

/// Has a ledger verified that was sealed from plaintext; whether it was accepted, and what was said.
fn seal(config: &Path) -> (bool, String) {
    let done = Command::new(binary("bixi")).args(["db", "seal", "--config"]).arg(config).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// A command of officers about the stopped node; what it prints.
fn officer(config: &Path, arguments: &[&str]) -> String {
    let done = Command::new(binary("bixi")).arg("hsm").args(arguments).arg("--config").arg(config).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// How the guard stands.
fn shown(config: &Path) -> Value {
    serde_json::from_str(&officer(config, &["guard", "show", "--json"])).unwrap()
}

/// Says that there is no newer state of this disk.
fn adopt_old_copy(config: &Path) {
    let shown = shown(config);
    assert_eq!(shown["state"], "in-service", "{shown}");
    assert!(shown["old_copy"].as_str().is_some_and(|reason| reason.contains("may be an old copy")), "{shown}");
    officer(config, &["guard", "adopt", "--old-copy", "--fingerprint", shown["fingerprint"].as_str().unwrap()]);
}

/// Why the node does not start.
fn refused_start(config: &Path) -> String {
    let ended = RunningNode::try_start(config).err().expect("it must not start");
    assert_eq!(ended.status.code(), Some(78), "{}", ended.said);
    ended.last_words().to_owned()
}

/// A copy of the whole directory, guard and vault and all, taken when the node was stopped in order.
#[test]
fn a_whole_disk_that_is_put_back_is_refused_by_the_count_of_the_device() {
    let swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    move_to_tpm(&config, &swtpm.socket());
    let mut wallet = Wallet::new(13);
    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, "in the copy");
    assert!(node.stop().status.success());
    let (data, kept) = (config.with_file_name("data"), place.path().join("kept"));
    copy(&data, &kept).unwrap();
    // A device is not made to count sooner.
    std::thread::sleep(COUNT_PAUSE + Duration::from_secs(1));
    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, "after the copy");
    assert!(node.stop().status.success());
    let node = RunningNode::start(&config);
    assert!(node.stop().status.success(), "the newest state");

    fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data).unwrap();
    let said = refused_start(&config);
    assert!(said.contains("may be an old copy"), "{said}");
    let mark = data.join("ledger/sealing");
    fs::create_dir(&mark).unwrap();
    let (accepted, said) = seal(&config);
    assert!(!accepted && mark.exists() && said.contains("may be an old copy"), "{said}");
    fs::remove_dir(mark).unwrap();
    adopt_old_copy(&config);
    assert!(shown(&config)["old_copy"].is_null());
    let node = RunningNode::start(&config);
    assert!(node.stop().status.success(), "an officer took it up");
}

/// What officers write into the vault is counted at once; a counter that the TPM's owner took away is made anew.
#[test]
fn an_older_vault_is_refused_and_a_counter_that_was_removed_has_a_way_on() {
    let swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    move_to_tpm(&config, &swtpm.socket());
    let node = RunningNode::start(&config);
    assert!(node.stop().status.success());
    let (vault, before) = (config.with_file_name("data").join("vault"), place.path().join("vault"));
    fs::copy(&vault, &before).unwrap();
    officer(&config, &["rotate", "kek"]);
    let newest = place.path().join("newest");
    fs::copy(&vault, &newest).unwrap();
    fs::copy(&before, &vault).unwrap();
    let said = refused_start(&config);
    assert!(said.contains("version 2 of the vault, and the vault beside it is version 1"), "{said}");
    fs::copy(&newest, &vault).unwrap();
    let node = RunningNode::start(&config);
    assert!(node.stop().status.success(), "the newest vault");

    // TPM2_NV_UndefineSpace of the first index, by an owner without an authorization.
    let header = [0x80, 2, 0, 0, 0, 31, 0, 0, 1, 0x22];
    let (owner, index) = ([0x40, 0, 0, 1], [1, 0x80, 0x80, 0]);
    let nobody = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
    let response = swtpm.command(&[&header[..], &owner, &index, &nobody].concat());
    assert_eq!(response[6..10], [0; 4], "{response:02x?}");
    let said = refused_start(&config);
    assert!(said.contains("was removed") && said.contains("adopt --old-copy` makes another counter"), "{said}");
    adopt_old_copy(&config);
    let node = RunningNode::start(&config);
    commit(&node, &mut Wallet::new(14), "with another counter");
    assert!(node.stop().status.success());
}
