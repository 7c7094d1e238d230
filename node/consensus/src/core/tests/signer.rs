//! What a signer that fails, hangs or refuses makes of a validator.

use super::four::{Four, history};
use super::*;

#[test]
fn a_failing_device_is_tried_again_then_the_node_follows_until_it_is_back() {
    let mut alone = Alone::new();
    alone.refusal = Some(SignError::Device("CKR_DEVICE_REMOVED".into()));
    alone.feed(Input::WorkPending(true));
    for _ in 0..100 {
        alone.now.monotonic_ms += 100;
        alone.feed(Input::Tick);
    }
    assert_eq!(alone.core.status().mode, Mode::Follower(Reason::SignerUnavailable));
    assert!(alone.signed.len() > 10, "tried again: {}", alone.signed.len());
    assert!(alone.signed.windows(2).all(|pair| pair[0] == pair[1]), "always the same statement");
    assert!(alone.decided.is_empty());
    alone.refusal = None;
    alone.stop_after = Some(1);
    for _ in 0..20 {
        alone.now.monotonic_ms += 100;
        alone.feed(Input::Tick);
    }
    assert_eq!(alone.core.status().mode, Mode::Voting);
    assert!(!alone.decided.is_empty(), "{:?}", alone.core.status());
}

#[test]
fn a_full_guard_disk_makes_the_node_a_follower_for_good() {
    let mut alone = Alone::new();
    alone.refuse_once_and_wait(SignError::Storage("ENOSPC".into()));
    assert_eq!(alone.core.status().mode, Mode::Follower(Reason::GuardStorage));
}

#[test]
fn a_conflict_stops_the_only_validator_since_nobody_can_help_it_past() {
    let mut alone = Alone::new();
    alone.refuse_once_and_wait(SignError::Conflict("1/0".into()));
    assert_eq!(alone.halt, Some(HaltReason::SignedBefore { height: 1, detail: "1/0".into() }));
}

#[test]
fn a_conflict_makes_one_validator_of_four_a_follower_until_the_next_height() {
    let mut four = Four::new();
    four.refusal = Some(SignError::Conflict("1/0".into()));
    four.feed(Input::WorkPending(true));
    four.wait(20_000);
    assert_eq!(four.core.status().mode, Mode::Follower(Reason::Conflict { height: 1 }));
    assert!(four.signed.is_empty(), "not a second statement at this height");
    four.refusal = None;
    for (decided, certified) in history(1) {
        four.tell(1, decided).unwrap();
        four.tell(1, certified).unwrap();
    }
    four.wait(20_000);
    assert_eq!(four.core.status().mode, Mode::Voting);
    assert!(four.signed.keys().all(|mark| mark.height == 2) && !four.signed.is_empty(), "{:?}", four.signed);
}

#[test]
fn a_statement_that_is_not_ours_to_sign_is_no_conflict() {
    let mut alone = Alone::new();
    let detail = "not a statement of ours: it is of chain 0x01".to_owned();
    alone.refusal = Some(SignError::Refused(detail.clone()));
    alone.feed(Input::WorkPending(true));
    assert_eq!(alone.core.status().mode, Mode::Follower(Reason::Refused { height: 1, detail }));
    assert_eq!(alone.signed.len(), 1, "no retry changes it");
}

#[test]
fn a_guard_that_fails_in_the_checkpoint_lane_ends_both_lanes_and_says_so() {
    let mut alone = Alone::new();
    alone.checkpoint_refusal = Some(SignError::Storage("ENOSPC".into()));
    run(&mut alone, 1);
    assert_eq!(alone.core.status().mode, Mode::Follower(Reason::GuardStorage));
    let signed = alone.signed.len();
    for _ in 0..100 {
        alone.now.monotonic_ms += 1_000;
        alone.feed(Input::WorkPending(true));
    }
    assert_eq!(alone.signed.len(), signed, "a guard that failed is not asked again");
    assert!(alone.certified.is_empty());
}

#[test]
fn a_device_that_hangs_is_asked_ever_more_rarely() {
    let mut alone = Alone::new();
    alone.device_hangs = true;
    alone.feed(Input::WorkPending(true));
    for _ in 0..24 * 3_600 {
        alone.now.monotonic_ms += 1_000;
        alone.feed(Input::Tick);
    }
    assert_eq!(alone.core.status().mode, Mode::Follower(Reason::SignerUnavailable));
    assert!(alone.signed.len() < 1_500, "{} requests wait at the device after a day", alone.signed.len());
    assert!(alone.signed.len() > 500, "it is asked again: {}", alone.signed.len());
    alone.device_hangs = false;
    alone.stop_after = Some(1);
    for _ in 0..200 {
        alone.now.monotonic_ms += 1_000;
        alone.feed(Input::Tick);
    }
    assert_eq!(alone.core.status().mode, Mode::Voting);
    assert_eq!(alone.certified, [1]);
}

#[test]
fn a_checkpoint_that_is_never_answered_is_asked_for_ever_more_rarely() {
    let mut alone = Alone::new();
    alone.ledger_stuck = true;
    alone.checkpoints_hang = true;
    run(&mut alone, 2);
    let ordering = alone.signed.len();
    for _ in 0..24 * 3_600 {
        alone.now.monotonic_ms += 1_000;
        alone.feed(Input::Tick);
    }
    let asked = alone.signed.len() - ordering;
    assert!((100..400).contains(&asked), "{asked} requests in a day");
    alone.checkpoints_hang = false;
    for _ in 0..400 {
        alone.now.monotonic_ms += 1_000;
        alone.feed(Input::Tick);
    }
    assert_eq!(alone.certified, [1, 2]);
}
