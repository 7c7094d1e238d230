//! From signed bytes to verified transactions, and a block of the transfer contract on rows in memory.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use bixi_accel::{Random, RandomError, sm2, sm3};
use bixi_benches::{Bench, Case, Contender};
use bixi_execution::{ExecutionParams, Executor, genesis_writes};
use bixi_platform::random::OsRandom;
use bixi_types::consensus::Validator;
use bixi_types::execution::OrderedBlock;
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::state::{StateError, StateKey, StateTable, StateView, WriteSet};
use bixi_types::transaction::{ChainIdentity, Pending, Transaction, Verified, prepare};
use bixi_types::{CryptoSuite, EvmHash, H256, NodeId};
use std::collections::BTreeMap;
use std::hint::black_box;

const TIMESTAMP_MS: u64 = 1_790_000_000_000;
const TRANSACTIONS: usize = 256;
const TRANSFER_CONTRACT: &str = "0x000000000000000000000000000000000000100c";

struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

/// Rows in memory.
#[derive(Default)]
struct Rows(BTreeMap<StateKey, Vec<u8>>);

impl Rows {
    fn apply(&mut self, writes: &WriteSet) {
        for (key, row) in writes {
            match row {
                Some(row) => self.0.insert(key.clone(), row.clone()),
                None => self.0.remove(key),
            };
        }
    }
}

impl StateView for Rows {
    fn get(&self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(&StateKey { table, key: key.to_vec() }).cloned())
    }

    fn block_hash(&self, _number: u64) -> Result<Option<H256>, StateError> {
        Ok(Some(H256::ZERO))
    }
}

fn main() {
    let selected = bixi_accel::cpu::selected();
    let kernels: Vec<_> = selected.iter().map(|selected| (selected.operation, selected.kernel)).collect();
    let mut bench = Bench::from_args(&kernels);
    let chain = ChainIdentity { chain_id: "chain0".to_owned(), group_id: "group0".to_owned() };
    let signed = signed_transactions(&chain);
    let verified = admission(&mut bench, &chain, &signed);
    execution(&mut bench, verified);
    bench.finish();
}

/// Every account is opened once; all accounts differ.
fn signed_transactions(chain: &ChainIdentity) -> Vec<Vec<u8>> {
    let key = sm2::PrivateKey::generate(&mut System).expect("a key");
    let one = |index: usize| {
        let mut tx = Transaction {
            chain_id: chain.chain_id.clone(),
            group_id: chain.group_id.clone(),
            block_limit: 500,
            nonce: (1_000_000 + index).to_string(),
            to: TRANSFER_CONTRACT.to_owned(),
            input: open_account(&format!("user-{index:08}")),
            ..Transaction::default()
        };
        tx.sign_sm(&key, &mut System).expect("a signature");
        tx.encode()
    };
    (0..TRANSACTIONS).map(one).collect()
}

/// `userAdd(string,uint256)` with one word of text, in the ABI of a chain whose EVM hash is SM3.
fn open_account(user: &str) -> Vec<u8> {
    let word = |value: u64| {
        let mut word = [0; 32];
        word[24..].copy_from_slice(&value.to_be_bytes());
        word
    };
    let mut text = [0; 32];
    text[..user.len()].copy_from_slice(user.as_bytes());
    let selector = &sm3::digest(b"userAdd(string,uint256)")[..4];
    [selector, &word(64), &word(1_000), &word(user.len() as u64), &text].concat()
}

/// What a node does with bytes before it keeps them.
fn admission(bench: &mut Bench, chain: &ChainIdentity, signed: &[Vec<u8>]) -> Vec<Verified> {
    let decode = |bytes: &Vec<u8>| -> Pending {
        let tx = Transaction::decode(bytes).expect("our own encoding");
        prepare(CryptoSuite::Sm, chain, tx).expect("a canonical transaction")
    };
    let bytes = signed[0].len();
    let shape = || signed.iter().map(decode).collect::<Vec<_>>();
    let case = Case::new("types::transaction::prepare", "sm").bytes(bytes);
    bench.race(&case, &mut [Contender::batch("ours", TRANSACTIONS as u32, shape)]);

    let verify = || -> Vec<Verified> {
        let verdicts = Pending::verify_batch(signed.iter().map(decode).collect(), None);
        verdicts.into_iter().map(|verdict| verdict.expect("a true signature")).collect()
    };
    let whole = || verify();
    let case = Case::new("types::transaction::verify_batch", "sm").bytes(bytes).with("items", TRANSACTIONS);
    bench.race(&case, &mut [Contender::batch("ours", TRANSACTIONS as u32, whole)]);
    verify()
}

fn execution(bench: &mut Bench, transactions: Vec<Verified>) {
    let genesis = genesis();
    let executor = Executor::new(ExecutionParams::from(&genesis));
    let mut state = Rows::default();
    state.apply(&genesis_writes(&genesis));
    let block =
        OrderedBlock { number: 1, timestamp_ms: TIMESTAMP_MS, value_id: H256::ZERO, protocol_version: 1, transactions };
    let executed = executor.execute(&block, &state).expect("memory does not fail");
    assert!(executed.receipts.iter().all(|receipt| receipt.status == 0), "{:?}", executed.receipts[0]);
    let ours = || executor.execute(black_box(&block), &state).expect("memory does not fail");
    let case = Case::new("execution::dag_transfer::user_add", "sequential").with("block", TRANSACTIONS);
    bench.race(&case, &mut [Contender::batch("ours", TRANSACTIONS as u32, ours)]);
}

fn genesis() -> Genesis {
    Genesis {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        suite: CryptoSuite::Sm,
        evm_hash: EvmHash::Sm3,
        evm_spec: EvmSpec::Cancun,
        evm_timestamp_unit: TimestampUnit::Ms,
        protocol_version: 1,
        timestamp_ms: TIMESTAMP_MS,
        validators: vec![Validator { id: NodeId([1; 64]), weight: 1 }],
        tx_gas_limit: 3_000_000_000,
        block_tx_count_max: 1_000,
        block_limit: 1_000,
        pipeline_depth: 2,
        admin: None,
    }
}
