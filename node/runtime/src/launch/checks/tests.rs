use bixi_consensus::{TimeoutKind, Verdict};
use bixi_types::H256;
use bixi_types::consensus::{SignatureBytes, SignedVote, Value, Vote};

use super::*;

const US: NodeId = NodeId([1; 64]);

fn verdict(height: u64, round: u32) -> Record {
    let value =
        Value { height, parent: H256::ZERO, timestamp_ms: 0, builder: 0, protocol_version: 1, batches: Vec::new() };
    entry(LogEntry::Verdict(Verdict { value, round, pol_round: None, proposer: US, valid: true }))
}

fn vote(height: u64, round: u32, kind: VoteKind, value: Option<H256>) -> Record {
    let vote = Vote { chain: H256::ZERO, height, round, kind, value, validator: US };
    entry(LogEntry::Vote(SignedVote { vote, signature: SignatureBytes([0; 64]) }))
}

fn timeout(height: u64, round: u32, kind: TimeoutKind) -> Record {
    entry(LogEntry::Timeout { height, round, kind })
}

fn entry(entry: LogEntry) -> Record {
    Record::Entry(Box::new(entry))
}

#[test]
fn a_signature_whose_ground_is_not_in_the_log_is_noticed() {
    let at = |round, step| Position::Ordering { height: 5, round, step };
    let polka = vote(5, 0, VoteKind::Prevote, Some(H256([7; 32])));
    let nil = vote(5, 0, VoteKind::Prevote, None);
    let timed_out = timeout(5, 1, TimeoutKind::Propose);
    let cases = [
        ("nothing of the height", at(0, Step::Proposal), vec![verdict(4, 0)], false),
        ("the value it built", at(0, Step::Proposal), vec![verdict(5, 0)], true),
        ("an earlier round's value only", at(1, Step::Proposal), vec![verdict(5, 0), nil], false),
        ("a value locked before", at(1, Step::Proposal), vec![verdict(5, 0), polka.clone()], true),
        ("the round's own value", at(1, Step::Proposal), vec![verdict(5, 0), verdict(5, 1)], true),
        ("no ground for a prevote", at(1, Step::Prevote), vec![verdict(5, 0), polka.clone()], false),
        ("a timeout", at(1, Step::Prevote), vec![timed_out], true),
        ("a prevote before a precommit", at(0, Step::Precommit), vec![polka], true),
        ("no ground for a precommit", at(2, Step::Precommit), vec![verdict(5, 1)], false),
        ("a checkpoint rests on a decision", Position::Checkpoint { height: 9 }, Vec::new(), true),
    ];
    for (name, position, records, expected) in cases {
        assert_eq!(rests_on_log(position, 4, &records), expected, "{name}");
        assert!(rests_on_log(position, 5, &records), "{name}: decided since");
    }
}

#[test]
fn what_was_signed_says_how_far_decisions_reach() {
    let voted = Position::Ordering { height: 8, round: 0, step: Step::Prevote };
    assert_eq!(decided_at_least(&[]), 0);
    assert_eq!(decided_at_least(&[voted]), 7, "a vote rests on the decision below");
    assert_eq!(decided_at_least(&[voted, Position::Checkpoint { height: 8 }]), 8);
}
