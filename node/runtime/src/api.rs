//! The node as RPC sees it: reads from the ledger, calls on its newest committed state, submission through admission.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bixi_consensus::Mode;
use bixi_execution::system::{self, NodeKind};
use bixi_execution::{CallRequest, Executor};
use bixi_ledger::{History, Ledger, LedgerError};
use bixi_rpc::{
    ApiError, BoxFuture, CallOutput, ChainInfo, ConnectionId, ConsensusStatus, Head, Health, HealthCheck, Located,
    LocatedReceipt, NodeApi, NodeStatus, Peer, SealerInfo, SubmitError, Submitted, SyncStatus, TransactionCounts,
};
use bixi_txpool::{Admission, Connection, Outcome, TxPool};
use bixi_types::header::BlockHeader;
use bixi_types::receipt::Receipt;
use bixi_types::status::Status;
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, H256, NodeId, merkle};
use tokio::sync::oneshot;

use crate::health::{Device, LedgerReads};
use crate::links::Links;
use crate::metrics::NodeMetrics;
use crate::scrub::Scrubbing;
use crate::snapshot::{JoinProgress, Joining};
use crate::view::View;

/// Everything RPC may reach.
pub(crate) struct Api {
    pub chain: ChainInfo,
    pub ledger: Arc<Ledger>,
    pub executor: Arc<Executor>,
    pub pool: Arc<TxPool>,
    pub admission: Admission,
    pub view: Arc<View>,
    pub joining: Arc<JoinProgress>,
    pub links: Arc<dyn Links>,
    pub device: Arc<Device>,
    pub ledger_reads: LedgerReads,
    pub scrubbing: Arc<Scrubbing>,
    pub metrics: NodeMetrics,
    pub receipt_timeout: Duration,
}

/// Gas of one read-only call: enough for a large view, little enough that callers cannot hold the executors for seconds.
const CALL_GAS_MAX: u64 = 300_000_000;

impl Api {
    /// What a ledger that began with a snapshot does not hold is no damage of it.
    fn unread(&self, error: LedgerError) -> ApiError {
        match error {
            LedgerError::NoHistory { .. } => ApiError::NotFound(error.to_string()),
            error => self.unreadable(error),
        }
    }

    /// Every internal error of this room is a failed read of the ledger: the client is told, and so is the operator.
    fn unreadable(&self, error: impl std::fmt::Display) -> ApiError {
        self.ledger_reads.note(error.to_string());
        ApiError::Internal(error.to_string())
    }

    fn suite(&self) -> CryptoSuite {
        self.chain.suite
    }

    fn locate(&self, bytes: &[u8]) -> Result<Located, ApiError> {
        let transaction = Transaction::decode(bytes).map_err(|error| self.unreadable(error))?;
        let hash = transaction.hash(self.suite());
        let sender = transaction
            .signer_unchecked(self.suite())
            .ok_or_else(|| self.unreadable("a stored transaction names no signer"))?;
        Ok(Located { transaction: Arc::new(transaction), hash, sender })
    }

    fn number_and_index(&self, hash: &H256) -> Result<(u64, usize), ApiError> {
        let stored = self.ledger.transaction(hash).map_err(|error| self.unreadable(error))?;
        let stored = stored.ok_or_else(|| {
            beyond_history(self.ledger.history(), hash)
                .unwrap_or_else(|| ApiError::NotFound(format!("no block holds {hash}")))
        })?;
        Ok((stored.number, stored.index as usize))
    }

    /// Value of a configuration key at the next height.
    fn config(&self, key: &str) -> Result<Option<(String, u64)>, ApiError> {
        let height = self.ledger.height() + 1;
        let value = system::config_value(self.ledger.committed_view().as_ref(), key, height)
            .map_err(|error| self.unreadable(error))?;
        Ok(value.map(|value| (value.value, value.enabled_from)))
    }

    fn nodes(&self, kind: NodeKind) -> Result<Vec<system::Node>, ApiError> {
        let height = self.ledger.height() + 1;
        let nodes =
            system::node_list(self.ledger.committed_view().as_ref(), height).map_err(|error| self.unreadable(error))?;
        Ok(nodes.into_iter().filter(|node| node.kind == kind).collect())
    }
}

impl NodeApi for Api {
    fn chain(&self) -> &ChainInfo {
        &self.chain
    }

    fn height(&self) -> u64 {
        self.ledger.height()
    }

    fn header(&self, number: u64) -> Result<Option<BlockHeader>, ApiError> {
        self.ledger.header(number).map_err(|error| self.unreadable(error))
    }

    fn number_of(&self, hash: &H256) -> Result<Option<u64>, ApiError> {
        self.ledger.number_of(hash).map_err(|error| self.unreadable(error))
    }

    fn hash_of(&self, number: u64) -> Result<Option<H256>, ApiError> {
        self.ledger.hash_of(number).map_err(|error| self.unreadable(error))
    }

