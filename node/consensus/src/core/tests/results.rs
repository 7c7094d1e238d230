//! Checkpoint signatures do not cover the height: what they are worth when somebody hands them over.

use bixi_types::consensus::CheckpointVote;

use super::*;
use crate::message::CheckpointCertificate;

const TRUTH: H256 = H256([7; 32]);
/// A header of another height, or a lie.
const OTHER: H256 = H256([8; 32]);

fn signatures(from: u8) -> Vec<(NodeId, SignatureBytes)> {
    (from..from + 3).map(|index| (node(index), SignatureBytes([index; 64]))).collect()
}

/// An observer of four validators that adopted their decision of height 1.
struct Observer(Core);

impl Observer {
    fn new() -> Self {
        let mut core = Core::new(Params::new(node(9), CHAIN, CryptoSuite::Std, DEPTH));
        let committed = Head { height: 0, id: CHAIN, timestamp_ms: 1_000 };
        let start = Start { committed, rules: vec![rules(4); DEPTH as usize + 1], log: Vec::new(), signed: None };
        core.step(Self::NOW, Input::Start(Box::new(start)));
        let (timestamp_ms, batches) = (2_000, Vec::new());
        let value = Value { height: 1, parent: CHAIN, timestamp_ms, builder: 1, protocol_version: 1, batches };
        let certificate =
            CommitCertificate { height: 1, round: 0, value: value.id(CryptoSuite::Std), signatures: signatures(0) };
        let mut observer = Self(core);
        observer.tell(1, Message::Decided { value, certificate });
        assert_eq!(observer.0.status().decided, 1);
        observer
    }

    const NOW: Now = Now { monotonic_ms: 0, unix_ms: 5_000 };

    fn executes(&mut self) -> Vec<Effect> {
        let header = Box::<BlockHeader>::default();
        self.0.step(Self::NOW, Input::Executed { height: 1, header, header_hash: TRUTH })
    }

    fn tell(&mut self, from: u8, message: Message) -> Vec<Effect> {
        self.0.step(Self::NOW, Input::Message { from: node(from), message })
    }

    /// `from` hands over a vote of `voter`.
    fn tell_vote(&mut self, from: u8, voter: u8, header_hash: H256) -> Vec<Effect> {
        let (validator, signature) = (node(voter), SignatureBytes([voter; 64]));
        self.tell(from, Message::Checkpoint(CheckpointVote { height: 1, header_hash, validator, signature }))
    }

    fn tell_certificate(&mut self, from: u8, header_hash: H256) -> Vec<Effect> {
        let signatures = signatures(1);
        self.tell(from, Message::Certified(CheckpointCertificate { height: 1, header_hash, signatures }))
    }
}

fn certifies(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::CheckpointCertified { height: 1, .. }))
}

fn halts(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Halt(HaltReason::Diverged { .. })))
}

fn accuses(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Evidence(_)))
}

#[test]
fn a_checkpoint_quorum_stands_whatever_a_member_said_first() {
    let mut observer = Observer::new();
    observer.tell_vote(1, 1, OTHER);
    observer.executes();
    assert!(accuses(&observer.tell_vote(1, 1, TRUTH)), "two headers of one validator");
    assert!(certifies(&observer.tell_certificate(2, TRUTH)));
}

#[test]
fn a_vote_at_anothers_word_is_nobodys() {
    for executed_first in [true, false] {
        let mut observer = Observer::new();
        if executed_first {
            observer.executes();
        }
        for voter in 0..3 {
            let effects = observer.tell_vote(3, voter, OTHER);
            assert!(!halts(&effects) && !accuses(&effects), "{effects:?}");
        }
        if !executed_first {
            observer.executes();
        }
        let effects: Vec<Effect> = (0..3).flat_map(|voter| observer.tell_vote(voter, voter, TRUTH)).collect();
        assert!(certifies(&effects) && !accuses(&effects), "{effects:?}");
    }
}

#[test]
fn a_certificate_against_our_result_stops_us_when_more_than_a_third_stand_by_it() {
    let mut observer = Observer::new();
    observer.executes();
    for from in [0, 0, 77, 78] {
        assert!(!halts(&observer.tell_certificate(from, OTHER)), "one validator and observers are no third");
    }
    assert!(halts(&observer.tell_certificate(3, OTHER)));
}

#[test]
fn a_certificate_of_another_height_that_came_first_hides_no_real_one() {
    let mut observer = Observer::new();
    assert!(!halts(&observer.tell_certificate(0, OTHER)));
    observer.executes();
    assert!(!halts(&observer.tell_certificate(0, OTHER)));
    assert!(certifies(&observer.tell_certificate(0, TRUTH)), "of our own result anybody may bring the proof");
}

/// Who is told to have voted for another header than ours, and whether that made it more than a third.
fn dissent(effects: &[Effect]) -> Vec<(NodeId, bool)> {
    let told = |effect: &Effect| match effect {
        Effect::Evidence(Evidence::Divergence { vote, ours: TRUTH, is_grave }) => Some((vote.validator, *is_grave)),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

#[test]
fn votes_against_our_result_are_told_whenever_they_came_and_grave_once() {
    let (first, second) = ([(node(0), false)], [(node(1), true)]);
    let mut observer = Observer::new();
    assert!(dissent(&observer.tell_vote(0, 0, OTHER)).is_empty(), "nothing to hold it against");
    observer.tell_vote(1, 1, OTHER);
    observer.tell_vote(2, 2, TRUTH);
    assert_eq!(dissent(&observer.executes()), [first, second].concat());
    assert!(dissent(&observer.tell_vote(1, 1, OTHER)).is_empty(), "told before");

    let mut observer = Observer::new();
    observer.tell_vote(0, 0, OTHER);
    assert_eq!(dissent(&observer.executes()), first);
    assert_eq!(dissent(&observer.tell_vote(1, 1, H256([9; 32]))), second, "whatever it is they signed");
    assert_eq!(dissent(&observer.tell_vote(2, 2, OTHER)), [(node(2), false)], "it was grave before");
}
