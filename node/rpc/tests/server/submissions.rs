//! `sendTransaction` from the wire to the receipt, through the real pool and its signature checks.

use std::time::Duration;

use bixi_rpc::NodeApi;
use bixi_types::transaction::Transaction;
use serde_json::{Value, json};

use crate::chain::{BLOCK_LIMIT, Chain, SUITE, sign, signed, wire};
use crate::client::post;
use crate::{Running, error, positional};

async fn send(running: &Running, transaction: &Transaction) -> Value {
    running.call("sendTransaction", positional(json!([wire(transaction)]))).await
}

fn request(id: usize, transaction: &Transaction) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "sendTransaction", "params": positional(json!([wire(transaction)]))})
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain");
}

#[tokio::test]
async fn refusals_carry_fisco_bcos_codes() {
    let running = Running::start(Running::params()).await;
    let changed = |change: fn(&mut Transaction)| {
        let mut transaction = signed(1, 1, 50);
        change(&mut transaction);
        sign(&mut transaction, 1);
        transaction
    };
    let mut junk = signed(1, 1, 50);
    junk.signature[..64].fill(0x11);
    let mut short = signed(1, 1, 50);
    short.signature.truncate(65);
    for (transaction, code, words) in [
        (changed(|tx| tx.chain_id = "chain1".into()), 10006, "this is \"chain0\""),
        (changed(|tx| tx.group_id = "group1".into()), 10007, "this is \"group0\""),
        (changed(|tx| tx.nonce = "one".into()), 10003, "not canonical"),
        (changed(|tx| tx.input = vec![0; 300_000]), 10003, "at most 262144"),
        (junk, 10008, "signature"),
        (short, 10008, "signature has 65 bytes"),
    ] {
        let answer = send(&running, &transaction).await;
        let (found, message) = error(&answer);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message:?} says nothing of {words:?}");
    }
    for bytes in ["0x", "0x00", "0xff", "0x1a0b", &format!("0x{}", "0a".repeat(100_000))] {
        let answer = running.call("sendTransaction", positional(json!([bytes]))).await;
        assert!([10003, 10001].contains(&error(&answer).0), "{:.20}: {answer}", bytes);
    }
    let answer = send(&running, &changed(|tx| tx.chain_id = "\u{1}".repeat(100_000))).await;
    assert!(error(&answer).1.len() < 1_000, "{} bytes of message", error(&answer).1.len());
    assert!(running.chain.pool.is_empty(), "nothing of it is held");
}

#[tokio::test]
async fn block_limits_are_judged_at_the_head() {
    let running = Running::start(Running::params()).await;
    let head = running.chain.height() as i64;
    for (nonce, limit) in [(1, i64::MIN), (2, -1), (3, 0), (4, head), (5, head + BLOCK_LIMIT as i64 + 1), (6, i64::MAX)]
    {
        let answer = send(&running, &signed(1, nonce, limit)).await;
        let (code, message) = error(&answer);
        assert_eq!(code, 10001, "blockLimit {limit} at height {head}");
        assert!(message.contains("above the height 1 and at most 101"), "{message}");
    }
    let answer = send(&running, &signed(1, 7, head + BLOCK_LIMIT as i64)).await;
    assert_eq!(answer["result"]["blockNumber"], json!(2));
    let answer = send(&running, &signed(1, 8, head + 2)).await;
    assert_eq!(answer["result"]["blockNumber"], json!(3), "height + 1 is enough");
}

