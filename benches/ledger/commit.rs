//! Blocks as a node commits them: 1,000 transfers each, signed, executed, prepared, committed.
//!
//! The blocks of a turn are made before it, on a ledger in memory; every contender then takes the same blocks. Timed are
//! [`Ledger::prepare`] and [`Ledger::commit`], the two calls of the node's pipeline, and what they leave to be done in the background.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bixi_accel::{Seeded, sm2};
use bixi_execution::{ExecutionParams, Executor, genesis_writes};
use bixi_ledger::engine::rocks::{Memory, RocksEngine};
use bixi_ledger::engine::{Batch, Engine, EngineError, Reader, Visit, Watch};
use bixi_ledger::keys::Column;
use bixi_ledger::{CommitBlock, Ledger, PreparedState};
use bixi_types::execution::{ExecutedBlock, OrderedBlock};
use bixi_types::genesis::Genesis;
use bixi_types::header::{BlockHeader, ParentInfo};
use bixi_types::receipt::Receipt;
use bixi_types::state::WriteSet;
use bixi_types::transaction::{ChainIdentity, Pending, Transaction, Verified, prepare};
use bixi_types::{H256, NodeId, merkle};

use crate::Budget;
use crate::backend::Backend;
use crate::data::Numbers;
use crate::report::{Goal, Report, Row, Unit};
use crate::stopwatch::{Clock, Stopwatch};
use crate::tables::{no_rates, turns};
use crate::transfers::{self, Argument, call, genesis};

const TRANSACTIONS: u64 = 1_000;
/// Blocks that open accounts before anything is timed.
const OPENING_BLOCKS: u64 = 5;
/// What a quorum of four validators leaves beside a block: value, its certificate, and the recipe of its batches.
const VALUE_BYTES: usize = 200;
const CERTIFICATE_BYTES: usize = 3 * 96;
const RECIPE_BYTES: usize = 16 * 36;
/// The shares of a node with the default `memory_mb_max` of 384.
const MEMORY: Memory = Memory { cache_bytes: 96 << 20, write_buffer_bytes: 48 << 20 };
const STATE_CACHE_BYTES: usize = 48 << 20;

pub(crate) fn measure(report: &mut Report, backends: &[Backend], budget: Budget, place: &Path) {
    let named = |what: &str| report.named(what).with("transactions", TRANSACTIONS);
    let rows = [named("ledger::block"), named("ledger::commit"), named("ledger::block").with("time", "processor")];
    if !rows.iter().any(|row| report.wants(row)) {
        return;
    }
    let mut source = Source::new();
    let chains: Vec<_> = backends.iter().map(|backend| Chain::open(backend, &place.join("commit"))).collect();
    let opening: Vec<_> = (0..OPENING_BLOCKS).map(|_| source.next(Source::opened)).collect();
    chains.iter().for_each(|chain| _ = chain.take(&opening));
    let mut rates = rows.map(|row| (row, no_rates(backends)));
    for round in 0..budget.rounds {
        let blocks: Vec<_> = (0..budget.blocks).map(|_| source.next(Source::transfer)).collect();
        for (turn, chain) in turns(&chains, round) {
            let Spent { whole, commit, processor } = chain.take(&blocks);
            for ((_, rates), seconds) in rates.iter_mut().zip([whole, commit, processor]) {
                rates[turn].1.push((budget.blocks * TRANSACTIONS) as f64 / seconds);
            }
        }
    }
    for (row, rates) in rates {
        report.add(Row::new(row, Unit::PerSecond("tx"), rates).goal(Goal::AtLeast(0.95)));
    }
}

/// A block as the pipeline has it when it is certified.
struct Block {
    header: BlockHeader,
    transactions: Vec<Verified>,
    receipts: Vec<Receipt>,
    writes: WriteSet,
}

impl Block {
    fn around(&self, prepared: PreparedState) -> CommitBlock {
        CommitBlock {
            header: self.header.clone(),
            transactions: self.transactions.clone(),
            receipts: self.receipts.clone(),
            prepared,
            value: vec![1; VALUE_BYTES],
            certificate: vec![2; CERTIFICATE_BYTES],
            batches: vec![3; RECIPE_BYTES],
        }
    }
}

/// Makes blocks, and remembers what they did.
struct Source {
    genesis: Genesis,
    identity: ChainIdentity,
    executor: Executor,
    ledger: Ledger,
    key: sm2::PrivateKey,
    randomness: Seeded,
    numbers: Numbers,
    made: u64,
}

impl Source {
    fn new() -> Self {
        let genesis = genesis();
        let ledger = Ledger::in_memory(genesis.suite);
        initialise(&ledger, &genesis);
        Self {
            identity: ChainIdentity::from(&genesis),
            executor: Executor::new(ExecutionParams::from(&genesis)),
            key: sm2::PrivateKey::from_bytes(&[5; 32]).expect("a valid scalar"),
            randomness: Seeded::new(7),
            numbers: Numbers::new(7),
            made: 0,
            genesis,
            ledger,
        }
    }

    /// `userAdd` of an account of its own.
    fn opened(&mut self) -> Vec<u8> {
        call("userAdd(string,uint256)", &[Argument::Text(user(self.made)), Argument::Number(1_000_000)])
    }

    /// `userTransfer` between two accounts.
    fn transfer(&mut self) -> Vec<u8> {
        let mut account = || Argument::Text(user(self.numbers.below(OPENING_BLOCKS * TRANSACTIONS)));
        let (from, to) = (account(), account());
        call("userTransfer(string,string,uint256)", &[from, to, Argument::Number(1)])
    }

