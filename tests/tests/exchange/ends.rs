//! Whatever ends it: node and worker killed at seeded moments, a vault that cannot be written.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::wait_until;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::Seeded;
use bixi_tests::{binary, setting};
use rustix::process::Signal;

use super::{Bench, epochs, said, told};

/// Asks and does not wait for the end.
fn ask(bench: &Bench) -> Child {
    let mut command = Command::new(binary("bixi"));
    command.args(["db", "rotate-key", "--rate-mib", "1", "--config"]).arg(&bench.config);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// All files come under one epoch by themselves.
fn wait_whole(bench: &Bench, context: &str) -> u32 {
    wait_until(&format!("one epoch, {context}"), || epochs(&bench.data("")).len() == 1);
    *epochs(&bench.data("")).keys().next().unwrap()
}

#[test]
fn a_node_that_is_killed_goes_on_with_it_after_its_next_start() {
    let seed = setting("BIXI_EXCHANGE_SEED", 1);
    let (mut random, mut bench) = (Seeded(seed), Bench::start(true));
    let mut before = 1;
    for round in 0..setting("BIXI_EXCHANGE_ROUNDS", 8) {
        for _ in 0..3 {
            bench.commit();
        }
        let height = bench.commit();
        let mut asking = ask(&bench);
        let delay_ms = random.below(400);
        std::thread::sleep(Duration::from_millis(delay_ms));
        bench.node().kill_now();
        drop(bench.node.take());
        let _ = asking.wait();
        bench.start_node();
        let context = format!("seed {seed}, round {round}, killed after {delay_ms} ms");
        assert_eq!(bench.node().height(), height, "{context}");
        let epoch = wait_whole(&bench, &context);
        assert!(epoch == before || epoch == before + 1, "{context}: {epoch} after {before}");
        before = epoch;
    }
    let last = bench.rotated(&["--drop"]);
    assert_eq!((&last["kept"], &last["left"]), (&serde_json::json!([]), &serde_json::json!([])));
    bench.stop();
    bench.trail();
}

#[test]
fn a_worker_that_is_killed_is_followed_by_one_that_reads_the_vault_anew() {
    let seed = setting("BIXI_EXCHANGE_SEED", 1);
    let (mut random, mut bench) = (Seeded(seed), Bench::start(true));
    for round in 0..setting("BIXI_EXCHANGE_ROUNDS", 8) {
        bench.commit();
        let workers = bench.broker().workers().len();
        let mut asking = ask(&bench);
        let delay_ms = random.below(300);
        std::thread::sleep(Duration::from_millis(delay_ms));
        bench.broker().signal_worker(Signal::KILL);
        bench.broker().wait_for_another(workers);
        // Whether it was done, or told why not: what is left is done.
        let _ = asking.wait();
        let context = format!("seed {seed}, round {round}, killed after {delay_ms} ms");
        let done = bench.rotated(&["--go-on", "--drop"]);
        assert_eq!((&done["kept"], &done["left"]), (&serde_json::json!([]), &serde_json::json!([])), "{context}");
        wait_whole(&bench, &context);
        bench.commit();
    }
    let epoch = wait_whole(&bench, "at the end");
    assert!(epoch > 4, "{epoch}");
    bench.stop();
    bench.trail();
    bench.broker = Some(RunningBroker::start(&bench.config));
    bench.start_node();
    bench.commit();
}

/// Told, nothing lost, and done once it can be.
#[test]
fn a_vault_that_cannot_be_written_is_told_of_and_changes_nothing() {
    for with_broker in [false, true] {
        let mut bench = Bench::start(with_broker);
        bench.commit();
        let vault = fs::read(bench.data("vault")).unwrap();
        // Where the next one is written.
        fs::create_dir(bench.data("vault.tmp")).unwrap();
        let refused = bench.rotate(&[]);
        let words = said(&refused);
        assert!(refused.status.code() == Some(1) && words.contains("nothing is sealed anew"), "{words}");
        assert!(words.contains("vault") && words.contains("create"), "{words}");
        assert_eq!(fs::read(bench.data("vault")).unwrap(), vault);
        bench.commit();
        bench.expect_epoch(1);
        fs::remove_dir(bench.data("vault.tmp")).unwrap();
        assert_eq!(told(&bench.rotated(&["--drop"])), "2 [1] [] []");
        bench.commit();
        assert!(bench.node.take().map(RunningNode::stop).unwrap().status.success());
    }
}
