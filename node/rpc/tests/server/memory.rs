//! What clients can make the server hold.

use std::time::Duration;

use bixi_rpc::Params;
use serde_json::{Value, json};

use crate::chain::{LARGE, signed, wire};
use crate::client::{PATIENCE, post};
use crate::{Running, error, positional};

const KIB: usize = 1024;

fn bounded(held_bytes_max: usize, answer_bytes_max: usize) -> Params {
    let mut params = Running::params();
    (params.bounds.held_bytes_max, params.bounds.answer_bytes_max) = (held_bytes_max, answer_bytes_max);
    params
}

/// Asks until there is something: what clients hold and give back takes effect when the server has seen it.
async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it comes in time")
}

/// A call whose answer has `bytes` bytes of output.
fn large(id: u64, bytes: usize) -> Value {
    let data = hex::encode((bytes as u32).to_be_bytes());
    json!({"jsonrpc": "2.0", "id": id, "method": "call", "params": positional(json!([LARGE, data]))})
}

#[tokio::test]
async fn bodies_share_one_budget_and_small_requests_are_not_shut_out() {
    let running = Running::start(bounded(256 * KIB, 256 * KIB)).await;
    let mut hoarder = running.client().await;
    hoarder.send(format!("POST / HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", 1000 * KIB)).await;
    hoarder.send(vec![b' '; 300 * KIB]).await;
    let call = r#"{"jsonrpc":"2.0","method":"getBlockNumber","params":["group0",""],"id":1}"#;
    let bulk = format!("{}{call}", " ".repeat(200 * KIB));
    let refused =
        until(async || Some(running.client().await.post(&bulk).await).filter(|answer| answer.status != 200)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(running.call("getBlockNumber", positional(json!([]))).await["result"], json!(1));
    let sent = running.call("sendTransaction", positional(json!([wire(&signed(1, 1, 50))]))).await;
    assert!(sent.get("result").is_some(), "{sent}");
    drop(hoarder);
    until(async || (running.client().await.post(&bulk).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn one_byte_chunks_are_held_as_one_body() {
    let running = Running::start(bounded(256 * KIB, 256 * KIB)).await;
    let call = r#"{"jsonrpc":"2.0","method":"getBlockNumber","params":["group0",""],"id":1}"#;
    let body = format!("{}{call}", " ".repeat(200 * KIB));
    let mut client = running.client().await;
    client.send(crate::client::post_chunked(body.as_bytes(), 1)).await;
    assert_eq!(client.response().await.json()["result"], json!(1));
}

#[tokio::test]
async fn answers_have_a_size_they_may_not_exceed_and_a_batch_shares_it() {
    let running = Running::start(bounded(2_000 * KIB, 500 * KIB)).await;
    let single = running.client().await.post(large(1, 300 * KIB).to_string()).await.json();
    let (code, message) = error(&single);
    assert_eq!(code, -32008);
    assert!(message.contains("ask for less at once"), "{message}");

    let batch: Vec<Value> = (0..8).map(|id| large(id, 60 * KIB)).collect();
    let response = running.client().await.post(Value::from(batch).to_string()).await;
    assert!(response.body.len() <= 500 * KIB + 8 * KIB, "{} bytes", response.body.len());
    let answers = response.json();
    let given = answers.as_array().unwrap().iter().filter(|answer| answer.get("result").is_some()).count();
    assert_eq!(given, 4, "4 × 120 KiB of hexadecimal fit");
    assert_eq!(answers.as_array().unwrap().iter().filter(|answer| answer["error"]["code"] == json!(-32008)).count(), 4);
}

#[tokio::test]
async fn answers_in_flight_share_the_budget() {
    let running = Running::start(bounded(16_000 * KIB, 14_000 * KIB)).await;
    let mut deaf = running.client().await;
    deaf.send(post(large(1, 6_900 * KIB).to_string().as_bytes())).await;
    let ask = async |id| running.client().await.post(large(id, 6_900 * KIB).to_string()).await.json();
    deaf.stream.readable().await.expect("its answer begins");
    let refused = ask(2).await;
    assert_eq!(error(&refused).0, -32009, "no room for a second large answer");
    assert!(error(&refused).1.contains("ask again later"));
    assert!(running.client().await.post(large(3, 10 * KIB).to_string()).await.json().get("result").is_some());
    let output = deaf.response().await.json()["result"]["output"].as_str().unwrap().len();
    assert_eq!(output, 2 + 2 * 6_900 * KIB);
    until(async || ask(4).await.get("result").map(drop)).await;
}

#[tokio::test]
async fn a_block_too_large_to_send_says_how_to_get_it() {
    let running = Running::start(bounded(2_000 * KIB, 100 * KIB)).await;
    let mut transaction = signed(1, 1, 50);
    transaction.input = vec![7; 120 * KIB];
    crate::chain::sign(&mut transaction, 1);
    let sent = running.call("sendTransaction", positional(json!([wire(&transaction)]))).await;
    let (code, message) = error(&sent);
    assert_eq!(code, -32008);
    assert!(message.contains("the transaction is committed"), "it must not read like a refusal: {message}");
    let full = running.call("getBlockByNumber", positional(json!([2, false, false]))).await;
    assert!(error(&full).1.contains("onlyTxHash = true"), "{full}");
    let short = running.call("getBlockByNumber", positional(json!([2, false, true]))).await;
    assert_eq!(short["result"]["transactions"].as_array().unwrap().len(), 1);
}
