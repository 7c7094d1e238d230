use bixi_hsm::audit::{self, AuditLog};
use bixi_platform::io::PreadStorage;
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};

use super::*;

/// The files of a node that does not run.
pub(in crate::launch) struct Stopped<'a> {
    pub(in crate::launch) genesis: &'a Genesis,
    pub(in crate::launch) node: NodeId,
    pub(in crate::launch) ordering: PathBuf,
    pub(in crate::launch) evidence: PathBuf,
    pub(in crate::launch) audit: PathBuf,
    pub(in crate::launch) ring: KeyRing,
}

impl Stopped<'_> {
    fn log(&self) -> LogFiles {
        LogFiles { storage: Arc::new(PreadStorage), dir: self.ordering.clone(), ring: self.ring.clone() }
    }

    /// What `bixi db replay --height` shows.
    pub(in crate::launch) fn examine(&self, ledger: &Ledger, height: u64) -> Result<Vec<Replayed>, Failure> {
        let mut heights = execute_again(self.genesis, ledger, self.log().read()?.records, height)?;
        heights.iter_mut().try_for_each(|replayed| replayed.find_evidence(&self.evidence))?;
        Ok(heights)
    }

    /// What `--accept` does with it.
    pub(in crate::launch) fn accept(&self, heights: &[Replayed], asked: u64) -> Result<Accepted, Failure> {
        let audit = AuditLog::open(Arc::new(PreadStorage), &self.audit, self.ring.clone())?;
        let (log, evidence_dir) = (self.log(), self.evidence.clone());
        Acceptance { us: self.node, evidence_dir, audit: &audit, log: &log }.drop_results(heights, asked)
    }

    /// The subjects in the audit trail.
    pub(in crate::launch) fn trail(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        let visit = |entry: audit::Entry| subjects.push(entry.event.subject);
        audit::verify_chain(&PreadStorage, &self.audit, &self.ring, visit).expect("an unbroken chain");
        subjects
    }

    /// Makes the log say that the node signed another header for `height`.
    pub(in crate::launch) fn sign_another(&self, height: u64, header_hash: H256) -> Result<(), Failure> {
        let log = self.log();
        let vote = CheckpointVote { height, header_hash, validator: self.node, signature: SignatureBytes([7; 64]) };
        let stays = |record: &Record| match record {
            Record::Entry(entry) => !matches!(**entry, LogEntry::Checkpoint(ref vote) if vote.height == height),
            Record::Batch { .. } => true,
        };
        let vote = Record::Entry(Box::new(LogEntry::Checkpoint(vote)));
        let records = log.read()?.records.into_iter().filter(stays).chain([vote]);
        ordering_log::replace(&log.storage, &log.dir, &log.ring, records)?;
        Ok(())
    }
}
