//! Four validators, each a process of its own with its own token, over TLS: what a client was told survives every end of theirs.

use std::fs;

use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::node::RunningNode;
use bixi_tests::promises::Promises;
use bixi_tests::wallet::Wallet;

/// Clients of a chain, and what they were told.
struct Clients {
    wallet: Wallet,
    promises: Promises,
    names: u64,
}

impl Clients {
    /// One transaction through each of the nodes; every one gets its receipt.
    fn use_all(&mut self, nodes: &[RunningNode]) {
        for node in nodes {
            self.names += 1;
            let transaction = self.wallet.user_add(&format!("user-{}", self.names), 100, node.height() + 900);
            let receipt = node.connect().and_then(|mut to| to.submit(&transaction.encode())).expect("a receipt");
            assert_eq!(receipt["status"], 0, "{receipt}");
            self.promises.keep(receipt);
        }
    }

    /// All nodes come to one height, with one hash, and hold every promise.
    fn check(&self, nodes: &[RunningNode], context: &str) {
        wait_equal(&nodes.iter().collect::<Vec<_>>(), context);
        for node in nodes {
            self.promises.check(node, context);
        }
    }
}

#[test]
fn four_validators_outlive_one_and_come_back_from_the_end_of_all() {
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let mut clients = Clients { wallet: Wallet::new(4), promises: Promises::default(), names: 0 };
    let mut nodes = start(&chain.configs);
    clients.use_all(&nodes);
    clients.check(&nodes, "after the start");

    // One is away, killed or stopped: the others go on, and it finds what it missed.
    for is_killed in [true, false] {
        let away = nodes.pop().expect("four nodes");
        if is_killed {
            away.kill_now();
            drop(away);
        } else {
            let ended = away.stop();
            assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
        }
        clients.use_all(&nodes);
        clients.check(&nodes, "without the fourth");
        nodes.push(RunningNode::start(&chain.configs[3]));
        clients.check(&nodes, "with the fourth again");
        clients.use_all(&nodes[3..]);
    }

    // All are killed at once.
    nodes.iter().for_each(RunningNode::kill_now);
    drop(nodes);
    let nodes = start(&chain.configs);
    clients.check(&nodes, "after the end of all");
    clients.use_all(&nodes);
    clients.check(&nodes, "at the end");
}

#[test]
fn a_node_of_another_authority_is_refused_with_the_reason_in_both_logs() {
    let place = tempfile::tempdir().unwrap();
    let ours = Chain::make(&place.path().join("ours"), "2");
    // A chain of one at the same address, which calls ours.
    let (host, _) = ours.p2p[0].rsplit_once(':').expect("host and port");
    let theirs = Chain::make(&place.path().join("theirs"), &format!("{host}:30400"));
    let config = fs::read_to_string(&theirs.configs[0]).unwrap();
    let calling =
        config.replace(&format!("peers = [\"{}\"]", theirs.p2p[0]), &format!("peers = [\"{}\"]", ours.p2p[0]));
    assert_ne!(config, calling);
    fs::write(&theirs.configs[0], calling).unwrap();

    let our = RunningNode::start(&ours.configs[0]);
    let stranger = RunningNode::start(&theirs.configs[0]);
    let refused = |node: &RunningNode| node.said().lines().any(|line| line.contains("WARN") && line.contains("p2p.ca"));
    wait_until("a reason in our log", || refused(&our));
    wait_until("a reason in the stranger's log", || refused(&stranger));
    // Each serves its own clients on.
    assert_eq!((our.height(), stranger.height()), (0, 0));
}
