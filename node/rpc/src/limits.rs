//! Every bound of the server, and the turns that calls wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::ApiError;

const MIB: usize = 1024 * 1024;

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct Params {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Open connections at once; further ones wait in the kernel's queue. A process with few file descriptors takes fewer.
    pub connections_max: usize,
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Calls in one batch.
    pub batch_calls_max: usize,
    /// Bounds that follow from the machine.
    pub bounds: Bounds,
}

/// Bounds that follow from the machine and not from a chain or its applications.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long a request's head may take; an idle connection is closed after the same time.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a client may leave an answer unread. A large answer gets more, by [`WRITE_BYTES_PER_SECOND_MIN`].
    pub write_timeout: Duration,
    /// How long a call waits for its turn before it is told that the server is busy.
    pub turn_timeout: Duration,
    /// How long a stopping server waits for requests under way.
    pub stop_timeout: Duration,
    /// Bytes of request bodies and answers held at once, over all connections.
    pub held_bytes_max: usize,
    /// Bytes of the answer to one request, a batch included.
    pub answer_bytes_max: usize,
    /// Reads of a few rows under way at once.
    pub reads_max: usize,
    /// Executions, and reads of whole blocks, under way at once.
    pub heavy_reads_max: usize,
}

/// A client that reads slower than this is cut off.
pub const WRITE_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            turn_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
            held_bytes_max: 128 * MIB,
            answer_bytes_max: 32 * MIB,
            reads_max: 16,
            heavy_reads_max: 2,
        }
    }
}

/// What a call costs the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A few rows.
    Light,
    /// An execution or a whole block.
    Heavy,
}

/// The turns of all calls. A call that has none yet uses no thread: a client that goes away takes its waiting calls with it.
pub(crate) struct Turns {
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    timeout: Duration,
}

impl Turns {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            light: Arc::new(Semaphore::new(bounds.reads_max)),
            heavy: Arc::new(Semaphore::new(bounds.heavy_reads_max)),
            timeout: bounds.turn_timeout,
        }
    }

    /// Runs `work` on a blocking thread when its turn comes. Heavy work of one request is done one after the other (`own`), so that
    /// a batch does not take the turns of everybody else.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        cost: Cost,
        own: &Semaphore,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let queue = match cost {
            Cost::Light => &self.light,
            Cost::Heavy => &self.heavy,
        };
        let turn = async {
            let own = match cost {
                Cost::Light => None,
                Cost::Heavy => Some(own.acquire().await.expect("semaphores here are never closed")),
            };
            (own, Arc::clone(queue).acquire_owned().await.expect("semaphores here are never closed"))
        };
        let (_own, turn) = tokio::time::timeout(self.timeout, turn).await.map_err(|_| {
            ApiError::Busy(
                "the node is busy with other calls; send this one again, in a smaller batch if it is in one".into(),
            )
        })?;
        // The turn ends with the work, even when nobody waits for its result any more.
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| ApiError::Internal("the call failed inside the node; its log has the reason".into()))
    }
}
