//! Limits of time and number: slow clients, too many, too long.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bixi_rpc::{Bounds, Params};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::chain::{ECHO, SLOW};
use crate::client::{PATIENCE, post, post_chunked};
use crate::{Running, error, positional};

/// Short times: the tests wait for them to pass.
const SHORT: Duration = Duration::from_millis(300);

fn bounded(change: impl FnOnce(&mut Bounds)) -> Params {
    let mut params = Running::params();
    change(&mut params.bounds);
    params
}

fn padded(bytes: usize) -> String {
    let call = r#"{"jsonrpc":"2.0","method":"getBlockNumber","params":["group0",""],"id":1}"#;
    format!("{}{call}", " ".repeat(bytes - call.len()))
}

#[tokio::test]
async fn a_body_may_be_as_long_as_allowed_and_no_byte_longer() {
    let running = Running::start(Params { body_bytes_max: 1_000, ..Running::params() }).await;
    for chunk_bytes in [None, Some(100)] {
        let bytes =
            |body: String| chunk_bytes.map_or(post(body.as_bytes()), |size| post_chunked(body.as_bytes(), size));
        let mut client = running.client().await;
        client.send(bytes(padded(1_000))).await;
        assert_eq!(client.response().await.json()["result"], json!(1));
        client.send(bytes(padded(1_001))).await;
        let refused = client.response().await;
        assert_eq!(refused.status, 413);
        assert!(refused.text().contains("longer than 1000 bytes"), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_body_announced_far_too_long_is_refused_before_it_is_sent() {
    let running = Running::start(Params { body_bytes_max: 1_000, ..Running::params() }).await;
    let mut client = running.client().await;
    client.send("POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.response().await.status, 413, "not 100: the client shall not begin");
}

/// Many clients write a whole body before they read: closing on them would destroy the refusal.
#[tokio::test]
async fn a_client_that_writes_before_it_reads_still_gets_the_refusal() {
    let running = Running::start(Params { body_bytes_max: 4 * 1024 * 1024, ..Running::params() }).await;
    for _ in 0..5 {
        let mut client = running.client().await;
        let body = post(padded(8 * 1024 * 1024).as_bytes());
        client.stream.write_all(&body).await.expect("all of it is taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(client.response().await.status, 413);
    }
}

#[tokio::test]
async fn a_head_too_long_or_with_too_many_lines_is_refused() {
    let running = Running::start(Running::params()).await;
    for lines in [format!("X: {}\r\n", "a".repeat(200_000)), "X: y\r\n".repeat(500)] {
        let mut client = running.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: node\r\n{lines}\r\n")).await;
        if let Some(response) = client.read_response(true).await {
            assert_eq!(response.status, 431);
        }
        assert!(client.is_closed_within(PATIENCE).await);
    }
}

#[tokio::test]
async fn slow_and_idle_clients_are_closed() {
    let running = Running::start(bounded(|bounds| (bounds.header_timeout, bounds.body_timeout) = (SHORT, SHORT))).await;
    let mut silent = running.client().await;
    let mut slow_head = running.client().await;
    let mut idle = running.client().await;
    let mut slow_body = running.client().await;
    idle.call("getBlockNumber", positional(json!([]))).await;
    slow_body.send("POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{").await;
    for byte in b"POST / HTTP/1.1" {
        slow_head.send([*byte]).await;
        slow_body.send(b" ").await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(slow_body.response().await.status, 408);
    for client in [&mut silent, &mut slow_head, &mut idle, &mut slow_body] {
        assert!(client.is_closed_within(PATIENCE).await);
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_when_others_end() {
    let mut params = bounded(|bounds| bounds.header_timeout = 10 * SHORT);
    params.connections_max = 2;
    let running = Running::start(params).await;
    let (first, _half_open) = (running.client().await, running.client().await);
    let mut waiting = running.client().await;
    waiting.send(post(padded(200).as_bytes())).await;
    let early = tokio::time::timeout(SHORT / 2, waiting.stream.readable()).await;
    assert!(early.is_err(), "the third connection is not served while two are open");
    drop(first);
    assert_eq!(waiting.response().await.json()["result"], json!(1));
    // Two half-open connections end by their time limit, without a packet from their clients.
    let (_one, _two) = (running.client().await, running.client().await);
    drop(waiting);
    let mut late = running.client().await;
    assert_eq!(late.call("getBlockNumber", positional(json!([]))).await["result"], json!(1));
}

#[tokio::test]
async fn an_answer_nobody_reads_is_given_up() {
    let mut params = bounded(|bounds| bounds.write_timeout = SHORT);
    (params.connections_max, params.body_bytes_max) = (1, 16 * 1024 * 1024);
    let running = Running::start(params).await;
    let mut deaf = running.client().await;
    let data = "ab".repeat(5 * 1024 * 1024);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": positional(json!([ECHO, data]))});
    deaf.send(post(call.to_string().as_bytes())).await;
    let begun = Instant::now();
    let answer = running.call("getBlockNumber", positional(json!([]))).await;
    assert_eq!(answer["result"], json!(1), "the only place was given to the next client");
    assert!(begun.elapsed() >= SHORT, "the deaf client had its time: {:?}", begun.elapsed());
    drop(deaf);
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_reads_gets_everything() {
    let mut params = bounded(|bounds| bounds.write_timeout = 7 * SHORT);
    params.body_bytes_max = 16 * 1024 * 1024;
    let running = Running::start(params).await;
    let mut slow = running.client().await;
    let data = "ab".repeat(4 * 1024 * 1024);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": positional(json!([ECHO, data]))});
    slow.send(post(call.to_string().as_bytes())).await;
    for _ in 0..6 {
        tokio::time::sleep(2 * SHORT).await;
        let mut chunk = vec![0; 256 * 1024];
        let read = tokio::io::AsyncReadExt::read(&mut slow.stream, &mut chunk).await.expect("still open");
        slow.keep(&chunk[..read]);
    }
    let output = slow.response().await.json()["result"]["output"].as_str().expect("output").len();
    assert_eq!(output, 2 + data.len());
}

#[tokio::test]
async fn heavy_calls_wait_their_turn_and_are_told_when_it_takes_too_long() {
    let bounds = |bounds: &mut Bounds| (bounds.heavy_reads_max, bounds.turn_timeout) = (1, SHORT);
    let running = Running::start(bounded(bounds)).await;
    let mut first = running.client().await;
    let slow = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": positional(json!([SLOW, "0x"]))});
    first.send(post(slow.to_string().as_bytes())).await;
    while running.chain.executed.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(running.call("getBlockNumber", positional(json!([]))).await["result"], json!(1));
    let refused = running.call("call", positional(json!([ECHO, "0x"]))).await;
    assert_eq!(error(&refused).0, -32009);
    assert!(error(&refused).1.contains("send this one again"), "{refused}");
    running.chain.let_slow_calls_end();
    assert_eq!(first.response().await.json()["result"]["status"], json!(0));
    assert_eq!(running.call("call", positional(json!([ECHO, "0x"]))).await["result"]["status"], json!(0));
}

#[tokio::test]
async fn calls_of_a_client_that_left_are_not_executed() {
    let running = Running::start(bounded(|bounds| bounds.heavy_reads_max = 1)).await;
    let slow = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": positional(json!([SLOW, "0x"]))});
    let batch = Value::from(vec![slow; 50]).to_string();
    let mut client = running.client().await;
    client.send(post(batch.as_bytes())).await;
    while running.chain.executed.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(client);
    // The server learns of it between two answers to others.
    for _ in 0..20 {
        assert_eq!(running.call("getBlockNumber", positional(json!([]))).await["result"], json!(1));
        tokio::time::sleep(SHORT / 20).await;
    }
    running.chain.let_slow_calls_end();
    assert_eq!(running.call("call", positional(json!([ECHO, "0x"]))).await["result"]["status"], json!(0));
    assert!(running.chain.executed.load(Ordering::SeqCst) <= 3, "what had begun, at most one more, and the last one");
}

#[tokio::test]
async fn one_batch_does_not_take_every_turn() {
    let running = Running::start(bounded(|bounds| bounds.heavy_reads_max = 2)).await;
    let slow = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": positional(json!([SLOW, "0x"]))});
    let mut client = running.client().await;
    client.send(post(Value::from(vec![slow; 10]).to_string().as_bytes())).await;
    while running.chain.executed.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let other = running.call("call", positional(json!([ECHO, "0x"]))).await;
    assert_eq!(other["result"]["status"], json!(0), "another client's call does not wait for the batch");
    running.chain.let_slow_calls_end();
    assert_eq!(client.response().await.json().as_array().map(Vec::len), Some(10));
}
