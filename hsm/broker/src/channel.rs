//! The node's end: a [`Channel`] of a few connections, one for each thread that asks.
//!
//! A vote waits for no handshake: connections are taken through a [`Gate`], as calls to the device are. A connection that breaks is
//! made anew and the request sent again, until patience ends: requests may be repeated, since the guard gives the same answer to the
//! same statement. So a worker that dies costs its callers the moment until the next one is there, and nothing else. Where nobody
//! listens, there is no supervisor that would bring a worker back, and the answer comes at once.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::gate::{Gate, Priority};
use bixi_hsm::service::{Channel, ChannelError};
use zeroize::Zeroizing;

use crate::deadline::Until;
use crate::frame::{self, FrameFault};
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
    idle: Mutex<Vec<UnixStream>>,
}

/// A connection, and whether it has carried anything yet.
struct Connection {
    stream: UnixStream,
    is_fresh: bool,
}

impl SocketChannel {
    /// The broker at `path`, which has `patience` for each answer. Nothing is connected before the first request.
    pub fn new(path: impl Into<PathBuf>, patience: Duration) -> Self {
        Self { path: path.into(), patience, gate: Gate::new(CONNECTIONS_MAX), idle: Mutex::default() }
    }

    fn connection(&self) -> io::Result<Connection> {
        let pooled = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match pooled {
            Some(stream) => Ok(Connection { stream, is_fresh: false }),
            None => Ok(Connection { stream: socket::connect(&self.path)?, is_fresh: true }),
        }
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection.stream);
    }

    fn away(&self, reason: impl std::fmt::Display) -> ChannelError {
        ChannelError(format!(
            "no broker at {}: {reason}; is `bixi hsm serve` running? its log says why it ended",
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

fn converse(stream: &UnixStream, request: &[u8], moment: Instant) -> Result<Zeroizing<Vec<u8>>, FrameFault> {
    let mut until = Until::new(stream, moment);
    let sent = frame::write(&mut until, request);
    // Who is refused when it connects finds the connection closed, and the reason in it.
    frame::read(&mut until).or_else(|fault| sent.map_err(FrameFault::Io).and(Err(fault)))
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
            let connection = self.connection().map_err(|error| self.away(error))?;
            match converse(&connection.stream, request, moment) {
                Ok(answer) => {
                    self.keep(connection);
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