/// The hash covers neither signature nor signer, so a copy is recorded under nothing until its signature holds.
#[tokio::test]
async fn a_copy_with_a_junk_signature_does_not_keep_the_original_out() {
    let running = Running::start(Running::params()).await;
    running.chain.hold();
    let original = signed(1, 1, 50);
    let mut copy = original.clone();
    copy.signature[..64].copy_from_slice(&signed(2, 1, 50).signature[..64]);
    assert_eq!(copy.hash(SUITE), original.hash(SUITE));
    let copies: Vec<Value> = (0..50).map(|id| request(id, &copy)).collect();
    let mut attacker = running.client().await;
    attacker.send(post(Value::from(copies).to_string().as_bytes())).await;
    let (answer, ()) = tokio::join!(send(&running, &original), async {
        wait_until(|| running.chain.pool.len() == 1).await;
        running.chain.seal();
    });
    assert_eq!(answer["result"]["from"], json!(original.signer_unchecked(SUITE).unwrap().to_string()), "{answer}");
    let refused = attacker.response().await.json();
    assert!(refused.as_array().unwrap().iter().all(|answer| error(answer).0 == 10008), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_duplicates_one_gets_the_receipt() {
    let running = Running::start(Running::params()).await;
    for nonce in 1..=10 {
        let transaction = signed(1, nonce, 50);
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (mut client, body) = (running.client().await, request(1, &transaction).to_string());
            racers.spawn(async move { client.post(body).await.json() });
        }
        let answers = racers.join_all().await;
        let receipts = answers.iter().filter(|answer| answer.get("result").is_some()).count();
        let codes: Vec<i64> =
            answers.iter().filter(|answer| answer.get("error").is_some()).map(|answer| error(answer).0).collect();
        assert_eq!((receipts, codes.len()), (1, 7));
        assert!(codes.iter().all(|code| [10004, 10005].contains(code)), "{codes:?}");
    }
    let counts = running.call("getTotalTransactionCount", positional(json!([]))).await;
    assert_eq!(counts["result"]["transactionCount"], json!(10), "each stands in the chain once");
}

#[tokio::test]
async fn a_nonce_counts_once_also_after_a_restart() {
    let running = Running::start(Running::params()).await;
    let first = signed(1, 9, 50);
    assert!(send(&running, &first).await.get("result").is_some());
    let mut second = signed(1, 9, 50);
    second.input = b"something else".to_vec();
    sign(&mut second, 1);
    assert_eq!(error(&send(&running, &second).await).0, 10000);
    assert!(send(&running, &signed(2, 9, 50)).await.get("result").is_some(), "another account's nonce is its own");

    let blocks = std::sync::Arc::clone(&running.chain.blocks);
    running.server.stop().await;
    let restarted = Running::over(Chain::over(blocks), Running::params()).await;
    assert_eq!(error(&send(&restarted, &first).await).0, 10005);
    assert_eq!(error(&send(&restarted, &second).await).0, 10000);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_its_transaction_along() {
    let running = Running::start(Running::params()).await;
    running.chain.hold();
    let transaction = signed(1, 1, 50);
    let mut client = running.client().await;
    client.send(post(request(1, &transaction).to_string().as_bytes())).await;
    wait_until(|| running.chain.pool.len() == 1).await;
    drop(client);
    let again = send(&running, &transaction).await;
    assert_eq!(error(&again).0, 10004);
    assert!(error(&again).1.contains("getTransactionReceipt"), "the message says how to get the receipt: {again}");
    running.chain.seal();
    let hash = transaction.hash(SUITE).to_string();
    let receipt = running.call("getTransactionReceipt", positional(json!([hash]))).await;
    assert_eq!(receipt["result"]["blockNumber"], json!(2));
}

#[tokio::test]
async fn a_receipt_that_is_late_leaves_the_outcome_open() {
    let running = Running::start(Running::params()).await;
    running.chain.hold();
    *running.chain.receipt_timeout.lock().unwrap() = Duration::from_millis(100);
    let transaction = signed(1, 1, 50);
    let answer = send(&running, &transaction).await;
    assert_eq!(error(&answer).0, 10010);
    assert_eq!(running.call("getPendingTxSize", positional(json!([]))).await["result"], json!(1));
    running.chain.seal();
    assert_eq!(error(&send(&running, &transaction).await).0, 10005);
}

#[tokio::test]
async fn a_batch_of_transactions_shares_a_block() {
    let running = Running::start(Running::params()).await;
    running.chain.hold();
    let batch: Vec<Value> = (1..=40).map(|nonce| request(nonce, &signed(1, nonce as u64, 50))).collect();
    let mut client = running.client().await;
    client.send(post(Value::from(batch).to_string().as_bytes())).await;
    wait_until(|| running.chain.pool.len() == 40).await;
    running.chain.seal();
    let answers = client.response().await.json();
    for (index, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!((&answer["id"], &answer["result"]["blockNumber"]), (&json!(index + 1), &json!(2)));
    }
}
