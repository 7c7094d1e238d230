use bixi_platform::io::PreadStorage;
use bixi_types::NodeId;
use bixi_types::consensus::{CheckpointVote, SignatureBytes};

use super::report::first_difference;
use super::*;

/// Examines the files of a node that does not run.
pub(in crate::launch) fn examine(
    genesis: &Genesis,
    ledger: &Ledger,
    (dir, ring): (PathBuf, KeyRing),
    height: u64,
) -> Result<Vec<Replayed>, Failure> {
    let log = LogFiles { storage: Arc::new(PreadStorage), dir, ring };
    execute_again(genesis, ledger, log.read()?.records, height)
}

/// Drops the results of a height and above, as accepted.
pub(in crate::launch) fn drop_results((dir, ring): (PathBuf, KeyRing), first: u64) -> Result<(), Failure> {
    LogFiles { storage: Arc::new(PreadStorage), dir, ring }.drop_results(first)
}

/// Makes the log say that `validator` signed another header for `height`.
pub(in crate::launch) fn sign_another(
    (dir, ring): (PathBuf, KeyRing),
    validator: NodeId,
    height: u64,
    header_hash: H256,
) -> Result<(), Failure> {
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage);
    let signature = SignatureBytes([7; 64]);
    let vote = LogEntry::Checkpoint(CheckpointVote { height, header_hash, validator, signature });
    let records = ordering_log::read_all(storage.as_ref(), &dir, &ring)?.records;
    let stays = |record: &Record| match record {
        Record::Entry(entry) => !matches!(**entry, LogEntry::Checkpoint(ref vote) if vote.height == height),
        Record::Batch { .. } => true,
    };
    let records = records.into_iter().filter(stays).chain([Record::Entry(Box::new(vote))]);
    ordering_log::replace(&storage, &dir, &ring, records)?;
    Ok(())
}

#[test]
fn the_first_difference_is_named() {
    let run = || crate::launch::threads::tests::run_of(2);
    assert_eq!(first_difference(&run(), &run()), None);
    let mut other = run();
    other.0.header_hash = H256([9; 32]);
    assert!(first_difference(&run(), &other).expect("it differs").starts_with("header"));
    let key = other.1.keys().next().expect("a row").clone();
    other.1.insert(key, None);
    assert!(first_difference(&run(), &other).expect("it differs").starts_with("row"));
    other.0.receipts[1].status = 7;
    let told = first_difference(&run(), &other).expect("it differs");
    assert!(told.starts_with("receipt 1 ") && told.contains("status 7"), "{told}");
    other.0.transactions.pop();
    assert!(first_difference(&run(), &other).expect("it differs").starts_with("transaction 1: "));
}
