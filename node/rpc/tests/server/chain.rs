//! A chain in memory behind the real pool: what the pool packs is sealed into blocks with real hashes, roots and proofs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bixi_accel::Seeded;
use bixi_accel::sm2::PrivateKey;
use bixi_platform::placement::{self, Plan};
use bixi_platform::threads::Spawner;
use bixi_platform::topology::Topology;
use bixi_rpc::{
    ApiError, BoxFuture, CallOutput, ChainInfo, ConnectionId, ConsensusStatus, Head, Health, HealthCheck, Located,
    LocatedReceipt, NodeApi, NodeInfo, NodeStatus, Peer, SealerInfo, SubmitError, Submitted, SyncStatus,
    TransactionCounts,
};
use bixi_txpool::{Admission, AdmissionParams, Connection, Outcome, PoolParams, TxPool};
use bixi_types::header::{BlockHeader, HeaderSignature, ParentInfo};
use bixi_types::receipt::{LogEntry, Receipt};
use bixi_types::state::{History, StateError};
use bixi_types::status::Status;
use bixi_types::transaction::{ChainIdentity, Transaction, Verified};
use bixi_types::{Address, CryptoSuite, H256, NodeId, merkle};
use tokio::sync::oneshot;

pub(crate) const SUITE: CryptoSuite = CryptoSuite::Sm;
pub(crate) const GROUP: &str = "group0";
pub(crate) const NODE: &str = "node0";
pub(crate) const CHAIN: &str = "chain0";
pub(crate) const BLOCK_LIMIT: u64 = 100;

/// What `call` finds at some addresses.
pub(crate) const ECHO: &str = "0x00000000000000000000000000000000000000e0";
/// Computes until [`Chain::let_slow_calls_end`].
pub(crate) const SLOW: &str = "0x00000000000000000000000000000000000000e1";
/// Returns as many bytes as its four bytes of input say, big-endian.
pub(crate) const LARGE: &str = "0x00000000000000000000000000000000000000e2";
/// A mistake of ours.
pub(crate) const PANICS: &str = "0x00000000000000000000000000000000000000e3";

/// A slow call that nobody ends: a test has failed by then.
const SLOWEST_CALL: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) transactions: Vec<Verified>,
    pub(crate) receipts: Vec<Arc<Receipt>>,
}

impl Block {
    fn hashes(&self) -> Vec<H256> {
        self.transactions.iter().map(|transaction| transaction.hash).collect()
    }

    fn receipt_hashes(&self) -> Vec<H256> {
        self.receipts.iter().map(|receipt| receipt.hash(SUITE)).collect()
    }
}

/// Blocks that outlive the node that made them, as a ledger does.
#[derive(Default)]
pub(crate) struct Blocks(Mutex<Vec<Block>>);

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, Vec<Block>> {
        self.0.lock().expect("no holder of the blocks panics")
    }

    fn find(&self, hash: &H256) -> Option<(Block, usize)> {
        self.lock()
            .iter()
            .find_map(|block| Some((block.clone(), block.hashes().iter().position(|found| found == hash)?)))
    }
}

impl History for Blocks {
    fn transaction_known(&self, hash: &H256) -> Result<bool, StateError> {
        Ok(self.find(hash).is_some())
    }

    fn nonce_used(&self, sender: &Address, nonce: &str) -> Result<bool, StateError> {
        let used = |transaction: &Verified| transaction.sender == *sender && transaction.tx.nonce == nonce;
        let blocks = self.lock();
        let recent = blocks.len().saturating_sub(BLOCK_LIMIT as usize);
        Ok(blocks[recent..].iter().any(|block| block.transactions.iter().any(used)))
    }
}

/// Makes blocks of what waits.
struct Sealer {
    blocks: Arc<Blocks>,
    pool: Arc<TxPool>,
    is_automatic: AtomicBool,
    sealer: NodeId,
}

impl Sealer {
    fn seal(&self) {
        let transactions = self.pool.pack(1_000, usize::MAX);
        let mut blocks = self.blocks.lock();
        let number = blocks.len() as u64;
        let receipts: Vec<_> = transactions.iter().map(|tx| Arc::new(receipt(tx, number))).collect();
        let mut block = Block { header: BlockHeader::default(), transactions, receipts };
        block.header = BlockHeader {
            version: 0x0310_0000,
            parent_info: blocks
                .last()
                .map(|parent| ParentInfo { number: parent.header.number, hash: parent.header.hash(SUITE) })
                .into_iter()
                .collect(),
            txs_root: merkle::root(SUITE, &block.hashes()),
            receipts_root: merkle::root(SUITE, &block.receipt_hashes()),
            state_root: H256([7; 32]),
            number: number as i64,
            gas_used: (21_000 * block.receipts.len()).to_string(),
            timestamp: 1_763_680_000_000 + number as i64,
            sealer: 0,
            sealer_list: vec![self.sealer],
            extra_data: vec![1, 2, 3],
            consensus_weights: vec![1],
            signature_list: vec![HeaderSignature { sealer_index: 0, signature: vec![9; 64] }],
        };
        let told: Vec<_> = block.transactions.iter().cloned().zip(block.receipts.iter().cloned()).collect();
        blocks.push(block);
        drop(blocks);
        self.pool.committed(number, told);
    }
}

