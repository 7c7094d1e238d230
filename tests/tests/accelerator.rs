//! An accelerator as an operator meets it: `bixi bench accelerator`, `bixi doctor`, a node's start. It is OpenSSL's own default provider, loaded
//! through the plugin like any other.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::{binary, exposition, settings};
use serde_json::Value;

const PLUGIN: &str = "deps/libbixi_openssl.so";

fn bixi(arguments: &[&str]) -> Output {
    Command::new(binary("bixi")).args(arguments).output().expect("bixi starts")
}

fn bench(arguments: &[&str]) -> Output {
    let plugin = binary(PLUGIN);
    bixi(&[&["bench", "accelerator", "--plugin", plugin.to_str().unwrap()], arguments].concat())
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Names it in a node file.
fn configure(config: &Path, key: &str, name: &str) {
    settings::set(config, "accelerator", "plugin", &format!("{:?}", binary(PLUGIN)));
    settings::set(config, "accelerator", key, &format!("{name:?}"));
}

#[test]
fn the_program_links_no_openssl() {
    let read =
        Command::new("readelf").arg("-d").arg(binary("bixi")).output().expect("readelf, of the C compiler's tools");
    let needed = words(&read.stdout);
    assert!(needed.contains("(NEEDED)") && needed.contains("libc.so"), "{needed}");
    assert!(!needed.contains("libcrypto") && !needed.contains("libssl"), "{needed}");
}

#[test]
fn bench_measures_every_operation_of_an_accelerator() {
    let ran = bench(&["--provider", "default", "--json"]);
    assert!(ran.status.success(), "{}", words(&ran.stderr));
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(report["name"].as_str().unwrap().starts_with("provider default, OpenSSL 3"), "{report}");
    let operations = report["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 6);
    for operation in operations {
        assert_eq!(operation["is_refused"], false, "{operation}");
        let cells = operation["cells"].as_array().unwrap();
        assert_eq!(cells.len(), if operation["operation"] == "sm2-verify" { 1 } else { 4 }, "{operation}");
        assert!(cells.iter().all(|cell| cell["ours_ns"].as_u64() > Some(0) && cell["theirs_ns"].as_u64() > Some(0)));
    }
    let table = words(&bench(&["--provider", "default", "--operation", "sm3"]).stdout);
    for wanted in ["who serves a node", "sm3", "1048576 B", "MB/s", "not in accelerator.operations"] {
        assert!(table.contains(wanted), "{wanted:?} in {table}");
    }
}

#[test]
fn bench_says_what_cannot_be_opened_and_what_to_do() {
    let ran = bench(&["--engine", "kae"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = words(&ran.stderr);
    assert!(said.contains("engine kae") && said.contains("accelerator.directory"), "{said}");
    for wrong in [&["--engine", "kae", "--provider", "default"][..], &[], &["--engine", "kae", "--operation", "sm4"]] {
        assert_eq!(bench(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn doctor_measures_the_configured_accelerator_and_says_what_is_wrong_with_it() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let check = |arguments: &[&str]| {
        let asked = bixi(&[&["doctor", "--json", "--config", config.to_str().unwrap()], arguments].concat());
        let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "accelerator").cloned();
        (check, report["accelerator"].clone())
    };
    assert_eq!(check(&[]), (None, Value::Null), "nothing is loaded unless it is configured");
    configure(&config, "provider", "default");
    let (found, measured) = check(&[]);
    let found = found.unwrap();
    assert_ne!(found["verdict"], "BAD", "{found}");
    assert!(found["detail"].as_str().unwrap().starts_with("provider default, OpenSSL 3"), "{found}");
    assert_eq!(measured["operations"].as_array().unwrap().len(), 6);
    assert_eq!(check(&["--offline"]).0.unwrap()["verdict"], "skipped");
    configure(&config, "provider", "uadk_provider");
    let (found, measured) = check(&[]);
    assert_eq!((&found.as_ref().unwrap()["verdict"], &measured), (&"BAD".into(), &Value::Null), "{found:?}");
}

#[test]
fn a_node_opens_what_it_uses_and_starts_without_what_cannot_be_opened() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    configure(&config, "provider", "default");
    let node = RunningNode::start(&config);
    assert!(node.said().contains("configured and not opened"), "{}", node.said());
    assert!(node.stop().status.success());

    settings::set(&config, "sync", "snapshot_after_blocks", "1000");
    let node = RunningNode::start(&config);
    let said = node.said();
    assert_eq!(said.matches("accelerator measured").count(), 6, "{said}");
    let (_, page) = node.connect().and_then(|mut node| Ok(node.get("/metrics")?)).expect("a page");
    let samples = exposition::read(&String::from_utf8(page).expect("text")).expect("a page that Prometheus reads");
    assert_eq!(samples.get("bixi_accelerator_served_calls_total{operation=\"sm3\"}"), Some(&0.0), "{samples:?}");
    assert_eq!(samples.get("bixi_accelerator_given_up{operation=\"sm4-ctr\"}"), Some(&0.0), "{samples:?}");
    assert!(node.stop().status.success());

    configure(&config, "provider", "uadk_provider");
    let node = RunningNode::start(&config);
    assert!(node.said().contains("the node starts without it"), "{}", node.said());
    assert_eq!(node.height(), 0);
    assert!(node.stop().status.success());
}
