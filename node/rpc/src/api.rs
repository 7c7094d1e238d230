//! What the RPC needs of a node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, H256, NodeId};

use crate::error::ApiError;

/// A future that may cross threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One client connection, for per-connection limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// What does not change while the node runs.
#[derive(Debug, Clone)]
pub struct ChainInfo {
    /// FISCO BCOS chain id.
    pub chain_id: String,
    /// FISCO BCOS group id.
    pub group_id: String,
    /// Algorithms.
    pub suite: CryptoSuite,
    /// Hash of the genesis.
    pub genesis_hash: H256,
    /// The genesis file's text, for `getGroupInfo`.
    pub genesis_json: serde_json::Value,
    /// This node.
    pub node: NodeInfo,
}

/// This node's identity.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// Name from the node file.
    pub name: String,
    /// Consensus public key.
    pub id: NodeId,
    /// Release, e.g. `0.1.0`.
    pub version: String,
    /// Where other nodes are awaited; empty without a network.
    pub p2p_address: String,
}

/// A transaction and where it stands.
#[derive(Debug, Clone)]
pub struct Located {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Its hash.
    pub hash: H256,
    /// Who signed it.
    pub sender: Address,
}

/// A receipt with its transaction.
#[derive(Debug, Clone)]
pub struct LocatedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// Its transaction.
    pub located: Located,
}

/// A transaction that is final.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Receipt and transaction.
    pub receipt: LocatedReceipt,
}

/// A transaction that is not taken, with FISCO BCOS's status code (10000…10015).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitError {
    /// Status code.
    pub code: i32,
    /// Why, and what to do.
    pub message: String,
}

/// Result of a read-only call.
#[derive(Debug, Clone)]
pub struct CallOutput {
    /// Height it was executed on.
    pub block_number: u64,
    /// FISCO BCOS status, 0 on success.
    pub status: i32,
    /// Returned or reverted bytes.
    pub output: Vec<u8>,
}

/// A validator as RPC shows it.
#[derive(Debug, Clone)]
pub struct SealerInfo {
    /// Public key.
    pub id: NodeId,
    /// Voting weight.
    pub weight: u64,
}

/// Totals over the chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransactionCounts {
    /// Height the totals belong to.
    pub block_number: u64,
    /// Transactions in blocks.
    pub total: u64,
    /// Of these, with a non-zero status.
    pub failed: u64,
}

/// Where this node stands among its peers.
#[derive(Debug, Clone)]
pub struct SyncStatus {
    /// Own height.
    pub block_number: u64,
    /// Hash of the own head.
    pub latest_hash: H256,
    /// Highest height any peer told.
    pub known_highest_number: u64,
    /// Hash at that height.
    pub known_latest_hash: H256,
}

/// State of consensus.
#[derive(Debug, Clone)]
pub struct ConsensusStatus {
    /// Own index among the validators, if one.
    pub index: Option<usize>,
    /// Index of the current round's proposer.
    pub leader_index: usize,
    /// Validators of the next height.
    pub validators: Vec<SealerInfo>,
    /// Height being decided.
    pub height: u64,
    /// Round of it.
    pub round: u32,
    /// Hash of the committed head.
    pub head_hash: H256,
    /// Committed height.
    pub committed: u64,
    /// Whether a round change is under way.
    pub timed_out: bool,
}

/// What one's own consensus does.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Whether this node votes, in words.
    pub mode: String,
    /// Height being ordered or waited for.
    pub ordering_height: u64,
    /// Its round.
    pub round: u32,
    /// Last height decided.
    pub decided: u64,
    /// Last height certified.
    pub certified: u64,
    /// The snapshot that is being fetched, if one is.
    pub joining: Option<Joining>,
    /// Where the keys are while they are used, once the key device was asked.
    pub custody: Option<String>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Its height.
    pub height: u64,
    /// What is being done, in a word.
    pub phase: &'static str,
    /// Received so far.
    pub received_bytes: u64,
    /// Of the whole work.
    pub percent: u8,
    /// On average.
    pub bytes_per_second: u64,
    /// Seconds left, once that can be told.
    pub left_s: Option<u64>,
}

/// A height and the hash of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The height.
    pub number: u64,
    /// The hash.
    pub hash: H256,
}

