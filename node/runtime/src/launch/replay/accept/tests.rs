use bixi_types::consensus::{SignatureBytes, Validator, ValidatorSet};
use bixi_types::{CryptoSuite, H256};

use super::*;
use crate::launch::run_of;

const US: NodeId = NodeId([1; 64]);

/// No officer has overruled anything.
fn none(_: u64, _: &H256) -> bool {
    false
}

/// Height 1, signed otherwise than this binary executes it, by these weights; ours is the first.
fn differing(weights: &[u64]) -> Replayed {
    let id = |place: usize| NodeId([place as u8 + 1; 64]);
    let member = |(place, weight): (usize, &u64)| Validator { id: id(place), weight: *weight };
    let validators = ValidatorSet::new(weights.iter().enumerate().map(member).collect());
    let signature = SignatureBytes([7; 64]);
    let vote = CheckpointVote { height: 1, header_hash: H256([9; 32]), validator: US, signature };
    Replayed::new(CryptoSuite::Sm, Some(vote), validators, &run_of(1), run_of(1))
}

#[test]
fn results_are_dropped_only_where_the_others_come_to_a_quorum_by_the_weights_in_force() {
    for (weights, may) in [
        (&[1][..], false),
        (&[1, 1], false),
        (&[1, 1, 1], false),
        (&[1, 1, 1, 1], true),
        (&[2, 1, 1, 1], false),
        (&[1, 2, 2, 2], true),
        (&[1, 6], true),
    ] {
        let judged = judge(&[differing(weights)], 1, &US, &none);
        assert_eq!(judged.is_ok(), may, "{weights:?}: {judged:?}");
    }
    // Who is no member of that height's set leaves nobody short.
    judge(&[differing(&[1])], 1, &NodeId([77; 64]), &none).expect("the only validator is another");
    let refused = judge(&[differing(&[1, 1])], 1, &US, &none).expect_err("one of two is no quorum").to_string();
    assert!(refused.contains("height 1") && refused.contains("weigh 1, and 2 must sign"), "{refused}");
}

#[test]
fn a_height_below_the_one_named_and_a_binary_at_odds_with_itself_are_refused() {
    let refused = judge(&[differing(&[1, 1, 1, 1])], 2, &US, &none).expect_err("not named").to_string();
    assert!(refused.contains("`--height 1`"), "{refused}");
    let mut unstable = differing(&[1, 1, 1, 1]);
    unstable.unstable = Some("receipt 0".into());
    let refused = judge(&[differing(&[1, 1, 1, 1]), unstable], 1, &US, &none).expect_err("unstable").to_string();
    assert!(refused.contains("different results"), "{refused}");
}

#[test]
fn a_result_that_officers_put_in_place_needs_no_quorum_of_others() {
    let alone = [differing(&[1])];
    let right = alone[0].header_hash;
    judge(&alone, 1, &US, &|height, header| height == 1 && *header == right).expect("overruled");
    assert!(judge(&alone, 1, &US, &|height, header| height == 2 && *header == right).is_err(), "of another height");
    let mut unstable = differing(&[1]);
    unstable.unstable = Some("receipt 0".into());
    assert!(judge(&[differing(&[1]), unstable], 1, &US, &|_, _| true).is_err(), "nobody can sign what changes");
}
