//! A chain in memory: one executor, the rows it has written, a height that grows.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_accel::{Seeded, sm2};
use bixi_execution::{CallRequest, CallResult, ExecutionParams, Executor, genesis_writes};
use bixi_types::execution::{ExecutedBlock, OrderedBlock};
use bixi_types::genesis::Genesis;
use bixi_types::receipt::Receipt;
use bixi_types::state::{StateError, StateKey, StateTable, StateView, WriteSet};
use bixi_types::transaction::{ChainIdentity, Transaction, Verified, verify};
use bixi_types::{Address, CryptoSuite, EvmHash, H256, NodeId};

pub(crate) const TIMESTAMP_MS: u64 = 1_790_000_000_123;
/// Users who can sign.
const ACCOUNTS: u8 = 64;

static KEYS: LazyLock<BTreeMap<Address, sm2::PrivateKey>> = LazyLock::new(|| {
    let mut random = Seeded::new(1);
    let keys = (0..ACCOUNTS).map(|_| sm2::PrivateKey::generate(&mut random).expect("a key"));
    keys.map(|key| (CryptoSuite::Sm.address(&key.public_key().to_bytes()), key)).collect()
});
static NONCE: AtomicU64 = AtomicU64::new(1_000_000);

/// The `index`th user.
pub(crate) fn account(index: u8) -> Address {
    *KEYS.keys().nth(index.into()).expect("one of the users")
}

pub(crate) fn alice() -> Address {
    account(62)
}

pub(crate) fn bob() -> Address {
    account(63)
}

pub(crate) fn system(number: u16) -> Address {
    let mut address = [0; 20];
    address[18..].copy_from_slice(&number.to_be_bytes());
    Address(address)
}

pub(crate) fn node(byte: u8) -> NodeId {
    NodeId([byte; 64])
}

pub(crate) fn genesis(suite: CryptoSuite, evm_hash: EvmHash) -> Genesis {
    Genesis { suite, evm_hash, timestamp_ms: TIMESTAMP_MS, pipeline_depth: 2, ..Genesis::fixture(&[node(1)]) }
}

/// Rows in memory.
#[derive(Default, Clone)]
pub(crate) struct Rows {
    pub(crate) rows: BTreeMap<StateKey, Vec<u8>>,
    pub(crate) height: u64,
}

