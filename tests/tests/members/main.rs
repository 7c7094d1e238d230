//! Nodes of a live chain of real processes that come and go: by the transactions that FISCO BCOS's console sends, by an operator's
//! lists, and by being started again.

#![allow(clippy::print_stdout, reason = "the pauses of a rolling restart are its report")]

mod joining;
mod reload;
mod rolling;
mod rotation;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bixi_tests::chain::{Chain, start};
use bixi_tests::load::Load;
use bixi_tests::node::RunningNode;

/// Each of these tests runs four processes or five: one after the other they share a small machine.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Four validators under load. Take it apart in this order: the nodes end before what they stand on.
struct Stage {
    _turn: MutexGuard<'static, ()>,
    _place: tempfile::TempDir,
    chain: Chain,
    load: Load,
    nodes: Vec<RunningNode>,
}

impl Stage {
    /// Starts all, with clients at the first so many, who have had some answers.
    fn start(clients: usize) -> Self {
        let _turn = turn();
        let _place = tempfile::tempdir().unwrap();
        let chain = Chain::make(&_place.path().join("chain"), "4");
        let mut load = Load::default();
        let nodes = start(&chain.configs);
        nodes[..clients].iter().enumerate().for_each(|(index, node)| load.point(index, Some(node.rpc)));
        load.promises().wait_beyond(10);
        Self { _turn, _place, chain, load, nodes }
    }
}
