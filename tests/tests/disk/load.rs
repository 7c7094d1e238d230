//! Honest clients beside a fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bixi_tests::node::RunningNode;
use bixi_tests::promises::Promises;
use bixi_tests::rpc::CallError;
use bixi_types::status::Status;

const CLIENTS: u64 = 4;
const GATHER_DEADLINE: Duration = Duration::from_secs(60);

/// Sends until so many receipts were given out.
pub(crate) fn gather(node: &RunningNode, promises: &Promises, seed: u64, count: usize) {
    beside_clients(node, promises, seed, 8 * CLIENTS, || {
        let deadline = Instant::now() + GATHER_DEADLINE;
        while promises.count() < count {
            assert!(Instant::now() < deadline, "{} receipts", promises.count());
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Keeps clients sending while `fault` runs, then stops them. What ended a client early must be the end of the node, or words
/// that leave the transaction open.
pub(crate) fn beside(node: &RunningNode, promises: &Promises, seed: u64, fault: impl FnOnce()) {
    beside_clients(node, promises, seed, CLIENTS, fault);
}

fn beside_clients(node: &RunningNode, promises: &Promises, seed: u64, clients: u64, fault: impl FnOnce()) {
    let (height, before, stop) = (node.height(), promises.count(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let (stop, seed) = (&stop, seed.wrapping_mul(1_000_003) + client);
                scope.spawn(move || promises.collect(node.rpc, seed, height, stop))
            })
            .collect();
        promises.wait_beyond(before);
        fault();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            match client.join().expect("a client does not panic") {
                None | Some(CallError::Gone(_)) => {}
                Some(CallError::Refused { code, message }) => {
                    assert_eq!(code, i64::from(Status::TransactionPoolTimeout.code()), "{message}");
                    assert!(message.contains("may still be committed"), "{message}");
                }
            }
        }
    });
}
