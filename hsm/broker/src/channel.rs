//! The node's end: a [`Channel`] of a few connections, one for each thread that asks.
//!
//! A vote waits for no handshake: connections are taken through a [`Gate`], as calls to the device are. A connection that breaks is
//! made anew and the request sent again, until patience ends: requests may be repeated, since the guard gives the same answer to the
//! same statement. So a worker that dies costs its callers the moment until the next one is there, and nothing else. Where nobody
//! listens, there is no supervisor that would bring a worker back, and the answer comes at once.
//!
//! Who answers is asked of the kernel, too: whoever can write the socket's directory could put a socket of his own there.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::gate::{Gate, Priority};
use bixi_hsm::service::{Channel, ChannelError};
use bixi_platform::peer;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::deadline::Timed;
use crate::frame::{self, FrameFault, Inbox};
use crate::socket;

/// Connections of one node: a statement, its keeping, and a quarter for handshakes.
pub const CONNECTIONS_MAX: usize = 16;
/// Between two attempts on connections that were fresh.
const PAUSE: Duration = Duration::from_millis(20);

/// A way to the broker at a socket.
#[derive(Debug)]
pub struct SocketChannel {
    path: PathBuf,
    patience: Duration,
    gate: Gate,
    /// Users whose processes are believed.
    believed: Vec<u32>,
    idle: Mutex<Vec<Connection>>,
}

/// A connection, and whether it has carried anything yet.
#[derive(Debug)]
struct Connection {
    stream: Timed,
    inbox: Inbox,
    is_fresh: bool,
}

impl SocketChannel {
    /// The broker at `path`, which has `patience` for each answer. Nothing is connected before the first request. Whoever listens there
    /// is this process's own user or root; see [`Self::believing`].
    pub fn new(path: impl Into<PathBuf>, patience: Duration) -> Self {
        let (gate, believed) = (Gate::new(CONNECTIONS_MAX), vec![geteuid().as_raw(), 0]);
        Self { path: path.into(), patience, gate, believed, idle: Mutex::default() }
    }

    /// Believes processes of one more user.
    pub fn believing(mut self, uid: u32) -> Self {
        self.believed.push(uid);
        self
    }

    fn connection(&self, patience: Duration) -> io::Result<Connection> {
        let pooled = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match pooled {
            Some(connection) => Ok(connection),
            None => {
                let stream = socket::connect(&self.path, patience)?;
                self.judge(&stream)?;
                Ok(Connection { stream: Timed::new(stream), inbox: Inbox::default(), is_fresh: true })
            }
        }
    }

    /// Whether the one who listens is believed (unix(7), `SO_PEERCRED`: of a connected socket, whoever called listen(2)).
    fn judge(&self, stream: &UnixStream) -> io::Result<()> {
        let owner = peer::of(stream)?;
        if self.believed.contains(&owner.uid) {
            return Ok(());
        }
        let (process, uid) = (owner.process, owner.uid);
        let reason = format!(
            "process {process} of user {uid} listens there, who is neither this process's user nor root; if the broker is to run as that user, say hsm.broker_uid = {uid}"
        );
        Err(io::Error::new(ErrorKind::PermissionDenied, reason))
    }

    fn keep(&self, connection: Connection) {
        let kept = Connection { is_fresh: false, ..connection };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }

    fn away(&self, reason: impl std::fmt::Display) -> ChannelError {
        ChannelError(format!(
            "no broker is reached at {}: {reason}; is `bixi hsm serve` running, and for this user? its log says why it ended",
            self.path.display()
        ))
    }

    fn unanswered(&self, reason: impl std::fmt::Display) -> ChannelError {
        ChannelError(format!(
            "no answer from the broker at {} in {} ms: {reason}; its log says what it waits for",
            self.path.display(),
            self.patience.as_millis()
        ))
    }
}

impl Connection {
    fn converse(&mut self, request: &[u8], moment: Instant) -> Result<Zeroizing<Vec<u8>>, FrameFault> {
        let mut until = self.stream.until(moment);
        let sent = frame::write(&mut until, request);
        // Who is refused when it connects finds the connection closed, and the reason in it.
        self.inbox.frame(&mut until).or_else(|fault| sent.map_err(FrameFault::Io).and(Err(fault)))
    }
}

/// Whether the other end is gone; the same request on another connection may do better.
fn is_broken(fault: &FrameFault) -> bool {
    matches!(fault, FrameFault::Io(error) if error.kind() != ErrorKind::TimedOut)
}

impl Channel for SocketChannel {
    fn exchange(&self, request: &[u8], priority: Priority) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let moment = Instant::now() + self.patience;
        let place = self.gate.enter(priority, self.patience);
        let _place = place.ok_or_else(|| self.unanswered(format!("{CONNECTIONS_MAX} requests are waiting already")))?;
        loop {
            let mut connection = match self.connection(moment.saturating_duration_since(Instant::now())) {
                Ok(connection) => connection,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(self.unanswered("its queue is full of callers that wait"));
                }
                Err(error) => return Err(self.away(error)),
            };
            match connection.converse(request, moment) {
                Ok(answer) => {
                    // One that sends more than it was asked for is not asked again.
                    if connection.inbox.is_empty() {
                        self.keep(connection);
                    }
                    return Ok(answer);
                }
                Err(fault) if is_broken(&fault) && Instant::now() < moment => {
                    tracing::debug!(%fault, "the connection to the broker broke; asking again");
                    // One that was kept may have ended long ago: that says nothing of the broker.
                    if connection.is_fresh {
                        std::thread::sleep(PAUSE);
                    }
                }
                // An answer that comes late is not taken for the next one: the connection ends here.
                Err(fault) => return Err(self.unanswered(fault)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