    /// The next block, of calls made by `input`.
    fn next(&mut self, input: fn(&mut Self) -> Vec<u8>) -> Block {
        let pending: Vec<_> = (0..TRANSACTIONS).map(|_| self.sign(input)).collect();
        let verified = Pending::verify_batch(pending, None).into_iter();
        let transactions = verified.map(|verdict| verdict.expect("a true signature")).collect();
        let number = self.ledger.height() + 1;
        let ordered = OrderedBlock {
            number,
            timestamp_ms: self.genesis.timestamp_ms + number,
            value_id: H256::ZERO,
            protocol_version: 1,
            transactions,
        };
        let executed = self.executor.execute(&ordered, self.ledger.view().as_ref()).expect("memory does not fail");
        assert!(executed.receipts.iter().all(|receipt| receipt.status == 0), "{:?}", executed.receipts[0]);
        let prepared = self.ledger.prepare(number, &executed.writes).expect("the next block");
        let header = self.header(&ordered, &executed, prepared.state_root);
        let ExecutedBlock { receipts, writes, .. } = executed;
        let block = Block { header, transactions: ordered.transactions, receipts, writes };
        self.ledger.commit(block.around(prepared)).expect("memory does not fail");
        block
    }

    fn sign(&mut self, input: fn(&mut Self) -> Vec<u8>) -> Pending {
        let input = input(self);
        let mut tx = Transaction {
            chain_id: self.genesis.chain_id.clone(),
            group_id: self.genesis.group_id.clone(),
            block_limit: 500,
            nonce: format!("{:032}", self.made),
            to: transfers::CONTRACT.to_owned(),
            input,
            ..Transaction::default()
        };
        self.made += 1;
        tx.sign_sm(&self.key, &mut self.randomness).expect("a signature");
        prepare(self.genesis.suite, &self.identity, tx).expect("a canonical transaction")
    }

    /// As the pipeline makes it, but for the extension, which nothing here reads.
    fn header(&self, block: &OrderedBlock, executed: &ExecutedBlock, state_root: H256) -> BlockHeader {
        let suite = self.genesis.suite;
        let hashes: Vec<H256> = block.transactions.iter().map(|transaction| transaction.hash).collect();
        BlockHeader {
            version: 1,
            parent_info: vec![ParentInfo {
                number: block.number as i64 - 1,
                hash: self.ledger.head_hash().expect("a head"),
            }],
            txs_root: merkle::root(suite, &hashes),
            receipts_root: merkle::root(suite, &Receipt::hash_many(suite, &executed.receipts)),
            state_root,
            number: block.number as i64,
            gas_used: executed.gas_used.to_string(),
            timestamp: block.timestamp_ms as i64,
            sealer_list: vec![NodeId([1; 64])],
            consensus_weights: vec![1],
            ..BlockHeader::default()
        }
    }
}

/// A ledger on one of the contenders.
struct Chain {
    engine: Arc<RocksEngine>,
    ledger: Ledger,
}

/// Seconds that the blocks of a turn took.
struct Spent {
    /// Preparing and committing, until nothing is left to do in the background.
    whole: f64,
    /// The calls of commit alone.
    commit: f64,
    /// Like `whole`: what all threads computed.
    processor: f64,
}

impl Chain {
    fn open(backend: &Backend, place: &Path) -> Self {
        let dir = place.join(&backend.name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let engine = Arc::new(backend.open(&dir, MEMORY));
        let genesis = genesis();
        let shared = Box::new(Shared(Arc::clone(&engine)));
        let ledger = Ledger::with_engine(shared, genesis.suite, None, STATE_CACHE_BYTES).expect("an empty ledger");
        initialise(&ledger, &genesis);
        Self { engine, ledger }
    }

    fn take(&self, blocks: &[Block]) -> Spent {
        let (whole, processor) = (Stopwatch::start(Clock::Wall), Stopwatch::start(Clock::Process));
        let mut commit = 0.0;
        for block in blocks {
            let prepared = self.ledger.prepare(self.ledger.height() + 1, &block.writes).expect("the next block");
            let block = block.around(prepared);
            let stopwatch = Stopwatch::start(Clock::Wall);
            self.ledger.commit(block).expect("room");
            commit += stopwatch.seconds();
        }
        self.engine.settle().expect("room");
        Spent { whole: whole.seconds(), commit, processor: processor.seconds() }
    }
}

/// An engine that the ledger shares with the bench.
struct Shared(Arc<RocksEngine>);

impl Deref for Shared {
    type Target = RocksEngine;
    fn deref(&self) -> &RocksEngine {
        &self.0
    }
}

impl Reader for Shared {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.0.get(column, key)
    }
    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.0.multi_get(column, keys)
    }
    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.0.scan(column, prefix, visit)
    }
    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.0.walk(column, first, visit)
    }
}

impl Engine for Shared {
    fn reseal(&self, watch: Watch<'_>) -> Result<bool, EngineError> {
        self.0.reseal(watch)
    }
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.0.write(batch)
    }
    fn snapshot(&self) -> Box<dyn Reader + '_> {
        self.0.snapshot()
    }
}

fn initialise(ledger: &Ledger, genesis: &Genesis) {
    let rows = genesis_writes(genesis);
    let header = BlockHeader { state_root: ledger.genesis_state_root(&rows), timestamp: 1, ..BlockHeader::default() };
    ledger.initialise(genesis, &rows, &header).expect("an empty ledger");
}

fn user(index: u64) -> String {
    format!("user-{index:08}")
}
