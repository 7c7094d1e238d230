use bixi_execution::genesis_writes;
use bixi_hsm::audit::{self, AuditLog};
use bixi_ledger::CommitBlock;
use bixi_platform::io::PreadStorage;
use bixi_types::consensus::SignatureBytes;
use bixi_types::header::BlockHeader;
use bixi_types::{CryptoSuite, H256, NodeId};

use super::*;
use crate::batches::tests::user_add_until;
use crate::batches::{Origin, VerifiedBatch};
use crate::pipeline::Executed;

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
        heights.iter_mut().for_each(|replayed| replayed.find_evidence(&self.evidence));
        Ok(heights)
    }

    /// What `--accept` does with it.
    pub(in crate::launch) fn accept(&self, heights: &[Replayed], asked: u64) -> Result<Accepted, Failure> {
        let audit = AuditLog::open(Arc::new(PreadStorage), &self.audit, self.ring.clone())?;
        let (log, evidence_dir) = (self.log(), self.evidence.clone());
        let stands_for = &|_, _: &H256| false;
        Acceptance { us: self.node, evidence_dir, audit: &audit, log: &log, stands_for }.drop_results(heights, asked)
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

/// Block 1 of a chain with a nonce window of one block, committed, and what the ordering log holds of height 2.
fn chain_of_two(genesis: &Genesis) -> (Ledger, Vec<Record>) {
    let (ledger, rows) = (Ledger::in_memory(genesis.suite), genesis_writes(genesis));
    let header = BlockHeader { state_root: ledger.genesis_state_root(&rows), ..BlockHeader::default() };
    ledger.initialise(genesis, &rows, &header).expect("an empty ledger");
    let decide = |height, names: &[&str]| {
        let transactions = names.iter().map(|name| user_add_until(name, height as i64)).collect();
        let (batch, _) = VerifiedBatch::seal(CryptoSuite::Sm, transactions);
        let (parent, batches) = (H256::ZERO, vec![batch.digest]);
        let value = Value { height, parent, timestamp_ms: 1 + height, builder: 0, protocol_version: 1, batches };
        let id = value.id(genesis.suite);
        (batch, value, CommitCertificate { height, round: 0, value: id, signatures: Vec::new() })
    };
    let batches = BatchStore::default();
    let executor = Executor::new(ExecutionParams::from(genesis));
    let execution = Execution { genesis, executor: &executor, ledger: &ledger, batches: &batches };
    let (batch, value, certificate) = decide(1, &["10"]);
    batches.add(batch, Origin::Own);
    let (_, parent) = ledger.head().expect("initialised");
    let executed = execution.run(ExecuteJob { height: 1, value, certificate }, parent).expect("executed");
    let Executed { header, transactions, receipts, prepared, value, certificate, recipe, .. } = executed;
    let (value, certificate) = (borsh::to_vec(&value).unwrap(), borsh::to_vec(&certificate).unwrap());
    let batches = recipe.encode();
    let block = CommitBlock { header, transactions, receipts, prepared, value, certificate, batches };
    ledger.commit(block).expect("fits");

    let (batch, value, certificate) = decide(2, &["10", "11"]);
    let batch = Record::Batch { height: 2, batch: batch.to_batch() };
    (ledger, vec![batch, Record::Entry(Box::new(LogEntry::Decided { value, certificate }))])
}

#[test]
fn a_nonce_that_leaves_the_window_with_the_height_is_dropped_in_both_runs() {
    let genesis = Genesis { block_limit: 1, ..Genesis::fixture(&[NodeId([1; 64])]) };
    let (ledger, records) = chain_of_two(&genesis);
    let replayed = execute_again(&genesis, &ledger, records, 2).expect("executed");
    assert_eq!(replayed[0].unstable, None);
    assert_eq!((replayed[0].verdict(), replayed[0].transactions), (Verdict::NotSigned, (1, 1)));
}

#[test]
fn a_kept_result_that_cannot_be_read_hinders_no_replay() {
    let genesis = Genesis { block_limit: 1, ..Genesis::fixture(&[NodeId([1; 64])]) };
    let (ledger, records) = chain_of_two(&genesis);
    let (signed, signature) = (H256([9; 32]), SignatureBytes([7; 64]));
    let vote = CheckpointVote { height: 2, header_hash: signed, validator: NodeId([1; 64]), signature };
    let vote = Record::Entry(Box::new(LogEntry::Checkpoint(vote)));
    let mut replayed =
        execute_again(&genesis, &ledger, records.into_iter().chain([vote]).collect(), 2).expect("executed");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("000000000002-result-{}.json", &signed.to_hex()[..16]));
    std::fs::write(&file, "{ \"borsh\": \"00\" }").unwrap();
    replayed[0].find_evidence(dir.path());
    assert_eq!((replayed[0].verdict(), &replayed[0].difference), (Verdict::Differs, &None));
    assert_eq!(replayed[0].evidence, [file], "and it is shown where it lies");
}
