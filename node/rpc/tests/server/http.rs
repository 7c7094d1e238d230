//! HTTP: paths, methods, framing, connections that stay open.

use serde_json::json;

use crate::client::{PATIENCE, post, post_chunked};
use crate::{Running, positional};

const CALL: &str = r#"{"jsonrpc":"2.0","method":"getBlockNumber","params":["group0","node0"],"id":1}"#;

#[tokio::test]
async fn answers_without_content_type_on_any_path_and_to_http_1_0() {
    let running = Running::start(Running::params()).await;
    for head in ["POST / HTTP/1.1\r\nHost: node", "POST /rpc/v1 HTTP/1.1\r\nHost: node", "POST / HTTP/1.0"] {
        let mut client = running.client().await;
        client.send(format!("{head}\r\nContent-Length: {}\r\n\r\n{CALL}", CALL.len())).await;
        let response = client.response().await;
        assert_eq!(response.status, 200, "{head}");
        assert_eq!(response.json(), json!({"jsonrpc": "2.0", "id": 1, "result": 1}));
        if head.ends_with("1.0") {
            assert!(client.is_closed_within(PATIENCE).await, "HTTP/1.0 ends the connection");
        } else {
            assert_eq!(client.call("getBlockNumber", positional(json!([]))).await["result"], json!(1), "1.1 keeps it");
        }
    }
}

#[tokio::test]
async fn answers_pipelined_requests_in_order_on_one_connection() {
    let running = Running::start(Running::params()).await;
    let mut client = running.client().await;
    let requests = |range: std::ops::Range<u32>| {
        range.flat_map(|id| post(CALL.replace(r#""id":1"#, &format!(r#""id":{id}"#)).as_bytes())).collect::<Vec<u8>>()
    };
    client.send(requests(0..50)).await;
    for id in 0..50 {
        assert_eq!(client.response().await.json()["id"], json!(id));
    }
    client.send(requests(50..51)).await;
    assert_eq!(client.response().await.json()["id"], json!(50));
}

#[tokio::test]
async fn takes_bodies_in_chunks_of_any_size() {
    let running = Running::start(Running::params()).await;
    let mut client = running.client().await;
    for chunk_bytes in [1, 7, CALL.len()] {
        client.send(post_chunked(CALL.as_bytes(), chunk_bytes)).await;
        assert_eq!(client.response().await.json()["result"], json!(1), "chunks of {chunk_bytes} bytes");
    }
}

#[tokio::test]
async fn health_and_metrics_take_get_and_head() {
    let running = Running::start(Running::params()).await;
    let mut client = running.client().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    let health = client.response().await;
    assert_eq!((health.status, health.json()), (200, json!({"status": "OK", "height": 1, "failed_checks": []})));
    client.send("GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").await;
    let metrics = client.response().await;
    assert_eq!(metrics.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(metrics.text().ends_with("# EOF\n"));
    client.send("HEAD /healthz HTTP/1.1\r\nHost: node\r\n\r\nGET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(client.head_response().await.status, 200);
    assert_eq!(client.response().await.status, 200, "HEAD has no body, the next response follows");
}

#[tokio::test]
async fn health_names_the_fault_with_503() {
    let running = Running::start(Running::params()).await;
    *running.chain.fault.lock().unwrap() = Some("token removed; insert it".into());
    let mut client = running.client().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    let response = client.response().await;
    let failed = json!([{"component": "device", "reason": "token removed; insert it"}]);
    assert_eq!(response.status, 503);
    assert_eq!(response.json(), json!({"status": "Service Unavailable", "height": 1, "failed_checks": failed}));
}

#[tokio::test]
async fn other_methods_are_405_and_name_the_right_one() {
    let running = Running::start(Running::params()).await;
    for (request, allowed) in [
        ("GET / HTTP/1.1", "POST"),
        ("GET /favicon.ico HTTP/1.1", "POST"),
        ("OPTIONS / HTTP/1.1", "POST"),
        ("DELETE /metrics HTTP/1.1", "GET, HEAD"),
        ("POST /healthz HTTP/1.1", "GET, HEAD"),
    ] {
        let mut client = running.client().await;
        client.send(format!("{request}\r\nHost: node\r\nContent-Length: 0\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{request}");
    }
    let mut client = running.client().await;
    client.send("GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
    assert!(client.response().await.text().contains("no websocket"), "an SDK's author learns why it does not connect");
}

#[tokio::test]
async fn rubbish_ends_its_own_connection_only() {
    let running = Running::start(Running::params()).await;
    let client_hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[0xa5; 200]].concat();
    for rubbish in [
        client_hello.as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 18446744073709551617\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut client = running.client().await;
        client.send(rubbish).await;
        if let Some(response) = client.read_response(true).await {
            assert_eq!(response.status, 400, "{}", String::from_utf8_lossy(rubbish));
        }
        assert!(client.is_closed_within(PATIENCE).await, "{}", String::from_utf8_lossy(rubbish));
    }
    assert_eq!(running.call("getBlockNumber", positional(json!([]))).await["result"], json!(1));
}
