//! The threads over real files that fail on demand: whatever fails and whenever, nobody is told of a block that is lost.

mod divergence;
mod four;
mod host;
mod hub;
mod snapshot;
mod spent;
mod verified;

use bixi_consensus::Timeouts;
use bixi_execution::{ExecutionParams, Executor};
use bixi_ledger::Ledger;
use bixi_types::CryptoSuite;
use bixi_types::NodeId;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::ports::{SignError, Signer, Statement};
use bixi_types::transaction::Verified;

use super::*;
use crate::batches::tests::{names, user_add};
use crate::batches::{BatchStore, Origin, VerifiedBatch};
use crate::pipeline::{ExecuteJob, Executed, Execution};
use host::{Host, Peers, Running};

/// Every acknowledged transaction has its block and its receipt; heights have the headers they had.
fn check(ledger: &Ledger, acknowledged: &[Verified]) {
    for transaction in acknowledged {
        assert!(ledger.transaction(&transaction.hash).unwrap().is_some(), "{} was acknowledged", transaction.hash);
        assert_eq!(ledger.receipt(&transaction.hash).unwrap().expect("a receipt").status, 0);
    }
}

fn commit_all(node: &Running, transactions: impl Iterator<Item = Verified>) -> Vec<Verified> {
    let sent: Vec<_> = transactions.map(|transaction| (node.submit(&transaction), transaction)).collect();
    let acknowledged = sent.into_iter().map(|(outcome, transaction)| {
        assert!(node.acknowledged(&outcome), "{} was not committed", transaction.hash);
        transaction
    });
    acknowledged.collect()
}

fn hashes(ledger: &Ledger) -> Vec<bixi_types::H256> {
    (0..=ledger.height()).map(|height| ledger.hash_of(height).unwrap().expect("every height has a header")).collect()
}

#[test]
fn a_stopped_node_goes_on_where_it_was() {
    let host = Host::alone(0);
    let node = host.start().unwrap();
    let mut acknowledged = commit_all(&node, names(0, 10));
    let before = hashes(&node.ledger);
    assert!(before.len() >= 4, "blocks of at most 4 transactions: {}", before.len() - 1);
    assert_eq!(node.stop(), None);

    let node = host.start().unwrap();
    assert_eq!(hashes(&node.ledger), before);
    acknowledged.extend(commit_all(&node, names(10, 5)));
    check(&node.ledger, &acknowledged);
    assert_eq!(node.stop(), None);
}

#[test]
fn a_device_that_fails_now_and_then_delays_blocks_only() {
    let host = Host::alone(300);
    let node = std::iter::repeat_with(|| host.start()).take(20).find_map(Result::ok).expect("starts in the end");
    check(&node.ledger, &commit_all(&node, names(0, 40)));
    assert_eq!(node.stop(), None);
    assert!(host.device.calls() > 20, "the device was asked {} times", host.device.calls());
}

#[test]
fn rounds_that_fail_give_their_transactions_back() {
    let mut host = Host::alone(0);
    // Less than an fsync: the first rounds of every height pass before their value is durable.
    host.timeouts = Timeouts { propose_ms: (1, 1), prevote_ms: (1, 1), precommit_ms: (1, 1), ..host.timeouts };
    let node = host.start().unwrap();
    check(&node.ledger, &commit_all(&node, names(0, 40)));
    assert_eq!(node.stop(), None);
}

/// A device library with a bug.
struct Broken(NodeId);

impl Signer for Broken {
    fn node_id(&self) -> NodeId {
        self.0
    }

    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError> {
        panic!("asked for {statement:?}");
    }
}

