//! What FISCO BCOS's console does: transactions to SystemConfig and Consensus, and looks at what came of them.

use crate::chain::wait_until;
use crate::node::RunningNode;
use crate::rpc::CallError;
use crate::wallet::Wallet;
use bixi_types::abi::{self, Argument};
use bixi_types::status::Status;
use bixi_types::{CryptoSuite, EvmHash};
use serde_json::{Value, json};

const SYSTEM_CONFIG: u16 = 0x1000;
const CONSENSUS: u16 = 0x1003;
/// A change of members made in block n holds from n + pipeline_depth + 1; the ceremony's depth is 1.
pub const MEMBERS_AFTER: i64 = 2;
/// A parameter set in block n holds from n + 1.
pub const PARAMETERS_AFTER: i64 = 1;

/// Somebody who governs the chain.
pub struct Console(Wallet);

/// What a transaction of the console came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The contract's answer: 0, or FISCO BCOS's code of a refusal.
    pub code: i64,
    /// The block it is in.
    pub height: i64,
}

impl Console {
    /// The account of a seed: in a chain of the ceremony everybody governs.
    pub fn new(seed: u64) -> Self {
        Self(Wallet::new(seed))
    }

    /// An observer becomes a validator.
    pub fn add_sealer(&mut self, through: &RunningNode, id: &str, weight: u128) -> Done {
        self.change(through, "addSealer(string,uint256)", &[Argument::Text(id), Argument::Number(weight)])
    }

    /// A validator weighs so much.
    pub fn set_weight(&mut self, through: &RunningNode, id: &str, weight: u128) -> Done {
        self.change(through, "setWeight(string,uint256)", &[Argument::Text(id), Argument::Number(weight)])
    }

    /// A node becomes an observer, also when it was a validator.
    pub fn add_observer(&mut self, through: &RunningNode, id: &str) -> Done {
        self.change(through, "addObserver(string)", &[Argument::Text(id)])
    }

    /// A node is none of the chain any longer.
    pub fn remove(&mut self, through: &RunningNode, id: &str) -> Done {
        self.change(through, "remove(string)", &[Argument::Text(id)])
    }

    fn change(&mut self, through: &RunningNode, signature: &str, arguments: &[Argument<'_>]) -> Done {
        self.send_to_consensus(through, abi::call(EvmHash::Keccak256, signature, arguments))
    }

    /// Sets a parameter; the height of its block.
    pub fn set(&mut self, through: &RunningNode, key: &str, value: &str) -> i64 {
        let receipt = self.try_set(through, key, value);
        assert_eq!((&receipt["status"], code(&receipt)), (&json!(0), 0), "{receipt}");
        height_of(&receipt)
    }

    /// The receipt of setting a parameter, whatever it says.
    pub fn try_set(&mut self, through: &RunningNode, key: &str, value: &str) -> Value {
        let arguments = [Argument::Text(key), Argument::Text(value)];
        self.send(through, SYSTEM_CONFIG, "setValueByKey(string,string)", &arguments)
    }

    fn send(&mut self, through: &RunningNode, contract: u16, signature: &str, arguments: &[Argument<'_>]) -> Value {
        self.send_data(through, contract, abi::call(EvmHash::Keccak256, signature, arguments))
    }

    /// Sends call data that somebody else made to Consensus.
    pub fn send_to_consensus(&mut self, through: &RunningNode, data: Vec<u8>) -> Done {
        let receipt = self.send_data(through, CONSENSUS, data);
        assert_eq!(receipt["status"], 0, "{receipt}");
        Done { code: code(&receipt), height: height_of(&receipt) }
    }

    /// Has the chain make a block, by a transaction that is refused: at rest it makes none. The block's height.
    pub fn make_block(&mut self, through: &RunningNode) -> i64 {
        let receipt = self.send_data(through, CONSENSUS, Vec::new());
        assert_ne!(receipt["status"], 0, "{receipt}");
        height_of(&receipt)
    }

    fn send_data(&mut self, through: &RunningNode, contract: u16, data: Vec<u8>) -> Value {
        let transaction = self.0.call_data(contract, data, through.height() + 900);
        match through.connect().and_then(|mut node| node.submit(&transaction.encode())) {
            Ok(receipt) => receipt,
            // On a machine under load the receipt may come later than the node waits for it.
            Err(CallError::Refused { code, .. }) if code == i64::from(Status::TransactionPoolTimeout.code()) => {
                let hash = transaction.hash(CryptoSuite::Sm).to_string();
                let ask = || through.call("getTransactionReceipt", json!(["group0", "", hash, false]));
                wait_until("a receipt", || ask().is_ok());
                ask().expect("it was there")
            }
            Err(error) => panic!("{contract:#06x}: {error}"),
        }
    }
}

/// The signed number that a contract returned.
fn code(receipt: &Value) -> i64 {
    let output = receipt["output"].as_str().expect("a receipt has an output");
    let bytes = hex::decode(output.trim_start_matches("0x")).expect("hexadecimal");
    let last = bytes.last_chunk().unwrap_or_else(|| panic!("one word in {receipt}"));
    i64::from_be_bytes(*last)
}

fn height_of(receipt: &Value) -> i64 {
    receipt["blockNumber"].as_i64().expect("a receipt names its block")
}

/// The header at a height, once the node has it.
pub fn header(node: &RunningNode, height: i64) -> Value {
    wait_until("a node at the height of a header", || node.height() >= height);
    node.call("getBlockByNumber", json!(["group0", "", height, true, true])).expect("a header")
}

/// Validators and weights that a header names, in their order.
pub fn validators(header: &Value) -> Vec<(String, u64)> {
    let ids = header["sealerList"].as_array().expect("a list").iter();
    let weights = header["consensusWeights"].as_array().expect("weights").iter();
    let id = |id: &Value| id.as_str().expect("an id").trim_start_matches("0x").to_owned();
    ids.map(id).zip(weights.map(|weight| weight.as_u64().expect("a weight"))).collect()
}

/// The weight of a validator at a height; `None` when it is none.
pub fn weight(node: &RunningNode, height: i64, id: &str) -> Option<u64> {
    validators(&header(node, height)).into_iter().find(|(validator, _)| validator == id).map(|(_, weight)| weight)
}

/// The node's place among the validators of a header.
pub fn index(header: &Value, id: &str) -> Option<u64> {
    validators(header).iter().position(|(validator, _)| validator == id).map(|index| index as u64)
}

/// Whether the header is signed by that validator.
pub fn is_signed_by(header: &Value, id: &str) -> bool {
    let index = index(header, id);
    let signatures = header["signatureList"].as_array().expect("a list");
    index.is_some() && signatures.iter().any(|entry| entry["sealerIndex"].as_u64() == index)
}

/// Whether the block was proposed by that validator.
pub fn is_proposed_by(header: &Value, id: &str) -> bool {
    index(header, id).is_some_and(|index| header["sealer"].as_u64() == Some(index))
}

/// A change of members has its effect at its height and not below it, on every one of these nodes.
pub fn check_effect(nodes: &[&RunningNode], done: Done, id: &str, before: Option<u64>, after: Option<u64>) {
    assert_eq!(done.code, 0);
    let from = done.height + MEMBERS_AFTER;
    for node in nodes {
        assert_eq!(weight(node, from - 1, id), before, "below height {from}");
        assert_eq!(weight(node, from, id), after, "from height {from} on");
    }
}
