//! Quorum rules as a table: weights, signers, verdict.

use super::*;
use bixi_types::consensus::Validator;

fn node(index: usize) -> NodeId {
    NodeId([index as u8 + 1; 64])
}

fn set(weights: &str) -> ValidatorSet {
    let weights = weights.split(' ').map(|weight| weight.parse().expect("a weight"));
    ValidatorSet::new(weights.enumerate().map(|(index, weight)| Validator { id: node(index), weight }).collect())
}

fn signers(text: &str) -> Vec<NodeId> {
    text.chars().filter(char::is_ascii_digit).map(|digit| node(digit as usize - '0' as usize)).collect()
}

#[test]
fn quorum_and_honest_thresholds_follow_the_table() {
    // weights | signers | quorum | honest
    let table = "
        1         | 0     | yes | yes
        1         |       | no  | no
        1 1 1     | 01    | no  | yes
        1 1 1     | 012   | yes | yes
        1 1 1 1   | 0     | no  | no
        1 1 1 1   | 01    | no  | yes
        1 1 1 1   | 012   | yes | yes
        1 1 1 1   | 00    | dup | dup
        1 1 1 1   | 019   | out | out
        5 1 1 1   | 0     | no  | yes
        5 1 1 1   | 01    | yes | yes
        5 1 1 1   | 123   | no  | yes
        6 1 1 1   | 0     | no  | yes
        7 1 1 1   | 0     | yes | yes
        1 1 1 1 1 1 1 | 0123  | no  | yes
        1 1 1 1 1 1 1 | 01234 | yes | yes
        1 1 1 1 1 1 1 | 01    | no  | no
        1 1 1 1 1 1 1 | 012   | no  | yes";
    for row in table.lines().filter(|row| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (set, signers) = (set(cells[0]), signers(cells[1]));
        assert_eq!(verdict(quorum(&set, &signers)), cells[2], "quorum of {row}");
        assert_eq!(verdict(honest(&set, &signers)), cells[3], "honest of {row}");
    }
}

fn verdict(result: Result<(), QuorumError>) -> &'static str {
    match result {
        Ok(()) => "yes",
        Err(QuorumError::TooLittle { .. }) => "no",
        Err(QuorumError::Duplicate(_)) => "dup",
        Err(QuorumError::NotMember(_)) => "out",
        Err(QuorumError::Mismatch) => "mismatch",
    }
}

#[test]
fn a_commit_certificate_proves_its_own_value_and_height_only() {
    let set = set("1 1 1 1");
    let signature = bixi_types::consensus::SignatureBytes([0; 64]);
    let value = bixi_types::H256([7; 32]);
    let signatures = signers("012").into_iter().map(|node| (node, signature)).collect();
    let certificate = CommitCertificate { height: 3, round: 1, value, signatures };
    assert_eq!(commit(&set, 3, &value, &certificate), Ok(()));
    assert_eq!(commit(&set, 4, &value, &certificate), Err(QuorumError::Mismatch));
    assert_eq!(commit(&set, 3, &bixi_types::H256([8; 32]), &certificate), Err(QuorumError::Mismatch));
}

#[test]
fn two_quorums_share_more_than_a_third() {
    for weights in ["1", "1 1 1 1", "1 1 1 1 1 1 1", "3 1 4 1 5 9 2 6"] {
        let set = set(weights);
        let total = set.total_weight();
        assert!(2 * set.quorum_weight() - total > total / 3 || total < 4, "{weights}");
    }
}
