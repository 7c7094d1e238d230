//! A chain of one that signed a wrong result: nobody else can certify another, and two officers can have it signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::disk::copy;
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, settings};
use serde_json::Value;

use crate::meddler::give_balance;
use crate::{commit, replay, words};

fn hsm(arguments: &[&str]) -> Output {
    Command::new(binary("bixi")).arg("hsm").args(arguments).output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, words(output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[track_caller]
fn refused(output: &Output, reason: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", words(output));
    assert!(words(output).contains(reason), "{reason}: {}", words(output));
}

/// An officer with a key of his own, sealed by a passphrase.
struct Officer {
    key: PathBuf,
    passphrase: String,
    public_key: String,
}

impl Officer {
    fn new(place: &Path, name: &str) -> Self {
        let (key, file) = (place.join(format!("{name}.key")), place.join(format!("{name}.pass")));
        fs::write(&file, format!("the passphrase of {name}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        let passphrase = format!("file:{}", file.display());
        let out = key.to_str().unwrap();
        let absent = hsm(&["officer", "new", "--passphrase", "file:/absent", "--out", out]);
        refused(&absent, "cannot read the PIN or passphrase from /absent");
        let made = done(&hsm(&["officer", "new", "--json", "--passphrase", &passphrase, "--out", out]));
        let made: Value = serde_json::from_str(&made).unwrap();
        assert_eq!(made["file"], out);
        let public_key = made["public_key"].as_str().unwrap().to_owned();
        Self { key, passphrase, public_key }
    }

    fn sign(&self, statement: &Path) -> PathBuf {
        let out = self.key.with_extension("approval");
        let _ = fs::remove_file(&out);
        let [statement, key, file] = [statement, &self.key, &out].map(|path| path.to_str().unwrap());
        let arguments = ["officer", "sign", "--statement", statement, "--key", key, "--out", file, "--passphrase"];
        let shown = hsm(&[&arguments[..], &[&self.passphrase, "--json"]].concat());
        assert!(words(&shown).contains("a faulty build"), "what is signed is shown: {}", words(&shown));
        let told: Value = serde_json::from_str(&done(&shown)).unwrap();
        assert_eq!((&told["officer"], &told["approval"]), (&self.public_key.as_str().into(), &file.into()), "{told}");
        assert_eq!(told["statement"]["reason"], "a faulty build", "{told}");
        out
    }
}

#[test]
fn two_officers_have_the_right_result_signed_where_no_quorum_of_others_is() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let ledger = config.with_file_name("data").join("ledger");
    let mut wallet = Wallet::new(29);
    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, 0..2);
    let head = node.height() as u64;
    assert!(node.stop().status.success());
    let right = place.path().join("right");
    copy(&ledger, &right).unwrap();
    give_balance(&config, &["user-2".into()]);
    let node = RunningNode::start(&config);
    let transaction = wallet.user_add("user-2", 100, node.height() + 500).encode();
    node.connect().and_then(|mut to| to.submit(&transaction)).expect("a receipt of whatever status");
    assert_eq!(node.height() as u64, head + 1);
    assert!(node.stop().status.success());
    fs::remove_dir_all(&ledger).unwrap();
    fs::rename(&right, &ledger).unwrap();
    refused(&replay(&config, head + 1, &["--accept"]), "without this node the validators weigh 0");

    let [a, b, c] = ["anna", "bo", "carl"].map(|name| Officer::new(place.path(), name));
    settings::set(&config, "hsm", "officers", &format!("[{:?}, {:?}]", a.public_key, b.public_key));
    let statement = place.path().join("statement");
    let propose = ["--propose", statement.to_str().unwrap(), "--reason", "a faulty build", "--json"];
    let told: Value = serde_json::from_str(&done(&replay(&config, head + 1, &propose))).unwrap();
    assert_eq!(told["divergent"], serde_json::json!([head + 1]));
    let [by_a, by_b, by_c] = [&a, &b, &c].map(|officer| officer.sign(&statement));
    let overrule = |approvals: [&PathBuf; 2]| {
        let [one, two] = approvals.map(|path| path.to_str().unwrap());
        let (config, statement) = (config.to_str().unwrap(), statement.to_str().unwrap());
        let files = ["--config", config, "--statement", statement, "--approval", one, "--approval", two];
        hsm(&[&["guard", "override", "--json"], &files[..]].concat())
    };
    refused(&overrule([&by_a, &by_a]), "1 officers approved");
    refused(&overrule([&by_a, &by_c]), "is no officer of this node");
    refused(&replay(&config, head + 1, &["--accept"]), "without this node the validators weigh 0");
    let approved = done(&overrule([&by_a, &by_b]));
    let approved: Value = serde_json::from_str(&approved).unwrap();
    let mut officers = [&a.public_key, &b.public_key];
    officers.sort();
    assert_eq!(approved, serde_json::json!({ "officers": officers }), "in the order of their keys");
    refused(&overrule([&by_a, &by_b]), "the next one of this guard is 2");
    done(&replay(&config, head + 1, &["--accept"]));

    let node = RunningNode::start(&config);
    commit(&node, &mut wallet, 3..4);
    assert!(node.height() as u64 > head + 1);
    assert!(node.stop().status.success());
    let trail = done(&hsm(&["verify-audit", "--all", "--config", config.to_str().unwrap()]));
    for part in [&a.public_key, &b.public_key, told["heights"][0]["header"].as_str().unwrap()] {
        assert!(trail.lines().any(|line| line.contains("guard-override") && line.contains(part)), "{part}: {trail}");
    }
}
