//! Who is at the other end of a Unix socket, by the word of the kernel (unix(7), `SO_PEERCRED`).

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

/// The process that connected, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number, 0 when it is not of our namespace.
    pub process: i32,
    /// Its effective user.
    pub uid: u32,
}

/// Asks the kernel for the other end.
///
/// # Errors
/// When the socket is not connected.
pub fn of(stream: &UnixStream) -> io::Result<Peer> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut peer).cast();
    // SAFETY: the descriptor is open while `stream` is borrowed, and `peer` has the `bytes` bytes that the kernel may write.
    let done =
        unsafe { libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut bytes) };
    if done == 0 { Ok(Peer { process: peer.pid, uid: peer.uid }) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_ours_is_ours() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = of(&one).unwrap();
        // SAFETY: geteuid takes no argument and cannot fail.
        let uid = unsafe { libc::geteuid() };
        assert_eq!(peer, Peer { process: std::process::id() as i32, uid });
    }
}