/// A deployment (no `to`) makes a contract; every call logs one event.
fn receipt(transaction: &Verified, number: u64) -> Receipt {
    let is_deployment = transaction.tx.to.is_empty();
    let log = LogEntry {
        address: "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
        topics: vec![H256([3; 32])],
        data: vec![4],
    };
    Receipt {
        version: transaction.tx.version,
        gas_used: "21000".into(),
        contract_address: if is_deployment { "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".into() } else { String::new() },
        output: vec![0xab, 0xcd],
        log_entries: if is_deployment { Vec::new() } else { vec![log] },
        block_number: number as i64,
        effective_gas_price: if transaction.tx.version >= 1 { "0x1".into() } else { String::new() },
        ..Receipt::default()
    }
}

pub(crate) struct Chain {
    info: ChainInfo,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) pool: Arc<TxPool>,
    admission: Admission,
    sealer: Arc<Sealer>,
    pub(crate) receipt_timeout: Mutex<Duration>,
    pub(crate) fault: Mutex<Option<String>>,
    /// Calls that were executed.
    pub(crate) executed: AtomicUsize,
    /// Whether slow calls end, and who waits for it.
    slow: (Mutex<bool>, Condvar),
}

impl Chain {
    /// A chain that stands at block 1 and seals what it gets at once.
    pub(crate) fn new() -> Arc<Self> {
        let chain = Self::over(Arc::default());
        chain.seal();
        chain.seal();
        chain
    }

    /// A node on blocks that are there already: what a restart finds.
    pub(crate) fn over(blocks: Arc<Blocks>) -> Arc<Self> {
        let id = NodeId(key(250).public_key().to_bytes());
        let height = (blocks.lock().len() as u64).saturating_sub(1);
        let pool_params = PoolParams {
            transactions_max: 1_000,
            bytes_max: 8 * 1024 * 1024,
            account_transactions_max: 1_000,
            expiry: Duration::from_secs(600),
            block_limit: BLOCK_LIMIT,
            signer_tables_bytes_max: 0,
        };
        let pool = Arc::new(TxPool::new(pool_params, Arc::clone(&blocks) as _, height));
        let sealer = Arc::new(Sealer {
            blocks: Arc::clone(&blocks),
            pool: Arc::clone(&pool),
            is_automatic: AtomicBool::new(true),
            sealer: id,
        });
        let plan = Plan::make(&Topology::detect().expect("a topology"), &placement::Params::default());
        let at_once = Arc::clone(&sealer);
        let on_admitted = Box::new(move || {
            if at_once.is_automatic.load(Ordering::SeqCst) {
                at_once.seal();
            }
        });
        let admission = Admission::start(admission_params(), Arc::clone(&pool), &Spawner::new(plan), on_admitted)
            .expect("verifier threads");
        Arc::new(Self {
            info: info(id),
            blocks,
            pool,
            admission,
            sealer,
            receipt_timeout: Mutex::new(Duration::from_secs(60)),
            fault: Mutex::default(),
            executed: AtomicUsize::new(0),
            slow: <(Mutex<bool>, Condvar)>::default(),
        })
    }

    /// From now on transactions wait until [`Self::seal`].
    pub(crate) fn hold(&self) {
        self.sealer.is_automatic.store(false, Ordering::SeqCst);
    }

    pub(crate) fn seal(&self) {
        self.sealer.seal();
    }

    /// Slow calls end, those under way and those to come.
    pub(crate) fn let_slow_calls_end(&self) {
        *self.slow.0.lock().expect("no holder panics") = true;
        self.slow.1.notify_all();
    }

    fn block(&self, number: u64) -> Option<Block> {
        self.blocks.lock().get(usize::try_from(number).ok()?).cloned()
    }

    fn found(&self, hash: &H256) -> Result<(Block, usize), ApiError> {
        self.blocks.find(hash).ok_or_else(|| ApiError::NotFound(format!("no block holds {hash}")))
    }
}

