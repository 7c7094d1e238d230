use std::time::Duration;

use bixi_accel::sm2::Registry;
use crossbeam_channel::{bounded, unbounded};

use super::super::heights::HeightProof;
use super::super::quota::Quota;
use super::*;

/// Longer than anything here takes on whatever machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn arrived<T>(from: u8, what: T) -> Arrived<T> {
    let from = NodeId([from; 64]);
    Arrived { from, what, _ticket: Quota::new(1).take(from, 1).expect("the first") }
}

/// Heights that nobody could have sent honestly.
fn junk() -> Heights {
    Heights { first: 7, proofs: vec![HeightProof { header: vec![6; 600], decision: None }] }
}

#[test]
fn votes_do_not_wait_for_the_check_of_a_junk_range() {
    let verifier = || SmVerifier::new(Arc::new(Registry::new(1)));
    let offences = Arc::new(Offences::default());
    let (messages_in, messages) = unbounded();
    let (heights_in, heights) = unbounded();
    // Who checks heights is stuck with its first answer until somebody takes it.
    let ((stuck, proven), (events, checked)) = (bounded(0), unbounded());
    let height_checks = HeightChecks {
        suite: CryptoSuite::Sm,
        chain: H256([1; 32]),
        verifier: verifier(),
        offences: Arc::clone(&offences),
        events: stuck,
    };
    let message_checks = MessageChecks { verifier: verifier(), offences: Arc::clone(&offences), events };
    std::thread::scope(|scope| {
        scope.spawn(|| height_checks.run(&heights));
        scope.spawn(|| message_checks.run(&messages));
        for _ in 0..2 {
            heights_in.send(arrived(9, junk())).expect("it runs");
        }
        let status = Message::Status { decided: 3, certified: 2 };
        messages_in.send(MessageCheck::Message(arrived(8, Box::new(status)), Vec::new())).expect("it runs");
        assert!(
            matches!(checked.recv_timeout(PATIENCE), Ok(Event::Checked(message)) if message.from == NodeId([8; 64]))
        );
        for _ in 0..2 {
            assert!(matches!(proven.recv_timeout(PATIENCE), Ok(Event::Proven(none)) if none.what.is_empty()));
        }
        let charged = offences.take(&NodeId([9; 64])).expect("junk is charged");
        assert!(charged.contains("header 7"), "{charged}");
        drop((messages_in, heights_in));
    });
}
