//! Stopping with requests under way.

use std::time::Duration;

use serde_json::json;

use crate::chain::{SUITE, signed, wire};
use crate::client::{PATIENCE, post};
use crate::{Running, positional};

fn submission(nonce: u64) -> Vec<u8> {
    let params = positional(json!([wire(&signed(1, nonce, 50))]));
    post(json!({"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params}).to_string().as_bytes())
}

#[tokio::test]
async fn waits_for_answers_under_way_closes_idle_clients_and_takes_no_more() {
    let running = Running::start(Running::params()).await;
    running.chain.hold();
    let address = running.server.address();
    let (mut waiting, mut idle) = (running.client().await, running.client().await);
    idle.call("getBlockNumber", positional(json!([]))).await;
    waiting.send(submission(1)).await;
    while running.chain.pool.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let chain = running.chain;
    let stopping = tokio::spawn(running.server.stop());
    assert!(idle.is_closed_within(PATIENCE).await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(!stopping.is_finished(), "an answer is still owed");
    chain.seal();
    let answer = waiting.response().await.json();
    assert_eq!(answer["result"]["transactionHash"], json!(signed(1, 1, 50).hash(SUITE).to_string()));
    stopping.await.expect("stops");
    assert!(waiting.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn gives_up_answers_that_do_not_come_and_lets_go_of_the_node() {
    let mut params = Running::params();
    params.bounds.stop_timeout = Duration::from_millis(200);
    let running = Running::start(params).await;
    running.chain.hold();
    let mut waiting = running.client().await;
    waiting.send(submission(1)).await;
    while running.chain.pool.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let chain = running.chain;
    // The answer would be due much later.
    tokio::time::timeout(PATIENCE / 2, running.server.stop()).await.expect("stops without it");
    assert!(waiting.is_closed_within(PATIENCE).await);
    assert_eq!(std::sync::Arc::strong_count(&chain), 1, "nothing of the server holds the node");
}
