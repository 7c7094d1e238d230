//! Clients of a chain whose nodes come and go: one for each node, always with one transaction under way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bixi_types::status::Status;
use serde_json::json;

use crate::promises::Promises;
use crate::rpc::{CallError, Connection};
use crate::wallet::Wallet;

/// Between two attempts to reach a node that is away.
const PAUSE: Duration = Duration::from_millis(10);
/// How far above the height it knows a transaction may still be executed.
const BLOCK_LIMIT_AHEAD: i64 = 900;

/// The clients, and what they were told.
#[derive(Default)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    promises: Promises,
    /// Where each client finds its node; nowhere while it is stopped.
    nodes: Mutex<Vec<Option<SocketAddr>>>,
    names: AtomicU64,
    stop: AtomicBool,
    pace: Mutex<Pace>,
}

/// How far apart receipts came.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
    longest: Duration,
}

impl Load {
    /// Sends the client of a node to this address from now on, or has it wait.
    pub fn point(&mut self, node: usize, address: Option<SocketAddr>) {
        let mut nodes = self.shared.nodes.lock().expect("no client panicked");
        if nodes.len() <= node {
            nodes.resize(node + 1, None);
        }
        nodes[node] = address;
        drop(nodes);
        while self.clients.len() <= node {
            let (shared, index) = (Arc::clone(&self.shared), self.clients.len());
            self.clients.push(std::thread::spawn(move || shared.serve_client(index)));
        }
    }

    /// What all clients were told.
    pub fn promises(&self) -> &Promises {
        &self.shared.promises
    }

    /// The longest time between two receipts, whoever got them, since this was asked last.
    pub fn longest_pause(&self) -> Duration {
        std::mem::take(&mut *self.shared.pace.lock().expect("no client panicked")).longest
    }

    /// Ends all clients.
    ///
    /// # Panics
    /// When one of them was told what cannot be.
    pub fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client was told what cannot be");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn serve_client(&self, index: usize) {
        let mut wallet = Wallet::new(1_000 + index as u64);
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(address) = self.address(index)
                && let Err(error) = self.use_node(index, address, &mut wallet)
            {
                // The node has stopped, or the chain did not get to the transaction: nothing was promised.
                let is_expected = match &error {
                    CallError::Gone(_) => true,
                    CallError::Refused { code, .. } => *code == i64::from(Status::TransactionPoolTimeout.code()),
                };
                assert!(is_expected, "client {index}: {error}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn address(&self, index: usize) -> Option<SocketAddr> {
        self.nodes.lock().expect("nobody panicked")[index]
    }

    fn use_node(&self, index: usize, address: SocketAddr, wallet: &mut Wallet) -> Result<(), CallError> {
        let mut connection = Connection::open(address)?;
        let height = connection.call("getBlockNumber", json!(["group0", ""]))?;
        let mut height = height.as_i64().expect("a height is a number");
        while self.address(index) == Some(address) && !self.stop.load(Ordering::Relaxed) {
            let name = format!("load-{}", self.names.fetch_add(1, Ordering::Relaxed));
            let transaction = wallet.user_add(&name, 100, height + BLOCK_LIMIT_AHEAD);
            let receipt = connection.submit(&transaction.encode())?;
            // A name is used once in a chain.
            assert_eq!(receipt["status"], 0, "{receipt}");
            height = receipt["blockNumber"].as_i64().expect("a receipt names its block");
            self.promises.keep(receipt);
            self.pace.lock().expect("no client panicked").note();
        }
        Ok(())
    }
}

impl Pace {
    fn note(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now.saturating_duration_since(last));
        }
    }
}
