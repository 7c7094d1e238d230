//! Where a production node may keep its keys.

use bixi_tests::broker::RunningBroker;
use bixi_tests::node::service;
use bixi_tests::settings::set;
use bixi_types::ports::Signer as _;
use serde_json::Value;

use crate::bench::Bench;

/// `EX_CONFIG`, in the unit's RestartPreventExitStatus.
const CONFIGURATION: i32 = 78;

/// What `bixi doctor` says of the device.
fn examined(bench: &Bench) -> (Value, String) {
    let ran = service().args(["doctor", "--json", "--config"]).arg(&bench.config).output().expect("bixi starts");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let device = checks.iter().find(|check| check["check"] == "key device").expect("a line about the device");
    (device["verdict"].clone(), device["detail"].as_str().expect("a text").to_owned())
}

#[test]
fn a_production_node_keeps_no_keys_in_software_unless_it_is_told_to() {
    let bench = Bench::new();
    set(&bench.config, "", "production", "true");
    let ended = RunningBroker::try_start(&bench.config).err().expect("a software token");
    assert_eq!(ended.status.code(), Some(CONFIGURATION), "{}", ended.said);
    assert!(ended.said.contains("hsm.software_token_allowed"), "{}", ended.said);
    bench.set("software_token_allowed", "true");
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    client.sign(&bench.statement(&client, 1, 1)).unwrap();
    let (verdict, detail) = examined(&bench);
    assert!(verdict == "warn" && detail.contains("hsm.software_token_allowed takes it"), "{verdict}: {detail}");
    bench.set("software_token_allowed", "false");
    let (verdict, detail) = examined(&bench);
    assert!(verdict == "BAD" && detail.contains("production = true refuses it"), "{verdict}: {detail}");
    drop(broker);
}
