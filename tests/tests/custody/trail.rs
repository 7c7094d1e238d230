//! The audit trail of a node, verified by its officer.

use std::fs;

use bixi_tests::broker::{RunningBroker, configure};
use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::settings;

use crate::bench::{Bench, said};

/// One life of the node, stopped in order.
fn live(bench: &Bench) {
    let ended = RunningNode::start(&bench.config).stop();
    assert!(ended.status.success(), "{}", ended.said);
}

#[test]
fn a_trail_is_signed_at_each_stop_and_held_against_what_was_written_down() {
    let bench = Bench::new();
    let audit = bench.config.with_file_name("data").join("audit");
    live(&bench);
    let first = bench.json(&["verify-audit"]);
    assert_eq!(first["holds"], true, "{first}");
    assert_eq!((&first["signed_heads"], &first["signers"][0]["is_tls_key"]), (&1.into(), &true.into()), "{first}");
    assert_eq!(first["unsigned_entries"], 1, "the entry of the signature itself: {first}");
    let head = first["ends"].as_str().unwrap();
    let old = bench.path("old-audit");
    copy(&audit, &old).unwrap();
    live(&bench);
    let second = bench.json(&["verify-audit", "--expect", head]);
    assert_eq!(second["signed_heads"], 2);
    let since = bench.json(&["verify-audit", "--from", head]);
    assert_eq!(since["signed_heads"], 1, "{since}");

    // Every entry is printed.
    let all = bench.hsm(&["verify-audit", "--all"]);
    let printed = String::from_utf8_lossy(&all.stdout).into_owned();
    let entries: usize = second["ends"].as_str().unwrap().split_once(':').unwrap().0.parse().unwrap();
    assert!(printed.lines().count() > entries && printed.contains("head-signed"), "{printed}");

    // An older copy put back is told against a head written down, and by nothing else.
    let newest = bench.path("newest-audit");
    fs::rename(&audit, &newest).unwrap();
    copy(&old, &audit).unwrap();
    assert_eq!(bench.json(&["verify-audit"])["ends"], head);
    let written_down = second["ends"].as_str().unwrap();
    let words = bench.refused(1, &["verify-audit", "--expect", written_down]);
    assert!(words.contains("cut off"), "{words}");
    let against = verdict_against(&bench, &["--expect", written_down]);
    assert_eq!((&against["kind"], &against["head"]), (&"newest-missing".into(), &written_down.into()), "{against}");
    fs::remove_dir_all(&audit).unwrap();
    fs::rename(&newest, &audit).unwrap();

    // An edit is told with file and place.
    let file = audit.join("audit-000001.log");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let words = bench.refused(1, &["verify-audit"]);
    assert!(words.contains("audit-000001.log"), "{words}");
    let against = verdict_against(&bench, &[]);
    assert_eq!((&against["kind"], &against["file"]), (&"damaged".into(), &file.to_str().into()), "{against}");
    assert_eq!(bench.hsm(&["verify-audit", "--expect", "1:ab"]).status.code(), Some(2), "that is no head");
}

/// The one problem of a trail that does not hold, as JSON.
#[track_caller]
fn verdict_against(bench: &Bench, arguments: &[&str]) -> serde_json::Value {
    let output = bench.hsm(&[&["verify-audit", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&verdict["holds"], verdict["problems"].as_array().map(Vec::len)),
        (&false.into(), Some(1)),
        "{verdict}"
    );
    verdict["problems"][0].clone()
}

/// Another TLS key in the node file, as after a rotation: the officer says which earlier key he knows.
#[test]
fn a_head_of_a_key_that_is_not_the_nodes_is_a_problem_until_the_officer_names_it() {
    let bench = Bench::new();
    live(&bench);
    let old = bench.json(&["verify-audit"])["vouched"][0]["public_key"].as_str().unwrap().to_owned();
    bench.json(&["rotate", "tls", "--request", bench.path("tls.csr").to_str().unwrap()]);
    settings::set(&bench.config, "hsm", "tls_key", "\"tls-2\"");
    let output = bench.hsm(&["verify-audit", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &found["problems"][0];
    assert_eq!((problem["kind"].as_str(), problem["whose"].as_str()), (Some("foreign-key"), Some(&*old)), "{found}");
    assert_eq!(found["holds"], false, "{found}");
    assert_eq!(found["vouched"], serde_json::json!([]), "{found}");
    assert!(said(&output).contains("--tls-key"), "{}", said(&output));
    let named = bench.json(&["verify-audit", "--tls-key", &old]);
    assert_eq!(named["vouched"][0]["is_tls_key"], false, "{named}");
}

#[test]
fn a_trail_is_verified_while_a_broker_writes_it() {
    let bench = Bench::new();
    configure(&bench.config);
    let broker = RunningBroker::start(&bench.config);
    let during = bench.json(&["verify-audit"]);
    let ended = broker.stop();
    assert!(ended.status.success(), "{}", ended.said);
    let after = bench.json(&["verify-audit", "--expect", during["ends"].as_str().unwrap()]);
    assert_eq!(after["signed_heads"], 1, "{after}");
}
