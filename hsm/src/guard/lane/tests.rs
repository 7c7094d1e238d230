use proptest::prelude::*;

use super::*;

fn ordering(height: u64, round: u32, step: Step) -> Position {
    Position::Ordering { height, round, step }
}

fn claim(position: Position, digest: u8) -> Claim {
    Claim { key: NodeId([1; 64]), position, digest: [digest; 32] }
}

#[test]
fn positions_are_ordered_by_height_then_round_then_step() {
    use Step::{Precommit, Prevote, Proposal};
    let ordered = [
        ordering(1, 0, Proposal),
        ordering(1, 0, Prevote),
        ordering(1, 0, Precommit),
        ordering(1, 1, Proposal),
        ordering(2, 0, Proposal),
        ordering(2, 0, Precommit),
        ordering(u64::MAX, u32::MAX, Precommit),
    ];
    assert!(ordered.is_sorted_by(|a, b| a < b));
}

#[test]
fn lanes_and_keys_do_not_touch_each_other() {
    let mut lanes = Lanes::default();
    let vote = claim(ordering(9, 0, Step::Precommit), 1);
    assert!(lanes.claim(&vote));
    let checkpoint = claim(Position::Checkpoint { height: 3 }, 2);
    assert_eq!(lanes.judge(&checkpoint), Verdict::Fresh);
    let other_key = Claim { key: NodeId([2; 64]), ..claim(ordering(1, 0, Step::Proposal), 3) };
    assert_eq!(lanes.judge(&other_key), Verdict::Fresh);
    assert!(lanes.claim(&checkpoint) && lanes.claim(&other_key));
    assert_eq!(lanes.marks(&vote.key).collect::<Vec<_>>(), [vote.position, checkpoint.position]);
}

#[test]
fn a_forgotten_statement_below_the_mark_is_refused() {
    let mut lanes = Lanes::default();
    let count = HISTORY_MAX as u64 + 10;
    for height in 1..=count {
        assert!(lanes.claim(&claim(Position::Checkpoint { height }, 1)));
    }
    let mark = Position::Checkpoint { height: count };
    assert_eq!(lanes.judge(&claim(Position::Checkpoint { height: 10 }, 1)), Verdict::Below(mark));
    assert_eq!(lanes.judge(&claim(Position::Checkpoint { height: 11 }, 1)), Verdict::Repeat(None));
    assert_eq!(lanes.entries().count(), HISTORY_MAX);
}

fn nth_key(index: usize) -> NodeId {
    let mut key = [0; 64];
    key[..8].copy_from_slice(&(index as u64).to_be_bytes());
    NodeId(key)
}

#[test]
fn keys_are_bounded() {
    let mut lanes = Lanes::default();
    for key in (0..KEYS_MAX).map(nth_key) {
        assert!(lanes.has_room_for(&key));
        assert!(lanes.claim(&Claim { key, ..claim(Position::Checkpoint { height: 1 }, 1) }));
        assert!(lanes.claim(&Claim { key, ..claim(ordering(1, 0, Step::Prevote), 1) }));
    }
    assert!(!lanes.has_room_for(&nth_key(KEYS_MAX)));
    assert!(lanes.has_room_for(&nth_key(3)));
}

#[test]
fn of_keys_that_are_left_behind_the_marks_stay() {
    let mut lanes = Lanes::default();
    let of = |key, height| Claim { key: nth_key(key), ..claim(Position::Checkpoint { height }, 1) };
    for (key, height) in [(1, 1), (1, 2), (0, 1), (0, 2), (2, 1), (2, 2), (1, 3)] {
        assert!(lanes.claim(&of(key, height)));
    }
    // Written and read, as a file is, the last key to claim stays the last.
    let mut read = Lanes::default();
    for (claim, _) in lanes.entries() {
        assert!(read.claim(&claim));
    }
    assert_eq!(read, lanes);
    lanes.forget_left_behind();
    let left: Vec<Claim> = lanes.entries().map(|(claim, _)| claim).collect();
    assert_eq!(left, [of(0, 2), of(2, 2), of(1, 1), of(1, 2), of(1, 3)]);
    for (claim, verdict) in [
        (of(0, 1), Verdict::Below(Position::Checkpoint { height: 2 })),
        (of(0, 2), Verdict::Repeat(None)),
        (of(0, 3), Verdict::Fresh),
        (of(1, 1), Verdict::Repeat(None)),
    ] {
        assert_eq!(lanes.judge(&claim), verdict);
    }
    assert!(lanes.has_forgotten(&of(0, 1)) && !lanes.has_forgotten(&of(0, 2)));
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let steps = proptest::sample::select(vec![Step::Proposal, Step::Prevote, Step::Precommit]);
    let position = prop_oneof![
        3 => (1..4u64, 0..3u32, steps).prop_map(|(height, round, step)| ordering(height, round, step)),
        1 => (1..6u64).prop_map(|height| Position::Checkpoint { height }),
    ];
    (position, 0..3u8).prop_map(|(position, digest)| claim(position, digest))
}

proptest! {
    /// Against a model that keeps every granted claim for ever.
    #[test]
    fn agrees_with_a_model_that_never_forgets(claims in proptest::collection::vec(any_claim(), 1..60)) {
        let mut lanes = Lanes::default();
        let mut granted: Vec<Claim> = Vec::new();
        for claim in &claims {
            let same_lane = |other: &&Claim| other.position.lane() == claim.position.lane();
            let standing = granted.iter().find(|other| other.position == claim.position);
            let above_all = granted.iter().filter(same_lane).all(|other| other.position < claim.position);
            let verdict = lanes.judge(claim);
            match standing {
                Some(other) if other.digest == claim.digest => prop_assert_eq!(verdict, Verdict::Repeat(None)),
                Some(_) => prop_assert_eq!(verdict, Verdict::Contradiction),
                None if above_all => prop_assert_eq!(verdict, Verdict::Fresh),
                None => prop_assert!(matches!(verdict, Verdict::Below(_))),
            }
            prop_assert_eq!(lanes.claim(claim), verdict == Verdict::Fresh);
            if verdict == Verdict::Fresh {
                granted.push(*claim);
            }
        }
        let mut again = Lanes::default();
        for (claim, _) in lanes.entries() {
            prop_assert!(again.claim(&claim), "entries replay in order");
        }
        prop_assert_eq!(again, lanes);
    }
}
