//! One of four whose state is not what the chain made it: it stops loudly, is told what differs, and comes back.

use std::fs;
use std::path::{Path, PathBuf};

use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::Wallet;
use serde_json::Value;

use crate::meddler::give_balance;
use crate::{replay, words};

/// Files of a node's evidence whose name has this part.
fn evidence(config: &Path, part: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(config.with_file_name("data").join("evidence")).into_iter().flatten();
    files.map(|entry| entry.unwrap().path()).filter(|path| path.to_string_lossy().contains(part)).collect()
}

/// Adds a user through a node, whose receipt says that it did.
fn add(node: &RunningNode, wallet: &mut Wallet, name: &str) {
    let transaction = wallet.user_add(name, 100, node.height() + 500).encode();
    let receipt = node.connect().and_then(|mut to| to.submit(&transaction)).expect("a receipt");
    assert_eq!(receipt["status"], 0, "{receipt}");
}

#[test]
fn a_node_that_differs_stops_is_told_where_and_comes_back_once_its_result_is_dropped() {
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let mut wallet = Wallet::new(23);
    let mut nodes = start(&chain.configs);
    add(&nodes[0], &mut wallet, "before");
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "before");
    let wrong = &chain.configs[3];
    let ledger = wrong.with_file_name("data").join("ledger");
    for node in nodes.split_off(2) {
        let ended = node.stop();
        assert!(ended.status.success(), "{}", ended.said);
    }
    copy(&ledger, &place.path().join("right")).unwrap();
    give_balance(wrong, &["after".into()]);

    // Of three, all must sign: so the one that is wrong signs before it can hear that it is.
    let meddled = RunningNode::start(wrong);
    let head = nodes[0].height() as u64;
    let transaction = wallet.user_add("after", 100, head as i64 + 500).encode();
    let (differing, third) = std::thread::scope(|scope| {
        let through = &nodes[0];
        let receipt = scope.spawn(move || through.connect().and_then(|mut to| to.submit(&transaction)));
        wait_until("both sides keep what the other said", || {
            !evidence(wrong, "-result-").is_empty()
                && !evidence(&chain.configs[0], &format!("-divergence-{}", &chain.ids[3][..16])).is_empty()
        });
        let third = RunningNode::start(&chain.configs[2]);
        let ended = meddled.wait_end();
        // Its client may have been told that it takes long; the transaction is in the chain all the same.
        drop(receipt.join().expect("an answer"));
        (ended, third)
    });
    nodes.push(third);
    assert!(!differing.status.success());
    assert!(differing.said.contains(&format!("height {}: we executed", head + 1)), "{}", differing.said);
    assert!(!evidence(wrong, "-divergence-").is_empty());

    // With the wrong state it comes to what it signed.
    let same = replay(wrong, head + 1, &["--json"]);
    assert!(same.status.success(), "{}", words(&same));
    // With the right one it does not, and is told the transaction.
    fs::remove_dir_all(&ledger).unwrap();
    copy(&place.path().join("right"), &ledger).unwrap();
    let differs = replay(wrong, head + 1, &["--json"]);
    assert_eq!(differs.status.code(), Some(1), "{}", words(&differs));
    let told: Value = serde_json::from_slice(&differs.stdout).expect("JSON");
    let first = &told["heights"][0];
    assert_eq!((&first["height"], &first["verdict"]), (&Value::from(head + 1), &Value::from("differs")), "{told}");
    let difference = first["first_difference"].as_str().expect("the result was kept");
    assert!(difference.starts_with("receipt 0 (transaction 0x"), "{difference}");

    let accepted = replay(wrong, head + 1, &["--accept"]);
    assert!(accepted.status.success(), "{}", words(&accepted));
    assert!(words(&accepted).contains("-dropped-"), "{}", words(&accepted));
    let kept = fs::read_to_string(&evidence(wrong, "-dropped-")[0]).unwrap();
    for header in ["header", "signed"] {
        assert!(kept.contains(first[header].as_str().expect("a hash")), "{header}: {kept}");
    }
    nodes.push(RunningNode::start(wrong));
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "it follows again");
    add(&nodes[3], &mut wallet, "at-last");
    wait_equal(&nodes.iter().collect::<Vec<_>>(), "and serves");
}