/// A node that this one is connected to, or tries to reach.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who, when it has proven it.
    pub id: Option<NodeId>,
    /// Where.
    pub address: String,
    /// Names of the sessions that stand.
    pub sessions: Vec<&'static str>,
    /// Round trip of a ping, microseconds.
    pub rtt_us: Option<u64>,
    /// Days until its certificate ends.
    pub certificate_days: Option<i64>,
    /// What it last told of its chain.
    pub head: Option<Head>,
    /// Why it was refused last, or refused us.
    pub last_refusal: Option<String>,
}

impl Peer {
    /// Sessions of one peer: consensus and bulk.
    pub const SESSIONS: usize = 2;

    /// Whether all its sessions stand.
    pub fn is_connected(&self) -> bool {
        self.sessions.len() == Self::SESSIONS
    }
}

/// One part's health.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// The part, e.g. `ledger`.
    pub component: &'static str,
    /// `None` when well; else what is wrong and what to do.
    pub fault: Option<String>,
}

/// All parts' health.
#[derive(Debug, Clone)]
pub struct Health {
    /// Every part.
    pub checks: Vec<HealthCheck>,
}

/// The node behind the RPC. Reads may touch the disk: the server calls them on its blocking threads.
pub trait NodeApi: Send + Sync + 'static {
    /// Chain and node identity.
    fn chain(&self) -> &ChainInfo;
    /// Committed height.
    fn height(&self) -> u64;
    /// Header at a height.
    fn header(&self, number: u64) -> Result<Option<BlockHeader>, ApiError>;
    /// Height of a header hash.
    fn number_of(&self, hash: &H256) -> Result<Option<u64>, ApiError>;
    /// Hash of the header at a height.
    fn hash_of(&self, number: u64) -> Result<Option<H256>, ApiError>;
    /// Hashes of a block's transactions.
    fn transaction_hashes(&self, number: u64) -> Result<Vec<H256>, ApiError>;
    /// A block's transactions.
    fn transactions(&self, number: u64) -> Result<Vec<Located>, ApiError>;
    /// One transaction.
    fn transaction(&self, hash: &H256) -> Result<Option<Located>, ApiError>;
    /// One receipt.
    fn receipt(&self, hash: &H256) -> Result<Option<LocatedReceipt>, ApiError>;
    /// Merkle proof of a transaction under its block's `txsRoot`, in FISCO BCOS's shape.
    fn transaction_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError>;
    /// Merkle proof of a receipt under its block's `receiptsRoot`, in FISCO BCOS's shape.
    fn receipt_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError>;
    /// Takes a transaction (tars bytes) and answers when it is final or refused.
    fn submit(&self, bytes: Vec<u8>, connection: ConnectionId) -> BoxFuture<Result<Submitted, SubmitError>>;
    /// Executes a read-only call on the committed state.
    fn call(&self, from: Address, to: Address, data: Vec<u8>) -> Result<CallOutput, ApiError>;
    /// Byte code of a contract.
    fn code(&self, address: &Address) -> Result<Vec<u8>, ApiError>;
    /// ABI a contract was deployed with.
    fn abi(&self, address: &Address) -> Result<String, ApiError>;
    /// Validators of the next height.
    fn sealers(&self) -> Result<Vec<SealerInfo>, ApiError>;
    /// Observers.
    fn observers(&self) -> Result<Vec<NodeId>, ApiError>;
    /// A configuration value and the height from which it holds.
    fn system_config(&self, key: &str) -> Result<Option<(String, u64)>, ApiError>;
    /// Totals.
    fn counts(&self) -> Result<TransactionCounts, ApiError>;
    /// Transactions waiting in the pool.
    fn pending(&self) -> usize;
    /// Sync state.
    fn sync_status(&self) -> Result<SyncStatus, ApiError>;
    /// Consensus state.
    fn consensus_status(&self) -> Result<ConsensusStatus, ApiError>;
    /// What one's own consensus does.
    fn node_status(&self) -> Result<NodeStatus, ApiError>;
    /// Peers, connected or not.
    fn peers(&self) -> Vec<Peer>;
    /// Health of all parts.
    fn health(&self) -> Health;
    /// Metrics in OpenMetrics text.
    fn metrics(&self) -> String;
}