fn admission_params() -> AdmissionParams {
    AdmissionParams {
        suite: SUITE,
        chain: ChainIdentity { chain_id: CHAIN.into(), group_id: GROUP.into() },
        verifiers: 1,
        queue_max: 1_000,
        queue_bytes_max: 8 * 1024 * 1024,
        connection_pending_max: 500,
        verify_batch_max: 16,
    }
}

fn info(id: NodeId) -> ChainInfo {
    ChainInfo {
        chain_id: CHAIN.into(),
        group_id: GROUP.into(),
        suite: SUITE,
        genesis_hash: H256([5; 32]),
        genesis_json: serde_json::json!({"consensusType": "pbft"}),
        node: NodeInfo { name: NODE.into(), id, version: "0.1.0".into(), p2p_address: "127.0.0.1:30300".into() },
    }
}

fn located(transaction: &Verified) -> Located {
    Located { transaction: Arc::clone(&transaction.tx), hash: transaction.hash, sender: transaction.sender }
}

impl NodeApi for Chain {
    fn chain(&self) -> &ChainInfo {
        &self.info
    }

    fn height(&self) -> u64 {
        self.blocks.lock().len() as u64 - 1
    }

    fn header(&self, number: u64) -> Result<Option<BlockHeader>, ApiError> {
        Ok(self.block(number).map(|block| block.header))
    }

    fn number_of(&self, hash: &H256) -> Result<Option<u64>, ApiError> {
        let blocks = self.blocks.lock();
        Ok(blocks.iter().position(|block| block.header.hash(SUITE) == *hash).map(|number| number as u64))
    }

    fn hash_of(&self, number: u64) -> Result<Option<H256>, ApiError> {
        Ok(self.block(number).map(|block| block.header.hash(SUITE)))
    }

    fn transaction_hashes(&self, number: u64) -> Result<Vec<H256>, ApiError> {
        Ok(self.block(number).map(|block| block.hashes()).unwrap_or_default())
    }

    fn transactions(&self, number: u64) -> Result<Vec<Located>, ApiError> {
        Ok(self.block(number).map(|block| block.transactions.iter().map(located).collect()).unwrap_or_default())
    }

    fn transaction(&self, hash: &H256) -> Result<Option<Located>, ApiError> {
        Ok(self.blocks.find(hash).map(|(block, index)| located(&block.transactions[index])))
    }

    fn receipt(&self, hash: &H256) -> Result<Option<LocatedReceipt>, ApiError> {
        Ok(self.blocks.find(hash).map(|(block, index)| LocatedReceipt {
            receipt: (*block.receipts[index]).clone(),
            located: located(&block.transactions[index]),
        }))
    }

    fn transaction_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError> {
        let (block, index) = self.found(hash)?;
        Ok(merkle::proof(SUITE, &block.hashes(), index))
    }

    fn receipt_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError> {
        let (block, index) = self.found(hash)?;
        Ok(merkle::proof(SUITE, &block.receipt_hashes(), index))
    }

    fn submit(&self, bytes: Vec<u8>, connection: ConnectionId) -> BoxFuture<Result<Submitted, SubmitError>> {
        let (told, outcome) = oneshot::channel();
        let completion = Box::new(move |outcome| drop(told.send(outcome)));
        self.admission.submit(bytes, Connection(connection.0), completion);
        let timeout = *self.receipt_timeout.lock().expect("no holder panics");
        Box::pin(async move {
            match tokio::time::timeout(timeout, outcome).await {
                Ok(Ok(Outcome::Final { transaction, receipt })) => Ok(Submitted {
                    receipt: LocatedReceipt { receipt: (*receipt).clone(), located: located(&transaction) },
                }),
                Ok(Ok(Outcome::Refused(refusal))) => {
                    Err(SubmitError { code: refusal.status.code(), message: refusal.message })
                }
                _ => Err(SubmitError {
                    code: Status::TransactionPoolTimeout.code(),
                    message: "no receipt in time; ask for it before sending the transaction again".into(),
                }),
            }
        })
    }

    fn call(&self, _: Address, to: Address, data: Vec<u8>) -> Result<CallOutput, ApiError> {
        self.executed.fetch_add(1, Ordering::SeqCst);
        let output = match to.to_string().as_str() {
            ECHO => data,
            SLOW => {
                let (may_end, changed) = &self.slow;
                let guard = may_end.lock().expect("no holder panics");
                let _ = changed.wait_timeout_while(guard, SLOWEST_CALL, |may_end| !*may_end).expect("no holder panics");
                Vec::new()
            }
            LARGE => vec![0xee; u32::from_be_bytes(data.try_into().expect("four bytes")) as usize],
            PANICS => panic!("a mistake in the node"),
            _ => return Ok(CallOutput { block_number: self.height(), status: 16, output: Vec::new() }),
        };
        Ok(CallOutput { block_number: self.height(), status: 0, output })
    }

