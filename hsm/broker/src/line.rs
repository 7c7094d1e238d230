//! The line between supervisor and worker: a socket pair, the worker's standard input. There: the PIN, and what the worker goes by,
//! once. Back: a byte at a time.
//!
//! ```text
//! supervisor ── length (2 bytes, little endian) ‖ PIN ──▶ worker
//!            ── length (4 bytes, little endian) ‖ brief ─▶
//!            ◀── BEAT … JUDGING … READY … BEAT … HUNG ────
//!            ── end of stream: end in order ─────────────▶
//! ```
//!
//! The brief is what the supervisor has read and checked: every worker goes by the same, whatever becomes of the files meanwhile.
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

/// Longest brief.
pub const BRIEF_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The worker is alive and no call of its device is late.
pub(crate) const BEAT: u8 = b'.';
/// The same, and the device judges a PIN: to be killed now would count as a try without a verdict.
pub(crate) const JUDGING: u8 = b'P';
/// A call of the device hangs: the worker ends.
pub(crate) const HUNG: u8 = b'H';
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

    /// What this worker goes by; comes after the PIN.
    ///
    /// # Errors
    /// When the supervisor ended before it came, or sent too much.
    pub fn brief(&self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        (&self.0).read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > BRIEF_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a brief of {length} bytes")));
        }
        let mut brief = vec![0; length];
        (&self.0).read_exact(&mut brief)?;
        Ok(brief)
    }

    /// Says that this process is alive, and whether its device judges a PIN.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn beat(&self, is_judging: bool) -> io::Result<()> {
        (&self.0).write_all(&[if is_judging { JUDGING } else { BEAT }])
    }

    /// Says that a call of the device hangs, for which this process is about to end.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn hung(&self) -> io::Result<()> {
        (&self.0).write_all(&[HUNG])
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

/// A brief as it is sent; it may be longer than the line's buffer.
///
/// # Errors
/// When it is too long.
pub(crate) fn framed(brief: &[u8]) -> io::Result<Vec<u8>> {
    if brief.len() > BRIEF_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("a brief of {} bytes", brief.len())));
    }
    Ok([&(brief.len() as u32).to_le_bytes(), brief].concat())
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
        line.beat(false).unwrap();
        line.beat(true).unwrap();
        line.ready().unwrap();
        line.hung().unwrap();
        let mut said = [0; 4];
        (&supervisor).read_exact(&mut said).unwrap();
        assert_eq!(said, [BEAT, JUDGING, READY, HUNG]);
        supervisor.shutdown(std::net::Shutdown::Write).unwrap();
        line.wait_end();
        line.beat(false).expect("the way back is open until the worker has ended");
    }

    #[test]
    fn a_brief_comes_whole_and_no_longer_than_it_may_be() {
        for brief in [vec![], vec![7; 3], vec![9; BRIEF_BYTES_MAX]] {
            let (supervisor, worker) = UnixStream::pair().unwrap();
            let sent = framed(&brief).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| (&supervisor).write_all(&sent).unwrap());
                assert!(Line(worker).brief().unwrap() == brief);
            });
        }
        assert!(framed(&vec![0; BRIEF_BYTES_MAX + 1]).is_err());
        let (supervisor, worker) = UnixStream::pair().unwrap();
        (&supervisor).write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(Line(worker).brief().unwrap_err().kind(), ErrorKind::InvalidData);
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
