//! From a request body to a response body: envelopes, batches, the method table.
//!
//! JSON-RPC 2.0. A call without `id` is a notification and gets no answer; `"id": null` is a call like any other.

use std::collections::HashMap;
use std::sync::Arc;

use jsonrpsee::core::server::{Extensions, MethodCallback};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params as RawParams};
use jsonrpsee::{ConnectionId as RpcConnectionId, Methods};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use crate::error::quoted;
use crate::request::Request;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INTERNAL_ERROR: i32 = -32603;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    /// Present or not is what tells a call from a notification: `Option` alone would take null for absent.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// One call, free of the body it came in.
struct Call {
    /// `None` for a notification.
    id: Option<Id<'static>>,
    method: String,
    params: RawParams<'static>,
}

/// An element of a batch: a call, or the answer to what is none.
type Element = Result<Call, String>;

/// Answers a whole request body; `None` when nothing is owed (only notifications).
pub(crate) async fn answer(
    methods: &Methods,
    request: &Arc<Request>,
    batch_calls_max: usize,
    body: Vec<u8>,
) -> Option<String> {
    let Some(first) = body.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return Some(error_body(Id::Null, PARSE_ERROR, "the request body is empty; expected a JSON-RPC 2.0 object"));
    };
    if *first != b'[' {
        let call = read_call(&body);
        drop(body);
        return run(methods, request, vec![call]).await.pop();
    }
    let calls = match read_batch(&body, batch_calls_max) {
        Ok(calls) => calls,
        Err(refusal) => return Some(refusal),
    };
    drop(body);
    let owed = run(methods, request, calls).await;
    (!owed.is_empty()).then(|| format!("[{}]", owed.join(",")))
}

fn read_batch(body: &[u8], calls_max: usize) -> Result<Vec<Element>, String> {
    let calls: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|error| error_body(Id::Null, PARSE_ERROR, &format!("the batch is not valid JSON: {error}")))?;
    if calls.is_empty() {
        return Err(error_body(Id::Null, INVALID_REQUEST, "the batch is empty"));
    }
    if calls.len() > calls_max {
        let message = format!("the batch holds {} calls; at most {calls_max} are taken", calls.len());
        return Err(error_body(Id::Null, INVALID_REQUEST, &message));
    }
    Ok(calls.into_iter().map(|call| read_call(call.get().as_bytes())).collect())
}

fn read_call(body: &[u8]) -> Element {
    let envelope = read_envelope(body)?;
    let id = match envelope.id.map(|id| serde_json::from_str::<Id<'_>>(id.get())) {
        None => None,
        Some(Ok(id)) => Some(id.into_owned()),
        Some(Err(_)) => {
            let message = "id must be a string, a whole number from 0, or null";
            return Err(error_body(Id::Null, INVALID_REQUEST, message));
        }
    };
    if envelope.jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(error_body(id.unwrap_or(Id::Null), INVALID_REQUEST, "jsonrpc must be \"2.0\""));
    }
    let params = RawParams::new(envelope.params.map(RawValue::get)).into_owned();
    Ok(Call { id, method: envelope.method.into_owned(), params })
}

/// Serde would also take an array for the envelope, and repeats a string it did not expect in full: only objects reach it.
fn read_envelope(body: &[u8]) -> Result<Envelope<'_>, String> {
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let problem = if is_object {
        match serde_json::from_slice(body) {
            Ok(envelope) => return Ok(envelope),
            Err(error) => error,
        }
    } else {
        match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => return Err(error_body(Id::Null, INVALID_REQUEST, "a JSON-RPC 2.0 request is a JSON object")),
            Err(error) => error,
        }
    };
    Err(if problem.is_data() {
        error_body(Id::Null, INVALID_REQUEST, &format!("not a JSON-RPC 2.0 request: {problem}"))
    } else {
        error_body(Id::Null, PARSE_ERROR, &format!("not valid JSON: {problem}"))
    })
}

/// Runs calls side by side, because each `sendTransaction` waits for its block; the answers stand in the order of the calls.
/// Dropping the future ends the calls that still wait.
async fn run(methods: &Methods, request: &Arc<Request>, calls: Vec<Element>) -> Vec<String> {
    let mut answers: Vec<Option<String>> = vec![None; calls.len()];
    let mut running = JoinSet::new();
    let mut owed = HashMap::new();
    for (index, call) in calls.into_iter().enumerate() {
        match call {
            Ok(call) => {
                let id = call.id.clone();
                let task = running.spawn(invoke(methods.clone(), Arc::clone(request), call));
                owed.insert(task.id(), (index, id));
            }
            Err(refusal) => answers[index] = Some(refusal),
        }
    }
    while let Some(finished) = running.join_next_with_id().await {
        let (task, answer) = match finished {
            Ok((task, answer)) => (task, Some(answer)),
            Err(failed) => (failed.id(), None),
        };
        let Some((index, Some(id))) = owed.remove(&task) else { continue };
        answers[index] = Some(answer.unwrap_or_else(|| {
            error_body(id, INTERNAL_ERROR, "the call failed inside the node; its log has the reason")
        }));
    }
    answers.into_iter().flatten().collect()
}

async fn invoke(methods: Methods, request: Arc<Request>, call: Call) -> String {
    let id = call.id.unwrap_or(Id::Null);
    let Some(MethodCallback::Async(callback)) = methods.method(&call.method) else {
        let message = format!("method {} is not known here", quoted(&call.method));
        return error_body(id, METHOD_NOT_FOUND, &message);
    };
    let connection = RpcConnectionId(request.connection.0 as usize);
    let mut extensions = Extensions::new();
    extensions.insert(request);
    // Answers are bounded before they come here, together with the others of their batch.
    let response = callback(id, call.params, connection, usize::MAX, extensions).await;
    Box::<str>::from(response.into_json()).into_string()
}

fn error_body(id: Id<'_>, code: i32, message: &str) -> String {
    let error = ErrorObjectOwned::owned(code, message, None::<()>);
    serde_json::json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
}