    fn code(&self, address: &Address) -> Result<Vec<u8>, ApiError> {
        Ok(if address.to_string() == ECHO { vec![0x60, 0x80] } else { Vec::new() })
    }

    fn abi(&self, address: &Address) -> Result<String, ApiError> {
        Ok(if address.to_string() == ECHO { "[]".into() } else { String::new() })
    }

    fn sealers(&self) -> Result<Vec<SealerInfo>, ApiError> {
        Ok(vec![SealerInfo { id: self.info.node.id, weight: 1 }])
    }

    fn observers(&self) -> Result<Vec<NodeId>, ApiError> {
        Ok(vec![NodeId([0x0b; 64])])
    }

    fn system_config(&self, key: &str) -> Result<Option<(String, u64)>, ApiError> {
        Ok((key == "tx_count_limit").then(|| ("1000".into(), 0)))
    }

    fn counts(&self) -> Result<TransactionCounts, ApiError> {
        let total = self.blocks.lock().iter().map(|block| block.transactions.len() as u64).sum();
        Ok(TransactionCounts { block_number: self.height(), total, failed: 0 })
    }

    fn pending(&self) -> usize {
        self.pool.len() + self.admission.queued()
    }

    fn sync_status(&self) -> Result<SyncStatus, ApiError> {
        let block_number = self.height();
        let latest_hash = self.hash_of(block_number)?.expect("the head");
        Ok(SyncStatus { block_number, latest_hash, known_highest_number: block_number, known_latest_hash: latest_hash })
    }

    fn consensus_status(&self) -> Result<ConsensusStatus, ApiError> {
        let committed = self.height();
        Ok(ConsensusStatus {
            index: Some(0),
            leader_index: 0,
            validators: self.sealers()?,
            height: committed + 1,
            round: 0,
            head_hash: self.hash_of(committed)?.expect("the head"),
            committed,
            timed_out: false,
        })
    }

    fn node_status(&self) -> Result<NodeStatus, ApiError> {
        let height = self.height();
        Ok(NodeStatus {
            mode: "voting".into(),
            ordering_height: height + 1,
            round: 0,
            decided: height,
            certified: height,
            joining: None,
            custody: Some("hardware device".into()),
        })
    }

    /// One that is connected, and one that could not be reached.
    fn peers(&self) -> Vec<Peer> {
        vec![
            Peer {
                id: Some(NodeId([0x22; 64])),
                address: "127.0.0.1:30301".into(),
                sessions: vec!["consensus", "bulk"],
                rtt_us: Some(420),
                certificate_days: Some(90),
                head: Some(Head { number: 1, hash: H256([0x33; 32]) }),
                last_refusal: None,
            },
            Peer {
                id: None,
                address: "127.0.0.1:30302".into(),
                sessions: Vec::new(),
                rtt_us: None,
                certificate_days: None,
                head: None,
                last_refusal: Some("nobody listens".into()),
            },
        ]
    }

    fn health(&self) -> Health {
        let fault = self.fault.lock().expect("no holder panics").clone();
        Health {
            checks: vec![HealthCheck { component: "ledger", fault: None }, HealthCheck { component: "device", fault }],
        }
    }

    fn metrics(&self) -> String {
        "# TYPE bixi_test gauge\nbixi_test 1\n# EOF\n".into()
    }
}

/// The key of an account.
pub(crate) fn key(account: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[account; 32]).expect("a key in range")
}

/// A signed call of an account.
pub(crate) fn signed(account: u8, nonce: u64, block_limit: i64) -> Transaction {
    let mut transaction = Transaction {
        chain_id: CHAIN.into(),
        group_id: GROUP.into(),
        block_limit,
        nonce: nonce.to_string(),
        to: "0x6849f21d1e455e9f0712b1e99fa4fcd23758e8f1".into(),
        input: vec![1, 2, 3, account],
        ..Transaction::default()
    };
    sign(&mut transaction, account);
    transaction
}

pub(crate) fn sign(transaction: &mut Transaction, account: u8) {
    transaction.sign_sm(&key(account), &mut Seeded::new(account.into())).expect("signs");
}

/// The parameter of `sendTransaction`.
pub(crate) fn wire(transaction: &Transaction) -> String {
    format!("0x{}", hex::encode(transaction.encode()))
}
