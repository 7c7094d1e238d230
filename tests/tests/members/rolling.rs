//! A rolling restart: every node is stopped in order and started again, one after the other, while clients use the others.

use bixi_tests::chain::{wait_equal, wait_until};
use bixi_tests::node::RunningNode;
use bixi_tests::setting;
use serde_json::json;

use crate::Stage;

fn votes(node: &RunningNode) -> bool {
    let status = node.call("getNodeStatus", json!(["group0", ""])).expect("a status");
    status["mode"] == json!("voting")
}

#[test]
fn every_node_is_started_again_under_load_and_nothing_is_lost() {
    let Stage { _turn, _place, chain, mut load, mut nodes } = Stage::start(4);
    for round in 0..setting("BIXI_ROLLING_ROUNDS", 1) {
        for index in 0..nodes.len() {
            // As an operator's script does: the next one only when the last one votes again.
            wait_until("all voting", || nodes.iter().all(votes));
            load.point(index, None);
            let ended = nodes.remove(index).stop();
            assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
            let promised = load.promises().count();
            load.promises().wait_beyond(promised + 5);
            nodes.insert(index, RunningNode::start(&chain.configs[index]));
            load.point(index, Some(nodes[index].rpc));
            let reached = nodes.iter().map(RunningNode::height).max().expect("four nodes");
            wait_until("the restarted one at the others' height", || nodes[index].height() >= reached);
        }
        println!("round {round}: longest time without a receipt {:?}", load.longest_pause());
    }
    load.end();
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "after the rolling restart");
    for node in &nodes {
        load.promises().check(node, "after the rolling restart");
    }
}
