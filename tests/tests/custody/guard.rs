//! A validator that moves: its guard retired here, its marks imported there; and one that was copied.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;
use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::Wallet;

use crate::bench::{Bench, hsm, json, refused, said};

#[test]
fn a_guard_is_retired_before_its_marks_are_anywhere_else() {
    let bench = Bench::new();
    // Another host that reaches the same device: its guard has signed nothing.
    let other = bench.path("other-host");
    copy(bench.config.parent().unwrap(), &other).unwrap();
    let other = other.join("bixi.toml");
    assert_eq!(bench.json(&["guard", "show"])["marks"], serde_json::json!([]));
    let node = RunningNode::start(&bench.config);
    let transaction = Wallet::new(5).user_add("anna", 1, 500).encode();
    node.connect().unwrap().submit(&transaction).expect("final");
    let words = bench.refused(1, &["guard", "show"]);
    assert!(words.contains("stop both first"), "{words}");
    assert!(node.stop().status.success());
    let shown = bench.json(&["guard", "show"]);
    assert_eq!((shown["marks"].as_array().unwrap().len(), &shown["state"]), (2, &"in-service".into()), "{shown}");

    assert_eq!(hsm(&["guard", "await-import"], &other).status.code(), Some(2), "that it signs nothing has to be said");
    let ticket = ticket(&other);
    assert_eq!(self::ticket(&other), ticket, "asked again");
    let ended = RunningNode::try_start(&other).err().expect("a guard that waits starts nothing");
    assert!(ended.last_words().contains("waits for the marks"), "{}", ended.said);

    let file = bench.path("marks");
    let file = file.to_str().unwrap();
    let unsaid = bench.hsm(&["guard", "export", "--to", &ticket, "--out", file]);
    assert_eq!(unsaid.status.code(), Some(2), "retiring has to be said");
    let mistyped = bench.refused(1, &["guard", "export", "--retire", "--to", &"0".repeat(40), "--out", file]);
    assert!(mistyped.contains("no ticket"), "{mistyped}");
    assert_eq!(bench.json(&["guard", "show"])["state"], "in-service", "a wrong ticket retires nothing");
    let exported = bench.json(&["guard", "export", "--retire", "--to", &ticket, "--out", file]);
    assert_eq!((&exported["state"], &exported["file"]), (&"retired".into(), &file.into()), "{exported}");
    let ended = RunningNode::try_start(&bench.config).err().expect("a retired guard starts nothing");
    assert!(ended.last_words().contains("was retired"), "{}", ended.said);
    let again = bench.path("marks-again");
    let again = again.to_str().unwrap();
    let table = bench.hsm(&["guard", "export", "--retire", "--to", &ticket, "--out", again]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for name in ["file", "SM3 of the file", "written", "mark", "state"] {
        assert!(table.lines().any(|line| line.starts_with(name)), "{name}: {table}");
    }
    let words = bench.refused(1, &["guard", "import", file]);
    assert!(words.contains("waits for no marks"), "{words}");

    let other_key = "11".repeat(64);
    let words = refused(1, &hsm(&["guard", "import", file, "--tls-key", &other_key], &other));
    assert!(words.contains("not the key to be trusted"), "{words}");
    let imported = json(&hsm(&["guard", "import", file, "--json"], &other));
    // What both officers read to each other.
    for name in ["sm3", "written_at_ms", "marks", "fingerprint", "chain"] {
        assert_eq!(exported[name], imported[name], "{name}");
    }
    assert!(exported["sm3"].is_string() && exported["written_at_ms"].is_u64(), "{exported}");
    let moved = json(&hsm(&["guard", "show", "--json"], &other));
    assert_eq!((&moved["marks"], &moved["state"]), (&shown["marks"], &"in-service".into()), "{moved}");
    let mut bytes = fs::read(file).unwrap();
    bytes[100] ^= 1;
    fs::write(again, bytes).unwrap();
    let words = refused(1, &hsm(&["guard", "import", again], &other));
    assert!(words.contains("export of a sign-once guard") || words.contains("signature is wrong"), "{words}");
    // It stands where the other ended: what a chain of one decided there has to come along, or nothing is signed.
    let ended = RunningNode::try_start(&other).err().expect("the ledger stayed behind");
    assert!(ended.last_words().contains("by what this key has signed"), "{}", ended.said);
}

fn ticket(config: &Path) -> String {
    let waits = json(&hsm(&["guard", "await-import", "--stop-signing", "--json"], config));
    waits["ticket"].as_str().unwrap().to_owned()
}

/// `bixi …` on a host with another identity.
fn elsewhere(machine_id: &Path, arguments: &[&str], config: &Path) -> Output {
    let script = r#"mount --bind "$1" /etc/machine-id && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]).arg(machine_id);
    command.arg(binary("bixi")).args(arguments).arg("--config").arg(config).output().unwrap()
}

#[test]
fn a_copied_directory_does_not_sign_on_another_host() {
    let bench = Bench::new();
    let machine_id = bench.path("machine-id");
    fs::write(&machine_id, "00112233445566778899aabbccddeeff\n").unwrap();
    let probe = elsewhere(&machine_id, &["version"], &bench.config);
    if said(&probe).contains("mount") || said(&probe).contains("unshare") {
        let reason = said(&probe);
        println!("SKIPPED a copied directory on another host: that needs the right to mount: {}", reason.trim());
        return;
    }
    assert!(RunningNode::start(&bench.config).stop().status.success());
    let run = elsewhere(&machine_id, &["run"], &bench.config);
    let words = refused(78, &run);
    assert!(words.contains("belongs to another host"), "{words}");
    let words = refused(
        1,
        &elsewhere(&machine_id, &["hsm", "guard", "export", "--retire", "--to", "00", "--out", "x"], &bench.config),
    );
    assert!(words.contains("belongs to another host"), "marks of a copy are not the last word: {words}");
    let shown = json(&elsewhere(&machine_id, &["hsm", "guard", "show", "--json"], &bench.config));
    assert_eq!(shown["state"], "elsewhere");
    let words = bench.refused(1, &["guard", "adopt", "--fingerprint", shown["fingerprint"].as_str().unwrap()]);
    assert!(words.contains("belongs to this host already"), "{words}");
    let adopt = |fingerprint: &str| {
        elsewhere(&machine_id, &["hsm", "guard", "adopt", "--json", "--fingerprint", fingerprint], &bench.config)
    };
    let words = refused(1, &adopt("00"));
    assert!(words.contains("the validator's fingerprint is"), "{words}");
    assert_eq!(json(&adopt(shown["fingerprint"].as_str().unwrap()))["state"], "in-service");
    let ended = RunningNode::try_start(&bench.config).err().expect("the guard went with the disk");
    assert!(ended.last_words().contains("belongs to another host"), "{}", ended.said);
}
