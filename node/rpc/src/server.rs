//! The HTTP server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use jsonrpsee::Methods;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api::{ConnectionId, NodeApi};
use crate::budget::Budget;
use crate::http::{self, Shared};
use crate::limits::{Params, Turns};
use crate::methods::{self, Node};
use crate::socket::Socket;

/// Bytes that a connection may buffer: the longest head of a request, and what is read ahead of its body.
const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// How long closed connections may take to give their memory back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Of the process's file descriptors, the share that connections may take: the ledger must always find one to write to.
const DESCRIPTORS_SHARE: u64 = 2;

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

/// Starts the server on the current tokio runtime.
pub async fn serve(mut params: Params, api: Arc<dyn NodeApi>) -> Result<Server, ServerError> {
    // An answer that could never be held would be called busy for ever.
    params.bounds.answer_bytes_max = params.bounds.answer_bytes_max.min(params.bounds.held_bytes_max);
    params.connections_max = connections_max(params.connections_max);
    let node = Node { api: Arc::clone(&api), answer_bytes_max: params.bounds.answer_bytes_max };
    let methods: Methods = methods::table(node)?.into();
    let listen_error = |source| ServerError::Listen { address: params.listen, source };
    let listener = TcpListener::bind(params.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let (stop, stopped) = watch::channel(false);
    let (turns, budget) = (Arc::new(Turns::new(&params.bounds)), Budget::new(params.bounds.held_bytes_max));
    let task = tokio::spawn(accept_loop(listener, Arc::new(Shared { api, methods, params, turns, budget }), stopped));
    Ok(Server { address, stop, task })
}

/// Connections that can be held open without starving the rest of the process of file descriptors.
fn connections_max(wanted: usize) -> usize {
    let Some(descriptors) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current else {
        return wanted;
    };
    let most = usize::try_from(descriptors / DESCRIPTORS_SHARE).unwrap_or(usize::MAX).max(1);
    if wanted > most {
        tracing::warn!(
            wanted,
            most,
            descriptors,
            "fewer connections than rpc.connections_max: raise LimitNOFILE (or ulimit -n)"
        );
    }
    wanted.min(most)
}

async fn accept_loop(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let slots_max = shared.params.connections_max;
    let slots = Arc::new(Semaphore::new(slots_max));
    let graceful = GracefulShutdown::new();
    let (abort, aborted) = watch::channel(());
    let next_id = AtomicU64::new(1);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
            _ = stopped.changed() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
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
        spawn_connection(stream, connection, Arc::clone(&shared), &graceful, aborted.clone(), slot);
    }
    drop(listener);
    if tokio::time::timeout(shared.params.bounds.stop_timeout, graceful.shutdown()).await.is_err() {
        tracing::info!("closed connections that were still waiting for an answer");
    }
    drop(abort);
    let all = u32::try_from(slots_max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, slots.acquire_many(all)).await;
}

/// Errors of a connection that ended before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn spawn_connection(
    stream: TcpStream,
    connection: ConnectionId,
    shared: Arc<Shared>,
    graceful: &GracefulShutdown,
    mut aborted: watch::Receiver<()>,
    slot: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let bounds = &shared.params.bounds;
    let socket = Socket::new(stream, bounds.write_timeout);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(CONNECTION_BUFFER_BYTES);
    let service = service_fn(move |request| http::respond(Arc::clone(&shared), connection, request));
    let watched = graceful.watch(builder.serve_connection(socket, service));
    tokio::spawn(async move {
        tokio::select! {
            ended = watched => if let Err(error) = ended {
                tracing::debug!(%error, connection = connection.0, "connection ended early");
            },
            _ = aborted.changed() => {}
        }
        drop(slot);
    });
}
