//! From a request body to a response body: envelopes, batches, the method table.

use std::sync::Arc;

use jsonrpsee::core::server::{Extensions, MethodCallback};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params as RawParams};
use jsonrpsee::{ConnectionId as RpcConnectionId, Methods};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use crate::api::ConnectionId;

/// Largest answer to one call, bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Answers a whole request body; `None` when nothing is owed (only notifications).
pub(crate) async fn answer(
    methods: &Methods,
    connection: ConnectionId,
    batch_calls_max: usize,
    body: &[u8],
) -> Option<String> {
    let Some(first) = body.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return Some(error_body(Id::Null, -32700, "the request body is empty; expected a JSON-RPC 2.0 object"));
    };
    if *first != b'[' {
        return answer_one(methods, connection, body).await;
    }
    let calls: Vec<Box<RawValue>> = match serde_json::from_slice(body) {
        Ok(calls) => calls,
        Err(error) => return Some(error_body(Id::Null, -32700, &format!("the batch is not valid JSON: {error}"))),
    };
    if calls.is_empty() {
        return Some(error_body(Id::Null, -32600, "the batch is empty"));
    }
    if calls.len() > batch_calls_max {
        let message = format!("the batch holds {} calls; at most {batch_calls_max} are taken", calls.len());
        return Some(error_body(Id::Null, -32600, &message));
    }
    answer_batch(methods, connection, calls).await
}

/// Runs the calls of a batch side by side: each `sendTransaction` waits for its block.
async fn answer_batch(methods: &Methods, connection: ConnectionId, calls: Vec<Box<RawValue>>) -> Option<String> {
    let mut answers: Vec<Option<String>> = vec![None; calls.len()];
    let mut running = JoinSet::new();
    for (index, call) in calls.into_iter().enumerate() {
        let methods = methods.clone();
        running.spawn(async move { (index, answer_one(&methods, connection, call.get().as_bytes()).await) });
    }
    while let Some(finished) = running.join_next().await {
        let (index, answer) = finished.ok()?;
        answers[index] = answer;
    }
    let owed: Vec<String> = answers.into_iter().flatten().collect();
    (!owed.is_empty()).then(|| format!("[{}]", owed.join(",")))
}

async fn answer_one(methods: &Methods, connection: ConnectionId, body: &[u8]) -> Option<String> {
    let envelope: Envelope<'_> = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            return Some(error_body(Id::Null, -32600, &format!("not a JSON-RPC 2.0 request: {error}")));
        }
        Err(error) => return Some(error_body(Id::Null, -32700, &format!("not valid JSON: {error}"))),
    };
    let notification = envelope.id.is_none();
    let id = envelope.id.unwrap_or(Id::Null).into_owned();
    if envelope.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Some(error_body(id, -32600, "jsonrpc must be \"2.0\""));
    }
    let response = invoke(methods, connection, id, &envelope.method, envelope.params).await;
    (!notification).then_some(response)
}

async fn invoke(
    methods: &Methods,
    connection: ConnectionId,
    id: Id<'static>,
    method: &str,
    params: Option<&RawValue>,
) -> String {
    let mut extensions = Extensions::new();
    extensions.insert(connection);
    let params = RawParams::new(params.map(RawValue::get)).into_owned();
    match methods.method(method) {
        Some(MethodCallback::Async(callback)) => {
            let callback = Arc::clone(callback);
            let connection = RpcConnectionId(connection.0 as usize);
            let response = callback(id, params, connection, RESPONSE_BYTES_MAX, extensions).await;
            response.to_json().get().to_owned()
        }
        Some(MethodCallback::Sync(callback)) => {
            callback(id, params, RESPONSE_BYTES_MAX, extensions).to_json().get().to_owned()
        }
        Some(_) => error_body(id, -32601, &format!("method {method:?} needs a websocket")),
        None => error_body(id, -32601, &format!("method {method:?} is not known here")),
    }
}

fn error_body(id: Id<'_>, code: i32, message: &str) -> String {
    let error = ErrorObjectOwned::owned(code, message, None::<()>);
    serde_json::json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
}
