//! The broker of a node: what its supervisor starts with, and the worker ([`work`]), which holds device, guard and audit trail in a
//! process of its own.
//!
//! Of several brokers of one node one gets past [`claim`], which comes before the socket is touched and the PIN is read.

mod door;
mod heart;
mod worker;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bixi_hsm_broker::socket;
pub use bixi_hsm_broker::supervisor::{End, Pace, Params, Statuses, Told, supervise};
use bixi_platform::credentials::CredentialError;
use bixi_platform::secret::Secret;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::settings::Settings;
pub use worker::{Handed, brief, work};

/// Held by the broker of a node, in its data directory.
const LOCK: &str = "broker.lock";

/// The right to be the broker of a node, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Claimed(File);

impl Claimed {
    /// Has the workers hold the lock, too, until the last of them is gone: one that waits for its device in the kernel keeps its successor
    /// away however its supervisor ended. To be told the worker by number; this process must start nothing else.
    ///
    /// # Errors
    /// The system's.
    pub fn shared_with_children(&self) -> io::Result<RawFd> {
        fcntl_setfd(&self.0, FdFlags::empty())?;
        Ok(self.0.as_raw_fd())
    }
}

/// Makes this process the broker of a node.
///
/// # Errors
/// When another one is, or the data directory cannot be written.
pub fn claim(settings: &Settings) -> io::Result<Claimed> {
    claim_at(&settings.data(LOCK))
}

fn claim_at(path: &Path) -> io::Result<Claimed> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = opened.map_err(named)?;
    match file.try_lock() {
        Ok(()) => Ok(Claimed(file)),
        Err(TryLockError::Error(error)) => Err(named(error)),
        Err(TryLockError::WouldBlock) => {
            let reason = format!(
                "another `bixi hsm serve` of this node runs, or a worker of one that ended is left; it holds {}",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::AddrInUse, reason))
        }
    }
}

/// The name of a socket that was made here; removed when dropped, so that nobody knocks in vain. A name that leads to another socket by
/// then is somebody else's.
#[derive(Debug)]
pub struct MadeSocket {
    path: PathBuf,
    identity: (u64, u64),
}

impl MadeSocket {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { identity: identity(path)?, path: path.to_owned() })
    }
}

/// What a name leads to: device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for MadeSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The socket that callers of this node's broker use: the service manager's, if it opened one, else made here. Another user than one's
/// own can reach one made here if this process may give it away.
///
/// # Errors
/// When `hsm.broker` is not set, or the socket cannot be had.
pub fn listen(_: &Claimed, settings: &Settings, served_uid: u32) -> io::Result<(UnixListener, Option<MadeSocket>)> {
    if let Some(inherited) = bixi_platform::inherited::unix_listener()? {
        return Ok((inherited, None));
    }
    let path = settings.broker().ok_or_else(|| {
        let reason = "hsm.broker is not set: name the socket there, such as \"broker.sock\"";
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    })?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("hsm.broker {}: {error}", path.display()));
    let listener = socket::listen(&path).map_err(named)?;
    let made = MadeSocket::at(&path).map_err(named)?;
    if served_uid != own_uid() {
        std::os::unix::fs::lchown(&path, Some(served_uid), None).map_err(named)?;
    }
    Ok((listener, Some(made)))
}

/// The user this process runs as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Reads the PIN of the node's device, once.
///
/// # Errors
/// When there is none where the node file says.
pub fn read_pin(_: &Claimed, settings: &Settings) -> Result<Secret, CredentialError> {
    settings.pin().read()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a worker that nothing ends, and whose supervisor was ended.
    #[test]
    fn a_worker_that_is_left_keeps_the_next_broker_away() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOCK);
        let claimed = claim_at(&path).unwrap();
        // What is started before that does not have it.
        let mut stranger = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        claimed.shared_with_children().unwrap();
        let mut worker = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        drop(claimed);
        assert_eq!(claim_at(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        worker.kill().unwrap();
        worker.wait().unwrap();
        claim_at(&path).unwrap();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_socket_that_is_somebody_elses_by_now_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("broker.sock");
        let (_ours, made) = (socket::listen(&path).unwrap(), MadeSocket::at(&path).unwrap());
        // Beside it, so that it cannot have the inode that became free.
        let theirs = place.path().join("another.sock");
        let _theirs = socket::listen(&theirs).unwrap();
        fs::rename(&theirs, &path).unwrap();
        drop(made);
        assert!(path.exists());
        drop(MadeSocket::at(&path).unwrap());
        assert!(!path.exists());
    }
}
