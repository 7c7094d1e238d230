//! `bixi hsm bench`: figures of a stopped node's device, and nothing of the measurement left behind.

use std::fs;
use std::path::Path;
use std::process::Output;

use bixi_tests::broker::RunningBroker;
use bixi_tests::node::service;
use bixi_types::ports::Signer as _;
use serde_json::Value;

use crate::bench::Bench;

fn measure(config: &Path) -> Output {
    let mut command = service();
    command.args(["hsm", "bench", "--json", "--seconds", "1", "--callers", "1,3", "--config"]).arg(config);
    command.output().expect("bixi starts")
}

fn keys(config: &Path) -> Value {
    let listed = service().args(["hsm", "list", "--json", "--config"]).arg(config).output().expect("bixi starts");
    serde_json::from_slice::<Value>(&listed.stdout).expect("JSON")["keys"].clone()
}

#[test]
fn a_stopped_nodes_device_is_measured_and_nothing_is_left_of_it() {
    let bench = Bench::new();
    let broker = RunningBroker::start(&bench.config);
    let client = bench.client();
    client.sign(&bench.statement(&client, 7, 1)).unwrap();
    let marks = client.marks().unwrap();
    let refused = measure(&bench.config);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("stopped node"), "{said}");
    assert!(broker.stop().status.success());

    let before = keys(&bench.config);
    let measured = measure(&bench.config);
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    assert_eq!(report["key"], "transient", "the token makes a key for it");
    let rows = report["rows"].as_array().unwrap();
    let of = |kind: &str| -> Vec<u64> {
        rows.iter().filter(|row| row["kind"] == kind).map(|row| row["callers"].as_u64().unwrap()).collect()
    };
    for kind in ["sign", "prf", "random", "session"] {
        assert_eq!(of(kind), [1, 3], "{kind}");
    }
    assert_eq!(of("vote"), [1]);
    for row in rows {
        assert!(row["rate"].as_f64().is_some_and(|rate| rate > 0.0) && row["error"].is_null(), "{row}");
        assert!(row["p99_us"].as_f64() >= row["p50_us"].as_f64(), "{row}");
    }

    assert_eq!(keys(&bench.config), before, "a key is left in the device");
    let data = fs::read_dir(bench.config.with_file_name("data")).unwrap();
    let left: Vec<_> = data.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("bench-")), "{left:?}");
    let broker = RunningBroker::start(&bench.config);
    assert_eq!(bench.client().marks().unwrap(), marks, "a statement of the node's was signed");
    drop(broker);
}
