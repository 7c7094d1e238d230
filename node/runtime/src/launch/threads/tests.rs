//! The threads over real files that fail on demand: whatever fails and whenever, nobody is told of a block that is lost.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use bixi_accel::sm2::PrivateKey;
use bixi_accel::{Random, RandomError};
use bixi_consensus::{Params, Timeouts};
use bixi_execution::{ExecutionParams, Executor};
use bixi_hsm::audit::AuditLog;
use bixi_hsm::device::decorators::Failing;
use bixi_hsm::guard::Position;
use bixi_hsm::service::{Client, InProcess, Keys};
use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{CustodyPolicy, Guard, KeyDevice, KeyKind, KeyRef, KeySpec, RetryPolicy, SigningService};
use bixi_ledger::Ledger;
use bixi_platform::io::{Faults, FaultyStorage, PreadStorage, Storage};
use bixi_platform::placement::{self, Plan};
use bixi_platform::secret::Secret;
use bixi_platform::topology::Topology;
use bixi_sealed::{AtRest, KeyRing};
use bixi_txpool::{Outcome, PoolParams, TxPool};
use bixi_types::consensus::{SignatureBytes, Validator};
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::ports::{SignError, Statement};
use bixi_types::transaction::{self, ChainIdentity, Transaction, Verified};
use bixi_types::{CryptoSuite, EvmHash, NodeId};
use tempfile::TempDir;

use super::*;
use crate::batches::BatchStore;
use crate::launch::{chain_state, checks};
use crate::view::View;

/// Long enough for a slow disk; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What outlives a node: its disk and its device.
struct Host {
    dir: TempDir,
    faults: Faults,
    device: Arc<Failing<SoftDevice>>,
    key: KeyRef,
    genesis: Genesis,
    timeouts: Timeouts,
}

struct Running {
    ledger: Arc<Ledger>,
    pool: Arc<TxPool>,
    events: Sender<Event>,
    threads: Threads,
}

/// Bytes of a counter: keys and nonces repeat from run to run.
struct Counter(u64);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for chunk in out.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&bixi_accel::sm3::digest(&self.0.to_le_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).expect("one epoch")
}

fn genesis(validator: NodeId) -> Genesis {
    Genesis {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        suite: CryptoSuite::Sm,
        evm_hash: EvmHash::Sm3,
        evm_spec: EvmSpec::Cancun,
        evm_timestamp_unit: TimestampUnit::Ms,
        protocol_version: 1,
        timestamp_ms: 1,
        validators: vec![Validator { id: validator, weight: 1 }],
        tx_gas_limit: 3_000_000_000,
        block_tx_count_max: 4,
        block_limit: 1_000,
        pipeline_depth: 4,
        admin: None,
    }
}

