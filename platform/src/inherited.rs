//! The socket that a service manager opened for this process: `sd_listen_fds(3)`, without its library.
//!
//! A manager that holds the socket keeps callers waiting, instead of refusing them, while the service is started again.

use std::env::{self, VarError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

/// First descriptor that a manager hands over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The listening Unix stream socket in descriptor 3, when `LISTEN_PID` names this process and `LISTEN_FDS` is 1; `None` when there is
/// no manager. It can be had once, and is closed when this process executes another program.
///
/// # Errors
/// When more than one descriptor was handed over, when it is no such socket, or when it was taken before.
pub fn unix_listener() -> io::Result<Option<UnixListener>> {
    match handed(env::var("LISTEN_PID"), env::var("LISTEN_FDS"), std::process::id()) {
        0 => Ok(None),
        1 => take(FIRST).map(Some),
        count => {
            let reason = format!("LISTEN_FDS={count}: one socket is expected; set one ListenStream in the unit");
            Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
        }
    }
}

/// How many descriptors were handed to process `us`.
fn handed(process: Result<String, VarError>, count: Result<String, VarError>, us: u32) -> u32 {
    let number = |text: Result<String, VarError>| text.ok().and_then(|text| text.parse::<u32>().ok());
    if number(process) == Some(us) { number(count).unwrap_or(0) } else { 0 }
}

fn take(descriptor: RawFd) -> io::Result<UnixListener> {
    if !is_listening(descriptor)? {
        let reason =
            format!("descriptor {descriptor} is not a listening Unix stream socket; set ListenStream to a path");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("the socket of the service manager is in use already"));
    }
    // SAFETY: the descriptor is open (asked above), the manager gave it to this process for this use, and `TAKEN` lets one owner
    // be made.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    keep_from_programs(socket.as_raw_fd())?;
    Ok(UnixListener::from(socket))
}

/// Has an inherited descriptor closed in every program that this process starts. The descriptor stays open and whoever's it is.
///
/// # Errors
/// When there is no such descriptor.
pub fn keep_from_programs(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer and changes no memory; a descriptor that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn is_listening(descriptor: RawFd) -> io::Result<bool> {
    Ok(option(descriptor, libc::SO_DOMAIN)? == libc::AF_UNIX
        && option(descriptor, libc::SO_TYPE)? == libc::SOCK_STREAM
        && option(descriptor, libc::SO_ACCEPTCONN)? != 0)
}

fn option(descriptor: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` has the `bytes` bytes that the kernel may write; a descriptor that is no socket is an error.
    let done = unsafe { libc::getsockopt(descriptor, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut bytes) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn descriptors_for_another_process_are_not_ours() {
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(handed(text("7"), text("1"), 7), 1);
        assert_eq!(handed(text("8"), text("1"), 7), 0);
        assert_eq!(handed(Err(VarError::NotPresent), text("1"), 7), 0);
        assert_eq!(handed(text("7"), text("many"), 7), 0);
    }

    #[test]
    fn a_listening_stream_socket_is_taken_once_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        let datagram = UnixDatagram::bind(place.path().join("datagram")).unwrap();
        for other in [stream.as_raw_fd(), datagram.as_raw_fd()] {
            assert_eq!(take(other).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let ours = take(listener.into_raw_fd()).unwrap();
        let _caller = UnixStream::connect(&path).unwrap();
        ours.accept().unwrap();
        assert!(take(ours.as_raw_fd()).is_err(), "one owner");
    }
}
