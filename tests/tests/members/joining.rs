//! A node joins a live chain, rises to validator, has its weight changed, steps down and goes; nobody is started again for it.

use std::collections::BTreeSet;

use bixi_tests::chain::{wait_equal, wait_until};
use bixi_tests::node::RunningNode;
use serde_json::json;

use crate::Stage;

use bixi_tests::console::{Console, PARAMETERS_AFTER, check_effect, header, is_proposed_by, is_signed_by, weight};

/// FISCO BCOS's codes of what Consensus refuses.
const INVALID_NODE_ID: i64 = -51100;
const LAST_SEALER: i64 = -51101;
const INVALID_WEIGHT: i64 = -51102;
const NODE_NOT_EXIST: i64 = -51103;
const NOT_AN_OBSERVER: i64 = -51104;
/// What a node that is no member is told.
const NOT_A_MEMBER: &str = "neither validator nor observer";

fn says(node: &RunningNode, what: &str) -> bool {
    node.said().lines().any(|line| line.contains("WARN") && line.contains(what))
}

/// The ids that a node lists under such a method.
fn listed(node: &RunningNode, method: &str) -> BTreeSet<String> {
    let list = node.call(method, json!(["group0", ""])).expect("a list");
    let entries = list.as_array().expect("a list").iter();
    entries.map(|entry| entry.as_str().or(entry["nodeID"].as_str()).expect("an id").to_owned()).collect()
}