    fn transaction_hashes(&self, number: u64) -> Result<Vec<H256>, ApiError> {
        Ok(self.transactions(number)?.into_iter().map(|located| located.hash).collect())
    }

    fn transactions(&self, number: u64) -> Result<Vec<Located>, ApiError> {
        let block = self.ledger.block(number).map_err(|error| self.unread(error))?;
        let block = block.ok_or_else(|| ApiError::NotFound(format!("block {number} is not there")))?;
        block.transactions.iter().map(|bytes| self.locate(bytes)).collect()
    }

    fn transaction(&self, hash: &H256) -> Result<Option<Located>, ApiError> {
        let stored = self.ledger.transaction(hash).map_err(|error| self.unreadable(error))?;
        match stored {
            Some(stored) => self.locate(&stored.bytes).map(Some),
            None => beyond_history(self.ledger.history(), hash).map_or(Ok(None), Err),
        }
    }

    fn receipt(&self, hash: &H256) -> Result<Option<LocatedReceipt>, ApiError> {
        let Some(located) = self.transaction(hash)? else { return Ok(None) };
        let receipt = self.ledger.receipt(hash).map_err(|error| self.unread(error))?;
        Ok(receipt.map(|receipt| LocatedReceipt { receipt, located }))
    }

    fn transaction_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError> {
        let (number, index) = self.number_and_index(hash)?;
        Ok(merkle::proof(self.suite(), &self.transaction_hashes(number)?, index))
    }

    fn receipt_proof(&self, hash: &H256) -> Result<Vec<Vec<u8>>, ApiError> {
        let (number, index) = self.number_and_index(hash)?;
        let receipts = self.ledger.receipts(number).map_err(|error| self.unread(error))?;
        Ok(merkle::proof(self.suite(), &Receipt::hash_many(self.suite(), &receipts), index))
    }

