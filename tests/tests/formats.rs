//! Whole nodes as released versions left them, kept as bytes: what cannot be read any more fails here.
//!
//! `BIXI_WRITE_FIXTURES=1 cargo test -p bixi-tests --test formats -- --ignored write_fixtures` makes those of the present formats.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, settings};
use serde_json::{Value, json};

/// A node that was stopped in order, and one that was killed beside its blocks after it went to the other cipher.
const NODES: [&str; 2] = ["node-v1-sm4-gcm", "node-v1-aes-256-gcm"];

/// A file of `fixtures/nodes`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nodes").join(name)
}

fn bixi(config: &Path, words: &[&str]) -> Output {
    Command::new(binary("bixi")).args(words).args(["--json", "--config"]).arg(config).output().unwrap()
}

/// What a command printed that succeeded.
fn told(config: &Path, words: &[&str]) -> Value {
    let ran = bixi(config, words);
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn tar(arguments: &[&str], archive: &Path, directory: &Path, name: &str) {
    let mut command = Command::new("tar");
    let ran = command.args(arguments).arg("-f").arg(archive).arg("-C").arg(directory).arg(name).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// What is held against the kept record of a node.
fn facts(config: &Path) -> Value {
    let found = told(config, &["db", "verify"]);
    let trail = told(config, &["hsm", "verify-audit"]);
    assert_eq!(trail["holds"], true, "{trail}");
    json!({
        "height": found["height"], "hash": found["hash"], "decided": found["decided"], "ciphers": ciphers(&found),
    "trail": trail["ends"],
    })
}

fn ciphers(found: &Value) -> Vec<&Value> {
    assert_eq!((&found["whole"], &found["found"]), (&json!(true), &json!(0)), "{found}");
    found["ciphers"].as_array().unwrap().iter().map(|one| &one["cipher"]).collect()
}

#[test]
fn the_ledger_of_a_released_version_opens_is_whole_and_goes_to_another_cipher() {
    for name in NODES {
        let (place, record) = kept(name);
        let config = place.path().join("node0/bixi.toml");
        assert_eq!(facts(&config), record, "{name}");
        // What was read is written again, in the other cipher.
        let (from, to) = match name.ends_with("sm4-gcm") {
            true => ("sm4-gcm", "aes-256-gcm"),
            false => ("aes-256-gcm", "sm4-gcm"),
        };
        assert_eq!(record["ciphers"], json!([from]), "{name}");
        let moved = told(&config, &["db", "rotate-key", "--drop", "--cipher", to]);
        assert_eq!((&moved["cipher"], &moved["left"]), (&json!(to), &json!([])), "{name}: {moved}");
        let found = told(&config, &["db", "verify"]);
        assert_eq!(ciphers(&found), [to], "{name}: {found}");
        assert_eq!(of(&found), of(&record), "{name}");
    }
}

/// The same rows as RocksDB wrote them without a seal: tables, and what only its logs have.
#[test]
fn a_kept_plaintext_ledger_is_sealed_and_whole() {
    let (place, record) = kept(NODES[0]);
    let (config, data) = (place.path().join("node0/bixi.toml"), place.path().join("node0/data"));
    fs::remove_dir_all(data.join("ledger")).unwrap();
    tar(&EXTRACT, &fixture("ledger-v1-plain.tar.gz"), &data, "ledger");
    let sealed = told(&config, &["db", "seal"]);
    assert!(sealed["rows"].as_u64() > Some(0) && sealed["report"]["whole"] == true, "{sealed}");
    let found = told(&config, &["db", "verify"]);
    assert_eq!((of(&found), ciphers(&found)), (of(&record), vec![&json!("sm4-gcm")]), "{found}");
}

const EXTRACT: [&str; 3] = ["-x", "-z", "--no-same-owner"];

/// A node that was kept, and what it said of itself.
fn kept(name: &str) -> (tempfile::TempDir, Value) {
    let place = tempfile::tempdir().unwrap();
    tar(&EXTRACT, &fixture(&format!("{name}.tar.gz")), place.path(), "node0");
    let module = binary("bixi").with_file_name("libbixi_token.so");
    let config = place.path().join("node0/bixi.toml");
    settings::set(&config, "hsm", "module", &format!("{:?}", module.to_str().unwrap()));
    (place, serde_json::from_slice(&fs::read(fixture(&format!("{name}.json"))).unwrap()).unwrap())
}

/// What of a report or a record no change of the cipher changes.
fn of(told: &Value) -> [Value; 3] {
    ["height", "hash", "decided"].map(|field| told[field].clone())
}

/// What of a node file the reading of its data needs: the rest may get other names.
fn needed(settings: &str) -> String {
    let keys = ["genesis", "data_dir", "ca", "certificate"];
    let hsm = ["module", "token", "token_config", "pin", "consensus_key", "tls_key", "kek"];
    let is_needed = |line: &&str| match line.split_once(" = ") {
        Some((key, _)) => keys.contains(&key) || hsm.contains(&key),
        None => ["[p2p]", "[hsm]"].contains(line),
    };
    let kept = settings.lines().filter(is_needed).map(|line| match line.starts_with("module = ") {
        true => "module = \"libbixi_token.so\"\n".to_owned(),
        false => format!("{line}\n"),
    });
    kept.collect()
}

#[test]
#[ignore = "writes the fixtures of the present formats into the source tree"]
fn write_fixtures() {
    assert!(std::env::var_os("BIXI_WRITE_FIXTURES").is_some(), "set BIXI_WRITE_FIXTURES=1");
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let mut wallet = Wallet::new(7);
    let mut commit = |node: &RunningNode, name: &str| {
        let transaction = wallet.user_add(name, 1, node.height() + 500);
        node.connect().unwrap().submit(&transaction.encode()).expect("final");
    };
    let keep = |name: &str| {
        let full = fs::read_to_string(&config).unwrap();
        fs::write(&config, needed(&full)).unwrap();
        let chain = config.ancestors().nth(2).unwrap();
        tar(
            &["-c", "-z", "--owner=0", "--group=0", "--exclude=*.sock"],
            &fixture(&format!("{name}.tar.gz")),
            chain,
            "node0",
        );
        fs::write(&config, full).unwrap();
        fs::write(fixture(&format!("{name}.json")), format!("{:#}\n", facts(&config))).unwrap();
    };
    fs::create_dir_all(fixture("")).unwrap();
    // A log and no table yet; the exchange of the keys makes tables.
    let node = RunningNode::start(&config);
    ["first", "second", "third", "fourth"].iter().for_each(|name| commit(&node, name));
    assert!(node.stop().status.success());
    keep(NODES[0]);
    told(&config, &["db", "rotate-key", "--drop", "--cipher", "aes-256-gcm"]);
    let node = RunningNode::start(&config);
    ["fifth", "sixth"].iter().for_each(|name| commit(&node, name));
    node.kill_now();
    drop(node);
    keep(NODES[1]);
}
