//! One simulated machine: what survives a crash, what does not, and the sign-once guard.

use std::collections::BTreeSet;

use bixi_types::consensus::{CommitCertificate, SignatureBytes, Value};
use bixi_types::ports::{SignError, Statement};
use bixi_types::{CryptoSuite, H256, NodeId};

use crate::Core;
use crate::log::LogEntry;
use crate::message::{CheckpointCertificate, Mark, Step};

/// A signature of the simulation: whoever knows the message can recompute it.
pub(crate) fn signature(node: &NodeId, bytes: &[u8]) -> SignatureBytes {
    let half = CryptoSuite::Std.hash(&[&node.0, bytes]).0;
    let mut both = [0; 64];
    both[..32].copy_from_slice(&half);
    both[32..].copy_from_slice(&half);
    SignatureBytes(both)
}

/// A committed height.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) value: Value,
    pub(crate) certificate: CommitCertificate,
    pub(crate) header_hash: H256,
    pub(crate) certified: CheckpointCertificate,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) log: Vec<LogEntry>,
    pub(crate) ledger: Vec<Block>,
    pub(crate) batches: BTreeSet<H256>,
}

/// The sign-once guard beside the device: watermarks, durable before the device is asked. An old copy of the node's disk does
/// not bring an old guard with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    ordering: Option<(Mark, Vec<u8>)>,
    checkpoint: Option<(u64, H256)>,
    pub(crate) skipped: bool,
}

impl Guard {
    /// Records and allows the statement, or refuses it; the bytes are what is to be signed.
    pub(crate) fn allow(&mut self, statement: &Statement, header_hash: Option<H256>) -> Result<Vec<u8>, SignError> {
        let (mark, bytes) = match statement {
            Statement::Proposal(proposal) => {
                let mark = Mark { height: proposal.height, round: proposal.round, step: Step::Propose };
                (mark, proposal.sign_bytes())
            }
            Statement::Vote(vote) => (Mark::of_vote(vote), vote.sign_bytes()),
            Statement::Checkpoint(header) => {
                return self.allow_checkpoint(header.number as u64, header_hash.expect("executed here"));
            }
        };
        let refused = self.ordering.as_ref().is_some_and(|(last, signed)| mark <= *last && *signed != bytes);
        if refused && !self.skipped {
            return Err(SignError::Conflict(format!("{mark:?}")));
        }
        self.ordering = Some((mark, bytes.clone()));
        Ok(bytes)
    }

    /// The highest place of the ordering lane it allowed; one that is skipped tells nothing.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.ordering.as_ref().filter(|_| !self.skipped).map(|(mark, _)| *mark)
    }

    fn allow_checkpoint(&mut self, height: u64, hash: H256) -> Result<Vec<u8>, SignError> {
        let refused = self.checkpoint.is_some_and(|(last, signed)| height <= last && (height, hash) != (last, signed));
        if refused && !self.skipped {
            return Err(SignError::Conflict(format!("checkpoint {height}")));
        }
        self.checkpoint = Some((height, hash));
        Ok(hash.0.to_vec())
    }
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) disk: Disk,
    /// An earlier copy of the disk, kept for the restore fault.
    pub(crate) copy: Option<Disk>,
    pub(crate) guard: Guard,
    pub(crate) skew_ms: i64,
    /// Nothing when the machine is down.
    pub(crate) core: Option<Core>,
    /// Counts starts, so that answers to an earlier life are dropped.
    pub(crate) life: u64,
    /// Log entries the operating system still holds, in order.
    pub(crate) unflushed: Vec<LogEntry>,
    /// Count of entries appended in this life, and of those that are durable.
    pub(crate) appended: u64,
    pub(crate) durable: u64,
    /// Executed and not committed: height, value, certificate, header hash.
    pub(crate) executed: Vec<Block>,
    pub(crate) last_header: H256,
    pub(crate) tick_at_ms: Option<u64>,
    pub(crate) executor_free_ms: u64,
    pub(crate) signer_free_ms: u64,
    pub(crate) ledger_free_ms: u64,
    pub(crate) signer_down_until_ms: u64,
    /// Effects until the next crash.
    pub(crate) crash_in: Option<u64>,
    pub(crate) halted: bool,
    pub(crate) working: bool,
    /// Its disk was once replaced by an old copy.
    pub(crate) restored: bool,
}

impl Machine {
    pub(crate) fn new(id: NodeId, skew_ms: i64) -> Self {
        Self {
            id,
            disk: Disk::default(),
            copy: None,
            guard: Guard::default(),
            skew_ms,
            core: None,
            life: 0,
            unflushed: Vec::new(),
            appended: 0,
            durable: 0,
            executed: Vec::new(),
            last_header: H256::ZERO,
            tick_at_ms: None,
            executor_free_ms: 0,
            signer_free_ms: 0,
            ledger_free_ms: 0,
            signer_down_until_ms: 0,
            crash_in: None,
            halted: false,
            working: false,
            restored: false,
        }
    }

    /// Everything appended up to `count` reaches the disk.
    pub(crate) fn flush(&mut self, count: u64) {
        let entries = count.saturating_sub(self.durable) as usize;
        self.disk.log.extend(self.unflushed.drain(..entries.min(self.unflushed.len())));
        self.durable = self.durable.max(count);
    }

    /// The power goes; of what was not flushed, `kept` entries happened to be written.
    pub(crate) fn crash(&mut self, kept: usize) {
        let kept = kept.min(self.unflushed.len());
        self.disk.log.extend(self.unflushed.drain(..kept));
        self.unflushed.clear();
        self.core = None;
        self.life += 1;
        self.executed.clear();
        self.tick_at_ms = None;
        self.crash_in = None;
        self.working = false;
    }

    pub(crate) fn height(&self) -> u64 {
        self.disk.ledger.len() as u64
    }
}