impl Host {
    /// A new chain of one validator on an empty disk; `failing` of 1,000 device calls fail.
    fn new(failing: u64) -> Self {
        let soft = SoftDevice::seeded("test", 1);
        let key = soft.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).expect("a key");
        let node = NodeId(soft.public_key(&key).expect("its public half"));
        let host = Self {
            dir: TempDir::new().expect("a directory"),
            faults: Faults::none(),
            device: Arc::new(Failing::new(soft, 11, failing)),
            key,
            genesis: genesis(node),
            timeouts: Timeouts::default(),
        };
        Guard::create(host.storage(), host.path("guard"), ring(), host.genesis.hash()).expect("a guard");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(FaultyStorage::new(Arc::new(PreadStorage), self.faults.clone()))
    }

    fn signer(&self) -> Result<(Arc<dyn Signer>, Vec<Position>), Failure> {
        let guard = Guard::open(self.storage(), self.path("guard"), ring(), self.genesis.hash())?;
        let service = SigningService::new(bixi_hsm::Params {
            device: Arc::clone(&self.device) as _,
            keys: Keys { consensus: self.key.clone(), tls: None, kek: None },
            guard,
            chain: self.genesis.hash(),
            suite: CryptoSuite::Sm,
            retry: RetryPolicy::default(),
            custody: CustodyPolicy::Any,
            audit: Arc::new(AuditLog::open(self.storage(), self.path("audit"), ring())?),
        })?;
        let signer = Client::connect(InProcess(Arc::new(service)))?;
        let signed = signer.marks()?;
        Ok((Arc::new(signer), signed))
    }

    /// The steps of `launch` from keys to consensus.
    fn start(&self) -> Result<Running, Failure> {
        let (signer, signed) = self.signer()?;
        self.start_with(signer, &signed)
    }

    fn start_with(&self, signer: Arc<dyn Signer>, signed: &[Position]) -> Result<Running, Failure> {
        let ledger = Arc::new(chain_state::open_ledger(
            &self.genesis,
            bixi_ledger::Params {
                dir: self.path("ledger"),
                storage: self.storage(),
                keyring: ring(),
                suite: CryptoSuite::Sm,
                genesis: Some(self.genesis.hash()),
                block_cache_mb: 4,
                write_buffer_mb: 4,
                state_cache_mb: 1,
            },
        )?);
        let (log, recovered) = OrderingLog::open(self.storage(), &self.path("ordering"), ring())?;
        let batches = Arc::new(BatchStore::default());
        checks::check_memory(&ledger, &recovered, signed)?;
        let start = chain_state::replay(&self.genesis, &ledger, &batches, recovered.records)?;
        let (events_in, events) = unbounded();
        let pool_params = PoolParams {
            transactions_max: 100,
            bytes_max: usize::MAX,
            account_transactions_max: 100,
            expiry: Duration::from_secs(60),
            block_limit: self.genesis.block_limit.into(),
            signer_tables_bytes_max: 0,
        };
        let pool = Arc::new(TxPool::new(pool_params, Arc::clone(&ledger) as _, ledger.height()));
        let mut params = Params::new(signer.node_id(), self.genesis.hash(), CryptoSuite::Sm, 4);
        params.timeouts = self.timeouts;
        let core = Core::new(params);
        let pipeline = Arc::new(Pipeline {
            genesis: self.genesis.clone(),
            executor: Arc::new(Executor::new(ExecutionParams::from(&self.genesis))),
            ledger: Arc::clone(&ledger),
            batches,
            pool: Arc::clone(&pool),
            view: Arc::new(View::new(core.status(), 4)),
            events: events_in.clone(),
        });
        let topology = Topology::detect()?;
        let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
        let spawner = Spawner::new(Plan::make(&topology, &everywhere));
        let parts = Parts {
            core,
            start,
            clock: Clock::start(),
            pipeline,
            log,
            signer,
            work: Arc::default(),
            events_in: events_in.clone(),
            events,
            block_interval_ms: 1,
        };
        Ok(Running { ledger, pool, events: events_in, threads: super::start(&spawner, parts)? })
    }
}

impl Running {
    fn submit(&self, transaction: &Verified) -> mpsc::Receiver<Outcome> {
        let (told, outcome) = mpsc::channel();
        self.pool.insert(vec![(transaction.clone(), Box::new(move |outcome| drop(told.send(outcome))))]);
        let _ = self.events.send(Event::Work);
        outcome
    }

    /// Whether the transaction was acknowledged before the node gave up.
    fn acknowledged(&self, outcome: &mpsc::Receiver<Outcome>) -> bool {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.threads.consensus.is_finished() {
            match outcome.recv_timeout(Duration::from_millis(2)) {
                Ok(Outcome::Final { .. }) => return true,
                Ok(Outcome::Refused(refusal)) => panic!("refused: {refusal:?}"),
                Err(_) => assert!(std::time::Instant::now() < deadline, "neither a block nor a fault"),
            }
        }
        matches!(outcome.try_recv(), Ok(Outcome::Final { .. }))
    }

    /// Ends every thread in the node's order.
    fn stop(self) -> Option<Fault> {
        let _ = self.events.send(Event::Stop);
        let fault = self.threads.consensus.join().expect("consensus did not panic");
        for helper in self.threads.helpers {
            helper.join().expect("no helper panicked");
        }
        fault
    }
}

