//! The socket's name in the file system: made, found, and as long as it may be.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Callers that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Longest path an address holds (unix(7), `sun_path` without its NUL).
const ADDRESS_BYTES_MAX: usize = 107;
/// Between two looks at a queue that is full.
const PAUSE: Duration = Duration::from_millis(5);

/// Makes the socket, mode 0600. One that was left behind, with nobody listening, gives way.
///
/// # Errors
/// When somebody listens there, when something else is there, or when the directory cannot be written. Of two that come to one socket at
/// the same moment both may be let through: whoever listens for a node holds that node's lock.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let reason = format!("{} is there and is no socket; name another path", path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, reason));
        }
        Ok(_) if is_heard(path) => {
            let reason = format!("somebody listens at {} already; one signing service serves a node", path.display());
            return Err(io::Error::new(ErrorKind::AddrInUse, reason));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Address::of(path)?.with(bind)
}

/// Who may connect is asked of every caller; the mode keeps others from taking places in the queue. The socket has it before it has a
/// name, which Linux makes with the socket's own mode: by its name another file could be meant by then.
fn bind(address: &Path) -> io::Result<UnixListener> {
    let socket = File::from(net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?);
    socket.set_permissions(Permissions::from_mode(0o600))?;
    net::bind(&socket, &SocketAddrUnix::new(address)?)?;
    net::listen(&socket, BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// Whether somebody listens there, also one whose queue is full.
fn is_heard(path: &Path) -> bool {
    match connect(path, Duration::ZERO) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::TimedOut,
    }
}

/// Connects to the socket. A queue that is full is waited for no longer than `patience`.
///
/// # Errors
/// When nobody listens there, at once; `TimedOut` when the queue stays full.
pub fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let began = Instant::now();
    let stream = Address::of(path)?.with(|address| {
        let address = SocketAddrUnix::new(address)?;
        // Nothing tells when a place is free: a socket that would block says so, and is not connected later (connect(2), EAGAIN).
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        loop {
            match net::connect(&socket, &address) {
                Ok(()) => return Ok(UnixStream::from(socket)),
                Err(Errno::AGAIN) if began.elapsed() < patience => sleep(PAUSE),
                Err(Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A path short enough for an address; a longer one is reached through its directory's descriptor.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a socket has a name in a directory"));
        };
        let directory = File::open(parent)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    fn with<T>(&self, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        act(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that comes takes longer, on whatever machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_socket_left_behind_gives_way_and_one_in_use_does_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        drop(listen(&path).unwrap());
        assert!(connect(&path, PATIENCE).is_err(), "its file is left, and nobody listens");
        let listener = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        connect(&path, PATIENCE).unwrap();
        drop(listener);
    }

    #[test]
    fn a_queue_that_is_full_is_not_waited_for_for_ever_and_is_somebodys() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        let listener = listen(&path).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match connect(&path, Duration::from_millis(20)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut, "after {} callers", waiting.len());
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        std::thread::scope(|scope| {
            let late = scope.spawn(|| connect(&path, PATIENCE));
            listener.accept().unwrap();
            late.join().unwrap().expect("a place came free");
        });
    }

    #[test]
    fn what_is_no_socket_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    }

    #[test]
    fn a_path_longer_than_an_address_is_reached() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("broker.sock");
        let listener = listen(&path).unwrap();
        connect(&path, PATIENCE).unwrap();
        listener.accept().unwrap();
        assert!(path.exists());
    }
}
