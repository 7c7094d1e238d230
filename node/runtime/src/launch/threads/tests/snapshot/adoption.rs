//! What a fetched snapshot takes the place of, and what it does not.

use bixi_consensus::LogEntry;
use bixi_platform::io::{PreadStorage, Storage};
use bixi_types::consensus::CheckpointVote;

use super::*;
use crate::launch::adopted::{Fetched, adopt_snapshot};
use crate::ordering_log::{OrderingLog, Record};

/// A chain of one with blocks of these names, stopped.
fn chain_of_one(from: usize, count: usize) -> Host {
    let host = Host::alone(0);
    let node = host.start().unwrap();
    commit_all(&node, names(from, count));
    assert_eq!(node.stop(), None);
    host
}

/// A chain of one whose ledger is short, and beside it a complete snapshot: the same chain, longer. Both heads.
fn short_and_longer() -> (Host, [Option<(u64, H256)>; 2]) {
    let host = chain_of_one(0, 4);
    let places = Places::around(&host.ledger_params().dir);
    let head = || Ledger::open(host.ledger_params()).unwrap().head();
    let short = head();
    copy(&places.ledger, &host.path("kept"));
    let node = host.start().unwrap();
    commit_all(&node, names(100, 4));
    assert_eq!(node.stop(), None);
    let longer = head();
    assert_ne!(longer, short);
    std::fs::rename(&places.ledger, &places.joined).unwrap();
    std::fs::rename(host.path("kept"), &places.ledger).unwrap();
    (host, [short, longer])
}

#[test]
fn a_snapshot_takes_the_place_of_a_ledger_that_it_continues_and_of_no_other() {
    let (host, [short, longer]) = short_and_longer();
    let params = host.ledger_params();
    let places = Places::around(&params.dir);
    let head = || Ledger::open(host.ledger_params()).unwrap().head();
    let adopted = || adopt_snapshot(&params, &[], true);
    std::fs::rename(&places.joined, host.path("longer")).unwrap();

    // As far as the ledger itself.
    copy(&places.ledger, &places.joined);
    assert_eq!(adopted().unwrap(), Fetched::Nothing);
    assert_eq!((head(), places.joined.exists()), (short, false));

    // A database in which nothing is.
    drop(Ledger::open(bixi_ledger::Params { dir: places.joined.clone(), ..params.clone() }).unwrap());
    assert_eq!(adopted().unwrap(), Fetched::Nothing);
    assert_eq!((head(), places.joined.exists()), (short, false));

    // One that cannot be opened: perhaps the next start can.
    copy(&places.ledger, &places.joined);
    std::fs::write(places.joined.join("CURRENT"), b"MANIFEST-000001\n").unwrap();
    assert_eq!(adopted().unwrap(), Fetched::Left);
    assert_eq!((head(), places.joined.exists()), (short, true));
    std::fs::remove_dir_all(&places.joined).unwrap();

    // Of a chain with other blocks: evidence, both are kept.
    let other = chain_of_one(50, 12);
    copy(&other.ledger_params().dir, &places.joined);
    let refused = adopted().unwrap_err().to_string();
    assert!(refused.contains("the chain's is"), "{refused}");
    assert!(places.joined.exists() && places.ledger.exists());
    std::fs::remove_dir_all(&places.joined).unwrap();

    // The same chain, longer; but the node is told to take no snapshots.
    std::fs::rename(host.path("longer"), &places.joined).unwrap();
    assert_eq!(adopt_snapshot(&params, &[], false).unwrap(), Fetched::Left);
    assert_eq!((head(), places.joined.exists()), (short, true));
    assert_eq!(adopted().unwrap(), Fetched::Adopted);
    assert_eq!((head(), places.joined.exists()), (longer, false));
    let node = host.start().expect("starts on it");
    commit_all(&node, names(200, 1));
    assert_eq!(node.stop(), None);
}

#[test]
fn a_ledger_that_explains_a_divergent_signature_is_not_replaced() {
    let (mut host, [short, longer]) = short_and_longer();
    host.snapshot_after_blocks = 20;
    let (height, certified) = longer.expect("a longer chain");
    let files = host.stopped();
    let storage: Arc<dyn Storage> = Arc::new(PreadStorage);
    let (mut log, recovered) = OrderingLog::open(Arc::clone(&storage), &files.ordering, files.ring.clone()).unwrap();
    let own_vote = recovered.records.iter().find_map(|record| match record {
        Record::Entry(entry) => match &**entry {
            LogEntry::Checkpoint(vote) if vote.height == height => Some(vote.clone()),
            _ => None,
        },
        Record::Batch { .. } => None,
    });
    let own_vote = own_vote.expect("the log has the vote for the head");
    assert_eq!(own_vote.header_hash, certified);
    let divergent = CheckpointVote { header_hash: H256([9; 32]), ..own_vote };
    log.append(&Record::Entry(Box::new(LogEntry::Checkpoint(divergent)))).unwrap();
    log.sync().unwrap();
    drop(log);

    let refused = host.start().map(drop).expect_err("it signed what the chain did not certify").to_string();
    assert!(refused.contains("executed that block otherwise"), "{refused}");
    let places = Places::around(&host.ledger_params().dir);
    assert_eq!(Ledger::open(host.ledger_params()).unwrap().head(), short, "the ledger it executed with is there");
    assert!(places.joined.exists(), "and what it was held against");
}
