//! Messages that fit the protocol and mean harm: nothing panics, nothing grows without bound, nothing is believed.

use bixi_types::consensus::VoteKind;
use proptest::prelude::*;

use super::four::*;
use super::*;
use crate::message::{
    CheckpointCertificate, Held, PolkaCertificate, RoundCertificate, RoundCertificateKind, RoundSignature,
};

fn signers(list: &[u8]) -> Vec<(NodeId, SignatureBytes)> {
    list.iter().map(|index| (node(*index), SignatureBytes([*index; 64]))).collect()
}

fn round_signers(kind: VoteKind, list: &[u8]) -> Vec<RoundSignature> {
    let entry =
        |index: &u8| RoundSignature { kind, value: None, validator: node(*index), signature: SignatureBytes([0; 64]) };
    list.iter().map(entry).collect()
}

/// Certificates of four equal validators, and whether their signatures are worth checking.
fn certificates(list: &[u8], round: u32) -> [(Message, bool); 5] {
    let mut distinct = list.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let members = distinct.len() == list.len() && list.iter().all(|index| *index < 4);
    let (honest, quorum) = (members && list.len() >= 2, members && list.len() >= 3);
    let value = value(1, 1, Vec::new());
    let commit = CommitCertificate { height: 1, round, value: value.id(SUITE), signatures: signers(list) };
    let round_certificate = |kind, votes| {
        Message::Round(RoundCertificate { height: 1, round, kind, signatures: round_signers(votes, list) })
    };
    let polka = PolkaCertificate { height: 1, round, value: H256([1; 32]), signatures: signers(list) };
    let certified = CheckpointCertificate { height: 1, header_hash: H256([1; 32]), signatures: signers(list) };
    [
        (Message::Polka(polka), quorum),
        (round_certificate(RoundCertificateKind::Skip, VoteKind::Prevote), honest),
        (round_certificate(RoundCertificateKind::Precommit, VoteKind::Precommit), quorum),
        (Message::Decided { value, certificate: commit }, quorum),
        (Message::Certified(certified), quorum),
    ]
}

#[test]
fn certificates_without_enough_distinct_signers_are_refused_before_any_signature_is_checked() {
    let four = Four::new();
    let lists: [&[u8]; 8] = [&[], &[1], &[1, 2], &[1, 2, 3], &[0, 1, 2, 3], &[1, 1, 1], &[1, 1, 2, 3], &[1, 2, 9]];
    for list in lists {
        for (message, expected) in certificates(list, 0) {
            let checks = four.core.checks(&message);
            assert_eq!(checks.is_ok(), expected, "{list:?}: {message:?} gave {checks:?}");
            assert!(checks.is_err() || checks.unwrap().len() == list.len());
        }
    }
    let prevotes = round_signers(VoteKind::Prevote, &[1, 2, 3]);
    let kind = RoundCertificateKind::Precommit;
    let message = Message::Round(RoundCertificate { height: 1, round: 0, kind, signatures: prevotes });
    assert!(four.core.checks(&message).is_err(), "prevotes end no round");
}

#[test]
fn a_decision_must_carry_its_own_value() {
    let four = Four::new();
    let value = value(1, 1, Vec::new());
    let other = Value { timestamp_ms: 9_999, ..value.clone() };
    let certificate =
        |height| CommitCertificate { height, round: 0, value: value.id(SUITE), signatures: signers(&[1, 2, 3]) };
    let malformed = |value: &Value, height| {
        let message = Message::Decided { value: value.clone(), certificate: certificate(height) };
        matches!(four.core.checks(&message), Err(Unchecked::Malformed(_)))
    };
    assert!(!malformed(&value, 1));
    assert!(malformed(&other, 1) && malformed(&value, 2));
}

#[test]
fn an_unsigned_certificate_wakes_no_idle_chain() {
    let mut four = Four::new();
    for (message, _) in certificates(&[], 0) {
        four.tell(3, message).unwrap_err();
    }
    assert!(four.core.status().resting);
    assert!(four.signed.is_empty());
}

#[test]
fn a_second_checkpoint_vote_is_reported_once() {
    let mut four = Four::new();
    for salt in 0..1_000u16 {
        let lie = SUITE.hash(&[&salt.to_le_bytes()]);
        four.tell(3, checkpoint(3, 1, lie)).unwrap();
    }
    assert_eq!(four.evidence.len(), 1, "{} reports", four.evidence.len());
    let again = SUITE.hash(&[&0u16.to_le_bytes()]);
    assert_eq!(four.tell(3, checkpoint(3, 1, again)), Err(Unchecked::Known), "no signature is checked twice");
}

#[test]
fn a_value_of_the_far_future_does_not_delay_the_judgement_of_others() {
    let mut four = Four::new();
    let slightly = Value { timestamp_ms: 7_100, ..value(1, 0, Vec::new()) };
    let far = Value { timestamp_ms: 7_000_000, ..value(2, 0, Vec::new()) };
    four.tell(1, Message::Proposal(proposal(1, 0, slightly.clone(), None))).unwrap();
    four.tell(2, Message::Proposal(proposal(2, 1, far, None))).unwrap();
    assert_eq!(four.voted(0, VoteKind::Prevote), None, "its time has not come");
    four.wait(200);
    assert_eq!(four.voted(0, VoteKind::Prevote), Some(Some(slightly.id(SUITE))));
}

#[test]
fn a_head_above_the_clock_is_told() {
    let mut four = Four::new();
    assert_eq!(four.core.status().clock_behind_ms, 0);
    let (decided, _) = history(1).remove(0);
    four.tell(1, decided).unwrap();
    four.now.unix_ms = 0;
    four.feed(Input::Tick);
    assert_eq!(four.core.status().clock_behind_ms, 2_001 - 2_000);
}

