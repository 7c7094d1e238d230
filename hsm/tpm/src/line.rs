//! The line to a TPM: one command out, one response back, within a deadline.
//!
//! The kernel's device file and swtpm's data socket speak the same: a command is written whole, the response's own header
//! says how long it is. Both are used without blocking and waited for with `poll(2)`. Kernels before 5.0 run the command
//! inside `write` instead, bounded by the driver's own durations.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use zeroize::Zeroizing;

use crate::wire::{MESSAGE_BYTES_MAX, Reader};

/// Bytes of a response's header: tag, length, code.
pub(crate) const HEADER_BYTES: usize = 10;
/// Between two attempts at a socket whose queue of callers is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// Where a TPM is, written as the TPM software stack writes it (TCTI configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A device file, `device:/dev/tpmrm0`. Prefer the resource manager's file (`tpmrm`) to the bare one.
    Device(PathBuf),
    /// The data socket of a swtpm on this host, `swtpm:path=/run/swtpm/socket`.
    Unix(PathBuf),
    /// The same over TCP on this host, `swtpm:host=127.0.0.1,port=2321`.
    Tcp(SocketAddr),
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of a TPM: write device:/dev/tpmrm0, swtpm:path=/absolute/path or swtpm:host=127.0.0.1,port=2321 \
     (a TPM is on this host)"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let absolute = |path: &str| path.starts_with('/').then(|| PathBuf::from(path));
        let tcp = |rest: &str| {
            let (host, port) = rest.split_once(",port=")?;
            let address = SocketAddr::new(host.parse().ok()?, port.parse().ok()?);
            address.ip().is_loopback().then_some(Self::Tcp(address))
        };
        let parsed = if let Some(path) = text.strip_prefix("device:") {
            absolute(path).map(Self::Device)
        } else if let Some(path) = text.strip_prefix("swtpm:path=") {
            absolute(path).map(Self::Unix)
        } else {
            text.strip_prefix("swtpm:host=").and_then(tcp)
        };
        parsed.ok_or_else(|| AddressError(text.chars().take(256).collect()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Unix(path) => write!(f, "swtpm:path={}", path.display()),
            Self::Tcp(address) => write!(f, "swtpm:host={},port={}", address.ip(), address.port()),
        }
    }
}

impl Address {
    /// What lies at a path: a socket is swtpm's, everything else a device file.
    pub fn of_path(path: &Path) -> Self {
        let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket { Self::Unix(path.to_owned()) } else { Self::Device(path.to_owned()) }
    }

    /// Whether a resource manager stands between: what we load is ours alone, and is flushed when the line ends. Elsewhere
    /// a line is shared with whoever comes next, and nothing may stay loaded between two pieces of work.
    pub(crate) fn has_resource_manager(&self) -> bool {
        let Self::Device(path) = self else { return false };
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tpmrm"))
    }

    /// A software TPM answers on a socket.
    pub(crate) fn is_socket(&self) -> bool {
        !matches!(self, Self::Device(_))
    }
}

/// An open line.
#[derive(Debug)]
pub(crate) struct Line {
    file: File,
}

impl Line {
    pub(crate) fn open(address: &Address, deadline: Instant) -> io::Result<Self> {
        let file = match address {
            Address::Device(path) => open_device(path)?,
            Address::Unix(path) => File::from(connect_unix(path, deadline)?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, left(deadline)?)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                File::from(OwnedFd::from(stream))
            }
        };
        Ok(Self { file })
    }

    /// Sends a command and waits for its response. After an error the line is of no use: a late response would be taken for
    /// that of the next command.
    pub(crate) fn exchange(&mut self, command: &[u8], deadline: Instant) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut sent = 0;
        while sent < command.len() {
            sent += self.ready(PollFlags::OUT, deadline, |mut file| file.write(&command[sent..]))?;
        }
        let mut response = Zeroizing::new(vec![0; MESSAGE_BYTES_MAX]);
        let mut got = 0;
        loop {
            match self.ready(PollFlags::IN, deadline, |mut file| file.read(&mut response[got..]))? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the TPM ended the connection")),
                count => got += count,
            }
            let Some(length) = announced(&response[..got])? else { continue };
            if got > length {
                return Err(invalid("more bytes than the response announces"));
            }
            if got == length {
                response.truncate(length);
                return Ok(response);
            }
        }
    }

    /// Runs `work` until it would not block, waiting no longer than `deadline`.
    fn ready<T>(
        &self,
        flags: PollFlags,
        deadline: Instant,
        mut work: impl FnMut(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let wait = Timespec::try_from(left(deadline)?).map_err(|_| timed_out())?;
            match poll(&mut [PollFd::new(&self.file, flags)], Some(&wait)) {
                Ok(0) => return Err(timed_out()),
                Err(error) if error == rustix::io::Errno::INTR => continue,
                other => other?,
            };
            match work(&self.file) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => return result,
            }
        }
    }
}

/// The length a response announces, once its header is there.
fn announced(got: &[u8]) -> io::Result<Option<usize>> {
    if got.len() < HEADER_BYTES {
        return Ok(None);
    }
    let mut reader = Reader::new(&got[2..]);
    let length = reader.u32("length").map_err(io::Error::other)? as usize;
    if (HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
        return Ok(Some(length));
    }
    Err(invalid("a response of an impossible length"))
}

fn open_device(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag is a positive int");
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Connects without blocking: a socket whose queue is full answers `EAGAIN`, which on a Unix socket cannot be polled for.
fn connect_unix(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(error) if error == rustix::io::Errno::AGAIN => {
                left(deadline)?;
                thread::sleep(QUEUE_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
