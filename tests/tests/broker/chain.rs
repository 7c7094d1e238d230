//! Four validators, each with its broker: one worker is killed, then stopped, then away for good; the chain goes on, and that validator
//! votes again without a restart.

use bixi_hsm::guard::Position;
use bixi_tests::broker::{RunningBroker, configure};
use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::load::Load;
use bixi_tests::node::RunningNode;
use rustix::process::Signal;

use crate::bench::client;

const UNWELL: usize = 3;

struct Field {
    chain: Chain,
    brokers: Vec<RunningBroker>,
    nodes: Vec<RunningNode>,
    load: Load,
}

impl Field {
    fn new(place: &std::path::Path) -> Self {
        let chain = Chain::make(&place.join("chain"), "4");
        chain.configs.iter().for_each(|config| configure(config));
        let brokers = chain.configs.iter().map(|config| RunningBroker::start(config)).collect();
        let nodes = start(&chain.configs);
        let mut load = Load::default();
        for (number, node) in nodes.iter().enumerate() {
            load.point(number, Some(node.rpc));
        }
        Self { chain, brokers, nodes, load }
    }

    /// The others get further by so many blocks.
    fn go_on(&self, what: &str, blocks: i64) {
        let from = self.nodes[0].height();
        wait_until(what, || self.nodes[..UNWELL].iter().all(|node| node.height() >= from + blocks));
    }

    /// The one that was unwell signs for a block that was made from now on: its guard's marks say so.
    fn signs_again(&self, what: &str) {
        let from = u64::try_from(self.nodes[0].height()).expect("no height is negative");
        let client = client(&self.chain.configs[UNWELL]);
        let is_later = |mark: &Position| matches!(mark, Position::Checkpoint { height } if *height > from);
        wait_until(what, || client.marks().expect("a broker that answers").iter().any(is_later));
    }
}

#[test]
fn the_chain_goes_on_and_the_validator_signs_again_without_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut field = Field::new(place.path());
    field.signs_again("all four sign");
    for signal in [Signal::KILL, Signal::STOP] {
        let before = field.brokers[UNWELL].workers().len();
        field.brokers[UNWELL].signal_worker(signal);
        field.go_on("the others go on", 5);
        field.brokers[UNWELL].wait_for_another(before);
        field.signs_again("it signs with the next worker");
    }
    // The whole broker is away, as a device is that was pulled out.
    let gone = field.brokers.pop().expect("four brokers");
    gone.signal(Signal::KILL);
    drop(gone);
    field.go_on("the others go on without its broker", 20);
    field.brokers.push(RunningBroker::start(&field.chain.configs[UNWELL]));
    field.signs_again("it signs with another broker");
    field.load.end();
    let nodes: Vec<&RunningNode> = field.nodes.iter().collect();
    wait_equal(&nodes, "at the end");
    for node in &nodes {
        field.load.promises().check(node, "at the end");
    }
    for node in field.nodes.drain(..) {
        let ended = node.stop();
        assert!(ended.status.success(), "{}", ended.said);
    }
}
