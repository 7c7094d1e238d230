//! A validator whose keys are in an SDF device (GM/T 0018): made by the ceremony's own steps, admitted, signing with the others, and
//! signing again when the device comes back; in the node's process, and behind a broker whose worker is killed and whose device hangs; and
//! whose start the device hangs. The device is the SDF backend's test library, loaded by path like any vendor's.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use std::io::Write as _;

use bixi_tests::binary;
use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::console::{Console, header, is_signed_by};
use bixi_tests::node::RunningNode;
use bixi_tests::settings::set;
use bixi_tests::wallet::Wallet;
use rustix::process::Signal;
use serde_json::Value;

/// The test library's password for every key.
const PASSWORD: &str = "12345678";
/// Blocks that a transaction may wait.
const BLOCK_LIMIT_AHEAD: i64 = 500;

/// A device in a directory of its own: a copy of the library, and its configuration beside it.
fn device(place: &Path) -> PathBuf {
    let directory = place.join("device");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("sdf-test.conf"), format!("password = {PASSWORD}\nsessions_max = 8\n")).unwrap();
    let library = directory.join("libsdf.so");
    fs::copy(binary("deps/libbixi_sdf_test.so"), &library).unwrap();
    library
}

fn write_password(path: &Path) {
    let mut file = fs::File::options().create_new(true).write(true).mode(0o400).open(path).unwrap();
    file.write_all(PASSWORD.as_bytes()).unwrap();
}

/// A chain of one that `bixi chain new` makes in the device, with a broker; its node file.
fn make_in_device(place: &Path, library: &Path) -> PathBuf {
    let (password, chain) = (place.join("password"), place.join("chain"));
    write_password(&password);
    let mut command = Command::new(binary("bixi"));
    command.args(["chain", "new", "--backend", "sdf", "--broker", "--rpc-port", "0", "--evm-hash", "keccak256"]);
    command.arg("--module").arg(library).arg("--pin-file").arg(&password).arg("--dir").arg(&chain);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    chain.join("node0/bixi.toml")
}

