//! What a validator locked stays locked, whatever restarts.

use bixi_types::consensus::VoteKind::{Precommit, Prevote};

use super::four::*;
use super::*;

enum Step {
    Tell(u8, Box<Message>),
    /// Long enough for the precommit timeout, too short for the next proposal's.
    Wait,
}

/// Height 1 of four validators: V gets a polka in round 0 and is locked; W, which nobody may vote for without a newer polka, is
/// proposed in round 1 and gets one without us; W comes again in round 2 with its proof.
fn story() -> (Vec<Step>, H256, H256) {
    let (v, w) = (value(1, 1, Vec::new()), value(2, 2, Vec::new()));
    let (v_id, w_id) = (v.id(SUITE), w.id(SUITE));
    let vote = |from, round, kind, value| Step::Tell(from, Box::new(Message::Vote(vote(from, 1, round, kind, value))));
    let propose =
        |from, round, value, pol| Step::Tell(from, Box::new(Message::Proposal(proposal(from, round, value, pol))));
    let steps = vec![
        propose(1, 0, v, None),
        vote(1, 0, Prevote, Some(v_id)),
        vote(2, 0, Prevote, Some(v_id)),
        vote(1, 0, Precommit, None),
        vote(2, 0, Precommit, None),
        Step::Wait,
        propose(2, 1, w.clone(), None),
        vote(1, 1, Prevote, Some(w_id)),
        vote(2, 1, Prevote, Some(w_id)),
        vote(3, 1, Prevote, Some(w_id)),
        vote(1, 1, Precommit, None),
        vote(3, 1, Precommit, None),
        Step::Wait,
        propose(3, 2, w, Some(1)),
    ];
    (steps, v_id, w_id)
}

fn tell_story(restart_before: Option<usize>) -> Four {
    let mut four = Four::new();
    let (steps, _, _) = story();
    let restart_after = restart_before == Some(steps.len());
    for (index, step) in steps.into_iter().enumerate() {
        if restart_before == Some(index) {
            four.restart();
        }
        match step {
            Step::Tell(from, message) => four.tell(from, *message).expect("an honest message"),
            Step::Wait => four.wait(1_000),
        }
    }
    if restart_after {
        four.restart();
    }
    four
}

#[test]
fn a_lock_yields_to_a_newer_polka_only_and_survives_a_restart_at_every_message() {
    let (steps, v, w) = story();
    let whole = tell_story(None);
    assert_eq!(whole.voted(0, Prevote), Some(Some(v)));
    assert_eq!(whole.voted(0, Precommit), Some(Some(v)), "locked");
    assert_eq!(whole.voted(1, Prevote), Some(None), "W has no polka newer than the lock");
    assert_eq!(whole.voted(1, Precommit), Some(Some(w)), "a polka of this round moves the lock");
    assert_eq!(whole.voted(2, Prevote), Some(Some(w)), "W comes with the proof of the lock");
    for cut in 0..=steps.len() {
        let again = tell_story(Some(cut));
        assert_eq!(again.signed, whole.signed, "restart before message {cut}");
    }
}
