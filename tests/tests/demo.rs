//! `bixi demo` from end to end, as a newcomer runs it.

use std::process::Command;

use bixi_tests::binary;
use serde_json::Value;

#[test]
fn demo_reports_every_promised_key() {
    let ran = Command::new(binary("bixi")).args(["demo", "--txs", "300", "--exit", "--json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{:?}: {errors}", ran.status);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    for (path, expected) in [
        ("/suite", "\"sm\""),
        ("/nodes", "4"),
        ("/txs", "300"),
        ("/committed", "300"),
        ("/heads_equal", "true"),
        ("/state_roots_equal", "true"),
        ("/quorum_verified", "true"),
        ("/proof_verified", "true"),
        ("/at_rest/marker_hits", "0"),
        ("/at_rest/flip_refused", "true"),
        // So few transactions make no table yet, and what was not tried is not claimed.
        ("/at_rest/flips_skipped", "4"),
    ] {
        assert_eq!(report.pointer(path).map(Value::to_string).as_deref(), Some(expected), "{path} in {report}");
    }
    for path in ["/tps", "/latency_ms/p50", "/latency_ms/p99", "/height"] {
        assert!(report.pointer(path).and_then(Value::as_f64).is_some_and(|number| number > 0.0), "{path} in {report}");
    }
    let keys = report["keys"].as_array().unwrap();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let owners: Vec<(String, String)> = keys.iter().map(|key| (text(key, "node"), text(key, "role"))).collect();
    let nodes = ["node0", "node1", "node2", "node3"];
    let expected =
        nodes.iter().flat_map(|node| ["consensus", "tls", "kek"].map(|role| (node.to_string(), role.to_owned())));
    assert_eq!(owners, expected.collect::<Vec<_>>());
    for key in keys {
        assert_eq!(key["extractable"], false);
        assert!(key["uri"].as_str().unwrap().starts_with("pkcs11:token=bixi"));
    }
    for row in report["placement"].as_array().unwrap() {
        assert!(row["thread"].is_string() && row["cores"].is_array() && row.get("numa_node").is_some(), "{row}");
    }
    let rss_mib = report["rss_mib"].as_array().unwrap();
    assert!(rss_mib.len() == 4 && rss_mib.iter().all(|mib| mib.as_u64().is_some_and(|mib| mib > 0)), "{report}");
    let rpc = report["rpc"].as_array().unwrap();
    assert!(rpc.len() == 4 && rpc.iter().all(|url| url.as_str().unwrap().starts_with("http://127.0.0.1:")), "{report}");
}

#[test]
fn what_this_release_cannot_do_is_said() {
    let ran = Command::new(binary("bixi")).args(["demo", "--suite", "std", "--exit"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(errors.contains("not in this release"), "{errors}");
    assert!(ran.stdout.is_empty());
}