/// A call that changes the state: `userAdd(name, 7)` of DagTransfer.
fn user_add(name: &str) -> Verified {
    let mut random = Counter(u64::from(name.as_bytes()[0]) << 32);
    let key = PrivateKey::generate(&mut random).expect("a key");
    let mut input = CryptoSuite::Sm.hash(&[b"userAdd(string,uint256)"]).0[..4].to_vec();
    for word in [64_u128, 7, name.len() as u128] {
        input.extend([0; 16]);
        input.extend(word.to_be_bytes());
    }
    input.extend(name.as_bytes());
    input.resize(4 + 4 * 32, 0);
    let mut tx = Transaction {
        chain_id: "chain0".into(),
        group_id: "group0".into(),
        block_limit: 500,
        nonce: name.into(),
        to: "0x000000000000000000000000000000000000100c".into(),
        input,
        ..Transaction::default()
    };
    tx.sign_sm(&key, &mut random).expect("signs");
    let chain = ChainIdentity { chain_id: "chain0".into(), group_id: "group0".into() };
    transaction::verify(CryptoSuite::Sm, &chain, tx).expect("canonical and signed")
}

fn names(from: usize, count: usize) -> impl Iterator<Item = Verified> {
    (from..from + count).map(|number| user_add(&format!("{number}")))
}

/// Every acknowledged transaction has its block and its receipt; heights have the headers they had.
fn check(ledger: &Ledger, acknowledged: &[Verified]) {
    for transaction in acknowledged {
        assert!(ledger.transaction(&transaction.hash).unwrap().is_some(), "{} was acknowledged", transaction.hash);
        assert_eq!(ledger.receipt(&transaction.hash).unwrap().expect("a receipt").status, 0);
    }
}

fn commit_all(node: &Running, transactions: impl Iterator<Item = Verified>) -> Vec<Verified> {
    let sent: Vec<_> = transactions.map(|transaction| (node.submit(&transaction), transaction)).collect();
    let acknowledged = sent.into_iter().map(|(outcome, transaction)| {
        assert!(node.acknowledged(&outcome), "{} was not committed", transaction.hash);
        transaction
    });
    acknowledged.collect()
}

fn hashes(ledger: &Ledger) -> Vec<bixi_types::H256> {
    (0..=ledger.height()).map(|height| ledger.hash_of(height).unwrap().expect("every height has a header")).collect()
}

#[test]
fn a_stopped_node_goes_on_where_it_was() {
    let host = Host::new(0);
    let node = host.start().unwrap();
    let mut acknowledged = commit_all(&node, names(0, 10));
    let before = hashes(&node.ledger);
    assert!(before.len() >= 4, "blocks of at most 4 transactions: {}", before.len() - 1);
    assert_eq!(node.stop(), None);

    let node = host.start().unwrap();
    assert_eq!(hashes(&node.ledger), before);
    acknowledged.extend(commit_all(&node, names(10, 5)));
    check(&node.ledger, &acknowledged);
    assert_eq!(node.stop(), None);
}

#[test]
fn a_device_that_fails_now_and_then_delays_blocks_only() {
    let host = Host::new(300);
    let node = std::iter::repeat_with(|| host.start()).take(20).find_map(Result::ok).expect("starts in the end");
    check(&node.ledger, &commit_all(&node, names(0, 40)));
    assert_eq!(node.stop(), None);
    assert!(host.device.calls() > 20, "the device was asked {} times", host.device.calls());
}

#[test]
fn rounds_that_fail_give_their_transactions_back() {
    let mut host = Host::new(0);
    // Less than an fsync: the first rounds of every height pass before their value is durable.
    host.timeouts = Timeouts { propose_ms: (1, 1), prevote_ms: (1, 1), precommit_ms: (1, 1), ..host.timeouts };
    let node = host.start().unwrap();
    check(&node.ledger, &commit_all(&node, names(0, 40)));
    assert_eq!(node.stop(), None);
}

