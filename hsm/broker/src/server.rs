//! The worker's end: takes connections, has every frame answered, ends who breaks a bound.
//!
//! ```text
//! accept ─ one user only ─ a place among connections_max ─▶ thread: [ frame in time ─ Handler::answer ─ answer in time ]*
//! ```
//!
//! Of a caller who is refused the reason is logged, and sent as the last frame.

mod connection;
#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::protocol::{Message as _, Refusal, Response};
use bixi_hsm::service::SigningService;
use bixi_hsm::{Cause, DeviceError};
use bixi_platform::peer::{self, Peer};
use bixi_platform::placement::Role;
use bixi_platform::threads::Spawner;
use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

use crate::deadline::Timed;

/// Answers frames.
pub trait Handler: Send + Sync {
    /// Waits until frames can be answered; the refusal of one for which that takes too long. Whoever hangs up meanwhile has asked nothing.
    ///
    /// # Errors
    /// What the caller is told; the connection stays.
    fn attend(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// The answer to one frame.
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>>;

    /// The last frame of a caller who is refused, in the language that is spoken here.
    fn refusal(&self, refusal: Refusal) -> Zeroizing<Vec<u8>> {
        Response::Refused(refusal).encode()
    }

    /// Nobody is taken any more, for a reason that is no stop: callers wait in a queue that nobody looks at.
    fn unattended(&self, reason: &str) {
        tracing::error!(reason, "nobody is served any more");
    }
}

/// A service that is there from the start.
impl Handler for SigningService {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        self.handle_frame(frame)
    }
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The user that is served (unix(7), `SO_PEERCRED`).
    pub uid: u32,
    /// Connections at once, each with a thread.
    pub connections_max: usize,
    /// How long a connection may be silent between two frames.
    pub idle: Duration,
    /// How long a frame may take from its first byte to its last, and an answer to be taken.
    pub frame: Duration,
}

impl Params {
    /// The usual bounds, for one user.
    pub fn for_user(uid: u32) -> Self {
        Self { uid, connections_max: 64, idle: Duration::from_secs(300), frame: Duration::from_secs(5) }
    }
}

/// A running server. Dropped, it takes no more connections.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// Its end is what the accepting thread waits for besides callers.
    _open: UnixStream,
}

struct Shared {
    params: Params,
    handler: Arc<dyn Handler>,
    open: Mutex<Open>,
    changed: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("params", &self.params).field("open", &self.open).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Open {
    connections: usize,
    answering: usize,
    is_closing: bool,
}

impl Server {
    /// Serves callers of `listener` on threads of `spawner`.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub fn start(
        listener: UnixListener,
        spawner: &Spawner,
        params: Params,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        // The next worker sets it, too: it belongs to the socket, which they share one after the other.
        listener.set_nonblocking(true)?;
        let (open, ended) = UnixStream::pair()?;
        let shared = Arc::new(Shared { params, handler, open: Mutex::default(), changed: Condvar::new() });
        let (accepting, threads) = (Arc::clone(&shared), spawner.clone());
        spawner.spawn(Role::Other, "broker-accept", move || {
            let attended = Attended(&accepting);
            if accepting.accept_all(&listener, &ended, &threads) {
                std::mem::forget(attended);
            }
        })?;
        Ok(Self { shared, _open: open })
    }

    /// Takes no further request and waits for the answers under way, no longer than `patience`; whether all were given.
    pub fn stop(self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut open = self.shared.open();
        open.is_closing = true;
        while open.answering > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            open = self.shared.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes callers until the server ends, which is `true`.
    fn accept_all(self: &Arc<Self>, listener: &UnixListener, ended: &UnixStream, spawner: &Spawner) -> bool {
        loop {
            let mut waited = [PollFd::new(listener, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
            match poll(&mut waited, None) {
                Ok(_) if !waited[1].revents().is_empty() => return true,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "callers cannot be waited for");
                    return false;
                }
            }
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, spawner),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    tracing::warn!(%error, "a caller could not be taken");
                    // Out of descriptors, most likely: the caller is still there, and would be met again at once.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream, spawner: &Spawner) {
        if let Err(refusal) = self.judge(&stream) {
            tracing::warn!(%refusal, "a caller is refused");
            return connection::refuse(self, &Timed::new(stream), refusal);
        }
        let (taken, stream) = (Taken(Arc::clone(self)), Timed::new(stream));
        let spawned = spawner.spawn(Role::Other, "broker-serve", move || {
            connection::serve(&taken.0, &stream);
            drop(taken);
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a caller");
        }
    }

    /// Whether the caller is served; it has a place among the connections then.
    fn judge(&self, stream: &UnixStream) -> Result<(), Refusal> {
        let unusable = |error: io::Error| Refusal::Connection(error.to_string());
        stream.set_nonblocking(false).map_err(unusable)?;
        let Peer { process, uid } = peer::of(stream).map_err(unusable)?;
        let served = self.params.uid;
        if uid != served {
            return Err(Refusal::Connection(format!(
                "process {process} of user {uid} asks; user {served} is served here"
            )));
        }
        let mut open = self.open();
        if open.connections >= self.params.connections_max {
            let message = format!("{} connections are open, as many as there may be", open.connections);
            return Err(DeviceError::new("broker", Cause::Busy, message).into());
        }
        open.connections += 1;
        Ok(())
    }
}

/// Tells when the accepting thread ends, also by a panic; forgotten when that is a stop.
struct Attended<'a>(&'a Arc<Shared>);

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.handler.unattended("the thread that takes callers has ended");
    }
}

/// A place among the connections, free again when dropped.
struct Taken(Arc<Shared>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.open().connections -= 1;
    }
}
