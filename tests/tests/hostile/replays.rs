//! The same bytes again, the same nonce again.

use bixi_tests::rpc::CallError;
use bixi_tests::wallet::Seeded;
use bixi_types::CryptoSuite;
use bixi_types::status::Status;
use bixi_types::transaction::Transaction;

use crate::cases::{Chain, Draw};

#[test]
fn the_same_bytes_and_the_same_nonce_count_once() {
    let (mut chain, mut draw) = (Chain::start(), Draw(Seeded(0x5a3e)));
    let (first, mut wallet) = draw.transfer();
    chain.assert_commits("the first", &first, &wallet);
    chain.assert_refused("the same bytes", &first.encode(), Status::TxAlreadyInChain, "in a block already");
    let body = wallet.user_add("somebody-else", 1, 900);
    let reused = wallet.sign(Transaction { nonce: first.nonce.clone(), ..body.clone() });
    chain.assert_refused("the same nonce", &reused.encode(), Status::NonceCheckFail, "used nonce");
    chain.assert_absent("the same nonce", &reused);
    chain.assert_commits("the same body under a fresh nonce", &body, &wallet);
    // Another account may use the same nonce text.
    let mut other = draw.wallet();
    let theirs = other.user_add("third", 1, 900);
    let theirs = other.sign(Transaction { nonce: first.nonce.clone(), ..theirs });
    chain.assert_commits("another account's nonce", &theirs, &other);
}

/// Many connections send the same two transactions of one nonce at once: one of them gets one receipt.
#[test]
fn racing_replays_commit_once() {
    const LANES: usize = 8;
    let (chain, mut draw) = (Chain::start(), Draw(Seeded(0x4ace)));
    for round in 0..10 {
        let (one, mut wallet) = draw.transfer();
        let body = wallet.user_add(&format!("rival-{round}"), 1, 900);
        let two = wallet.sign(Transaction { nonce: one.nonce.clone(), ..body });
        let encoded = [one.encode(), two.encode()];
        let (node, encoded) = (&chain.node, &encoded);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .map(|lane| scope.spawn(move || node.connect().unwrap().submit(&encoded[lane % 2])))
                .collect();
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        let committed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(committed.len(), 1, "round {round}: {answers:?}");
        let hashes = [one, two].map(|transaction| transaction.hash(CryptoSuite::Sm).to_string());
        assert!(hashes.iter().any(|hash| committed[0]["transactionHash"] == *hash));
        for answer in &answers {
            let Err(CallError::Refused { code, message }) = answer else { continue };
            let expected = [Status::NonceCheckFail, Status::AlreadyInTxPool, Status::TxAlreadyInChain];
            assert!(
                expected.iter().any(|status| i64::from(status.code()) == *code),
                "round {round}: {message} ({code})"
            );
        }
    }
}
