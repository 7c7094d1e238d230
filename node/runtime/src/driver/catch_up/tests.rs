use bixi_consensus::CheckpointCertificate;
use bixi_types::H256;
use bixi_types::consensus::{CommitCertificate, SignatureBytes, Validator};

use super::*;

const ONE: NodeId = NodeId([1; 64]);
const OTHER: NodeId = NodeId([2; 64]);

fn validators() -> ValidatorSet {
    ValidatorSet::new((1..=4).map(|index| Validator { id: NodeId([index; 64]), weight: 1 }).collect())
}

/// A height decided by `signers`.
fn proven_by(height: u64, signers: std::ops::RangeInclusive<u8>) -> Proven {
    let signatures: Vec<_> = signers.map(|index| (NodeId([index; 64]), SignatureBytes([index; 64]))).collect();
    let value = Value {
        height,
        parent: H256::ZERO,
        timestamp_ms: height,
        builder: 0,
        protocol_version: 1,
        batches: Vec::new(),
    };
    let certificate = CommitCertificate { height, round: 0, value: H256::ZERO, signatures: signatures.clone() };
    Proven {
        value,
        certificate,
        certified: CheckpointCertificate { height, header_hash: H256::ZERO, signatures },
        bytes: 100,
    }
}

fn proven(range: HeightRange) -> Vec<Proven> {
    (range.first..range.first + u64::from(range.count)).map(|height| proven_by(height, 1..=3)).collect()
}

fn answer(range: HeightRange, proofs: usize) -> Heights {
    let proof = crate::exchange::HeightProof { header: Vec::new(), decision: None };
    Heights { first: range.first, proofs: vec![proof; proofs] }
}

/// Looks after a reason to look.
fn look(catch_up: &mut CatchUp, now_ms: u64, peers: &[(NodeId, u64)]) -> Vec<(NodeId, HeightRange)> {
    catch_up.wake();
    catch_up.look(now_ms, peers)
}

fn deliver(catch_up: &mut CatchUp, peer: NodeId, range: HeightRange, now_ms: u64) {
    assert!(catch_up.expects(peer, &answer(range, range.count.into()), now_ms));
    catch_up.keep(peer, proven(range), now_ms);
}

#[test]
fn a_node_that_follows_asks_nobody_and_one_far_behind_asks_all_side_by_side() {
    let mut catch_up = CatchUp::default();
    let near = [(ONE, FOLLOW_HEIGHTS_MAX), (OTHER, 3)];
    assert_eq!(look(&mut catch_up, 0, &near), []);
    assert_eq!(catch_up.deadline_ms(), None, "nothing to wait for");
    let far = [(ONE, 1_000), (OTHER, 100)];
    let asked = look(&mut catch_up, 0, &far);
    let ranges: Vec<_> = asked.iter().map(|(peer, range)| (*peer, range.first, range.count)).collect();
    assert_eq!(ranges, [(ONE, 1, 64), (OTHER, 65, 36)], "nobody is asked for what it has not");
    assert_eq!(look(&mut catch_up, 1, &far), [], "one request each");
}

#[test]
fn one_who_is_behind_or_lies_about_it_keeps_nobody_from_asking_one_who_is_not() {
    for low in [0, 3] {
        let mut catch_up = CatchUp::default();
        let asked = look(&mut catch_up, 0, &[(OTHER, low), (ONE, 1_000)]);
        let of_one: Vec<_> = asked.iter().filter(|(peer, _)| *peer == ONE).map(|(_, range)| range).collect();
        assert!(matches!(of_one[..], [range] if range.first == low + 1 && range.count == 64), "{asked:?}");
    }
}