/// Waits for a block above `from` of which `holds`.
fn wait_for_block(node: &RunningNode, from: i64, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> i64 {
    let mut height = from;
    wait_until(what, || {
        let top = node.height();
        let found = (height..=top).find(|height| holds(&header(node, *height)));
        height = found.unwrap_or(top + 1);
        found.is_some()
    });
    height
}

#[test]
fn a_node_joins_a_live_chain_votes_and_goes_again() {
    let Stage { _turn, _place, mut chain, mut load, nodes } = Stage::start(4);
    let mut console = Console::new(77);

    // A stranger with a good certificate is told what is missing, on both sides.
    chain.expand();
    let fifth = chain.ids[4].clone();
    let joining = RunningNode::start(&chain.configs[4]);
    wait_until("the reason in the stranger's log", || says(&joining, NOT_A_MEMBER));
    wait_until("the reason in a member's log", || nodes.iter().any(|node| says(node, NOT_A_MEMBER)));
    assert_eq!(joining.height(), 0);
    assert_eq!(console.add_sealer(&nodes[0], &fifth, 1).code, NOT_AN_OBSERVER);

    // As an observer it follows, and serves clients.
    let done = console.add_observer(&nodes[1], &fifth);
    assert_eq!(done.code, 0);
    wait_until("the observer at the height of its admission", || joining.height() > done.height);
    let all: Vec<&RunningNode> = nodes.iter().chain([&joining]).collect();
    for node in &all {
        wait_until("the observer in every list", || listed(node, "getObserverList").contains(&fifth));
        assert!(!listed(node, "getSealerList").contains(&fifth));
    }
    load.point(4, Some(joining.rpc));

    // As a validator it signs and proposes from its height on.
    let done = console.add_sealer(&joining, &fifth, 1);
    check_effect(&all, done, &fifth, None, Some(1));
    let signed = wait_for_block(&nodes[0], done.height, "its signature", |header| is_signed_by(header, &fifth));
    let proposed = wait_for_block(&nodes[0], signed, "its proposal", |header| is_proposed_by(header, &fifth));
    for node in &all {
        assert!(is_proposed_by(&header(node, proposed), &fifth));
    }

    let done = console.set_weight(&nodes[2], &fifth, 2);
    check_effect(&all, done, &fifth, Some(1), Some(2));

    parameters_change(&mut console, &all);

    // Down to observer, and out.
    let done = console.add_observer(&nodes[3], &fifth);
    check_effect(&all, done, &fifth, Some(2), None);
    wait_until("the observer following", || joining.height() > done.height + 2);
    load.point(4, None);
    let done = console.remove(&nodes[0], &fifth);
    assert_eq!(done.code, 0);
    wait_until("the end of its sessions", || {
        let status = joining.call("getNodeStatus", json!(["group0", ""])).expect("a status");
        status["peers"].as_array().expect("peers").iter().all(|peer| peer["connected"] == json!(false))
    });
    wait_until("the reason in its log", || joining.said().matches(NOT_A_MEMBER).count() > 1);
    let go_on = || {
        let beyond = nodes[0].height() + 3;
        wait_until("the others going on", || nodes.iter().all(|node| node.height() >= beyond));
        joining.height()
    };
    // What it had been told before it may still commit meanwhile.
    let stood = go_on();
    assert_eq!(go_on(), stood, "it is told nothing more");

    load.end();
    let members: Vec<&RunningNode> = nodes.iter().collect();
    wait_equal(&members, "at the end");
    for node in &nodes {
        load.promises().check(node, "at the end");
    }
}

/// Block parameters hold from the next block on, on every node.
fn parameters_change(console: &mut Console, all: &[&RunningNode]) {
    let set = console.set(all[0], "tx_count_limit", "1");
    let from = set + PARAMETERS_AFTER;
    for node in all {
        for height in from..from + 3 {
            let block = {
                header(node, height);
                node.call("getBlockByNumber", json!(["group0", "", height, false, true])).expect("a block")
            };
            let count = block["transactions"].as_array().expect("transactions").len();
            assert!(count <= 1, "{count} transactions at height {height}, limited from {from} on");
        }
    }
    for (key, value) in [("tx_count_limit", "1000"), ("tx_gas_limit", "300000000"), ("consensus_leader_period", "3")] {
        let set = console.set(all[0], key, value);
        for node in all {
            header(node, set);
            let found = node.call("getSystemConfigByKey", json!(["group0", "", key])).expect("a parameter");
            assert_eq!(found["value"], value, "{found}");
            assert_eq!(found["blockNumber"].as_i64(), Some(set + PARAMETERS_AFTER), "{found}");
        }
    }
    for (key, value) in [("tx_count_limit", "0"), ("tx_gas_limit", "1"), ("unknown", "1")] {
        let receipt = console.try_set(all[0], key, value);
        assert_ne!(receipt["status"], 0, "{receipt}");
    }
}

#[test]
fn a_chain_shrinks_to_one_validator_and_grows_again() {
    let Stage { _turn, _place, chain, mut load, mut nodes } = Stage::start(1);
    let mut console = Console::new(77);
    let refused = [
        (console.add_sealer(&nodes[0], "0123", 1).code, INVALID_NODE_ID),
        (console.set_weight(&nodes[0], &chain.ids[1], 0).code, INVALID_WEIGHT),
        (console.remove(&nodes[0], &"ab".repeat(64)).code, NODE_NOT_EXIST),
    ];
    for (found, expected) in refused {
        assert_eq!(found, expected);
    }

    // One is away, so that a quorum is just kept; the chain lets it go and needs all of the three.
    let away = nodes.pop().expect("four nodes").stop();
    assert!(away.status.success(), "{}: {}", away.status, away.said);
    for leaving in [3, 2, 1] {
        let done = console.remove(&nodes[0], &chain.ids[leaving]);
        check_effect(&[&nodes[0]], done, &chain.ids[leaving], Some(1), None);
    }
    for done in [console.remove(&nodes[0], &chain.ids[0]), console.add_observer(&nodes[0], &chain.ids[0])] {
        assert_eq!(done.code, LAST_SEALER);
    }
    let beyond = nodes[0].height() + 5;
    wait_until("the last one going on alone", || nodes[0].height() >= beyond);

    // Those that were left behind come back, the one that was stopped too.
    nodes.push(RunningNode::start(&chain.configs[3]));
    for returning in 1..4 {
        assert_eq!(console.add_observer(&nodes[0], &chain.ids[returning]).code, 0);
    }
    for returning in 1..4 {
        let behind = nodes[0].height();
        wait_until("an observer that has caught up", || nodes[returning].height() >= behind);
        let done = console.add_sealer(&nodes[0], &chain.ids[returning], 1);
        let all: Vec<&RunningNode> = nodes.iter().collect();
        check_effect(&all, done, &chain.ids[returning], None, Some(1));
    }
    let grown = nodes[0].height();
    wait_for_block(&nodes[0], grown, "a block signed by one that came back", |header| {
        chain.ids[1..].iter().any(|id| is_signed_by(header, id))
    });
    load.end();
    let height = wait_equal(&nodes.iter().collect::<Vec<_>>(), "at the end");
    for id in &chain.ids {
        assert_eq!(weight(&nodes[0], height, id), Some(1));
    }
    for node in &nodes {
        load.promises().check(node, "at the end");
    }
}
