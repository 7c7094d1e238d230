//! Processes that stop, end, come back older than they were, or exist twice.

use bixi_tests::disk::copy;
use bixi_tests::node::RunningNode;
use bixi_tests::settings::set;
use bixi_tests::wire::{Condition, Wire};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::field::Field;

const UNWELL: usize = 3;
/// The place of a process that no chain has.
const TWIN: usize = 4;

fn stop(field: &mut Field<'_>, unwell: usize) {
    field.node(unwell).signal(Signal::STOP);
    let others = field.others(unwell);
    field.grow(&others, 10);
    field.node(unwell).signal(Signal::CONT);
    field.mend(&others);
    field.recover(&others);
    field.return_of(unwell);
    field.grow(&field.all(), 2);
}

pub(super) fn stop_one(field: &mut Field<'_>) {
    stop(field, UNWELL);
}

/// Whoever leads now; under load another one may by the time of the signal, and leads again four blocks later.
pub(super) fn stop_leader(field: &mut Field<'_>) {
    let status = field.node(0).call("getConsensusStatus", json!(["group0", ""])).expect("a status");
    let status: Value = serde_json::from_str(status.as_str().expect("a text")).expect("JSON");
    let leader = status["leaderIndex"].as_u64().expect("an index") as usize;
    // FISCO BCOS counts the validators by their ids.
    let id = status["consensusNodeList"][leader]["nodeID"].as_str().expect("an id");
    let node = field.chain.ids.iter().position(|known| known == id).expect("one of ours");
    stop(field, node);
}

pub(super) fn kill_all(field: &mut Field<'_>) {
    let highest = field.all().into_iter().map(|node| field.height(node)).max().expect("nodes");
    field.kill_all();
    field.start_all();
    field.mend(&field.all());
    assert!(field.all().into_iter().any(|node| field.height(node) >= highest), "blocks below {highest} are gone");
    field.recover(&field.all());
    field.return_of(UNWELL);
    field.grow(&field.all(), 2);
}

/// Two of seven may be away, three may not.
pub(super) fn seven(field: &mut Field<'_>) {
    [5, 6].into_iter().for_each(|node| field.kill(node));
    field.grow(&[0, 1, 2, 3, 4], 10);
    field.kill(4);
    let left = [0, 1, 2, 3];
    field.rest(&left);
    field.mend(&left);
    field.start_all();
    field.recover(&left);
    field.return_of(6);
    field.grow(&field.all(), 2);
}

/// Its guard, its logs and its ledger are old together: only the others know what it signed since.
pub(super) fn old_copy(field: &mut Field<'_>) {
    let (home, old) = (field.home(UNWELL).to_owned(), field.place().join("old"));
    field.kill(UNWELL);
    copy(&home, &old).expect("a stopped node can be copied");
    field.start(UNWELL);
    field.grow(&field.all(), 10);
    field.kill(UNWELL);
    std::fs::remove_dir_all(home.join("data")).expect("ours");
    copy(&old.join("data"), &home.join("data")).expect("a copy can be put back");
    let others = field.others(UNWELL);
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 5);
    field.says(UNWELL, &["only follows"]);
    assert_eq!(field.evidence(&others), 0, "it signed twice what it had signed before");
}

/// A second process with the same keys and a copy of the guard, at the place of a fifth node. One node hears the validator, the others its
/// twin, so both speak for it: they propose different values in its turn, and vote each as it sees the chain.
pub(super) fn twin(field: &mut Field<'_>) {
    let (home, copied) = (field.home(UNWELL).to_owned(), field.place().join("twin"));
    field.kill(UNWELL);
    copy(&home, &copied).expect("a stopped node can be copied");
    let config = copied.join("bixi.toml");
    set(&config, "rpc", "listen", &format!("\"{}:0\"", Wire::control_address(TWIN)));
    let is_deaf = |one: usize, other: usize| (one == UNWELL && matches!(other, 1 | 2)) || (one == TWIN && other == 0);
    field.wire().set_where(Condition::CUT, |from, to| is_deaf(from, to) || is_deaf(to, from));
    field.start(UNWELL);
    let twin = RunningNode::try_start_by(field.ground.command(TWIN), &config);
    let twin = twin.unwrap_or_else(|ended| panic!("the twin is not ready: {}", ended.said));
    let others = field.others(UNWELL);
    field.grow(&others, 40);
    println!("twin: {} files of evidence", field.evidence(&others));
    twin.kill_now();
    drop(twin);
    field.wire().heal();
    field.kill(UNWELL);
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}
