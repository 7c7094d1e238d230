//! What clients were told, and what a node must therefore still say after any fault.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bixi_types::CryptoSuite;
use serde_json::{Value, json};

use crate::node::RunningNode;
use crate::rpc::{CallError, Connection};
use crate::wallet::Wallet;

/// JSON-RPC's code of an answer that the node could not give.
const INTERNAL_ERROR: i64 = -32603;
const REPLAY_DEADLINE: Duration = Duration::from_secs(60);
const LOAD_DEADLINE: Duration = Duration::from_secs(120);

/// Every receipt that was given out, and the header hash first seen at every height.
#[derive(Default)]
pub struct Promises {
    receipts: Mutex<BTreeMap<String, Value>>,
    headers: Mutex<BTreeMap<u64, String>>,
    names: AtomicU64,
}

/// A ledger whose last block was in a damaged tail gets it again from the ordering log, in the first moments after the start;
/// until then the node says that it stands lower.
fn wait_until_replayed(node: &RunningNode, receipts: &BTreeMap<String, Value>) {
    let highest = receipts.values().filter_map(|receipt| receipt["blockNumber"].as_i64()).max().unwrap_or(0);
    let deadline = Instant::now() + REPLAY_DEADLINE;
    while node.height() < highest && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many of the promises a node could not read; it lied about none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub usize);

impl Promises {
    /// Receipts given out.
    pub fn count(&self) -> usize {
        self.receipts.lock().expect("no client panicked").len()
    }

    /// Waits until more than `count` receipts were given out: from then on there is load.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn wait_beyond(&self, count: usize) {
        let deadline = Instant::now() + LOAD_DEADLINE;
        while self.count() <= count {
            assert!(Instant::now() < deadline, "no transaction was committed in {LOAD_DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Heights whose header was seen.
    pub fn heights(&self) -> usize {
        self.headers.lock().expect("no client panicked").len()
    }

    /// A client was given this receipt.
    ///
    /// # Panics
    /// When it names no transaction.
    pub fn keep(&self, receipt: Value) {
        let hash = receipt["transactionHash"].as_str().expect("a receipt names its transaction").to_owned();
        self.receipts.lock().expect("no client panicked").insert(hash, receipt);
    }

    /// Sends new accounts to `address` until `stop` is set, or the first call without a receipt, which is returned. A name is
    /// used once in a chain, so every receipt has status 0.
    ///
    /// # Panics
    /// When a receipt is not that of the transaction.
    pub fn collect(&self, address: SocketAddr, seed: u64, height: i64, stop: &AtomicBool) -> Option<CallError> {
        let mut wallet = Wallet::new(seed);
        let mut connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(error) => return Some(error),
        };
        while !stop.load(Ordering::Relaxed) {
            let name = format!("user-{}", self.names.fetch_add(1, Ordering::Relaxed));
            let transaction = wallet.user_add(&name, 100, height + 900);
            match connection.submit(&transaction.encode()) {
                Ok(receipt) => {
                    assert_eq!(receipt["status"], 0, "{receipt}");
                    assert_eq!(receipt["transactionHash"], transaction.hash(CryptoSuite::Sm).to_string());
                    self.keep(receipt);
                }
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Everything ever promised is there, as it was said, in blocks whose headers are those first seen.
    ///
    /// # Panics
    /// When it is not.
    pub fn check(&self, node: &RunningNode, context: &str) {
        assert_eq!(self.check_readable(node, context), Unreadable(0), "{context}");
    }

    /// The same on a damaged disk: an answer may be refused as unreadable, but none may be wrong.
    ///
    /// # Panics
    /// When one is wrong, or the node does not answer.
    pub fn check_readable(&self, node: &RunningNode, context: &str) -> Unreadable {
        let mut connection = node.connect().expect("a running node");
        let mut unreadable = 0;
        let mut ask = |method: &str, params: Value| match connection.call(method, params) {
            Ok(answer) => Some(answer),
            Err(CallError::Refused { code: INTERNAL_ERROR, .. }) => {
                unreadable += 1;
                None
            }
            Err(error) => panic!("{context}: {method}: {error}"),
        };
        let receipts = self.receipts.lock().expect("no client panicked");
        wait_until_replayed(node, &receipts);
        let mut numbers = BTreeSet::new();
        for (hash, promised) in receipts.iter() {
            if let Some(found) = ask("getTransactionReceipt", json!(["group0", "", hash, false])) {
                assert_eq!(found, *promised, "{context}: the receipt of {hash}");
            }
            numbers.insert(promised["blockNumber"].as_u64().expect("a number"));
        }
        let mut headers = self.headers.lock().expect("no client panicked");
        for number in numbers {
            let Some(found) = ask("getBlockHashByNumber", json!(["group0", "", number])) else { continue };
            let found = found.as_str().expect("a hash").to_owned();
            let first = headers.entry(number).or_insert_with(|| found.clone());
            assert_eq!(*first, found, "{context}: a second header at height {number}");
        }
        Unreadable(unreadable)
    }
}
