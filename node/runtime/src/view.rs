//! What the other threads may know of consensus, kept current by the consensus thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bixi_consensus::Status;
use bixi_rpc::Head;
use bixi_types::NodeId;
use parking_lot::RwLock;

/// Peers whose heads are kept, connected or not.
const HEADS_MAX: usize = 1_024;

/// A snapshot for RPC, health, metrics and the builder of blocks.
pub(crate) struct View {
    consensus: RwLock<Status>,
    proposer: RwLock<NodeId>,
    block_transactions_max: AtomicUsize,
    decided: AtomicU64,
    rounds: AtomicU64,
    failed_rounds: AtomicU64,
    heads: RwLock<BTreeMap<NodeId, Head>>,
}

impl View {
    pub(crate) fn new(status: Status, block_transactions_max: usize) -> Self {
        Self {
            consensus: RwLock::new(status),
            proposer: RwLock::new(NodeId::ZERO),
            block_transactions_max: AtomicUsize::new(block_transactions_max),
            decided: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            failed_rounds: AtomicU64::new(0),
            heads: RwLock::default(),
        }
    }

    /// A peer told how far its ledger reaches. When too many have, those that are `gone` are forgotten.
    pub(crate) fn set_head(&self, peer: NodeId, head: Head, gone: impl Fn(&NodeId) -> bool) {
        let mut heads = self.heads.write();
        if heads.len() >= HEADS_MAX {
            heads.retain(|known, _| !gone(known));
        }
        heads.insert(peer, head);
    }

    /// How far a peer's ledger reaches, by its own word.
    pub(crate) fn head_of(&self, peer: &NodeId) -> Option<Head> {
        self.heads.read().get(peer).copied()
    }

    pub(crate) fn set_consensus(&self, status: Status) {
        *self.consensus.write() = status;
    }

    pub(crate) fn consensus(&self) -> Status {
        self.consensus.read().clone()
    }

    /// A height is decided, durably, and its batches are told of it. Until then they still stand in a value of it, though consensus
    /// may be at the next height already.
    pub(crate) fn set_decided(&self, height: u64) {
        self.decided.store(height, Ordering::Relaxed);
    }

    /// The height above the last one decided durably.
    pub(crate) fn undecided(&self) -> u64 {
        self.decided.load(Ordering::Relaxed) + 1
    }

    /// A round began; one above 0 because the one before decided nothing.
    pub(crate) fn set_round(&self, round: u32, proposer: NodeId) {
        *self.proposer.write() = proposer;
        self.rounds.fetch_add(1, Ordering::Relaxed);
        if round > 0 {
            self.failed_rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rounds begun since the start, and how many of them because the one before decided nothing.
    pub(crate) fn rounds(&self) -> (u64, u64) {
        (self.rounds.load(Ordering::Relaxed), self.failed_rounds.load(Ordering::Relaxed))
    }

    /// Proposer of the round under way.
    pub(crate) fn proposer(&self) -> NodeId {
        *self.proposer.read()
    }

    /// Configuration's bound on the transactions of one block.
    pub(crate) fn block_transactions_max(&self) -> usize {
        self.block_transactions_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_block_transactions_max(&self, count: usize) {
        self.block_transactions_max.store(count.max(1), Ordering::Relaxed);
    }
}
