//! From signed bytes to verified transactions, and a block of the transfer contract on rows in memory.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

#[path = "../transfers.rs"]
mod transfers;

use bixi_accel::{Random, RandomError, sm2};
use bixi_benches::{Bench, Case, Contender};
use bixi_execution::{ExecutionParams, Executor, genesis_writes};
use bixi_platform::random::OsRandom;
use bixi_types::execution::OrderedBlock;
use bixi_types::state::{StateError, StateKey, StateTable, StateView, WriteSet};
use bixi_types::transaction::{ChainIdentity, Pending, Transaction, Verified, prepare};
use bixi_types::{CryptoSuite, H256};
use std::collections::BTreeMap;
use std::hint::black_box;
use transfers::{Argument, call, genesis};

const TRANSACTIONS: usize = 256;

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
            to: transfers::CONTRACT.to_owned(),
            input: call(
                "userAdd(string,uint256)",
                &[Argument::Text(format!("user-{index:08}")), Argument::Number(1_000)],
            ),
            ..Transaction::default()
        };
        tx.sign_sm(&key, &mut System).expect("a signature");
        tx.encode()
    };
    (0..TRANSACTIONS).map(one).collect()
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
    let block = OrderedBlock {
        number: 1,
        timestamp_ms: genesis.timestamp_ms,
        value_id: H256::ZERO,
        protocol_version: 1,
        transactions,
    };
    let executed = executor.execute(&block, &state).expect("memory does not fail");
    assert!(executed.receipts.iter().all(|receipt| receipt.status == 0), "{:?}", executed.receipts[0]);
    let ours = || executor.execute(black_box(&block), &state).expect("memory does not fail");
    let case = Case::new("execution::dag_transfer::user_add", "sequential").with("block", TRANSACTIONS);
    bench.race(&case, &mut [Contender::batch("ours", TRANSACTIONS as u32, ours)]);
}
