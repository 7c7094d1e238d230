//! The HTTP server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use jsonrpsee::Methods;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::api::{ConnectionId, NodeApi};
use crate::dispatch;
use crate::methods;

const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct Params {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Open connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Calls in one batch.
    pub batch_calls_max: usize,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; change rpc.listen or stop what uses the port")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// From the kernel.
        source: std::io::Error,
    },
    /// Two methods of one name.
    #[error("method table: {0}")]
    Methods(#[from] jsonrpsee::core::RegisterMethodError),
}

/// A running server; [`Server::stop`] ends it.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests under way finish for a few seconds, closes.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

struct Shared {
    api: Arc<dyn NodeApi>,
    methods: Methods,
    params: Params,
}

/// Starts the server on the current tokio runtime.
pub async fn serve(params: Params, api: Arc<dyn NodeApi>) -> Result<Server, ServerError> {
    let methods: Methods = methods::table(Arc::clone(&api))?.into();
    let listen_error = |source| ServerError::Listen { address: params.listen, source };
    let listener = TcpListener::bind(params.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared { api, methods, params });
    let task = tokio::spawn(accept_loop(listener, shared, stopped));
    Ok(Server { address, stop, task })
}

async fn accept_loop(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(shared.params.connections_max));
    let graceful = GracefulShutdown::new();
    let next_id = AtomicU64::new(1);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
            _ = stopped.changed() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors: waiting is the only cure, and existing clients go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = stopped.changed() => break,
        };
        let connection = ConnectionId(next_id.fetch_add(1, Ordering::Relaxed));
        spawn_connection(stream, connection, Arc::clone(&shared), &graceful, slot);
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::info!("closed connections that were still waiting for an answer");
    }
}

fn spawn_connection(
    stream: TcpStream,
    connection: ConnectionId,
    shared: Arc<Shared>,
    graceful: &GracefulShutdown,
    slot: tokio::sync::OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(Arc::clone(&shared), connection, request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(served);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, connection = connection.0, "connection ended early");
        }
        drop(slot);
    });
}

type Reply = Response<Full<Bytes>>;

async fn respond(
    shared: Arc<Shared>,
    connection: ConnectionId,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => health(&shared).await,
        (&Method::GET, "/metrics") => reply(StatusCode::OK, OPEN_METRICS, shared.api.metrics()),
        // FISCO BCOS's own examples post with curl's default content type, so none is asked for.
        (&Method::POST, _) => json_rpc(&shared, connection, request).await,
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "POST JSON-RPC to /, GET /healthz or GET /metrics\n"),
    })
}

async fn json_rpc(shared: &Shared, connection: ConnectionId, request: Request<Incoming>) -> Reply {
    let limited = Limited::new(request.into_body(), shared.params.body_bytes_max).collect();
    let body = match tokio::time::timeout(BODY_READ_TIMEOUT, limited).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is longer than {} bytes\n", shared.params.body_bytes_max);
            return text(StatusCode::PAYLOAD_TOO_LARGE, message);
        }
        Ok(Err(error)) => return text(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}\n")),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
    };
    match dispatch::answer(&shared.methods, connection, shared.params.batch_calls_max, &body).await {
        Some(answer) => reply(StatusCode::OK, JSON, answer),
        None => reply(StatusCode::NO_CONTENT, JSON, ""),
    }
}

async fn health(shared: &Arc<Shared>) -> Reply {
    let api = Arc::clone(&shared.api);
    let Ok(health) = tokio::task::spawn_blocking(move || api.health()).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the health check itself failed\n");
    };
    let faults: Vec<_> = health
        .checks
        .iter()
        .filter_map(|check| Some(serde_json::json!({"component": check.component, "reason": check.fault.as_ref()?})))
        .collect();
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if faults.is_empty() { "OK" } else { "Service Unavailable" };
    let body = serde_json::json!({"status": word, "height": shared.api.height(), "failed_checks": faults});
    reply(status, JSON, body.to_string())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

fn reply(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
