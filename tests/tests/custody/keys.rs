//! Keys are listed, made and stated.

use std::fs;
use std::process::Command;

use bixi_tests::binary;
use bixi_tests::broker::{RunningBroker, configure};
use bixi_tests::node::RunningNode;
use bixi_tests::{settings, swtpm_or_skip};
use serde_json::Value;

use crate::bench::{Bench, hsm, json, refused, said};

fn labels(listed: &Value) -> Vec<(&str, &str)> {
    let rows = listed["keys"].as_array().unwrap();
    rows.iter().map(|row| (row["role"].as_str().unwrap_or("-"), row["label"].as_str().unwrap())).collect()
}

#[test]
fn a_key_is_made_once_and_listed_as_used_for_nothing() {
    let bench = Bench::new();
    let before = bench.json(&["list"]);
    assert_eq!(labels(&before), [("consensus", "consensus"), ("tls", "tls"), ("kek", "kek")]);
    let made = bench.json(&["generate", "--label", "spare", "--kind", "sm2-sign"]);
    assert_eq!(
        (&made["role"], &made["key"]["local"], &made["key"]["extractable"]),
        (&Value::Null, &true.into(), &false.into())
    );
    let after = bench.json(&["list"]);
    assert_eq!(labels(&after), [("consensus", "consensus"), ("tls", "tls"), ("kek", "kek"), ("-", "spare")]);
    assert_eq!(after["keys"][3]["fingerprint"], made["fingerprint"]);
    assert_eq!(after["keys"][2]["fingerprint"], Value::Null, "a secret key has no public half");
    // Of whatever kind.
    for label in ["spare", "consensus"] {
        let words = bench.refused(1, &["generate", "--label", label, "--kind", "kek"]);
        assert!(words.contains("has this label already"), "{words}");
    }
    assert_eq!(bench.json(&["list"]), after);
    settings::set(&bench.config, "hsm", "tls_key", "\"absent\"");
    let words = bench.refused(1, &["list"]);
    assert!(words.contains("\"absent\"") && words.contains("tls"), "{words}");
}

#[test]
fn a_profile_of_another_vendor_is_named_where_keys_are_missed() {
    let bench = Bench::new();
    settings::set(&bench.config, "hsm", "profile", "\"luna\"");
    for arguments in [&["guard", "show"][..], &["list"], &["rotate", "kek"]] {
        let words = bench.refused(1, arguments);
        for part in ["the profile \"luna\", which does not fit", "hsm.profile = \"bixi-token\"", "`bixi hsm probe`"] {
            assert!(words.contains(part), "{arguments:?}: {part}: {words}");
        }
    }
    settings::set(&bench.config, "hsm", "profile", "\"\"");
    settings::set(&bench.config, "hsm", "kek", "\"absent\"");
    let words = bench.refused(1, &["guard", "show"]);
    assert!(words.contains("no key encryption key labelled \"absent\"") && !words.contains("profile"), "{words}");
}

#[test]
fn officers_see_no_steps_unless_the_node_file_asks_for_them() {
    let bench = Bench::new();
    let shown = said(&bench.hsm(&["guard", "show"]));
    assert_eq!(shown, "", "nothing but the result");
    settings::set(&bench.config, "log", "filter", "\"debug\"");
    let shown = said(&bench.hsm(&["guard", "show"]));
    assert!(shown.contains("step=\"unlock keys\""), "{shown}");
}

#[test]
fn a_file_that_is_there_already_is_called_one() {
    let bench = Bench::new();
    let file = bench.path("there");
    fs::write(&file, "").unwrap();
    let words = bench.refused(1, &["attest", "--out", file.to_str().unwrap()]);
    assert!(words.contains("name another file"), "{words}");
}

