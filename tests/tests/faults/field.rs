//! One scenario's chain, its load, and what is demanded of them.

mod brokers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::{Chain, wait_equal, wait_until};
use bixi_tests::load::Load;
use bixi_tests::node::{Ended, RunningNode};
use bixi_tests::wire::Wire;
use serde_json::json;

use crate::ground::Ground;
use crate::report::Row;
use crate::scenarios::Scenario;

/// A chain that commits nothing for so long is held: under load it commits several blocks a second.
const HELD: Duration = Duration::from_secs(5);

/// What a scenario works with.
pub(crate) struct Field<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) chain: Chain,
    pub(crate) seed: u64,
    pub(crate) row: Row,
    nodes: Vec<Option<RunningNode>>,
    /// By node, where the scenario has brokers.
    brokers: BTreeMap<usize, RunningBroker>,
    load: Load,
    mended: Option<(Instant, i64)>,
    environment: Vec<(usize, &'static str, PathBuf)>,
    mounts: Vec<PathBuf>,
    place: tempfile::TempDir,
}

impl<'a> Field<'a> {
    /// A chain under load, all well.
    pub(crate) fn new(scenario: &Scenario, ground: &'a Ground, seed: u64) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let chain = ground.make_chain(&place.path().join("chain"), scenario.nodes);
        let nodes = chain.configs.iter().map(|_| None).collect();
        let (load, row) = (Load::default(), Row::new(scenario.name));
        let mut field = Self {
            ground,
            chain,
            seed,
            row,
            nodes,
            brokers: BTreeMap::new(),
            load,
            mended: None,
            environment: Vec::new(),
            mounts: Vec::new(),
            place,
        };
        (scenario.prepare)(&mut field);
        if scenario.has_brokers {
            field.start_brokers();
        }
        field.start_all();
        field.grow(&field.all(), 2);
        field
    }

    /// The directory that goes with the scenario.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// The directory of a node.
    pub(crate) fn home(&self, node: usize) -> &Path {
        self.chain.configs[node].parent().expect("a file has a directory")
    }

    pub(crate) fn wire(&self) -> &Wire {
        self.ground.wire()
    }

