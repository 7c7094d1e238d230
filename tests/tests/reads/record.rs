//! What was acknowledged where, shared by all clients.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bixi_tests::accounts;
use bixi_tests::node::RunningNode;
use serde_json::{Value, json};

/// Nodes of the chain.
pub(crate) const NODES: usize = 4;

/// One account, written by one client only, in steps of one.
pub(crate) struct Account {
    pub(crate) name: String,
    /// The node that its writer uses.
    pub(crate) home: usize,
    /// Steps that may have been ordered: raised before each is sent.
    pub(crate) sent: AtomicU64,
    /// Steps with a receipt: raised after it came.
    pub(crate) acknowledged: AtomicU64,
}

/// One node as its clients know it.
#[derive(Default)]
pub(crate) struct Node {
    address: Mutex<Option<SocketAddr>>,
    /// The highest block that it acknowledged a write of.
    pub(crate) floor: AtomicI64,
    /// What it acknowledged.
    pub(crate) receipts: Mutex<Vec<Value>>,
    /// Reads of it that were judged.
    pub(crate) reads: AtomicU64,
}

impl Node {
    /// Where it is, unless it is away.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().expect("no client panicked")
    }

    /// Acknowledged writes and judged reads so far.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let acknowledged = self.receipts.lock().expect("no client panicked").len();
        (acknowledged as u64, self.reads.load(Ordering::Relaxed))
    }
}

/// Everything that clients were told.
pub(crate) struct Record {
    pub(crate) nodes: [Node; NODES],
    pub(crate) accounts: Vec<Account>,
    /// Set at the end, and by a client that found a fault.
    pub(crate) stop: AtomicBool,
}

/// Sets `stop` when it is dropped.
pub(crate) struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Record {
    pub(crate) fn new(writers_each: usize, addresses: impl Iterator<Item = SocketAddr>) -> Self {
        let account = |number: usize| Account {
            name: format!("account-{number}"),
            home: number % NODES,
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        };
        let record = Self {
            nodes: Default::default(),
            accounts: (0..NODES * writers_each).map(account).collect(),
            stop: AtomicBool::new(false),
        };
        addresses.enumerate().for_each(|(node, address)| record.came(node, address));
        record
    }

    /// Ends the clients when the value is dropped, also by a panic.
    pub(crate) fn stop_at_end(&self) -> StopAtEnd<'_> {
        StopAtEnd(&self.stop)
    }

    /// A node is there.
    pub(crate) fn came(&self, node: usize, address: SocketAddr) {
        *self.nodes[node].address.lock().expect("no client panicked") = Some(address);
    }

    /// A node was killed.
    pub(crate) fn left(&self, node: usize) {
        *self.nodes[node].address.lock().expect("no client panicked") = None;
    }

    /// Holds every node against all that any of them acknowledged.
    pub(crate) fn judge(&self, nodes: &[&RunningNode]) -> Totals {
        let mut totals = Totals::default();
        for node in nodes {
            let mut connection = node.connect().expect("a running node");
            for receipt in self.nodes.iter().flat_map(|node| node.receipts.lock().expect("no client panicked").clone())
            {
                let hash = receipt["transactionHash"].clone();
                let found = connection.call("getTransactionReceipt", json!(["group0", "", hash, false]));
                assert_eq!(found.expect("an acknowledged transaction"), receipt);
                totals.receipts += 1;
            }
            for account in &self.accounts {
                let found = accounts::balance(&mut connection, &account.name).expect("an answer").amount;
                let (low, high) = (account.acknowledged.load(Ordering::Relaxed), account.sent.load(Ordering::Relaxed));
                let found = found.unwrap_or(0);
                assert!((low..=high).contains(&found), "{} holds {found}, not {low} to {high}", account.name);
            }
        }
        totals.receipts /= nodes.len() as u64;
        totals.reads = self.nodes.iter().map(|node| node.reads.load(Ordering::Relaxed)).sum();
        totals
    }
}

/// How much was tried.
#[derive(Default)]
pub(crate) struct Totals {
    receipts: u64,
    reads: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged writes, {} reads", self.receipts, self.reads)
    }
}
