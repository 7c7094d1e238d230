//! What an operator changes in the files of a running node: SIGHUP takes it, or says what is wrong and changes nothing.

use std::fs;
use std::path::Path;

use bixi_tests::chain::{start, wait_equal, wait_until};
use bixi_tests::exposition::{self, Samples};
use bixi_tests::node::RunningNode;
use rustix::process::Signal;
use serde_json::json;

use crate::Stage;

/// Replaces a part of a file that stands there once.
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Asks for a reload and waits for its line in the log; the lines since.
fn reload(node: &RunningNode, words: &[&str]) -> String {
    let before = node.said().len();
    node.signal(Signal::HUP);
    let mut said = String::new();
    wait_until("the line of a reload", || {
        said = node.said().split_off(before);
        said.lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
    said
}

fn connected(node: &RunningNode, id: &str) -> bool {
    let status = node.call("getNodeStatus", json!(["group0", ""])).expect("a status");
    let peers = status["peers"].as_array().expect("peers").clone();
    peers.iter().any(|peer| peer["nodeID"].as_str() == Some(id) && peer["connected"] == json!(true))
}

fn figures(node: &RunningNode) -> Samples {
    let (status, page) = node.connect().and_then(|mut node| Ok(node.get("/metrics")?)).expect("a page");
    assert_eq!(status, 200);
    exposition::read(&String::from_utf8(page).expect("text")).unwrap_or_else(|wrong| panic!("{wrong}"))
}

#[test]
fn lists_addresses_and_log_levels_change_under_load_and_a_broken_file_changes_nothing() {
    let Stage { _turn, _place, chain, mut load, nodes } = Stage::start(3);
    let (first, file, last) = (&nodes[0], &chain.configs[0], &chain.ids[3]);
    wait_until("the last is connected", || connected(first, last));
    wait_until("figures of all peers", || {
        let figures = figures(first);
        let of = |name: &str| figures.keys().filter(|sample| sample.starts_with(name)).count();
        let per_peer = ["sent_bytes_total{", "received_bytes_total{", "queued_bytes{", "round_trip_seconds{"];
        // Three peers with two sessions each; the node's own certificate, its authority's and three peers'.
        figures["bixi_network_connected_peers"] == 3.0
            && per_peer.iter().all(|name| of(&format!("bixi_network_{name}")) == 6)
            && of("bixi_network_certificate_remaining_seconds{") == 5
            && of("bixi_sync_peer_height_blocks{") == 3
    });
    let figures_before = figures(first);
    assert!(figures_before["bixi_consensus_started_rounds_total"] >= 3.0, "{figures_before:?}");
    assert!(figures_before["bixi_exchange_batches_total{what=\"received\"}"] >= 1.0, "{figures_before:?}");
    reload(first, &["nothing has changed"]);

    // Kept out by the first, with the reason on both sides; the chain goes on.
    edit(file, "deny = []", &format!("deny = [\"{last}\"]"));
    reload(first, &["INFO", "reloaded", "p2p.deny: +", &last[..16]]);
    wait_until("its sessions end", || !connected(first, last));
    let told = |node: &RunningNode| node.said().lines().any(|line| line.contains("the node stands in p2p.deny"));
    wait_until("a count of its refusals", || {
        figures(first).get("bixi_network_refused_sessions_total{by=\"this\",reason=\"not_admitted\"}") >= Some(&1.0)
    });
    wait_until("the reason in both logs", || told(first) && told(&nodes[3]));

    // A broken file: file and line are named, and the list that was taken stays in force.
    edit(file, "deny = [\"", "deny = [\"x");
    let line = 1 + fs::read_to_string(file).unwrap().lines().position(|line| line.starts_with("deny =")).unwrap();
    reload(first, &["ERROR", "everything stays as it was", &format!("bixi.toml:{line}")]);
    assert!(!connected(first, last));
    edit(file, "deny = [\"x", "deny = [\"");
    let absent = "crl = [\"conf/absent.crl\"]";
    edit(file, "crl = []", absent);
    reload(first, &["ERROR", "everything stays as it was", "absent.crl"]);
    edit(file, absent, "crl = []");

    // Let in again; another filter of the log; what cannot be exchanged is said to wait.
    edit(file, &format!("deny = [\"{last}\"]"), "deny = []");
    edit(file, "filter = \"info,", "filter = \"debug,");
    edit(file, "body_bytes_max = ", "body_bytes_max = 1");
    let said = reload(first, &["WARN", "[rpc]", "waits for the next start"]);
    assert!(said.contains("p2p.deny: -") && said.contains("log.filter: "), "{said}");
    wait_until("the last is back", || connected(first, last));
    wait_until("more words", || first.said().lines().any(|line| line.contains("DEBUG") && line.contains("committed")));

    let promised = load.promises().count();
    load.promises().wait_beyond(promised + 5);
    load.end();
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "after the reloads");
    for node in nodes {
        load.promises().check(&node, "after the reloads");
        let ended = node.stop();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    }
}

#[test]
fn a_certificate_of_another_key_is_refused_by_a_reload_and_at_the_start() {
    let Stage { _turn, _place, chain, mut load, nodes } = Stage::start(1);
    let certificate = |node: usize| chain.configs[node].with_file_name("conf/node.crt");
    let (own, right) = (certificate(0), fs::read(certificate(0)).unwrap());
    let install = |content: &[u8]| {
        fs::remove_file(&own).unwrap();
        fs::write(&own, content).unwrap();
    };
    install(&fs::read(certificate(1)).unwrap());
    reload(&nodes[0], &["ERROR", "everything stays as it was", "another key", "hsm.tls_key"]);
    load.end();
    for node in nodes {
        let ended = node.stop();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    }
    let ended = RunningNode::try_start(&chain.configs[0]).err().expect("no peer would believe it");
    for words in ["p2p.certificate", "node.crt", "another key", "hsm.tls_key"] {
        assert!(ended.said.contains(words), "{words}: {}", ended.said);
    }
    install(&right);
    for node in start(&chain.configs) {
        let ended = node.stop();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    }
}
