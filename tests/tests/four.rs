//! Four validators, each a process of its own with its own token, over TLS: what a client was told survives every end of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bixi_tests::binary;
use bixi_tests::node::RunningNode;
use bixi_tests::promises::Promises;
use bixi_tests::wallet::Wallet;
use serde_json::{Value, json};

/// Nothing takes longer in a test that is right, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// A chain whose p2p is at loopback addresses.
struct Chain {
    /// The `bixi.toml` of each node.
    configs: Vec<PathBuf>,
    /// Where others find each node.
    p2p: Vec<String>,
}

impl Chain {
    fn make(place: &Path, nodes: &str) -> Self {
        let mut command = Command::new(binary("bixi"));
        command.args(["chain", "new", "--json", "--evm-hash", "keccak256", "--p2p-port", "0", "--rpc-port", "0"]);
        let made = command.args(["--nodes", nodes, "--dir"]).arg(place).output().expect("bixi starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        let all = |name: &'static str| {
            let nodes = made["nodes"].as_array().expect("nodes").iter();
            nodes.map(move |node| node[name].as_str().expect("a text").to_owned())
        };
        let configs = all("directory").map(|directory| Path::new(&directory).join("bixi.toml")).collect();
        Self { configs, p2p: all("p2p").collect() }
    }
}

/// Starts nodes side by side: they need each other to become ready.
fn start(configs: &[PathBuf]) -> Vec<RunningNode> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = configs.iter().map(|config| scope.spawn(|| RunningNode::start(config))).collect();
        starting.into_iter().map(|node| node.join().expect("every node starts")).collect()
    })
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

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
        let mut height = 0;
        wait_until("all nodes at one height", || {
            height = nodes[0].height();
            nodes.iter().all(|node| node.height() == height)
        });
        let hash =
            |node: &RunningNode| node.call("getBlockHashByNumber", json!(["group0", "", height])).expect("a hash");
        for node in nodes {
            assert_eq!(hash(node), hash(&nodes[0]), "{context}: height {height}");
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
