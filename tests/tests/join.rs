//! A node that joins a long chain, as real processes over TLS: block by block and by a snapshot, side by side.
//!
//! `BIXI_JOIN_HEIGHT=10000 cargo test -p bixi-tests --test join -- --nocapture` measures a long chain and prints both times.

#![allow(clippy::print_stdout, reason = "the times are the test's report")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bixi_tests::chain::{Chain, PATIENCE, start, wait_equal};
use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::rpc::CallError;
use bixi_tests::setting;
use bixi_tests::settings::set;
use bixi_tests::wallet::Wallet;
use serde_json::json;

/// Between two looks at a node.
const PAUSE: Duration = Duration::from_millis(50);
/// Blocks in which a nonce counts, by the genesis that `bixi chain new` writes.
const BLOCK_LIMIT_AHEAD: i64 = 500;

/// One transaction after the other, each in a block of its own, until the chain is so high.
fn grow(node: &RunningNode, wallet: &mut Wallet, names: &mut u64, height: i64) {
    let mut connection = node.connect().expect("the node listens");
    let mut reached = node.height();
    while reached < height {
        *names += 1;
        let transaction = wallet.user_add(&format!("user-{names}"), 100, reached + BLOCK_LIMIT_AHEAD);
        let receipt = connection.submit(&transaction.encode()).expect("a receipt");
        assert_eq!(receipt["status"], 0, "{receipt}");
        reached = receipt["blockNumber"].as_i64().expect("a receipt names its block");
    }
}

/// Starts a node and measures how long it takes to the height of the others.
fn join(config: &Path, height: i64) -> (RunningNode, Duration) {
    let began = Instant::now();
    let node = RunningNode::start(config);
    // While it starts again on its snapshot nobody answers.
    let reached = || node.call("getBlockNumber", json!(["group0", ""])).ok().and_then(|number| number.as_i64());
    let patience = PATIENCE + Duration::from_millis(100) * height as u32;
    while reached().is_none_or(|reached| reached < height) {
        assert!(began.elapsed() < patience, "not as high as the others after {patience:?}: {}", node.said());
        std::thread::sleep(PAUSE);
    }
    (node, began.elapsed())
}

#[test]
fn a_node_joins_by_a_snapshot_what_another_repeats_block_by_block() {
    let height = setting("BIXI_JOIN_HEIGHT", 300) as i64;
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let late = &chain.configs[3];
    chain.configs.iter().for_each(|config| set(config, "consensus", "block_interval_ms", "0"));
    let directory = late.parent().unwrap();
    copy(directory, &place.path().join("pristine")).unwrap();
    let renew = || {
        fs::remove_dir_all(directory).unwrap();
        copy(&place.path().join("pristine"), directory).unwrap();
    };
    // With all four, because nobody waits for the turns of one that is away; then the fourth begins anew on an empty disk.
    let mut nodes = start(&chain.configs);
    let (mut wallet, mut names) = (Wallet::new(8), 0);
    grow(&nodes[0], &mut wallet, &mut names, height);
    assert!(nodes.pop().expect("four nodes").stop().status.success());

    // Block by block.
    renew();
    let (replaying, by_blocks) = join(late, height);
    assert!(!replaying.said().contains("far behind"), "{}", replaying.said());
    assert!(replaying.stop().status.success());

    // From a snapshot.
    renew();
    set(late, "sync", "snapshot_after_blocks", "100");
    let (joined, by_snapshot) = join(late, height);
    let said = joined.said();
    assert!(said.contains("a snapshot took the ledger's place"), "it did not join by snapshot: {said}");
    println!(
        "joining at height {height}: block by block {:.1} s, by snapshot {:.1} s",
        by_blocks.as_secs_f64(),
        by_snapshot.as_secs_f64()
    );

    // It goes on with the chain, serves its clients, and says what it does not have.
    nodes.push(joined);
    grow(&nodes[3], &mut wallet, &mut names, height + 4);
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "with the late node");
    let total = |node: &RunningNode| node.call("getTotalTransactionCount", json!(["group0", ""])).expect("totals");
    assert_eq!(total(&nodes[3])["transactionCount"], total(&nodes[0])["transactionCount"]);
    let header =
        |node: &RunningNode| node.call("getBlockByNumber", json!(["group0", "", 2, true, true])).expect("a header");
    assert_eq!(header(&nodes[3])["hash"], header(&nodes[0])["hash"]);
    let receipt_of_two =
        nodes[0].call("getBlockByNumber", json!(["group0", "", height, false, true])).expect("a block");
    let hash = &receipt_of_two["transactions"][0];
    let refused = nodes[3].call("getTransactionReceipt", json!(["group0", "", hash, false]));
    match refused {
        Err(CallError::Refused { message, .. }) => assert!(message.contains("joined by a snapshot"), "{message}"),
        other => panic!("{other:?} instead of a refusal"),
    }

    // Killed at once after it began anew, it is what it was.
    let again = nodes.pop().expect("four nodes");
    again.kill_now();
    drop(again);
    nodes.push(RunningNode::start(late));
    grow(&nodes[0], &mut wallet, &mut names, height + 8);
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "with the late node again");
}
