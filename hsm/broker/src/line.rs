//! The line between supervisor and worker: a socket pair, the worker's standard input. There: the PIN, once. Back: a byte at a time.
//!
//! ```text
//! supervisor ── length (2 bytes, little endian) ‖ PIN ──▶ worker
//!            ◀── BEAT … READY … BEAT …  ──────────────────
//!            ── end of stream: end in order ─────────────▶
//! ```
//!
//! The listening socket is the worker's standard output: both descriptors are inherited by number, by safe means, and by this child
//! alone. A library that prints finds the log there instead, once they are taken.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};

use bixi_platform::credentials::PIN_BYTES_MAX;
use bixi_platform::secret::Secret;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::stdio::{dup2_stdin, dup2_stdout};

use crate::supervisor::BEAT_PERIOD;

/// The worker is alive and no call of its device is late.
pub(crate) const BEAT: u8 = b'.';
/// The worker answers.
pub(crate) const READY: u8 = b'R';

/// The worker's end.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// Takes the line and the listening socket that a supervisor left in standard input and output.
    ///
    /// # Errors
    /// When there are none: this process was not started by a supervisor.
    pub fn inherited() -> io::Result<(Self, UnixListener)> {
        let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let socket = io::stdout().as_fd().try_clone_to_owned()?;
        if !socket_acceptconn(&socket).unwrap_or(false) || line.peer_addr().is_err() {
            let reason = "this command is started by `bixi hsm serve`, which hands it its sockets";
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        // The kernel ends this process with its supervisor's, however that one ended, and however this one hangs.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A supervisor that was halted takes no beats; the heart has calls to watch meanwhile.
        line.set_write_timeout(Some(BEAT_PERIOD))?;
        dup2_stdin(File::open("/dev/null")?)?;
        dup2_stdout(io::stderr())?;
        Ok((Self(line), UnixListener::from(socket)))
    }

    /// The PIN.
    ///
    /// # Errors
    /// When the supervisor ended before it came, or sent what is none.
    pub fn pin(&self) -> io::Result<Secret> {
        let mut length = [0; 2];
        (&self.0).read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        if length == 0 || length > PIN_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a PIN of {length} bytes")));
        }
        let mut pin = Secret::zeroed(length);
        (&self.0).read_exact(pin.as_mut_slice())?;
        Ok(pin)
    }

    /// Says that this process is alive.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn beat(&self) -> io::Result<()> {
        (&self.0).write_all(&[BEAT])
    }

    /// Says that requests are answered.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn ready(&self) -> io::Result<()> {
        (&self.0).write_all(&[READY])
    }

    /// Blocks until the supervisor wants this process to end in order, or is gone.
    pub fn wait_end(&self) {
        let mut byte = [0];
        loop {
            match (&self.0).read(&mut byte) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

/// Hands the PIN over at the supervisor's end.
pub(crate) fn hand_over(line: &UnixStream, pin: &Secret) -> io::Result<()> {
    let length = u16::try_from(pin.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    (&*line).write_all(&length.to_le_bytes())?;
    (&*line).write_all(pin.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_arrives_once_and_beats_come_back() {
        let (supervisor, worker) = UnixStream::pair().unwrap();
        hand_over(&supervisor, &Secret::from_slice(b"648219")).unwrap();
        let line = Line(worker);
        assert_eq!(line.pin().unwrap().as_slice(), b"648219");
        line.beat().unwrap();
        line.ready().unwrap();
        let mut said = [0; 2];
        (&supervisor).read_exact(&mut said).unwrap();
        assert_eq!(said, [BEAT, READY]);
        supervisor.shutdown(std::net::Shutdown::Write).unwrap();
        line.wait_end();
        line.beat().expect("the way back is open until the worker has ended");
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for said in [&[0_u8, 0][..], &[0xFF, 0xFF], &[6, 0, b'1'], &[1]] {
            let (supervisor, worker) = UnixStream::pair().unwrap();
            (&supervisor).write_all(said).unwrap();
            drop(supervisor);
            assert!(Line(worker).pin().is_err(), "{said:?}");
        }
    }
}