/// Places near ours, and as far away as numbers go.
fn height() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0u64..8, 1 => Just(u64::MAX)]
}

fn round() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0u32..16, 1 => Just(u32::MAX)]
}

fn kind() -> impl Strategy<Value = VoteKind> {
    prop_oneof![Just(VoteKind::Prevote), Just(VoteKind::Precommit)]
}

fn id() -> impl Strategy<Value = Option<H256>> {
    prop_oneof![Just(None), (0u8..4).prop_map(|byte| Some(H256([byte; 32])))]
}

fn any_value() -> impl Strategy<Value = Value> {
    let batches = prop::collection::vec((0u8..3).prop_map(|byte| H256([byte; 32])), 0..3);
    let timestamp = prop_oneof![Just(0), 1_000u64..9_000, Just(u64::MAX)];
    let parent = prop_oneof![4 => Just(CHAIN), 1 => Just(H256([1; 32]))];
    (height(), parent, timestamp, 0u32..5, 0u32..3, batches).prop_map(
        |(height, parent, timestamp_ms, builder, protocol_version, batches)| Value {
            height,
            parent,
            timestamp_ms,
            builder,
            protocol_version,
            batches,
        },
    )
}

fn any_signers() -> impl Strategy<Value = Vec<(NodeId, SignatureBytes)>> {
    prop::collection::vec(0u8..5, 0..6).prop_map(|list| signers(&list))
}

/// Everything validator 3 can sign, and everything anybody can say without a signature.
fn lie() -> impl Strategy<Value = Message> {
    let ballot =
        || (height(), round(), kind(), id()).prop_map(|(height, round, kind, id)| vote(3, height, round, kind, id));
    let offer = || {
        (any_value(), round(), prop::option::of(round()))
            .prop_map(|(value, round, pol_round)| proposal(3, round, value, pol_round))
    };
    prop_oneof![
        4 => ballot().prop_map(Message::Vote),
        3 => offer().prop_map(Message::Proposal),
        1 => (height(), round(), id(), any_signers()).prop_map(|(height, round, value, signatures)| {
            Message::Polka(PolkaCertificate { height, round, value: value.unwrap_or(H256::ZERO), signatures })
        }),
        1 => (height(), round(), kind(), any::<bool>(), prop::collection::vec(0u8..5, 0..6)).prop_map(
            |(height, round, votes, skip, list)| {
                let kind = if skip { RoundCertificateKind::Skip } else { RoundCertificateKind::Precommit };
                Message::Round(RoundCertificate { height, round, kind, signatures: round_signers(votes, &list) })
            }
        ),
        2 => (height(), any::<[u8; 1]>()).prop_map(|(height, byte)| checkpoint(3, height, H256([byte[0]; 32]))),
        1 => (any_value(), height(), round(), any_signers()).prop_map(|(value, height, round, signatures)| {
            let certificate = CommitCertificate { height, round, value: value.id(SUITE), signatures };
            Message::Decided { value, certificate }
        }),
        1 => (height(), any_signers()).prop_map(|(height, signatures)| {
            Message::Certified(CheckpointCertificate { height, header_hash: H256([1; 32]), signatures })
        }),
        1 => (height(), height()).prop_map(|(decided, certified)| Message::Status { decided, certified }),
        1 => (height(), height()).prop_map(|(decided, certified)| Message::Request { decided, certified }),
        1 => any::<u64>().prop_map(|nonce| Message::MarkRequest { nonce }),
        1 => (prop_oneof![Just(5_000u64), any::<u64>()], prop::option::of(ballot())).prop_map(|(nonce, held)| {
            Message::MarkAnswer { nonce, decided: 0, held: held.map(Held::Vote) }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_liar_makes_nothing_panic_and_nothing_grow(lies in prop::collection::vec((lie(), 0u64..40), 0..300)) {
        let mut four = Four::new();
        four.feed(Input::WorkPending(true));
        for (message, pause_ms) in lies {
            four.now.monotonic_ms += pause_ms;
            four.now.unix_ms += pause_ms;
            // The host verifies: only what validator 3 signed itself holds.
            let checks = four.core.checks(&message).unwrap_or_default();
            if checks.iter().all(|check| check.node == node(3)) {
                let _ = four.tell(3, message);
            }
        }
        // A liar alone moves no height; it can neither fill the log nor what is kept for later.
        prop_assert_eq!(four.core.status().decided, 0);
        prop_assert!(four.core.status().round <= 20, "{:?}", four.core.status());
        let rounds = 1 + 10 + four.core.status().round as usize;
        prop_assert!(four.log.len() <= 16 * rounds, "{} entries in {rounds} rounds", four.log.len());
        prop_assert!(four.core.later.iter().count() <= 8 * (DEPTH as usize + 1));
        prop_assert!(four.core.current.candidates.len() <= 4 * rounds);
        prop_assert!(four.evidence.len() <= DEPTH as usize + 1 + 3, "{:?}", four.evidence);
    }

    #[test]
    fn every_message_comes_back_and_no_change_passes_unnoticed(
        message in lie(), at in any::<prop::sample::Index>(), bit in 0u8..8
    ) {
        let bytes = message.encode();
        prop_assert_eq!(Message::decode(&bytes), Ok(message.clone()));
        let at = at.index(bytes.len());
        prop_assert!(Message::decode(&bytes[..at]).is_err(), "cut to {at} bytes");
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(Message::decode(&longer).is_err());
        let mut flipped = bytes;
        flipped[at] ^= 1 << bit;
        if let Ok(other) = Message::decode(&flipped) {
            prop_assert_ne!(&other, &message);
            prop_assert_eq!(other.encode(), flipped, "one encoding each");
        }
    }
}
