//! JSON-RPC 2.0 envelopes and batches.

use serde_json::{Value, json};

use crate::chain::{ECHO, PANICS};
use crate::{Running, error, positional};

/// Posts a body and gives the answer.
async fn ask(running: &Running, body: impl AsRef<[u8]>) -> Value {
    let response = running.client().await.post(body).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn request(id: Value, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": ["group0", ""]})
}

#[tokio::test]
async fn every_kind_of_id_comes_back_as_it_was() {
    let running = Running::start(Running::params()).await;
    for id in [json!(0), json!(u64::MAX), json!("a \"quoted\" ü"), json!(""), Value::Null] {
        let answer = ask(&running, request(id.clone(), "getBlockNumber").to_string()).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": 1}));
    }
    for id in [json!(-1), json!(1.5), json!([1]), json!({"a": 1}), json!(true)] {
        let answer = ask(&running, request(id, "getBlockNumber").to_string()).await;
        assert_eq!((error(&answer).0, &answer["id"]), (-32600, &Value::Null));
        assert!(error(&answer).1.starts_with("id must be"), "{answer}");
    }
}

#[tokio::test]
async fn a_call_without_id_is_done_and_not_answered() {
    let running = Running::start(Running::params()).await;
    let call = json!({"jsonrpc": "2.0", "method": "call", "params": positional(json!([ECHO, "0x01"]))});
    let response = running.client().await.post(call.to_string()).await;
    assert_eq!((response.status, response.body.len()), (204, 0));
    assert_eq!(running.chain.executed.load(std::sync::atomic::Ordering::SeqCst), 1);
    let batch = json!([call, call]);
    assert_eq!(running.client().await.post(batch.to_string()).await.status, 204);
}

#[tokio::test]
async fn refuses_what_is_no_request_with_the_code_of_the_standard() {
    let running = Running::start(Running::params()).await;
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"call","params":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let cases: Vec<(Vec<u8>, i64)> = vec![
        (b"".to_vec(), -32700),
        (b" \r\n".to_vec(), -32700),
        (b"{".to_vec(), -32700),
        (b"not json".to_vec(), -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"getBlockNumber"} trailing"#.to_vec(), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec(), -32700),
        (b"[1,".to_vec(), -32700),
        (b"[]".to_vec(), -32600),
        (b"{}".to_vec(), -32600),
        (b"17".to_vec(), -32600),
        (b"\"text\"".to_vec(), -32600),
        (br#"{"id":1,"method":"getBlockNumber"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"getBlockNumber"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":5}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}"#.to_vec(), -32601),
        (br#"{"jsonrpc":"2.0","id":1,"method":"getBlockNumber"}"#.to_vec(), -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"getBlockNumber","params":null}"#.to_vec(), -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"getBlockNumber","params":{"group":"group0"}}"#.to_vec(), -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"getBlockNumber","params":[5]}"#.to_vec(), -32602),
        (deep.into_bytes(), -32602),
    ];
    for (body, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = ask(&running, body).await;
        assert_eq!(error(&answer).0, code, "{shown}: {answer}");
        assert!(!error(&answer).1.is_empty(), "{shown}");
    }
}

#[tokio::test]
async fn errors_do_not_grow_with_what_was_sent() {
    let running = Running::start(Running::params()).await;
    let long = "\\u0001".repeat(100_000);
    for body in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{long}","params":[]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getBlockNumber","params":["{long}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getBlockNumber","params":["group0","{long}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getCode","params":["group0","","{long}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"call","params":["group0","","{ECHO}","{long}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getSystemConfigByKey","params":["group0","","{long}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getNodeListByType","params":["group0","","{long}"]}}"#),
        format!(r#""{long}""#),
        format!(r#"{{"jsonrpc":"{long}","id":1,"method":"getBlockNumber"}}"#),
    ] {
        let response = running.client().await.post(&body).await;
        error(&response.json());
        assert!(response.body.len() < 2_000, "{} bytes answer {:.60}", response.body.len(), body);
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_each_call_by_itself() {
    let running = Running::start(Running::params()).await;
    let batch = json!([
        request(json!("a"), "getBlockNumber"),
        {"jsonrpc": "2.0", "method": "getBlockNumber", "params": ["group0", ""]},
        1,
        ["2.0", "b", "getBlockNumber", ["group0", ""]],
        request(json!("c"), "noSuchMethod"),
        {"jsonrpc": "2.0", "id": "d", "method": "call", "params": ["group0", "", PANICS, "0x"]},
        request(json!("e"), "getPendingTxSize"),
    ]);
    let answers = ask(&running, batch.to_string()).await;
    let told: Vec<(Value, i64)> = answers
        .as_array()
        .expect("a list")
        .iter()
        .map(|answer| (answer["id"].clone(), answer.get("error").map_or(0, |_| error(answer).0)))
        .collect();
    let expected = [
        (json!("a"), 0),
        (Value::Null, -32600),
        (Value::Null, -32600),
        (json!("c"), -32601),
        (json!("d"), -32603),
        (json!("e"), 0),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_batch_has_a_length_it_may_not_exceed() {
    let params = bixi_rpc::Params { batch_calls_max: 3, ..Running::params() };
    let running = Running::start(params).await;
    let batch = |calls| Value::Array(vec![request(json!(1), "getBlockNumber"); calls]).to_string();
    assert_eq!(ask(&running, batch(3)).await.as_array().expect("a list").len(), 3);
    let refused = ask(&running, batch(4)).await;
    assert_eq!(error(&refused), (-32600, "the batch holds 4 calls; at most 3 are taken"));
}

#[tokio::test]
async fn a_mistake_in_a_method_is_an_internal_error_and_the_server_goes_on() {
    let running = Running::start(Running::params()).await;
    let mut client = running.client().await;
    for _ in 0..40 {
        let answer = client.call("call", positional(json!([PANICS, "0x"]))).await;
        assert_eq!(error(&answer).0, -32603);
    }
    let answer = client.call("call", positional(json!([ECHO, "0x0102"]))).await;
    assert_eq!(
        answer["result"],
        json!({"blockNumber": 1, "status": 0, "output": "0x0102"}),
        "its turns were given back"
    );
}
