//! A validator whose keys are in a TPM: the ceremony's steps, a committed block, a loss of power of the TPM, a restart.

use std::fs;
use std::path::Path;
use std::process::Command;

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, settings, swtpm_or_skip};
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

#[test]
fn a_validator_on_a_tpm_commits_and_outlives_a_loss_of_its_power() {
    let mut swtpm = swtpm_or_skip!();
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    move_to_tpm(&config, &swtpm.socket());
    // No module of a token is there to fall back to.
    fs::remove_dir_all(config.with_file_name("token")).unwrap();

    let mut wallet = Wallet::new(11);
    let mut commit = |node: &RunningNode, name: &str| {
        let transaction = wallet.user_add(name, 1, node.height() + 500);
        node.connect().unwrap().submit(&transaction.encode()).expect("final");
    };
    let node = RunningNode::start(&config);
    commit(&node, "before");
    swtpm.kill();
    swtpm.start();
    commit(&node, "after");
    let height = node.height();
    assert!(height >= 2);
    let ended = node.stop();
    assert!(ended.status.success(), "{}", ended.said);

    let node = RunningNode::start(&config);
    assert_eq!(node.height(), height);
    commit(&node, "again");
}
