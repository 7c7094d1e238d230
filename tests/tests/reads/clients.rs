//! Clients: writers that raise their account by one, readers that hold a node against what it acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bixi_tests::accounts::{self, Balance};
use bixi_tests::rpc::{CallError, Connection};
use bixi_tests::wallet::{Seeded, Wallet};
use bixi_types::status::Status;
use serde_json::{Value, json};

use crate::record::{Account, Node, Record};

/// How far above the head a transaction may still be ordered.
const BLOCK_LIMIT: i64 = 900;
/// Between two looks at a node that is away.
const PAUSE: Duration = Duration::from_millis(20);
const READER_PAUSE: Duration = Duration::from_millis(5);

/// Holds a connection to one node, and makes a new one when the node was away.
struct Client<'a> {
    node: &'a Node,
    connection: Option<Connection>,
}

impl<'a> Client<'a> {
    fn new(node: &'a Node) -> Self {
        Self { node, connection: None }
    }

    /// The connection; `None` while the node is away.
    fn connection(&mut self) -> Option<&mut Connection> {
        if self.connection.is_none() {
            self.connection = self.node.address().and_then(|address| Connection::open(address).ok());
        }
        self.connection.as_mut()
    }

    /// `None` when the node went away over it.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Connection) -> Result<T, CallError>) -> Option<T> {
        match ask(self.connection()?) {
            Ok(answer) => Some(answer),
            Err(CallError::Gone(_)) => {
                self.connection = None;
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn height(&mut self) -> Option<i64> {
        let height = self.ask(|connection| connection.call("getBlockNumber", json!(["group0", ""])))?;
        Some(height.as_i64().expect("a number"))
    }

    fn receipt(&mut self, hash: &Value) -> Option<Value> {
        self.ask(|connection| connection.call("getTransactionReceipt", json!(["group0", "", hash, false])))
    }

    fn balance(&mut self, account: &Account) -> Option<Balance> {
        self.ask(|connection| accounts::balance(connection, &account.name))
    }
}

/// Raises the account of that number, again and again, and reads after every receipt on a second connection.
pub(crate) fn write(record: &Record, number: usize, seed: u64) {
    let _end = StopAtPanic(record);
    let account = &record.accounts[number];
    let node = &record.nodes[account.home];
    let (mut writer, mut reader, mut wallet) = (Client::new(node), Client::new(node), Wallet::new(seed));
    while !record.stop.load(Ordering::Relaxed) {
        let Some(height) = writer.height() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let transaction = accounts::save(&mut wallet, &account.name, 1, height + BLOCK_LIMIT).encode();
        account.sent.fetch_add(1, Ordering::SeqCst);
        let Some(receipt) = writer.ask(|connection| submit(connection, &transaction)).flatten() else { continue };
        acknowledge(node, account, &receipt);
        // What the acknowledgement promises, at once and to a stranger.
        let hash = &receipt["transactionHash"];
        if let Some(found) = reader.receipt(hash) {
            assert_eq!(found, receipt, "the receipt of {hash} changed");
        }
        judge_balance(node, account, &mut reader);
    }
}

/// `None` when the node does not know what becomes of the transaction.
fn submit(connection: &mut Connection, transaction: &[u8]) -> Result<Option<Value>, CallError> {
    match connection.submit(transaction) {
        Ok(receipt) => Ok(Some(receipt)),
        Err(CallError::Refused { code, .. }) if code == i64::from(Status::TransactionPoolTimeout.code()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn acknowledge(node: &Node, account: &Account, receipt: &Value) {
    assert_eq!(receipt["status"], 0, "{receipt}");
    let block = receipt["blockNumber"].as_i64().expect("a number");
    node.receipts.lock().expect("no client panicked").push(receipt.clone());
    account.acknowledged.fetch_add(1, Ordering::SeqCst);
    node.floor.fetch_max(block, Ordering::SeqCst);
}

/// Reads a balance and holds it against what was acknowledged before and sent until now.
fn judge_balance(node: &Node, account: &Account, client: &mut Client<'_>) -> Option<Balance> {
    let (low, floor) = (account.acknowledged.load(Ordering::SeqCst), node.floor.load(Ordering::SeqCst));
    let balance = client.balance(account)?;
    let high = account.sent.load(Ordering::SeqCst);
    let amount = balance.amount.unwrap_or(0);
    assert!(amount >= low, "stale: {} had {low} acknowledged, the node says {balance:?}", account.name);
    assert!(amount <= high, "invented: {} was sent {high}, the node says {balance:?}", account.name);
    assert!(balance.height >= floor, "stale: block {floor} was acknowledged, the state is that of {balance:?}");
    node.reads.fetch_add(1, Ordering::Relaxed);
    Some(balance)
}

/// Reads from one node whatever it acknowledged, and holds it to its own earlier words.
pub(crate) fn read(record: &Record, node: usize, seed: u64) {
    let _end = StopAtPanic(record);
    let (node, mut random) = (&record.nodes[node], Seeded(seed));
    let mut client = Client::new(node);
    let own: Vec<&Account> =
        record.accounts.iter().filter(|account| std::ptr::eq(&record.nodes[account.home], node)).collect();
    let (mut highest, mut seen) = (0, BTreeMap::<&str, u64>::new());
    while !record.stop.load(Ordering::Relaxed) {
        if client.connection().is_none() {
            std::thread::sleep(PAUSE);
            continue;
        }
        let floor = node.floor.load(Ordering::SeqCst);
        if let Some(height) = client.height() {
            assert!(height >= floor, "stale: block {floor} was acknowledged, the node says {height}");
            assert!(height >= highest, "backwards: the node said {highest}, now {height}");
            highest = height;
        }
        let account = own[random.below(own.len() as u64) as usize];
        if let Some(balance) = judge_balance(node, account, &mut client) {
            assert!(balance.height >= highest, "backwards: the node said {highest}, now {balance:?}");
            highest = balance.height;
            let (amount, before) = (balance.amount.unwrap_or(0), seen.entry(&account.name).or_default());
            assert!(amount >= *before, "backwards: {} held {before}, now {amount}", account.name);
            *before = amount;
        }
        judge_receipt(node, &mut client, &mut random);
        // The writers share the machine.
        std::thread::sleep(READER_PAUSE);
    }
}

/// One of the receipts that the node gave out.
fn judge_receipt(node: &Node, client: &mut Client<'_>, random: &mut Seeded) {
    let receipt = {
        let receipts = node.receipts.lock().expect("no client panicked");
        match receipts.len() as u64 {
            0 => return,
            // The newest as often as any other.
            count if random.below(2) == 0 => receipts[random.below(count) as usize].clone(),
            count => receipts[count as usize - 1].clone(),
        }
    };
    if let Some(found) = client.receipt(&receipt["transactionHash"]) {
        assert_eq!(found, receipt, "a receipt changed");
    }
}

/// A client that finds a fault ends the test.
struct StopAtPanic<'a>(&'a Record);

impl Drop for StopAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop.store(true, Ordering::Relaxed);
        }
    }
}