    /// Where a stranger finds the p2p port of a node.
    pub(crate) fn stranger_address(&self, node: usize) -> SocketAddr {
        let address = self.ground.stranger_address(node).unwrap_or_else(|| self.chain.p2p[node].clone());
        address.parse().expect("an address and port")
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// All but one.
    pub(crate) fn others(&self, than: usize) -> Vec<usize> {
        self.all().into_iter().filter(|node| *node != than).collect()
    }

    pub(crate) fn node(&self, node: usize) -> &RunningNode {
        self.nodes[node].as_ref().expect("the node runs")
    }

    // Starts and ends.

    pub(crate) fn start_all(&mut self) {
        let away: Vec<usize> = self.all().into_iter().filter(|node| self.nodes[*node].is_none()).collect();
        let commands: Vec<Command> = away.iter().map(|node| self.command(*node)).collect();
        let configs = &self.chain.configs;
        let started: Vec<_> = std::thread::scope(|scope| {
            let start = |(node, command): (&usize, Command)| {
                let config = &configs[*node];
                scope.spawn(move || RunningNode::try_start_by(command, config))
            };
            let starting: Vec<_> = away.iter().zip(commands).map(start).collect();
            starting.into_iter().map(|node| node.join().expect("no panic")).collect()
        });
        for (node, started) in away.into_iter().zip(started) {
            let started = started.unwrap_or_else(|ended| panic!("node {node} is not ready: {}", ended.said));
            self.adopt(node, started);
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        match self.try_start(node) {
            Ok(started) => self.adopt(node, started),
            Err(ended) => panic!("node {node} is not ready: {}", ended.said),
        }
    }

    pub(crate) fn try_start(&self, node: usize) -> Result<RunningNode, Ended> {
        RunningNode::try_start_by(self.command(node), &self.chain.configs[node])
    }

    fn command(&self, node: usize) -> Command {
        let mut command = self.ground.command(node);
        command.stdin(Stdio::null());
        let own = self.environment.iter().filter(|(of, ..)| *of == node);
        command.envs(own.map(|(_, name, value)| (name, value)));
        command
    }

    /// Every process of a node finds this in its environment from now on.
    pub(crate) fn set_environment(&mut self, node: usize, name: &'static str, value: PathBuf) {
        self.environment.push((node, name, value));
    }

    /// Takes a started node as that of its number; its clients go on.
    pub(crate) fn adopt(&mut self, node: usize, started: RunningNode) {
        self.load.point(node, Some(started.rpc));
        self.nodes[node] = Some(started);
    }

    /// Takes a node and its clients out.
    pub(crate) fn take(&mut self, node: usize) -> RunningNode {
        self.load.point(node, None);
        self.nodes[node].take().expect("the node runs")
    }

    pub(crate) fn kill(&mut self, node: usize) {
        let node = self.take(node);
        node.kill_now();
    }

    /// All at the same moment.
    pub(crate) fn kill_all(&mut self) {
        self.nodes.iter().flatten().for_each(RunningNode::kill_now);
        self.all().into_iter().for_each(|node| drop(self.take(node)));
    }

    // What must hold.

    pub(crate) fn height(&self, node: usize) -> i64 {
        self.node(node).height()
    }

    fn highest(&self, nodes: &[usize]) -> i64 {
        nodes.iter().map(|node| self.height(*node)).max().expect("a node")
    }

    /// Each of these commits so many blocks more.
    pub(crate) fn grow(&self, nodes: &[usize], blocks: i64) {
        let wanted = self.highest(nodes) + blocks;
        wait_until(&format!("{}: nodes {nodes:?} at height {wanted}", self.row.scenario), || {
            nodes.iter().all(|node| self.height(*node) >= wanted)
        });
    }

    /// None of these commits anything for a while, whatever their clients ask. What was decided before may still come.
    pub(crate) fn rest(&self, nodes: &[usize]) {
        let (mut since, mut highest) = (Instant::now(), self.highest(nodes));
        wait_until(&format!("{}: nodes {nodes:?} commit nothing", self.row.scenario), || {
            let now = self.highest(nodes);
            if now != highest {
                (since, highest) = (Instant::now(), now);
            }
            since.elapsed() >= HELD
        });
    }

    /// The fault ends now.
    pub(crate) fn mend(&mut self, highest_of: &[usize]) {
        self.mended = Some((Instant::now(), self.highest(highest_of)));
    }

    /// Waits for the first block after the fault on one of these, and notes when it came.
    pub(crate) fn recover(&mut self, nodes: &[usize]) {
        let (mended, head) = self.mended.expect("the fault has ended");
        wait_until(&format!("{}: a block above {head}", self.row.scenario), || self.highest(nodes) > head);
        self.row.recover_s = Some(mended.elapsed().as_secs_f64());
    }

    /// Waits until a node is at the head again, and notes when.
    pub(crate) fn return_of(&mut self, node: usize) {
        let (mended, _) = self.mended.expect("the fault has ended");
        let others = self.others(node);
        wait_until(&format!("{}: node {node} at the head", self.row.scenario), || {
            let head = self.highest(&others);
            self.height(node) >= head
        });
        self.row.return_s = Some(mended.elapsed().as_secs_f64());
    }

    /// The fault has ended and the node that was away is started again: how long until `others` go on, and until it is at the head.
    pub(crate) fn come_back(&mut self, node: usize, others: &[usize]) {
        self.mend(others);
        self.start(node);
        self.recover(others);
        self.return_of(node);
    }

    /// Waits until a node's log has a line with all these words, and keeps it for the report.
    pub(crate) fn says(&mut self, node: usize, words: &[&str]) {
        let mut line = None;
        wait_until(&format!("{}: node {node} says {words:?}", self.row.scenario), || {
            line = find_line(&self.node(node).said(), words);
            line.is_some()
        });
        self.keep_line(&line.expect("found"));
    }

    /// The same of a node that has ended.
    pub(crate) fn said(&mut self, ended: &Ended, words: &[&str]) {
        let line = find_line(&ended.said, words);
        self.keep_line(&line.unwrap_or_else(|| panic!("no line with {words:?} in: {}", ended.said)));
    }

    fn keep_line(&mut self, line: &str) {
        // The time says nothing in a table.
        let words = line.split_once("Z ").map_or(line, |(_, words)| words);
        self.row.line = words.trim().to_owned();
    }

    /// Waits until a validator signs again.
    pub(crate) fn votes_again(&self, node: usize) {
        wait_until(&format!("{}: node {node} votes", self.row.scenario), || {
            let status = self.node(node).call("getNodeStatus", json!(["group0", ""])).expect("a status");
            status["mode"] == "voting"
        });
    }

    /// Unmounts this after the nodes have ended.
    pub(crate) fn unmount_at_end(&mut self, mount: &Path) {
        self.mounts.push(mount.to_owned());
    }

    /// Ends the load and demands everything of all.
    pub(crate) fn finish(mut self) -> Row {
        self.load.end();
        let nodes: Vec<&RunningNode> = self.nodes.iter().flatten().collect();
        assert_eq!(nodes.len(), self.chain.configs.len(), "the scenario left a node out");
        self.row.blocks = wait_equal(&nodes, &format!("{}: all at one head", self.row.scenario));
        for node in &nodes {
            self.load.promises().check(node, self.row.scenario);
        }
        self.row.acknowledged = self.load.promises().count();
        if !self.brokers.is_empty() {
            self.row.statements = Some(self.expect_no_contradiction());
        }
        self.row.clone()
    }
}

impl Drop for Field<'_> {
    fn drop(&mut self) {
        self.nodes.clear();
        for mount in &self.mounts {
            // Lazily: a killed process may hold it for a moment.
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

fn find_line(said: &str, words: &[&str]) -> Option<String> {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    said.lines().find(has_all).map(str::to_owned)
}