#[test]
fn heights_are_given_to_consensus_in_order_as_far_as_it_is_ready() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, 128), (OTHER, 128)];
    let asked = look(&mut catch_up, 0, &far);
    deliver(&mut catch_up, OTHER, asked[1].1, 1);
    assert!(catch_up.feed_next(200).is_none(), "the first range is not here");
    assert!(!catch_up.is_delivering(1));
    deliver(&mut catch_up, ONE, asked[0].1, 2);
    assert!(catch_up.is_delivering(2));
    let fed = |catch_up: &mut CatchUp, last| {
        let next = std::iter::from_fn(|| catch_up.feed_next(last));
        next.map(|(from, [certified, decided])| {
            assert!(matches!(certified, Message::Certified(_)) && matches!(decided, Message::Decided { .. }));
            (from, decided.height().expect("of a height"))
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(fed(&mut catch_up, 3), [(ONE, 1), (ONE, 2), (ONE, 3)]);
    catch_up.reached(2, 3);
    assert_eq!(fed(&mut catch_up, 4), [(ONE, 4)], "each once");
    assert_eq!(fed(&mut catch_up, 500).last(), Some(&(OTHER, 128)));
    catch_up.reached(128, 4);
    assert_eq!(look(&mut catch_up, 5, &far), []);
    assert_eq!((catch_up.kept.len(), catch_up.kept_bytes, catch_up.deadline_ms()), (0, 0, None));
}

#[test]
fn who_is_slow_or_has_not_what_it_told_of_is_passed_over() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, 64), (OTHER, 64)];
    assert_eq!(look(&mut catch_up, 0, &far).len(), 1, "there is one range only");
    assert_eq!(look(&mut catch_up, ANSWER_MS - 1, &far), []);
    assert_eq!(catch_up.deadline_ms(), Some(ANSWER_MS));
    let again = catch_up.look(ANSWER_MS, &far);
    assert_eq!(again.iter().map(|(peer, range)| (*peer, range.first)).collect::<Vec<_>>(), [(OTHER, 1)]);
}

#[test]
fn a_height_that_everybody_further_had_nothing_of_for_long_is_held_by_nobody() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, 1_000), (OTHER, 1_000), (NodeId([3; 64]), 0)];
    let mut first_ms = None;
    for now_ms in (0..10 * BARREN_MS).step_by(100) {
        for (peer, range) in look(&mut catch_up, now_ms, &far) {
            let has = if range.first == 1 { 0 } else { range.count };
            assert!(catch_up.expects(peer, &answer(range, has.into()), now_ms));
            catch_up.keep(peer, if has == 0 { Vec::new() } else { proven(range) }, now_ms);
        }
        if catch_up.nobody_holds(now_ms, &far).is_some() {
            first_ms = first_ms.or(Some(now_ms));
        }
    }
    assert!(first_ms.is_some_and(|at_ms| at_ms >= BARREN_MS), "{first_ms:?}");
    let last_ms = 10 * BARREN_MS;
    assert_eq!(catch_up.nobody_holds(last_ms, &far), Some(1));
    assert_eq!(catch_up.nobody_holds(last_ms, &far[2..]), None, "who is not further says nothing");
    assert_eq!(catch_up.nobody_holds(last_ms, &[(NodeId([4; 64]), 9)]), None, "not asked yet");
    catch_up.reached(1, last_ms);
    assert_eq!(catch_up.nobody_holds(last_ms, &far), None, "the ledger grew");
}

#[test]
fn an_empty_answer_starts_no_storm() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, 1_000)];
    let mut asked = 0;
    for now_ms in 0..10 * REST_MS {
        for (peer, range) in look(&mut catch_up, now_ms, &far) {
            asked += 1;
            assert!(catch_up.expects(peer, &answer(range, 0), now_ms));
            catch_up.keep(peer, Vec::new(), now_ms);
        }
    }
    assert!((2..=11).contains(&asked), "{asked} requests in a hundred seconds");
}

