//! Honest reads: whatever a node acknowledged, every later read of that node shows, whoever asks, also after a kill -9 of it and while it
//! catches up; what it said once it does not take back, and nothing acknowledged is lost on any node.
//!
//! `BIXI_READS_KILLS` sets the number of kills (2 in the ordinary run), `BIXI_READS_WRITES` the writes between them, `BIXI_READS_SEED`
//! the seed.

#![allow(clippy::print_stdout, reason = "the seed and the totals are the test's report")]

mod behind;
mod clients;
mod record;

use std::sync::atomic::Ordering;

use bixi_tests::chain::{Chain, start, wait_equal, wait_until};
use bixi_tests::node::RunningNode;
use bixi_tests::setting;
use bixi_tests::wallet::Seeded;

use behind::{Behind, Same};
use record::{NODES, Record};

const WRITERS_EACH: usize = 2;
const READERS_EACH: usize = 2;

/// A checker that finds nothing must be one that could.
#[test]
fn a_node_whose_answers_lag_behind_is_caught() {
    const OLD: &[&str] = &["stale: ", "backwards: "];
    let faults: [(&str, Same, &[&str]); 3] = [
        ("call", |call| call, OLD),
        ("getBlockNumber", |call| call, OLD),
        // Of another transaction.
        ("getTransactionReceipt", |_| Vec::new(), &["receipt"]),
    ];
    for (method, same, words) in faults {
        let place = tempfile::tempdir().unwrap();
        let chain = Chain::make(&place.path().join("chain"), "1");
        let node = RunningNode::start(&chain.configs[0]);
        let record = Record::new(WRITERS_EACH, std::iter::once(Behind::start(node.rpc, method, same)));
        let found = std::thread::scope(|scope| {
            let _end = record.stop_at_end();
            let clients = [scope.spawn(|| clients::write(&record, 0, 1)), scope.spawn(|| clients::read(&record, 0, 2))];
            let ended = clients.map(|client| client.join().err().and_then(|panic| panic.downcast::<String>().ok()));
            ended.into_iter().flatten().map(|fault| *fault).collect::<Vec<_>>()
        });
        let is_named = |fault: &String| words.iter().any(|word| fault.contains(word));
        assert!(found.iter().any(is_named), "{method} is an answer behind: {found:?}");
    }
}

#[test]
fn no_read_is_older_than_an_acknowledged_write_on_the_same_node() {
    let kills = setting("BIXI_READS_KILLS", 2);
    let (writes, seed) = (setting("BIXI_READS_WRITES", 25), setting("BIXI_READS_SEED", 1));
    println!("seed {seed}, {kills} kills");
    let place = tempfile::tempdir().unwrap();
    let chain = Chain::make(&place.path().join("chain"), "4");
    let mut nodes: Vec<Option<RunningNode>> = start(&chain.configs).into_iter().map(Some).collect();
    let record = Record::new(WRITERS_EACH, nodes.iter().flatten().map(|node| node.rpc));

    std::thread::scope(|scope| {
        // However this closure ends, the clients end too: the scope waits for them.
        let _end = record.stop_at_end();
        for number in 0..NODES * WRITERS_EACH {
            let record = &record;
            scope.spawn(move || clients::write(record, number, seed.wrapping_mul(1_000_003) + number as u64));
        }
        for number in 0..NODES * READERS_EACH {
            let record = &record;
            scope.spawn(move || clients::read(record, number % NODES, seed.wrapping_mul(7_368_787) + number as u64));
        }
        let mut random = Seeded(seed);
        let pass = |what: &str, wanted: &dyn Fn(usize) -> bool| pass_writes_and_reads(&record, writes, what, wanted);
        pass("all nodes are well", &|_| true);
        for kill in 0..kills {
            let victim = random.below(NODES as u64) as usize;
            let node = nodes[victim].take().expect("every node runs between the kills");
            node.kill_now();
            record.left(victim);
            drop(node);
            pass(&format!("kill {kill}: node {victim} is away"), &|node| node != victim);
            let node = RunningNode::start(&chain.configs[victim]);
            record.came(victim, node.rpc);
            nodes[victim] = Some(node);
            pass(&format!("kill {kill}: node {victim} is back"), &|_| true);
        }
    });

    let nodes: Vec<&RunningNode> = nodes.iter().flatten().collect();
    let height = wait_equal(&nodes, "after the last write");
    let totals = record.judge(&nodes);
    println!("{totals} at height {height}, {kills} kills: no stale read, nothing lost, no receipt changed");
}

/// Waits until every node that is wanted acknowledged some writes of its own clients and answered as many reads.
fn pass_writes_and_reads(record: &Record, writes: u64, what: &str, wanted: &dyn Fn(usize) -> bool) {
    let before = record.nodes.each_ref().map(|node| node.progress());
    wait_until(what, || {
        assert!(!record.stop.load(Ordering::Relaxed), "{what}: a client found a fault");
        let mut nodes = record.nodes.iter().zip(before).enumerate().filter(|(index, _)| wanted(*index));
        nodes.all(|(_, (node, (acknowledged, reads)))| {
            let now = node.progress();
            now.0 >= acknowledged + writes && now.1 >= reads + writes
        })
    });
}