    fn submit(&self, bytes: Vec<u8>, connection: ConnectionId) -> BoxFuture<Result<Submitted, SubmitError>> {
        let (told, outcome) = oneshot::channel();
        // A client that is gone does not want its answer.
        let completion = Box::new(move |outcome| drop(told.send(outcome)));
        self.admission.submit(bytes, Connection(connection.0), completion);
        let timeout = self.receipt_timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, outcome).await {
                Ok(Ok(Outcome::Final { transaction, receipt })) => {
                    let located = Located {
                        transaction: Arc::clone(&transaction.tx),
                        hash: transaction.hash,
                        sender: transaction.sender,
                    };
                    Ok(Submitted { receipt: LocatedReceipt { receipt: (*receipt).clone(), located } })
                }
                Ok(Ok(Outcome::Refused(refusal))) => {
                    Err(SubmitError { code: refusal.status.code(), message: refusal.message })
                }
                Ok(Err(_)) => Err(not_known("the node is stopping")),
                Err(_) => Err(not_known("no receipt in time")),
            }
        })
    }

    fn call(&self, from: Address, to: Address, data: Vec<u8>) -> Result<CallOutput, ApiError> {
        let block_number = self.ledger.height();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = CallRequest {
            from,
            to: Some(to),
            data,
            value: [0; 32],
            gas_limit: Some(CALL_GAS_MAX),
            block_number: block_number + 1,
            timestamp_ms: now.as_millis() as u64,
        };
        let state = self.ledger.committed_view();
        let result = self.executor.call(state.as_ref(), &request).map_err(|error| self.unreadable(error))?;
        Ok(CallOutput { block_number, status: result.status, output: result.output })
    }

    fn code(&self, address: &Address) -> Result<Vec<u8>, ApiError> {
        bixi_execution::state::code(self.ledger.committed_view().as_ref(), address)
            .map_err(|error| self.unreadable(error))
    }

    fn abi(&self, address: &Address) -> Result<String, ApiError> {
        bixi_execution::state::abi(self.ledger.committed_view().as_ref(), address)
            .map_err(|error| self.unreadable(error))
    }

    fn sealers(&self) -> Result<Vec<SealerInfo>, ApiError> {
        let nodes = self.nodes(NodeKind::Sealer)?;
        Ok(nodes.into_iter().map(|node| SealerInfo { id: node.id, weight: node.weight }).collect())
    }

    fn observers(&self) -> Result<Vec<NodeId>, ApiError> {
        Ok(self.nodes(NodeKind::Observer)?.into_iter().map(|node| node.id).collect())
    }

    fn system_config(&self, key: &str) -> Result<Option<(String, u64)>, ApiError> {
        self.config(key)
    }

    fn counts(&self) -> Result<TransactionCounts, ApiError> {
        let counts = self.ledger.counts();
        Ok(TransactionCounts { block_number: self.ledger.height(), total: counts.transactions, failed: counts.failed })
    }

    fn pending(&self) -> usize {
        self.pool.len() + self.admission.queued()
    }

    fn sync_status(&self) -> Result<SyncStatus, ApiError> {
        let (block_number, latest_hash) = self.ledger.head().unwrap_or_default();
        let told = self.peers().into_iter().filter(|peer| !peer.sessions.is_empty()).filter_map(|peer| peer.head);
        let own = Head { number: block_number, hash: latest_hash };
        // Nobody's word alone makes the chain higher than it is.
        let known = self.view.known_head(&self.links.peers()).unwrap_or(0);
        let is_ahead = |head: &Head| (own.number + 1..=known).contains(&head.number);
        let highest = told.filter(is_ahead).max_by_key(|head| head.number).unwrap_or(own);
        Ok(SyncStatus {
            block_number,
            latest_hash,
            known_highest_number: highest.number,
            known_latest_hash: highest.hash,
        })
    }

    fn consensus_status(&self) -> Result<ConsensusStatus, ApiError> {
        let committed = self.ledger.height();
        let validators = self.sealers()?;
        let status = self.view.consensus();
        let mut ids: Vec<NodeId> = validators.iter().map(|validator| validator.id).collect();
        ids.sort();
        let index_of = |id: NodeId| ids.iter().position(|known| *known == id);
        Ok(ConsensusStatus {
            index: index_of(self.chain.node.id),
            leader_index: index_of(self.view.proposer()).unwrap_or(0),
            validators,
            height: status.height.max(committed + 1),
            round: status.round,
            head_hash: self.ledger.hash_of(committed).map_err(|error| self.unreadable(error))?.unwrap_or_default(),
            committed,
            timed_out: status.round > 0,
        })
    }

    fn node_status(&self) -> Result<NodeStatus, ApiError> {
        let status = self.view.consensus();
        let is_validator = self.sealers()?.iter().any(|validator| validator.id == self.chain.node.id);
        let mode = match status.mode {
            Mode::Follower(reason) => format!("following: {reason:?}"),
            _ if !is_validator => "following: not a validator".to_owned(),
            Mode::Abstaining => "abstaining until the others have told what they hold of its votes".to_owned(),
            Mode::Voting => "voting".to_owned(),
        };
        Ok(NodeStatus {
            mode,
            ordering_height: status.height,
            round: status.round,
            decided: status.decided,
            certified: status.certified,
            joining: self.joining.now().map(shown),
            custody: self.device.custody(),
        })
    }

    fn peers(&self) -> Vec<Peer> {
        let with_head = |peer: Peer| Peer { head: peer.id.and_then(|id| self.view.head_of(&id)), ..peer };
        self.links.neighbours().into_iter().map(with_head).collect()
    }

    fn health(&self) -> Health {
        let status = self.view.consensus();
        let consensus = match status.mode {
            Mode::Follower(reason) => Some(format!("this validator only follows: {reason:?}")),
            _ if status.clock_behind_ms > 0 => Some(format!(
                "the head's timestamp is {} ms above what this host's clock allows: no block is accepted until the clock is right",
                status.clock_behind_ms
            )),
            _ => None,
        };
        Health {
            checks: vec![
                HealthCheck { component: "consensus", fault: consensus },
                HealthCheck { component: "device", fault: self.device.fault() },
                HealthCheck { component: "ledger", fault: self.ledger_reads.fault() },
                HealthCheck { component: "files", fault: self.scrubbing.fault() },
            ],
        }
    }

    fn metrics(&self) -> String {
        self.metrics.encode(&self.ledger, &self.pool, &self.admission, &self.view)
    }
}

/// What is not found in a ledger that began with a snapshot may stand in a block that is not here, and who asks is told so.
fn beyond_history(history: Option<History>, hash: &H256) -> Option<ApiError> {
    let History { first_block, .. } = history.filter(|history| history.first_block > 1)?;
    Some(ApiError::NotFound(format!(
        "no block here holds {hash}: this node joined by a snapshot and holds every block from {first_block} on; ask a node that has \
         the whole chain"
    )))
}

fn shown(joining: Joining) -> bixi_rpc::Joining {
    let Joining { height, phase, received_bytes, percent, bytes_per_second, left } = joining;
    bixi_rpc::Joining {
        height,
        phase,
        received_bytes,
        percent,
        bytes_per_second,
        left_s: left.map(|left| left.as_secs()),
    }
}

/// The transaction may still be taken: the client must ask for its receipt before it signs another one.
fn not_known(why: &str) -> SubmitError {
    SubmitError {
        code: Status::TransactionPoolTimeout.code(),
        message: format!("{why}; the transaction may still be committed: ask for its receipt before sending it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_a_block_that_is_not_here_is_refused_with_the_first_that_is() {
        let of = |first_block| beyond_history(Some(History { joined: 900, first_block }), &H256([7; 32]));
        let Some(ApiError::NotFound(reason)) = of(401) else { panic!("not refused") };
        assert!(reason.contains("from 401 on") && reason.contains(&H256([7; 32]).to_string()), "{reason}");
        assert!(of(1).is_none() && beyond_history(None, &H256([7; 32])).is_none(), "nothing is missing");
    }
}