/// A device library with a bug.
struct Broken(NodeId);

impl Signer for Broken {
    fn node_id(&self) -> NodeId {
        self.0
    }

    fn sign(&self, statement: &Statement) -> Result<SignatureBytes, SignError> {
        panic!("asked for {statement:?}");
    }
}

#[test]
fn a_thread_that_panics_stops_the_node() {
    let host = Host::new(0);
    let node = host.start_with(Arc::new(Broken(host.genesis.validators[0].id)), &[]).unwrap();
    let outcome = node.submit(&user_add("1"));
    assert!(!node.acknowledged(&outcome));
    let fault = node.threads.consensus.join().expect("consensus itself ends in order");
    assert_eq!(fault, Some(Fault::Panicked("sign")));
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    // Room for some bytes more: full in the guard, in the ordering log, in the ledger's log, in a block or between two.
    for room in (0..40_000).step_by(801) {
        let host = Host::new(0);
        let node = host.start().unwrap();
        let mut acknowledged = commit_all(&node, names(0, 3));
        host.faults.full_after(room);
        let sent: Vec<_> = names(3, 40).map(|transaction| (node.submit(&transaction), transaction)).collect();
        let told =
            sent.into_iter().filter(|(outcome, _)| node.acknowledged(outcome)).map(|(_, transaction)| transaction);
        acknowledged.extend(told);
        let heads = hashes(&node.ledger);
        let fault = node.stop().expect("a full disk stops the node");
        assert!(matches!(fault, Fault::Durability { .. } | Fault::Consensus(_)), "{room}: {fault}");
        assert!(acknowledged.len() < 43, "{room}: everything found room");

        host.faults.heal();
        let node = host.start().unwrap_or_else(|error| panic!("{room}: does not start with room again: {error}"));
        assert_eq!(hashes(&node.ledger)[..heads.len()], heads, "{room}");
        check(&node.ledger, &acknowledged);
        check(&node.ledger, &commit_all(&node, names(100, 2)));
        assert_eq!(node.stop(), None, "{room}");
    }
}

#[test]
fn a_write_that_fails_once_stops_the_node_and_loses_nothing() {
    // Where the fault falls is counted from a quiet moment; the thread it hits is up to the schedule, which is the point.
    for offset in 1..=120 {
        let host = Host::new(0);
        let node = host.start().unwrap();
        let mut acknowledged = commit_all(&node, names(0, 2));
        host.faults.fail_once_at(host.faults.operations() + offset);
        let sent: Vec<_> = names(2, 12).map(|transaction| (node.submit(&transaction), transaction)).collect();
        let told =
            sent.into_iter().filter(|(outcome, _)| node.acknowledged(outcome)).map(|(_, transaction)| transaction);
        acknowledged.extend(told);
        drop(node.stop());

        host.faults.heal();
        let node = host.start().unwrap_or_else(|error| panic!("{offset}: does not start again: {error}"));
        check(&node.ledger, &acknowledged);
        check(&node.ledger, &commit_all(&node, names(100, 1)));
        assert_eq!(node.stop(), None, "{offset}");
    }
}

#[test]
fn a_ledger_older_than_the_guard_is_refused() {
    let host = Host::new(0);
    let node = host.start().unwrap();
    let first = commit_all(&node, names(0, 1));
    check(&node.ledger, &first);
    assert_eq!(node.stop(), None);
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    for part in ["ledger", "ordering"] {
        copy(&host.path(part), &host.path(&format!("{part}.old")));
    }
    let node = host.start().unwrap();
    commit_all(&node, names(1, 4));
    assert_eq!(node.stop(), None);
    for part in ["ledger", "ordering"] {
        std::fs::remove_dir_all(host.path(part)).unwrap();
        std::fs::rename(host.path(&format!("{part}.old")), host.path(part)).unwrap();
    }
    let refused = host.start().err().expect("an old copy is refused").to_string();
    assert!(refused.contains("old copy"), "{refused}");
}
