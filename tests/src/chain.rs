//! A chain of several nodes of this machine, whose p2p is at loopback addresses of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary;
use crate::node::RunningNode;

/// Nothing takes longer in a test that is right, on whatever machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(20);

/// The directories of a chain.
pub struct Chain {
    /// Where it lies.
    pub directory: PathBuf,
    /// The `bixi.toml` of each node.
    pub configs: Vec<PathBuf>,
    /// Where others find each node; empty for the only one.
    pub p2p: Vec<String>,
    /// The consensus key of each node, 128 hexadecimal digits.
    pub ids: Vec<String>,
}

impl Chain {
    /// Makes a chain whose contracts see keccak256; `nodes` as `bixi chain new --nodes` takes them. The system chooses the ports of RPC.
    ///
    /// # Panics
    /// When `bixi chain new` fails.
    pub fn make(place: &Path, nodes: &str) -> Self {
        Self::make_by(place, &["--nodes", nodes, "--evm-hash", "keccak256"])
    }

    /// Makes a chain as an operator does who chooses nothing: its contracts see SM3.
    ///
    /// # Panics
    /// When `bixi chain new` fails.
    pub fn make_by_default(place: &Path, nodes: &str) -> Self {
        Self::make_by(place, &["--nodes", nodes])
    }

    fn make_by(place: &Path, choices: &[&str]) -> Self {
        let mut chain = Self { directory: place.to_owned(), configs: Vec::new(), p2p: Vec::new(), ids: Vec::new() };
        chain.ceremony(&[choices, &["--p2p-port", "0", "--dir"]].concat());
        chain
    }

    /// Makes the directory of one more node, which calls those that are there.
    ///
    /// # Panics
    /// When `bixi chain new --expand` fails.
    pub fn expand(&mut self) {
        self.ceremony(&["--nodes", "1", "--expand"]);
    }

    /// Takes back certificates that the chain's authority issued; the list, PEM.
    ///
    /// # Panics
    /// When `bixi chain revoke` fails.
    pub fn revoke(&self, certificates: &[PathBuf]) -> PathBuf {
        let revoked = self.step(&["revoke", "--json"], certificates);
        let revoked: Value = serde_json::from_slice(&revoked).expect("JSON");
        revoked["list"].as_str().expect("a path").into()
    }

    /// Certifies the nodes that have no certificate, also when the last one of their key was taken back.
    ///
    /// # Panics
    /// When `bixi chain certify` fails.
    pub fn certify(&self) {
        self.step(&["certify", "--key-is-safe"], &[]);
    }

    /// One step of the ceremony; what it printed.
    fn step(&self, arguments: &[&str], files: &[PathBuf]) -> Vec<u8> {
        let mut command = Command::new(binary("bixi"));
        command.arg("chain").args(arguments).arg("--dir").arg(&self.directory).args(files);
        let ran = command.output().expect("bixi starts");
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    }

    fn ceremony(&mut self, arguments: &[&str]) {
        let mut command = Command::new(binary("bixi"));
        command.args(["chain", "new", "--json", "--rpc-port", "0"]).args(arguments).arg(&self.directory);
        let made = command.output().expect("bixi starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        for node in made["nodes"].as_array().expect("nodes") {
            let text = |name: &str| node[name].as_str().expect("a text").to_owned();
            self.configs.push(Path::new(&text("directory")).join("bixi.toml"));
            self.p2p.push(node["p2p"].as_str().unwrap_or_default().to_owned());
            self.ids.push(text("id"));
        }
    }
}

/// Starts nodes side by side: they need each other to become ready.
///
/// # Panics
/// When one does not become ready.
pub fn start(configs: &[PathBuf]) -> Vec<RunningNode> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = configs.iter().map(|config| scope.spawn(|| RunningNode::start(config))).collect();
        starting.into_iter().map(|node| node.join().expect("every node starts")).collect()
    })
}

/// Waits until all nodes stand at one height with one header hash, and returns the height.
///
/// # Panics
/// When they do not come together.
pub fn wait_equal(nodes: &[&RunningNode], context: &str) -> i64 {
    let mut height = 0;
    wait_until(context, || {
        height = nodes[0].height();
        nodes.iter().all(|node| node.height() == height)
    });
    let hash = |node: &RunningNode| node.call("getBlockHashByNumber", json!(["group0", "", height])).expect("a hash");
    for node in nodes {
        assert_eq!(hash(node), hash(nodes[0]), "{context}: height {height}");
    }
    height
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
