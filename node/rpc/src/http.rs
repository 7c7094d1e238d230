//! From an HTTP request to its response: paths, methods, bodies, statuses.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use jsonrpsee::Methods;

use crate::api::{ConnectionId, NodeApi};
use crate::body::{self, Unread};
use crate::budget::{Account, Budget};
use crate::dispatch;
use crate::limits::{Params, Turns};
use crate::request;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

type Reply = Response<Full<Bytes>>;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) api: Arc<dyn NodeApi>,
    pub(crate) methods: Methods,
    pub(crate) params: Params,
    pub(crate) turns: Arc<Turns>,
    pub(crate) budget: Budget,
}

/// Answers one request. JSON-RPC is taken on every path, as FISCO BCOS does, and whatever its content type: FISCO BCOS's own
/// examples post with curl's default one. hyper leaves out the body of an answer to HEAD.
pub(crate) async fn respond(
    shared: Arc<Shared>,
    connection: ConnectionId,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let is_watched = matches!(request.uri().path(), "/healthz" | "/metrics");
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => health(&shared).await,
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(&shared).await,
        (&Method::POST, _) if !is_watched => json_rpc(&shared, connection, request).await,
        _ if is_watched => with_header(
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n"),
            ALLOW,
            HeaderValue::from_static("GET, HEAD"),
        ),
        _ => with_header(text(StatusCode::METHOD_NOT_ALLOWED, USAGE), ALLOW, HeaderValue::from_static("POST")),
    })
}

const USAGE: &str =
    "POST JSON-RPC 2.0 to /, GET /healthz or /metrics. There is no websocket here: give SDKs the HTTP endpoint.\n";

async fn json_rpc(shared: &Shared, connection: ConnectionId, request: Request<Incoming>) -> Reply {
    let (params, bounds) = (&shared.params, &shared.params.bounds);
    // The body's account lives as long as the calls that were read from it.
    let mut held = shared.budget.account();
    let body = match body::read(request.into_body(), &mut held, params.body_bytes_max, bounds.body_timeout).await {
        Ok(body) => body,
        Err(unread) => return refuse(unread, params.body_bytes_max),
    };
    let answers = shared.budget.account();
    let request =
        Arc::new(request::Request::new(connection, Arc::clone(&shared.turns), answers, bounds.answer_bytes_max));
    let Some(answer) = dispatch::answer(&shared.methods, &request, params.batch_calls_max, body).await else {
        return reply(StatusCode::NO_CONTENT, JSON, Bytes::new());
    };
    let account = Arc::into_inner(request).map(request::Request::into_account);
    reply(StatusCode::OK, JSON, Bytes::from_owner(Sending { answer, _account: account }))
}

/// An answer on its way: what it holds is given back when the last byte is with the kernel.
struct Sending {
    answer: String,
    _account: Option<Account>,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        self.answer.as_bytes()
    }
}

fn refuse(unread: Unread, bytes_max: usize) -> Reply {
    match unread {
        Unread::TooLong => text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {bytes_max} bytes; send less at once, or raise rpc.body_bytes_max\n"),
        ),
        Unread::Busy => with_header(
            text(StatusCode::SERVICE_UNAVAILABLE, "too many large requests at once; send this one again later\n"),
            RETRY_AFTER,
            HeaderValue::from_static("1"),
        ),
        Unread::Late => text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
        Unread::Broken(reason) => text(StatusCode::BAD_REQUEST, format!("the body could not be read: {reason}\n")),
    }
}

async fn health(shared: &Arc<Shared>) -> Reply {
    let api = Arc::clone(&shared.api);
    let Ok((health, height)) = tokio::task::spawn_blocking(move || (api.health(), api.height())).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the health check itself failed\n");
    };
    let faults: Vec<_> = health
        .checks
        .iter()
        .filter_map(|check| Some(serde_json::json!({"component": check.component, "reason": check.fault.as_ref()?})))
        .collect();
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if faults.is_empty() { "OK" } else { "Service Unavailable" };
    let body = serde_json::json!({"status": word, "height": height, "failed_checks": faults});
    reply(status, JSON, body.to_string())
}

async fn metrics(shared: &Arc<Shared>) -> Reply {
    let api = Arc::clone(&shared.api);
    match tokio::task::spawn_blocking(move || api.metrics()).await {
        Ok(metrics) => reply(StatusCode::OK, OPEN_METRICS, metrics),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be read\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, TEXT, body)
}

fn reply(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn with_header(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}