#[test]
fn what_nobody_asked_for_is_not_taken() {
    let mut catch_up = CatchUp::default();
    let asked = look(&mut catch_up, 0, &[(ONE, 1_000)]);
    let (_, range) = asked[0];
    assert!(!catch_up.expects(OTHER, &answer(range, 1), 1), "another peer");
    assert!(!catch_up.expects(ONE, &answer(HeightRange { first: 9, ..range }, 1), 1), "another range");
    assert!(!catch_up.expects(ONE, &answer(range, 65), 1), "more than asked for");
    catch_up.keep(ONE, proven(range), 1);
    assert!(catch_up.kept.is_empty(), "its signatures were not checked");
    assert!(catch_up.expects(ONE, &answer(range, 2), 1));
    assert!(!catch_up.expects(ONE, &answer(range, 2), 1), "once");
}

#[test]
fn nothing_of_who_lied_is_given_to_consensus() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, 128), (OTHER, 128)];
    let asked = look(&mut catch_up, 0, &far);
    for (peer, range) in asked {
        deliver(&mut catch_up, peer, range, 1);
    }
    assert_eq!(catch_up.feed_next(1).map(|(from, _)| from), Some(ONE));
    catch_up.distrust(ONE, 2);
    assert!(catch_up.feed_next(5).is_none());
    let asked = look(&mut catch_up, 3, &far);
    assert_eq!(asked.iter().map(|(peer, range)| (*peer, range.first)).collect::<Vec<_>>(), [(OTHER, 1)]);
    deliver(&mut catch_up, OTHER, asked[0].1, 4);
    assert_eq!(catch_up.feed_next(5).map(|(from, _)| from), Some(OTHER));
}

#[test]
fn what_is_kept_is_bounded_and_what_is_needed_next_is_asked_for_whatever_there_is() {
    let mut catch_up = CatchUp::default();
    let far = [(ONE, u64::MAX), (OTHER, u64::MAX)];
    for now_ms in 0..100 {
        for (peer, range) in look(&mut catch_up, now_ms, &far) {
            deliver(&mut catch_up, peer, range, now_ms);
        }
    }
    assert_eq!(catch_up.kept.len() as u64, AHEAD_HEIGHTS_MAX);
    let mut full = CatchUp { kept_bytes: AHEAD_BYTES_MAX, ..CatchUp::default() };
    let asked = look(&mut full, 0, &far);
    assert_eq!(asked.iter().map(|(_, range)| range.first).collect::<Vec<_>>(), [1]);
}

#[test]
fn batches_are_fetched_ahead_for_what_a_quorum_of_the_known_validators_decided() {
    let mut catch_up = CatchUp::default();
    let asked = look(&mut catch_up, 0, &[(ONE, 64)]);
    assert!(catch_up.expects(ONE, &answer(asked[0].1, 3), 1));
    catch_up.keep(ONE, vec![proven_by(1, 1..=3), proven_by(2, 1..=3), proven_by(3, 5..=9)], 1);
    let next = |catch_up: &mut CatchUp| catch_up.next_value(0, &validators()).map(|value| value.height);
    assert_eq!((next(&mut catch_up), next(&mut catch_up), next(&mut catch_up)), (Some(1), Some(2), None));
    assert_eq!(next(&mut catch_up), None, "the validators of height 3 are not known");
}

#[test]
fn a_node_that_stands_still_is_given_again_what_is_kept_and_may_ask_for_itself() {
    let mut catch_up = CatchUp::default();
    let asked = look(&mut catch_up, 0, &[(ONE, 64)]);
    deliver(&mut catch_up, ONE, asked[0].1, 0);
    assert!(catch_up.feed_next(1).is_some() && catch_up.feed_next(1).is_none());
    assert!(catch_up.is_delivering(STALL_MS - 1) && !catch_up.is_delivering(STALL_MS));
    catch_up.look(STALL_MS, &[]);
    assert!(!catch_up.is_delivering(STALL_MS + 1), "until the ledger grows");
    assert!(catch_up.deadline_ms().is_some());
    look(&mut catch_up, STALL_MS, &[(ONE, 64)]);
    assert!(catch_up.feed_next(1).is_some());
}