#[test]
fn no_key_is_made_while_the_node_runs_and_its_keys_are_told_by_whoever_holds_them() {
    let bench = Bench::new();
    let node = RunningNode::start(&bench.config);
    let words = bench.refused(1, &["generate", "--label", "spare", "--kind", "kek"]);
    assert!(words.contains("stop both first"), "{words}");
    assert_eq!(bench.json(&["list"])["through"], "device");
    drop(node);
    let listed = bench.json(&["list"]);
    configure(&bench.config);
    assert_eq!(bench.json(&["list"]), listed, "a broker that does not run is not asked");
    let _broker = RunningBroker::start(&bench.config);
    let through = bench.json(&["list"]);
    assert_eq!(through["through"], "broker");
    let prints = |listed: &Value| {
        listed["keys"].as_array().unwrap().iter().map(|key| key["fingerprint"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(prints(&through), prints(&listed));
    let words = bench.refused(1, &["attest", "--key", "spare"]);
    assert!(words.contains("the broker tells of"), "{words}");
}

#[test]
fn a_software_tokens_word_is_called_its_word() {
    let bench = Bench::new();
    let file = bench.path("consensus.json");
    let stated = bench.json(&["attest", "--out", file.to_str().unwrap()]);
    assert_eq!((stated["role"].as_str(), stated["trust"].as_str()), (Some("consensus"), Some("self-reported")));
    let again = bench.refused(1, &["attest", "--out", file.to_str().unwrap()]);
    assert!(again.contains("consensus.json"), "{again}");
    let judged = hsm(&["attest", "--json", "--verify", file.to_str().unwrap()], &bench.config);
    let worth: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(worth["worth"], "self-reported");
    assert!(refused(1, &judged).contains("nothing proves it"));
    let changed = fs::read_to_string(&file).unwrap().replace("\"extractable\": false", "\"extractable\": true");
    fs::write(&file, changed).unwrap();
    let words = bench.refused(78, &["attest", "--verify", file.to_str().unwrap()]);
    assert!(words.contains("it was changed"), "{words}");
}

#[test]
fn a_tpms_statement_is_proven_by_the_key_of_its_ceremony_and_no_other() {
    let swtpm = swtpm_or_skip!();
    let bench = Bench::new();
    let node = bench.config.parent().unwrap();
    settings::set(&bench.config, "hsm", "backend", "\"tpm\"");
    settings::set(&bench.config, "hsm", "module", &format!("{:?}", swtpm.socket()));
    settings::set(&bench.config, "hsm", "timeout_ms", "60000");
    fs::remove_file(node.join("conf/keys.json")).unwrap();
    fs::remove_dir_all(node.join("data")).unwrap();
    let step = std::process::Command::new(bixi_tests::binary("bixi"))
        .args(["chain", "keys", "--dir"])
        .arg(node)
        .output()
        .unwrap();
    assert!(step.status.success(), "{}", String::from_utf8_lossy(&step.stderr));
    let file = bench.path("kek.json");
    bench.json(&["attest", "--key", "kek", "--out", file.to_str().unwrap()]);
    let verify = ["attest", "--json", "--verify", file.to_str().unwrap()];
    assert_eq!(json(&hsm(&verify, &bench.config))["worth"], "proven");
    let other = "00".repeat(34);
    let words = refused(1, &hsm(&[&verify[..], &["--attestation-key", &other]].concat(), &bench.config));
    assert!(words.contains("another attestation key"), "{words}");
}

/// Two numbers of one vendor's headers mean different things, and a PIN is remembered in one place only.
#[test]
fn keys_are_made_with_the_profile_and_in_the_directory_that_the_node_file_names() {
    let bench = Bench::new();
    let node = bench.config.parent().unwrap().to_owned();
    fs::remove_file(node.join("conf/keys.json")).unwrap();
    for made in ["data", "token"] {
        fs::remove_dir_all(node.join(made)).unwrap();
    }
    fs::create_dir(node.join("token")).unwrap();
    fs::create_dir(node.join("elsewhere")).unwrap();
    settings::set(&bench.config, "", "data_dir", "\"elsewhere\"");
    let keys =
        || Command::new(binary("bixi")).args(["chain", "keys", "--dir", "."]).current_dir(&node).output().unwrap();
    settings::set(&bench.config, "hsm", "profile", "\"luna\"");
    let words = refused(1, &keys());
    assert!(words.contains("MechanismInvalid"), "{words}");
    assert!(node.join("elsewhere/pin-state.lock").exists() && !node.join("data").exists());
    settings::set(&bench.config, "hsm", "profile", "\"bixi-token\"");
    let made = keys();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Of a token that others use too, with keys of the same names.
#[test]
fn a_key_encryption_key_that_nobody_here_was_about_to_make_is_not_offered() {
    let bench = Bench::new();
    let node = bench.config.parent().unwrap().to_owned();
    fs::remove_file(node.join("conf/keys.json")).unwrap();
    for made in fs::read_dir(node.join("data")).unwrap() {
        let made = made.unwrap().path();
        let removed = if made.is_dir() { fs::remove_dir_all(made) } else { fs::remove_file(made) };
        removed.unwrap();
    }
    let ran = Command::new(binary("bixi")).args(["chain", "keys", "--dir", "."]).current_dir(&node).output().unwrap();
    let words = refused(1, &ran);
    assert!(words.contains("this ceremony did not make it") && !words.contains("--adopt"), "{words}");
}
