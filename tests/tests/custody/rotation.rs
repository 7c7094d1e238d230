//! New keys in the place of old ones, and a start after every step.

use std::fs;
use std::process::Command;

use bixi_tests::node::RunningNode;
use bixi_tests::{binary, settings};

use crate::bench::Bench;

/// The node starts and stops.
#[track_caller]
fn starts(bench: &Bench) {
    let ended = RunningNode::start(&bench.config).stop();
    assert!(ended.status.success(), "{}", ended.said);
}

#[test]
fn a_node_starts_after_every_step_of_a_new_key_encryption_key() {
    let bench = Bench::new();
    starts(&bench);
    // What a step leaves that was cut off after it made its key.
    let spare = bench.json(&["generate", "--label", "kek-2", "--kind", "kek"]);
    assert_eq!(spare["fingerprint"].as_str().map(str::len), Some(16), "{spare}");
    assert_eq!(bench.json(&["attest", "--key", "kek-2"])["fingerprint"], spare["fingerprint"]);
    starts(&bench);
    let nothing = bench.json(&["rotate", "kek", "--finish"]);
    assert_eq!(nothing["ended"], serde_json::json!([]), "there is one key, and it stays");
    let begun = bench.json(&["rotate", "kek"]);
    assert_eq!((begun["label"].as_str(), begun["node_file"].as_str()), (Some("kek-3"), Some("kek = \"kek-3\"")));
    starts(&bench);
    let words = bench.refused(1, &["rotate", "kek", "--finish"]);
    assert!(words.contains("the newest key that opens the vault is \"kek-3\""), "{words}");
    settings::set(&bench.config, "hsm", "kek", "\"kek-3\"");
    starts(&bench);
    assert_eq!(bench.json(&["attest", "--key", "kek"])["fingerprint"], begun["fingerprint"]);
    let finished = bench.json(&["rotate", "kek", "--finish"]);
    let ended = &finished["ended"][0];
    assert!(ended["kek"].as_str().unwrap().contains("object=kek;"), "{finished}");
    assert_eq!((ended["kind"].as_str(), ended["label"].as_str()), (Some("primary"), Some("primary")), "{finished}");
    assert_eq!(bench.json(&["rotate", "kek", "--finish"])["ended"], serde_json::json!([]), "it was finished before");
    starts(&bench);
    settings::set(&bench.config, "hsm", "kek", "\"kek\"");
    assert!(RunningNode::try_start(&bench.config).is_err(), "the old key opens the vault no more");
    settings::set(&bench.config, "hsm", "kek", "\"kek-3\"");
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(bench.config.with_file_name("conf").join("keys.json")).unwrap()).unwrap();
    assert_eq!((&record["kek_fingerprint"], record["kek_fingerprint"].is_string()), (&begun["fingerprint"], true));
    let trail = bench.json(&["verify-audit"]);
    let counts = trail["counts"].as_array().unwrap();
    let rotations = counts.iter().find(|count| count["request"] == "rotate-kek").expect("told of");
    assert_eq!(rotations["count"], 4, "each before and after: {trail}");
}

/// An officer who takes such a key up after a kill has it to compare with.
#[test]
fn people_are_told_the_fingerprint_of_a_key_encryption_key_by_which_it_is_adopted() {
    let bench = Bench::new();
    for command in [&["generate", "--label", "spare", "--kind", "kek"][..], &["rotate", "kek"]] {
        let made = bench.hsm(command);
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let label = if command[0] == "generate" { "spare" } else { "kek-2" };
        let known = bench.json(&["attest", "--key", label])["fingerprint"].as_str().unwrap().to_owned();
        let line = text.lines().find(|line| line.starts_with("fingerprint")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.ends_with(&known), "{text}");
    }
}

#[test]
fn a_new_tls_key_is_certified_by_its_request() {
    let bench = Bench::new();
    let (request, certificate) = (bench.path("tls.csr"), bench.path("tls.crt"));
    let made = bench.json(&["rotate", "tls", "--request", request.to_str().unwrap()]);
    let verified = Command::new("openssl")
        .args(["req", "-noout", "-verify", "-vfyopt", "distid:1234567812345678", "-in"])
        .arg(&request)
        .output()
        .expect("openssl is installed");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let chain = bench.path("chain");
    let certified = Command::new(binary("bixi"))
        .args(["chain", "certify", "--node", "node0", "--request"])
        .arg(&request)
        .arg("--dir")
        .arg(&chain)
        .arg("--out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(certified.status.success(), "{}", String::from_utf8_lossy(&certified.stderr));
    let shown = Command::new("openssl").args(["x509", "-noout", "-pubkey", "-in"]).arg(&certificate).output().unwrap();
    let key = openssl::pkey::PKey::public_key_from_pem(&shown.stdout).unwrap().public_key_to_der().unwrap();
    assert_eq!(hex::encode(&key[key.len() - 64..]), made["public_key"].as_str().unwrap());
    fs::copy(&certificate, bench.config.with_file_name("conf").join("node.crt")).unwrap();
    settings::set(&bench.config, "hsm", "tls_key", "\"tls-2\"");
    starts(&bench);
    let listed = bench.json(&["list"]);
    assert_eq!((listed["keys"][1]["role"].as_str(), listed["keys"][1]["label"].as_str()), (Some("tls"), Some("tls-2")));
}

#[test]
fn a_new_consensus_key_comes_with_the_calls_that_put_it_in_place() {
    let bench = Bench::new();
    let old = bench.json(&["attest"])["public_key"].as_str().unwrap().to_owned();
    let made = bench.json(&["rotate", "consensus"]);
    let new = made["public_key"].as_str().unwrap();
    let calls = made["calls"].as_array().unwrap();
    let named: Vec<bool> =
        calls.iter().map(|call| call["data"].as_str().unwrap().contains(&hex::encode(new))).collect();
    assert_eq!(named, [true, false, true], "{made}");
    assert!(calls[1]["data"].as_str().unwrap().contains(&hex::encode(&old)));
    starts(&bench);
}

/// A recovery tells by the record which key was lost, and a check of the trail which keys were this node's.
#[test]
fn the_record_names_the_keys_of_the_node_file_and_keeps_those_before() {
    let bench = Bench::new();
    let record = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(bench.config.with_file_name("conf").join("keys.json")).unwrap()).unwrap()
    };
    let before = record();
    assert_eq!(bench.json(&["rotate", "consensus", "--finish"])["new"], false, "nothing was rotated");
    assert_eq!(record(), before);
    let made = bench.json(&["rotate", "consensus"]);
    assert_eq!(record(), before, "the node file names the old one still");
    settings::set(&bench.config, "hsm", "consensus_key", "\"consensus-2\"");
    let done = bench.json(&["rotate", "consensus", "--finish"]);
    assert_eq!(done["node"], made["public_key"]);
    let now = record();
    assert_eq!(now["keys"][0]["public_key"], made["public_key"]);
    assert_eq!(now["former"].as_array().unwrap()[..], [before["keys"][0].clone()]);
    assert_eq!((&now["keys"][1], &now["kek_fingerprint"]), (&before["keys"][1], &before["kek_fingerprint"]));
    let again = bench.json(&["rotate", "consensus", "--finish"]);
    assert_eq!((&again["former"], &done["new"], &again["new"]), (&done["former"], &true.into(), &false.into()));
    settings::set(&bench.config, "hsm", "consensus_key", "\"consensus\"");
    let words = bench.refused(1, &["rotate", "consensus", "--finish"]);
    assert!(words.contains("taken the place of before"), "{words}");
    assert_eq!(record(), now);
}