#[test]
fn a_thread_that_panics_stops_the_node() {
    let host = Host::alone(0);
    let node = host.start_with(Arc::new(Broken(host.genesis.validators[0].id)), &[], Peers::none()).unwrap();
    let outcome = node.submit(&user_add("1"));
    assert!(!node.acknowledged(&outcome));
    let fault = node.threads.consensus.join().expect("consensus itself ends in order");
    assert_eq!(fault, Some(Fault::Panicked("sign")));
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    // Room for some bytes more: full in the guard, in the ordering log, in the ledger's log, in a block or between two.
    for room in (0..40_000).step_by(801) {
        let host = Host::alone(0);
        let node = host.start().unwrap();
        let mut acknowledged = commit_all(&node, names(0, 3));
        host.faults.full_after(room);
        let sent: Vec<_> = names(3, 40).map(|transaction| (node.submit(&transaction), transaction)).collect();
        let told =
            sent.into_iter().filter(|(outcome, _)| node.acknowledged(outcome)).map(|(_, transaction)| transaction);
        acknowledged.extend(told);
        let heads = hashes(&node.ledger);
        let fault = node.stop().expect("a full disk stops the node");
        assert!(matches!(fault, Fault::Durability { .. } | Fault::Consensus(_)), "{room}: {fault}");
        assert!(acknowledged.len() < 43, "{room}: everything found room");

        host.faults.heal();
        let node = host.start().unwrap_or_else(|error| panic!("{room}: does not start with room again: {error}"));
        assert_eq!(hashes(&node.ledger)[..heads.len()], heads, "{room}");
        check(&node.ledger, &acknowledged);
        check(&node.ledger, &commit_all(&node, names(100, 2)));
        assert_eq!(node.stop(), None, "{room}");
    }
}

#[test]
fn a_write_that_fails_once_stops_the_node_and_loses_nothing() {
    // Where the fault falls is counted from a quiet moment; the thread it hits is up to the schedule, which is the point.
    for offset in 1..=120 {
        let host = Host::alone(0);
        let node = host.start().unwrap();
        let mut acknowledged = commit_all(&node, names(0, 2));
        host.faults.fail_once_at(host.faults.operations() + offset);
        let sent: Vec<_> = names(2, 12).map(|transaction| (node.submit(&transaction), transaction)).collect();
        let told =
            sent.into_iter().filter(|(outcome, _)| node.acknowledged(outcome)).map(|(_, transaction)| transaction);
        acknowledged.extend(told);
        drop(node.stop());

        host.faults.heal();
        let node = host.start().unwrap_or_else(|error| panic!("{offset}: does not start again: {error}"));
        check(&node.ledger, &acknowledged);
        check(&node.ledger, &commit_all(&node, names(100, 1)));
        assert_eq!(node.stop(), None, "{offset}");
    }
}

/// What an old copy of a disk brings back; the guard stands on another one.
const COPIED: [&str; 2] = ["ledger", "ordering"];

/// The files of a directory; it has no directories in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn keep_copies(host: &Host, parts: &[&str]) {
    for part in parts {
        let (from, to) = (host.path(part), host.path(&format!("{part}.old")));
        copy(&from, &to);
    }
}

fn restore_copies(host: &Host, parts: &[&str]) {
    for part in parts {
        std::fs::remove_dir_all(host.path(part)).unwrap();
        std::fs::rename(host.path(&format!("{part}.old")), host.path(part)).unwrap();
    }
}

#[test]
fn a_ledger_older_than_the_guard_is_refused() {
    let host = Host::alone(0);
    let node = host.start().unwrap();
    let first = commit_all(&node, names(0, 1));
    check(&node.ledger, &first);
    assert_eq!(node.stop(), None);
    keep_copies(&host, &COPIED);
    let node = host.start().unwrap();
    commit_all(&node, names(1, 4));
    assert_eq!(node.stop(), None);
    restore_copies(&host, &COPIED);
    let refused = host.start().err().expect("an old copy is refused").to_string();
    assert!(refused.contains("old copy"), "{refused}");
}

/// A block of some transactions on an empty ledger, executed.
pub(crate) fn run_of(transactions: usize) -> Executed {
    let host = Host::alone(0);
    let ledger = host.open_ledger().unwrap();
    let batches = BatchStore::default();
    let (batch, _) = VerifiedBatch::seal(CryptoSuite::Sm, names(10, transactions).collect());
    let parent = host.genesis.hash();
    let value =
        Value { height: 1, parent, timestamp_ms: 2, builder: 0, protocol_version: 1, batches: vec![batch.digest] };
    batches.add(batch, Origin::Own);
    let certificate =
        CommitCertificate { height: 1, round: 0, value: value.id(CryptoSuite::Sm), signatures: Vec::new() };
    let executor = Executor::new(ExecutionParams::from(&host.genesis));
    let execution = Execution { genesis: &host.genesis, executor: &executor, ledger: &ledger, batches: &batches };
    execution.run(ExecuteJob { height: 1, value, certificate }, parent).unwrap()
}