fn step(name: &str, home: &Path) {
    let ran = Command::new(binary("bixi")).args(["chain", name, "--dir"]).arg(home).output().unwrap();
    assert!(ran.status.success(), "chain {name}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Gives a node that was made with a token of its own the SDF device instead; its id from then on.
fn move_into(chain: &Chain, config: &Path, library: &Path) -> String {
    let home = config.parent().unwrap();
    set(config, "hsm", "backend", "\"sdf\"");
    set(config, "hsm", "module", &format!("{library:?}"));
    set(config, "hsm", "token_config", "\"\"");
    let pin = home.join("secrets/user.pin");
    fs::remove_file(&pin).unwrap();
    write_password(&pin);
    for made in ["conf/keys.json", "conf/node.crt", "data/vault", "data/guard"] {
        fs::remove_file(home.join(made)).unwrap();
    }
    step("keys", home);
    chain.certify();
    step("seal", home);
    let keys: Value = serde_json::from_slice(&fs::read(home.join("conf/keys.json")).unwrap()).unwrap();
    let consensus = keys["keys"].as_array().unwrap().iter().find(|key| key["role"] == "consensus").unwrap();
    assert!(consensus["uri"].as_str().unwrap().starts_with("sdf:"), "{keys}");
    consensus["public_key"].as_str().unwrap().to_owned()
}

/// Transactions, one block each, until every node is `blocks` higher.
fn go_on(nodes: &[RunningNode], wallet: &mut Wallet, blocks: i64) {
    let all: Vec<&RunningNode> = nodes.iter().collect();
    let target = nodes[0].height() + blocks;
    while nodes[0].height() < target {
        let height = nodes[0].height();
        let transaction = wallet.user_add(&format!("user-{height}"), 100, height + BLOCK_LIMIT_AHEAD);
        let receipt = nodes[0].connect().unwrap().submit(&transaction.encode()).expect("a receipt");
        assert_eq!(receipt["status"], 0, "{receipt}");
    }
    wait_equal(&all, "after some transactions");
}

#[test]
fn a_validators_keys_live_in_an_sdf_device() {
    let place = tempfile::tempdir().unwrap();
    let mut chain = Chain::make(&place.path().join("chain"), "2");
    chain.expand();
    let id = move_into(&chain, &chain.configs[2], &device(place.path()));
    let nodes = start(&chain.configs);

    let (mut console, mut wallet) = (Console::new(77), Wallet::new(8));
    assert_eq!(console.add_observer(&nodes[0], &id).code, 0);
    assert_eq!(console.add_sealer(&nodes[0], &id, 1).code, 0);
    // Three equal validators: from here on no block is final without the signature of each.
    go_on(&nodes, &mut wallet, 5);
    assert!(is_signed_by(&header(&nodes[0], nodes[0].height()), &id));

    // The device goes and comes back; the node is not started again for it.
    let fault = place.path().join("device/state/fault");
    let stood = nodes[0].height();
    fs::write(&fault, "lost").unwrap();
    let transaction = wallet.user_add("waits", 100, stood + BLOCK_LIMIT_AHEAD);
    std::thread::scope(|scope| {
        // Its receipt may come later than the node waits for one.
        let waiting = scope.spawn(|| nodes[1].connect().unwrap().submit(&transaction.encode()).is_ok());
        wait_until("the device's loss in the log", || nodes[2].said().contains("SDR_COMMFAIL"));
        fs::remove_file(&fault).unwrap();
        waiting.join().unwrap();
    });
    wait_until("a block with the device's signature", || nodes[2].height() > stood);
    go_on(&nodes, &mut wallet, 3);
    assert!(is_signed_by(&header(&nodes[0], nodes[0].height()), &id));
}

/// The library's destructor waits for calls that hang: that the process ends at all is a part of it.
#[test]
fn a_start_whose_device_hangs_ends_in_time_with_what_it_hangs_at_and_the_next_one_is_served() {
    let place = tempfile::tempdir().unwrap();
    let config = make_in_device(place.path(), &device(place.path()));
    set(&config, "hsm", "broker", "\"\"");
    set(&config, "hsm", "open_timeout_ms", "2000");
    set(&config, "hsm", "timeout_ms", "1000");
    let fault = place.path().join("device/state/fault");
    for (function, words) in [
        ("SDF_OpenDevice", "opening the device) has not come back"),
        ("SDF_OpenSession", "opening the device) has not come back"),
        ("SDF_GenerateRandom", "at work) has not come back"),
        // Last: the PIN counts as tried.
        ("SDF_GetPrivateKeyAccessRight", "judging the PIN) has not come back"),
    ] {
        fs::write(&fault, format!("hang {function}")).unwrap();
        let ended = RunningNode::try_start(&config).err().expect("a device that hangs starts nothing");
        let last = ended.last_words();
        assert_eq!(ended.status.code(), Some(1), "{function}: {}", ended.said);
        for part in [words, "libsdf.so", "left behind", "start"] {
            assert!(last.contains(part), "{function}, {part}: {last}");
        }
    }
    // A command does not wait for ever either, and begins when the pause after that PIN is over.
    fs::write(&fault, "hang SDF_OpenDevice").unwrap();
    let list = Command::new(binary("bixi")).args(["hsm", "list", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&list.stderr);
    assert!(list.status.code() == Some(1) && said.contains("left behind"), "{said}");
    assert!(said.contains("gave no verdict on a PIN a moment ago"), "{said}");
    fs::remove_file(&fault).unwrap();
    set(&config, "hsm", "open_timeout_ms", "60000");
    let (nodes, mut wallet) = ([RunningNode::start(&config)], Wallet::new(10));
    go_on(&nodes, &mut wallet, 2);
}

#[test]
fn a_chain_is_made_in_an_sdf_device_and_its_broker_is_killed_and_hangs() {
    let place = tempfile::tempdir().unwrap();
    let config = make_in_device(place.path(), &device(place.path()));
    let keys: Value = serde_json::from_slice(&fs::read(config.with_file_name("conf/keys.json")).unwrap()).unwrap();
    for key in keys["keys"].as_array().unwrap() {
        assert!(key["uri"].as_str().unwrap().starts_with("sdf:"), "{keys}");
    }
    set(&config, "hsm", "timeout_ms", "1000");
    let broker = RunningBroker::start(&config);
    let (node, mut wallet) = (RunningNode::start(&config), Wallet::new(9));
    let nodes = [node];
    go_on(&nodes, &mut wallet, 2);

    broker.signal_worker(Signal::KILL);
    go_on(&nodes, &mut wallet, 2);
    assert_eq!(broker.workers().len(), 2, "{}", broker.said());

    let fault = place.path().join("device/state/fault");
    let stood = nodes[0].height();
    fs::write(&fault, "hang SDF_InternalSign_ECC").unwrap();
    let transaction = wallet.user_add("waits", 100, stood + BLOCK_LIMIT_AHEAD);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| nodes[0].connect().unwrap().submit(&transaction.encode()).is_ok());
        wait_until("the worker ends", || broker.said().contains("the device hangs"));
        fs::remove_file(&fault).unwrap();
        waiting.join().unwrap();
    });
    wait_until("a block with the next worker's signature", || nodes[0].height() > stood);
    go_on(&nodes, &mut wallet, 2);
    assert!(broker.workers().len() >= 3, "{}", broker.said());
    for node in nodes {
        let ended = node.stop();
        assert!(ended.status.success(), "{}", ended.said);
    }
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);

    // SDF has no key of a moment: the TLS key signs what stands for nothing, and the report says so.
    let mut command = Command::new(binary("bixi"));
    command.args(["hsm", "bench", "--json", "--seconds", "1", "--callers", "2", "--config"]).arg(&config);
    let measured = command.output().unwrap();
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let kinds: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!((report["key"].as_str(), &kinds[..]), (Some("tls"), &["sign", "prf", "random"][..]), "{report}");
}
