//! Beside blocks, and asked by whom.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use bixi_tests::broker::RunningBroker;
use bixi_tests::node::RunningNode;
use bixi_tests::settings;
use bixi_tests::wallet::Wallet;

use super::{Bench, epochs, said, told};

/// Blocks are made from before the first exchange to after the last.
fn is_exchanged_beside_blocks(with_broker: bool) {
    let mut bench = Bench::start(with_broker);
    for _ in 0..5 {
        bench.commit();
    }
    let (node, ends) = (bench.node(), AtomicBool::new(false));
    let blocks = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut wallet, mut blocks) = (Wallet::new(8), 0);
            let mut connection = node.connect().unwrap();
            while !ends.load(Ordering::Relaxed) {
                blocks += 1;
                let transaction = wallet.user_add(&format!("beside-{blocks}"), 1, node.height() + 500);
                let receipt = connection.submit(&transaction.encode()).expect("final");
                assert_eq!(receipt["status"], 0, "{receipt}");
            }
            blocks
        });
        assert_eq!(told(&bench.rotated(&["--drop"])), "2 [1] [] []");
        assert_eq!(told(&bench.rotated(&[])), "3 [] [2] []");
        assert_eq!(told(&bench.rotated(&["--go-on", "--drop"])), "3 [2] [] []");
        ends.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(blocks > 3, "{blocks}");
    bench.expect_epoch(3);
    assert!(bench.node().said().contains("data keys exchanged"), "{}", bench.node().said());
    let height = bench.commit();
    bench.stop();
    bench.expect_epoch(3);
    let counts = bench.trail()["counts"].to_string();
    assert!(counts.contains("rotate-data-key") && counts.contains("drop-data-key"), "{counts}");
    // With the present vault, which has the last epoch alone.
    if with_broker {
        bench.broker = Some(RunningBroker::start(&bench.config));
    }
    bench.start_node();
    assert_eq!(bench.node().height(), height);
    bench.commit();
}

#[test]
fn the_keys_of_a_node_are_exchanged_beside_its_blocks() {
    is_exchanged_beside_blocks(false);
}

#[test]
fn the_keys_of_a_node_and_its_broker_are_exchanged_beside_its_blocks() {
    is_exchanged_beside_blocks(true);
}

#[test]
fn an_idle_node_moves_its_ordering_log_too_and_a_stopped_one_goes_on_with_what_it_left() {
    let mut bench = Bench::start(false);
    bench.commit();
    assert_eq!(told(&bench.rotated(&[])), "2 [] [1] []");
    bench.expect_epoch(2);
    bench.stop();
    assert_eq!(told(&bench.rotated(&["--go-on", "--drop"])), "2 [1] [] []");
    bench.start_node();
    bench.commit();
}

/// What keeps an epoch is named, and the epoch stays.
#[test]
fn an_epoch_that_a_file_needs_is_kept_and_the_file_is_named() {
    let mut bench = Bench::start(true);
    bench.commit();
    bench.stop();
    let old = fs::read(bench.data("ledger/CURRENT")).unwrap();
    bench.broker = Some(RunningBroker::start(&bench.config));
    bench.start_node();
    // A database beside the ledger, which nobody moves.
    fs::create_dir(bench.data("ledger.old")).unwrap();
    fs::write(bench.data("ledger.old/CURRENT"), &old).unwrap();
    let ran = bench.rotate(&["--drop"]);
    let words = format!("{}{}", String::from_utf8_lossy(&ran.stdout), said(&ran));
    assert!(ran.status.code() == Some(1) && words.contains("ledger.old/CURRENT"), "{words}");
    assert!(words.contains("\"dropped\":[]") && words.contains("\"kept\":[1]"), "{words}");
    fs::remove_dir_all(bench.data("ledger.old")).unwrap();
    assert_eq!(told(&bench.rotated(&["--go-on", "--drop"])), "2 [1] [] []");
}

/// Whoever takes a node over has nothing made unreadable by its broker.
#[test]
fn a_node_at_work_has_nothing_dropped_unless_its_broker_is_told_so() {
    let mut bench = Bench::start(true);
    bench.commit();
    bench.stop();
    settings::set(&bench.config, "hsm", "drop_at_work_allowed", "false");
    bench.broker = Some(RunningBroker::start(&bench.config));
    // The node's own word does not count.
    settings::set(&bench.config, "hsm", "drop_at_work_allowed", "true");
    bench.start_node();
    let ran = bench.rotate(&["--drop"]);
    assert!(ran.status.code() == Some(1) && said(&ran).contains("drop_at_work_allowed"), "{}", said(&ran));
    bench.expect_epoch(1);
    bench.stop();
    assert_eq!(told(&bench.rotated(&["--drop"])), "2 [1] [] []");
}

#[test]
fn odd_frames_are_refused_and_the_socket_is_the_nodes_users() {
    let mut bench = Bench::start(false);
    let socket = bench.data("control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for junk in
        [&b"\xff\xff\xff\xff"[..], b"\0\0\0\0", b"\x04\0\0\0\x01\x09\0\0", b"\x01\0\0\0\x09", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(junk).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // The length, the version, and that it is a refusal.
        assert_eq!(answer.get(4..6), Some(&[1, 1][..]), "{junk:?}: {answer:?}");
    }
    bench.commit();
    assert_eq!(epochs(&bench.data("")).into_keys().collect::<Vec<_>>(), [1]);
    assert!(bench.node.take().map(RunningNode::stop).unwrap().status.success());
    assert!(!socket.exists());
}
