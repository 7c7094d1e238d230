//! Catching up, and being asked, with peers that lie, flood and fall silent.

use super::four::*;
use super::*;

#[test]
fn a_liars_claims_do_not_keep_us_from_asking_others() {
    let mut four = Four::new();
    four.sent.clear();
    let claim = Message::Status { decided: u64::MAX, certified: u64::MAX };
    for _ in 0..100 {
        four.now.monotonic_ms += 10;
        four.tell(3, claim.clone()).unwrap();
    }
    assert!(four.requests().len() <= 6, "a liar is asked at its own slow rate");
    four.tell(1, Message::Status { decided: 9, certified: 9 }).unwrap();
    assert_eq!(four.requests(), [node(1)], "and takes nobody else's turn");
}

/// The first height a request asks for.
fn lowest_missing(message: &Message) -> Option<u64> {
    match message {
        Message::Request { decided, certified } => Some(decided.min(certified) + 1),
        _ => None,
    }
}

#[test]
fn whoever_delivers_is_asked_for_more_at_once() {
    let heights = 200;
    let history = history(heights);
    let mut four = Four::new();
    four.sent.clear();
    four.tell(1, Message::Status { decided: heights, certified: heights }).unwrap();
    // No time passes but that of the round trips.
    let mut asked = 0;
    loop {
        let sent = std::mem::take(&mut four.sent);
        let requests: Vec<u64> = sent.iter().filter_map(|(_, message)| lowest_missing(message)).collect();
        if requests.is_empty() {
            break;
        }
        for first in requests {
            asked += 1;
            four.now.monotonic_ms += 2;
            for (decided, certified) in history.iter().skip(first as usize - 1).take(8) {
                // What is known already, or beyond the heights whose validators are known, is refused.
                let _ = four.tell(1, decided.clone());
                let _ = four.tell(1, certified.clone());
            }
        }
    }
    assert_eq!(four.core.status().committed, heights, "after {asked} requests and {} ms", four.now.monotonic_ms);
    assert!(asked <= heights / (DEPTH + 1) + 1, "{asked} requests");
}

#[test]
fn what_others_have_certified_is_not_signed_again() {
    let mut four = Four::new();
    for (decided, certified) in history(20) {
        four.tell(1, certified).unwrap();
        four.tell(1, decided).unwrap();
    }
    assert_eq!((four.core.status().committed, four.checkpoints_signed), (20, 0));
    // What nobody has certified yet is.
    let (decided, _) = history(21).pop().expect("the next");
    four.tell(1, decided).unwrap();
    assert_eq!((four.core.status().committed, four.checkpoints_signed), (20, 1));
}

#[test]
fn batches_of_all_decisions_at_hand_are_asked_for_together() {
    let mut four = Four::new();
    four.has_batches = false;
    let mut parent = CHAIN;
    for height in 1..=DEPTH + 2 {
        let value = Value { height, parent, ..value(1, height, vec![H256([height as u8; 32])]) };
        parent = value.id(SUITE);
        let signatures = (1..4).map(|index| (node(index), SignatureBytes([index; 64]))).collect();
        let certificate = CommitCertificate { height, round: 0, value: parent, signatures };
        let told = four.tell(1, Message::Decided { value, certificate });
        assert_eq!(told.is_ok(), height <= DEPTH + 1, "{height}: as far as the validators are known");
    }
    assert_eq!(four.fetches, [node(1); DEPTH as usize + 1]);
}

#[test]
fn batches_are_fetched_elsewhere_when_the_first_holder_is_silent() {
    let mut four = Four::new();
    four.has_batches = false;
    let v = value(1, 1, vec![H256([7; 32])]);
    four.tell(1, Message::Proposal(proposal(1, 0, v.clone(), None))).unwrap();
    four.tell(2, Message::Proposal(proposal(2, 1, v.clone(), Some(0)))).unwrap();
    assert_eq!(four.fetches, [node(1), node(2)], "who proposes it again should hold it too");
    let certificate = CommitCertificate {
        height: 1,
        round: 0,
        value: v.id(SUITE),
        signatures: (1..4).map(|index| (node(index), SignatureBytes([index; 64]))).collect(),
    };
    let decided = Message::Decided { value: v, certificate };
    for (peer, expected) in [(3, 3), (3, 3), (2, 4), (2, 4)] {
        four.tell(peer, decided.clone()).unwrap();
        assert_eq!(four.fetches.len(), expected, "{:?}", four.fetches);
        four.now.monotonic_ms += 300;
    }
    assert_eq!(four.fetches[2..], [node(3), node(2)]);
}

#[test]
fn answers_to_one_peer_are_bounded_whatever_it_asks() {
    let mut four = Four::new();
    for (decided, certified) in history(3) {
        four.tell(1, decided).unwrap();
        four.tell(1, certified).unwrap();
    }
    assert_eq!(four.core.status().committed, 3);
    four.sent.clear();
    for index in 0..1_000u64 {
        let height = 1 + index % 3;
        let old = vote(3, height, 0, bixi_types::consensus::VoteKind::Prevote, None);
        four.tell(3, Message::Vote(old)).unwrap();
        four.tell(3, checkpoint(3, height, H256([index as u8; 32]))).unwrap();
        four.tell(3, Message::Request { decided: index % 3, certified: 0 }).unwrap();
        four.tell(3, Message::MarkRequest { nonce: index }).unwrap();
    }
    let answers = four.sent.len();
    assert!(answers <= 10, "{answers} answers to 4,000 questions in one moment");
    four.sent.clear();
    four.now.monotonic_ms += 300;
    four.tell(2, Message::Request { decided: 0, certified: 0 }).unwrap();
    assert_eq!(four.sent.len(), 6, "three decisions and three certificates for a peer that asks once");
}

#[test]
fn nobody_is_served_genesis() {
    let mut four = Four::new();
    let vote = vote(1, 0, 0, bixi_types::consensus::VoteKind::Prevote, None);
    for message in [Message::Vote(vote), checkpoint(1, 0, H256([1; 32]))] {
        let effects = four.core.step(four.now, Input::Message { from: node(1), message });
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Serve { .. })), "{effects:?}");
        four.now.monotonic_ms += 1_000;
    }
}
