use bixi_types::consensus::SignatureBytes;
use tempfile::TempDir;

use super::*;

fn keeper() -> (TempDir, Keeper) {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(dir.path().join("evidence"), NodeId([1; 64]));
    (dir, keeper)
}

fn vote(height: u64, byte: u8) -> CheckpointVote {
    CheckpointVote {
        height,
        header_hash: H256([byte; 32]),
        validator: NodeId([2; 64]),
        signature: SignatureBytes([byte; 64]),
    }
}

fn keep(keeper: &Keeper, evidence: &Evidence) -> Option<PathBuf> {
    keeper.keep(&keeper.place(evidence), || content(evidence)).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The message that a file holds at a place.
fn message(path: &Path, place: usize) -> Message {
    let kept = read(path);
    let proof = kept["messages"][place]["borsh"].as_str().unwrap();
    Message::decode(&hex::decode(proof).unwrap()).expect("as peers send it")
}

#[test]
fn evidence_is_kept_once_with_the_messages_that_prove_it() {
    let (_dir, keeper) = keeper();
    let twice = Evidence::CheckpointEquivocation { votes: Box::new([vote(7, 3), vote(7, 4)]) };
    let path = keep(&keeper, &twice).expect("a file");
    let kept = read(&path);
    assert_eq!((&kept["height"], &kept["kind"]), (&json!(7), &json!("checkpoint-equivocation")));
    assert_eq!(message(&path, 1), Message::Checkpoint(vote(7, 4)));
    assert_eq!(keep(&keeper, &twice), None, "one file is enough");
}

#[test]
fn who_misbehaves_at_every_height_keeps_no_other_proof_out() {
    let (_dir, keeper) = keeper();
    let diverges = |height, byte| {
        let vote = CheckpointVote { validator: NodeId([byte; 64]), ..vote(height, byte) };
        Evidence::Divergence { vote, ours: H256::ZERO, is_grave: false }
    };
    let kept = (0..2 * FILES_MAX as u64).filter(|height| keep(&keeper, &diverges(*height, 2)).is_some());
    assert_eq!(kept.count(), FILES_MAX);
    let place = keeper.place(&diverges(1_000, 2));
    let asked = keeper.keep(&place, || unreachable!("nothing is computed for what is not kept"));
    assert_eq!(asked.unwrap(), None);
    assert!(keep(&keeper, &diverges(1_000, 3)).is_some(), "of another");
    let twice = Evidence::CheckpointEquivocation { votes: Box::new([vote(1_000, 3), vote(1_000, 4)]) };
    assert!(keep(&keeper, &twice).is_some(), "of another kind");

    let theirs = CheckpointCertificate {
        height: 1_000,
        header_hash: H256([9; 32]),
        signatures: vec![(NodeId([3; 64]), SignatureBytes([3; 64]))],
    };
    keeper.keep_certificate(&H256::ZERO, &theirs);
    let path = keeper.dir.join(file_name(1_000, "certificate", &theirs.header_hash.to_hex()));
    assert_eq!(message(&path, 0), Message::Certified(theirs));
}

#[test]
fn results_are_bounded_whatever_their_headers() {
    let (_dir, keeper) = keeper();
    for number in 0..2 * FILES_MAX {
        let mut header = H256::ZERO;
        header.0[0] = number as u8;
        let place = Place { height: 7, kind: RESULT, of: header.to_hex() };
        assert_eq!(keeper.keep(&place, || json!({})).unwrap().is_some(), number < FILES_MAX);
    }
}

#[test]
fn a_drop_repeated_by_another_binary_is_kept_once_and_one_of_other_votes_beside_it() {
    let (_dir, keeper) = keeper();
    let executed = |byte| H256([byte; 32]);
    let first = keeper.keep_dropped(&[(vote(7, 3), executed(5))]).unwrap();
    assert_eq!(keeper.keep_dropped(&[(vote(7, 3), executed(6))]).unwrap(), first, "the same votes");
    assert_eq!(read(&first)["dropped"][0]["executed"], hash(&executed(5)));
    let more = [(vote(7, 3), executed(6)), (vote(8, 4), executed(6))];
    let second = keeper.keep_dropped(&more).unwrap();
    assert_ne!(second, first);
    assert_eq!(keeper.keep_dropped(&more).unwrap(), second);
    std::fs::write(&first, "half of a fi").unwrap();
    let third = keeper.keep_dropped(&[(vote(7, 3), executed(5))]).unwrap();
    assert!(third != first && third != second, "what cannot be read is left alone");
}
