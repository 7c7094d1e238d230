//! One hostile submission, what must be said to it, and the honest transaction that must stand afterwards.

use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::rpc::{CallError, Connection};
use bixi_tests::wallet::{Seeded, Wallet};
use bixi_types::CryptoSuite;
use bixi_types::status::Status;
use bixi_types::transaction::Transaction;
use serde_json::{Value, json};

/// FISCO BCOS's code for what is not on the chain.
const NOT_FOUND: i64 = 3008;

/// A chain of its own for one test.
pub(crate) struct Chain {
    pub(crate) node: RunningNode,
    pub(crate) connection: Connection,
    _place: tempfile::TempDir,
}

/// What a refused submission may not change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Census {
    height: Value,
    transactions: Value,
    pending: Value,
}

/// A submission to be refused.
pub(crate) struct Case {
    /// For the report.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) wire: Vec<u8>,
    /// FISCO BCOS's code of the refusal.
    pub(crate) status: Status,
    /// Words of the refusal.
    pub(crate) says: &'static str,
    /// Commits afterwards, signed by `wallet`.
    pub(crate) honest: Transaction,
    pub(crate) wallet: Wallet,
}

impl Chain {
    pub(crate) fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let node = RunningNode::start(&make_chain(place.path()));
        Self { connection: node.connect().unwrap(), node, _place: place }
    }

    pub(crate) fn census(&mut self) -> Census {
        let mut ask = |method| self.connection.call(method, json!(["group0", ""])).unwrap();
        let transactions = ask("getTotalTransactionCount")["transactionCount"].take();
        Census { height: ask("getBlockNumber"), transactions, pending: ask("getPendingTxSize") }
    }

    /// Sends bytes that must be refused; returns code and words.
    #[track_caller]
    pub(crate) fn refusal(&mut self, name: &str, wire: &[u8]) -> (i64, String) {
        match self.connection.submit(wire) {
            Err(CallError::Refused { code, message }) => (code, message),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_refused(&mut self, name: &str, wire: &[u8], status: Status, says: &str) {
        let before = self.census();
        let (code, message) = self.refusal(name, wire);
        assert_eq!((code, message.contains(says)), (status.code().into(), true), "{name}: {message} ({code})");
        assert_eq!(self.census(), before, "{name} left a trace");
    }

    /// No block holds it.
    #[track_caller]
    pub(crate) fn assert_absent(&mut self, name: &str, transaction: &Transaction) {
        let hash = transaction.hash(CryptoSuite::Sm).to_string();
        for method in ["getTransaction", "getTransactionReceipt"] {
            let found = self.connection.call(method, json!(["group0", "", hash, false]));
            assert!(matches!(found, Err(CallError::Refused { code: NOT_FOUND, .. })), "{name}: {method}: {found:?}");
        }
    }

    /// It commits, as its wallet's.
    #[track_caller]
    pub(crate) fn assert_commits(&mut self, name: &str, transaction: &Transaction, wallet: &Wallet) -> Value {
        let receipt = self.connection.submit(&transaction.encode()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(receipt["transactionHash"], transaction.hash(CryptoSuite::Sm).to_string(), "{name}");
        assert_eq!(receipt["from"], wallet.address().to_string(), "{name}");
        receipt
    }

    /// The whole story of a case.
    #[track_caller]
    pub(crate) fn run(&mut self, case: &Case) {
        self.assert_refused(&case.name, &case.wire, case.status, case.says);
        self.assert_absent(&case.name, &case.honest);
        self.assert_commits(&case.name, &case.honest, &case.wallet);
    }
}

/// Draws what honest clients draw.
pub(crate) struct Draw(pub(crate) Seeded);

impl Draw {
    /// A wallet nobody else has.
    pub(crate) fn wallet(&mut self) -> Wallet {
        Wallet::new(self.0.word())
    }

    /// An honest transfer and its wallet.
    pub(crate) fn transfer(&mut self) -> (Transaction, Wallet) {
        let mut wallet = self.wallet();
        let name = format!("u{:016x}", self.0.word());
        (wallet.user_add(&name, 1, 900), wallet)
    }

    /// A nonce of so many decimal digits.
    pub(crate) fn decimal(&mut self, digits: usize) -> String {
        (0..digits).map(|at| char::from(b'0' + (u64::from(at == 0) + self.0.below(9)) as u8)).collect()
    }

    /// A nonce of 32 hexadecimal digits, a letter among the first.
    pub(crate) fn uuid(&mut self) -> String {
        format!("7b{}", hex::encode(self.0.bytes(15)))
    }
}
