//! The data keys of a node at work, exchanged: beside blocks, whatever ends it, with a broker and without.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "a campaign's report")]

mod campaign;
mod ciphers;
mod ends;
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bixi_tests::broker::{self, RunningBroker};
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::wallet::Wallet;
use bixi_tests::{binary, settings};
use serde_json::Value;

/// A node, and its broker if it has one.
struct Bench {
    _place: tempfile::TempDir,
    config: PathBuf,
    broker: Option<RunningBroker>,
    node: Option<RunningNode>,
    wallet: Wallet,
    names: u64,
}

impl Bench {
    fn start(with_broker: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = make_chain(place.path());
        settings::set(&config, "hsm", "drop_at_work_allowed", "true");
        if with_broker {
            broker::configure(&config);
        }
        let mut bench = Self { _place: place, config, broker: None, node: None, wallet: Wallet::new(7), names: 0 };
        bench.broker = with_broker.then(|| RunningBroker::start(&bench.config));
        bench.start_node();
        bench
    }

    fn start_node(&mut self) {
        self.node = Some(RunningNode::start(&self.config));
    }

    fn node(&self) -> &RunningNode {
        self.node.as_ref().expect("it runs")
    }

    fn broker(&self) -> &RunningBroker {
        self.broker.as_ref().expect("it has one")
    }

    fn data(&self, name: &str) -> PathBuf {
        self.config.with_file_name("data").join(name)
    }

    /// One transaction in a block; its height.
    fn commit(&mut self) -> i64 {
        self.names += 1;
        let node = self.node.as_ref().expect("it runs");
        let transaction = self.wallet.user_add(&format!("name-{}", self.names), 1, node.height() + 500);
        let receipt = node.connect().unwrap().submit(&transaction.encode()).expect("final");
        assert_eq!(receipt["status"], 0, "{receipt}");
        receipt["blockNumber"].as_i64().unwrap()
    }

    /// `bixi db rotate-key` with more arguments.
    fn rotate(&self, more: &[&str]) -> Output {
        rotate(&self.config, more)
    }

    /// What it printed.
    fn rotated(&self, more: &[&str]) -> Value {
        let ran = self.rotate(more);
        assert!(ran.status.success(), "{}", said(&ran));
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    /// Both stop in order.
    fn stop(&mut self) {
        for ended in [self.node.take().map(RunningNode::stop), self.broker.take().map(RunningBroker::stop)] {
            assert!(ended.is_none_or(|ended| ended.status.success()));
        }
    }

    fn expect_epoch(&self, epoch: u32) {
        let mut found = epochs(&self.data(""));
        assert!(found.remove(&epoch).is_some_and(|files| files.len() > 5) && found.is_empty(), "{epoch}: {found:?}");
    }

    /// Requests that the trail tells of, with their outcomes, and that it holds.
    fn trail(&self) -> Value {
        let ran = bixi(&["hsm", "verify-audit", "--json", "--config"], &self.config);
        assert!(ran.status.success(), "{}", said(&ran));
        serde_json::from_slice(&ran.stdout).unwrap()
    }
}

fn rotate(config: &Path, more: &[&str]) -> Output {
    bixi(&[&["db", "rotate-key", "--json"], more, &["--config"]].concat(), config)
}

fn bixi(arguments: &[&str], config: &Path) -> Output {
    Command::new(binary("bixi")).args(arguments).arg(config).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn told(done: &Value) -> String {
    ["epoch", "dropped", "kept", "left"].map(|name| done[name].to_string()).join(" ")
}

/// The files below a directory by the epochs that their headers name. A node may be making and removing some.
fn epochs(directory: &Path) -> BTreeMap<u32, Vec<PathBuf>> {
    let mut epochs: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for path in bixi_tests::disk::files(directory).unwrap() {
        let Ok(content) = fs::read(&path) else { continue };
        if let Some(header) = content.get(..20).filter(|head| head.starts_with(b"BIXISEAL")) {
            epochs.entry(u32::from_le_bytes(header[16..].try_into().unwrap())).or_default().push(path);
        }
    }
    epochs
}