impl Rows {
    pub(crate) fn apply(&mut self, writes: &WriteSet) {
        for (key, row) in writes {
            match row {
                Some(row) => self.rows.insert(key.clone(), row.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

pub(crate) fn header_hash(number: u64) -> H256 {
    H256([number as u8 + 1; 32])
}

impl StateView for Rows {
    fn get(&self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.rows.get(&StateKey { table, key: key.to_vec() }).cloned())
    }

    fn block_hash(&self, number: u64) -> Result<Option<H256>, StateError> {
        Ok((number <= self.height).then(|| header_hash(number)))
    }
}

/// Signs for `sender`, one of the users, and admits as a node does. An empty nonce gets a fresh one.
pub(crate) fn verified(sender: Address, mut tx: Transaction) -> Verified {
    let chain = ChainIdentity { chain_id: "chain0".to_owned(), group_id: "group0".to_owned() };
    (tx.chain_id, tx.group_id) = (chain.chain_id.clone(), chain.group_id.clone());
    let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
    if tx.nonce.is_empty() {
        tx.nonce = nonce.to_string();
    }
    tx.sign_sm(&KEYS[&sender], &mut Seeded::new(nonce << 32)).expect("a signature");
    verify(CryptoSuite::Sm, &chain, tx).expect("a transaction that a node admits")
}

pub(crate) struct Chain {
    pub(crate) executor: Executor,
    pub(crate) state: Rows,
    pub(crate) evm_hash: EvmHash,
}

impl Chain {
    pub(crate) fn new(suite: CryptoSuite, evm_hash: EvmHash) -> Self {
        Self::with(&genesis(suite, evm_hash))
    }

    pub(crate) fn with(genesis: &Genesis) -> Self {
        let mut state = Rows::default();
        state.apply(&genesis_writes(genesis));
        Self { executor: Executor::new(ExecutionParams::from(genesis)), state, evm_hash: genesis.evm_hash }
    }

    /// The chain of the demo: SM2 and SM3 outside, contracts of the stock compiler.
    pub(crate) fn demo() -> Self {
        Self::new(CryptoSuite::Sm, EvmHash::Keccak256)
    }

    pub(crate) fn next_block(&self, transactions: Vec<Verified>) -> OrderedBlock {
        OrderedBlock {
            number: self.state.height + 1,
            timestamp_ms: TIMESTAMP_MS,
            value_id: H256::ZERO,
            protocol_version: 1,
            transactions,
        }
    }

    /// Executes the next block and keeps what it wrote.
    pub(crate) fn execute(&mut self, transactions: Vec<Verified>) -> ExecutedBlock {
        let block = self.next_block(transactions);
        let executed = self.executor.execute(&block, &self.state).expect("memory does not fail");
        self.state.apply(&executed.writes);
        self.state.height += 1;
        executed
    }

    /// One transaction in a block of its own.
    pub(crate) fn run(&mut self, sender: Address, tx: Transaction) -> (Receipt, WriteSet) {
        let mut executed = self.execute(vec![verified(sender, tx)]);
        assert_eq!(executed.receipts.len(), 1);
        (executed.receipts.remove(0), executed.writes)
    }

    pub(crate) fn send(&mut self, to: Address, data: Vec<u8>) -> Receipt {
        self.run(alice(), call_tx(to, data)).0
    }

    pub(crate) fn deploy(&mut self, contract: &str, arguments: &[u8]) -> Address {
        let (receipt, _) = self.run(alice(), deploy_tx(contract, arguments));
        assert_eq!((receipt.status, receipt.message.as_str()), (0, ""), "deploying {contract}");
        receipt.contract_address.parse().expect("an address")
    }

    pub(crate) fn call(&self, to: Address, data: Vec<u8>) -> CallResult {
        self.call_from(alice(), to, data)
    }

    pub(crate) fn call_from(&self, from: Address, to: Address, data: Vec<u8>) -> CallResult {
        let request = CallRequest {
            from,
            to: Some(to),
            data,
            value: [0; 32],
            gas_limit: None,
            block_number: self.state.height,
            timestamp_ms: TIMESTAMP_MS,
        };
        self.executor.call(&self.state, &request).expect("memory does not fail")
    }

    /// Call data for a contract of the stock compiler, whose selectors are keccak's on every chain.
    pub(crate) fn view(&self, to: Address, signature: &str, arguments: &[Value<'_>]) -> Vec<u8> {
        let result = self.call(to, encode(EvmHash::Keccak256, signature, arguments));
        assert_eq!((result.status, result.message.as_str()), (0, ""), "{signature}");
        result.output
    }

    /// Call data for a system contract, whose selectors follow the chain.
    pub(crate) fn system_data(&self, signature: &str, arguments: &[Value<'_>]) -> Vec<u8> {
        encode(self.evm_hash, signature, arguments)
    }

    pub(crate) fn send_system(&mut self, contract: u16, signature: &str, arguments: &[Value<'_>]) -> Receipt {
        let data = self.system_data(signature, arguments);
        self.send(system(contract), data)
    }
}

pub(crate) fn call_tx(to: Address, data: Vec<u8>) -> Transaction {
    Transaction { to: to.to_string(), input: data, ..Transaction::default() }
}

pub(crate) fn deploy_tx(contract: &str, arguments: &[u8]) -> Transaction {
    let fixture = fixture(contract);
    let input = [bytecode(&fixture), arguments.to_vec()].concat();
    Transaction { input, abi: fixture["abi"].to_string(), ..Transaction::default() }
}

pub(crate) fn fixture(contract: &str) -> serde_json::Value {
    let path = format!("{}/../../tests/fixtures/contracts/{contract}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("a JSON fixture")
}

pub(crate) fn bytecode(fixture: &serde_json::Value) -> Vec<u8> {
    hex::decode(fixture["bytecode"].as_str().expect("bytecode")).expect("hexadecimal")
}

/// An argument of a call.
pub(crate) enum Value<'a> {
    Uint(u128),
    Word([u8; 32]),
    Address(Address),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Call data, built here independently of the crate's own encoder.
pub(crate) fn encode(hash: EvmHash, signature: &str, arguments: &[Value<'_>]) -> Vec<u8> {
    let mut data = hash.hash(&[signature.as_bytes()]).0[..4].to_vec();
    data.extend(encode_arguments(arguments));
    data
}

pub(crate) fn encode_arguments(arguments: &[Value<'_>]) -> Vec<u8> {
    let (mut heads, mut tails) = (Vec::new(), Vec::new());
    let mut dynamic = |bytes: &[u8]| {
        let offset = arguments.len() * 32 + tails.len();
        tails.extend(uint(bytes.len() as u128));
        tails.extend(bytes);
        tails.extend(vec![0; (32 - bytes.len() % 32) % 32]);
        uint(offset as u128)
    };
    for argument in arguments {
        heads.extend(match argument {
            Value::Uint(number) => uint(*number),
            Value::Word(word) => *word,
            Value::Address(address) => word_of(address),
            Value::Text(text) => dynamic(text.as_bytes()),
            Value::Bytes(bytes) => dynamic(bytes),
        });
    }
    [heads, tails].concat()
}

pub(crate) fn uint(number: u128) -> [u8; 32] {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&number.to_be_bytes());
    word
}

/// A negative return code, as `int256`.
pub(crate) fn int(number: i128) -> [u8; 32] {
    let mut word = [if number < 0 { 0xff } else { 0 }; 32];
    word[16..].copy_from_slice(&number.to_be_bytes());
    word
}

pub(crate) fn word_of(address: &Address) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&address.0);
    word
}

/// The `index`th word of return data.
pub(crate) fn word(output: &[u8], index: usize) -> [u8; 32] {
    output[index * 32..][..32].try_into().expect("a word")
}

pub(crate) fn address_in(output: &[u8], index: usize) -> Address {
    Address::from_slice(&word(output, index)[12..]).expect("an address")
}
