//! Where a PIN may come from: a file only its owner reads, an open descriptor, a terminal, or the service manager.
//!
//! Never from argv or the environment, which other processes and core dumps can read. A PIN goes straight into a
//! [`Secret`]; one trailing line end is dropped, and length is bounded before anything is kept.

use std::{
    fs, io,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::secret::Secret;

mod terminal;

pub use terminal::{SilentTerminal, put_back_at};

/// Longest PIN accepted.
pub const PIN_BYTES_MAX: usize = 256;

/// Where the service manager puts credentials (systemd.exec, `LoadCredential=`). It names a directory, no secret.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where to read a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A regular file of ours that nobody else may read (0400 or 0600), not a symbolic link.
    File(PathBuf),
    /// A descriptor opened by whoever started us, read to its end and closed.
    Fd(RawFd),
    /// The terminal, without echo.
    Prompt {
        /// What to ask for, such as `PIN of token "consensus"`.
        text: String,
    },
    /// A systemd credential by its name.
    SystemdCredential(String),
    /// Read already, by the process that started this one, and handed over where nobody else can read it.
    Handed(Arc<Secret>),
}

/// Why no PIN was read, or no passphrase, which comes from the same places. None of these says anything about the secret itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The system refused.
    #[error("cannot read the PIN or passphrase from {place}: {source}")]
    Io {
        /// File, descriptor, terminal or credential.
        place: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others could read or replace it.
    #[error("the file {} of a PIN or passphrase is refused: {reason}; make it a regular file with `chown {uid}` and `chmod 0400`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// Who should own it.
        uid: u32,
    },
    /// Nothing was there.
    #[error("the PIN or passphrase from {place} is empty; put it there, with at most one line end after it")]
    Empty {
        /// Where.
        place: String,
    },
    /// Too long to be a PIN.
    #[error("the PIN or passphrase from {place} is longer than {PIN_BYTES_MAX} bytes; is this the right file?")]
    TooLong {
        /// Where.
        place: String,
    },
    /// More than one line, or a NUL.
    #[error("the PIN or passphrase from {place} holds a line end or a NUL inside; write it as one line")]
    NotOneLine {
        /// Where.
        place: String,
    },
    /// Not run by a service manager that passes credentials.
    #[error(
        "no credential directory was passed to this process; set LoadCredential={name}:PATH in the unit, or use \"file:PATH\""
    )]
    NoCredentialDirectory {
        /// The credential.
        name: String,
    },
    /// A name that leaves the directory.
    #[error("`{name}` is not a credential name: no slashes, no `..`")]
    BadName {
        /// As given.
        name: String,
    },
}

impl PinSource {
    /// Reads the PIN.
    ///
    /// # Errors
    /// [`CredentialError`], saying what, where and what to do.
    pub fn read(&self) -> Result<Secret, CredentialError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Fd(fd) => read_fd(*fd),
            Self::Prompt { text } => {
                let place = "the terminal";
                let line = terminal::ask(text).map_err(|source| io_error(place, source))?;
                one_line(line.as_slice(), place)
            }
            Self::SystemdCredential(name) => {
                read_credential(name, std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from).as_deref())
            }
            Self::Handed(pin) => one_line(pin.as_slice(), "the process that started this one"),
        }
    }
}

fn io_error(place: &str, source: io::Error) -> CredentialError {
    CredentialError::Io { place: place.to_owned(), source }
}

/// Opens without following a link, then judges what was opened, not what the name says later.
fn read_file(path: &Path) -> Result<Secret, CredentialError> {
    // SAFETY: geteuid takes no argument and cannot fail.
    let uid = unsafe { libc::geteuid() };
    let place = path.display().to_string();
    let exposed = |reason: String| CredentialError::Exposed { path: path.to_owned(), reason, uid };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ELOOP) => exposed("it is a symbolic link".to_owned()),
            _ => io_error(&place, error),
        }
    })?;
    let metadata = file.metadata().map_err(|error| io_error(&place, error))?;
    if !metadata.is_file() {
        return Err(exposed("it is not a regular file".to_owned()));
    }
    if metadata.uid() != uid {
        return Err(exposed(format!("it belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(exposed(format!("group or others may use it (mode {:04o})", metadata.mode() & 0o7777)));
    }
    read_line(&mut file, &place)
}

fn read_fd(fd: RawFd) -> Result<Secret, CredentialError> {
    let place = format!("descriptor {fd}");
    if fd < 3 {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "pass a descriptor above 2");
        return Err(io_error(&place, reason));
    }
    let mut file = fs::File::from(take_fd(fd).map_err(|error| io_error(&place, error))?);
    read_line(&mut file, &place)
}

/// Moves an inherited descriptor into our hands, so that the PIN cannot be read from it again.
fn take_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer and fails on a closed descriptor.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (checked above) and stays so during the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let ours = borrowed.as_fd().try_clone_to_owned()?;
    // SAFETY: whoever configured this number gave the descriptor to this source; it is used nowhere else.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(ours)
}

fn read_credential(name: &str, directory: Option<&Path>) -> Result<Secret, CredentialError> {
    let mut components = Path::new(name).components();
    if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
        return Err(CredentialError::BadName { name: name.to_owned() });
    }
    let Some(directory) = directory else {
        return Err(CredentialError::NoCredentialDirectory { name: name.to_owned() });
    };
    // The service manager owns the directory and its modes; only the process may enter it.
    let path = directory.join(name);
    let place = format!("credential {}", path.display());
    let mut file = fs::File::open(&path).map_err(|error| io_error(&place, error))?;
    read_line(&mut file, &place)
}

fn read_line(source: &mut impl Read, place: &str) -> Result<Secret, CredentialError> {
    // One byte more than the longest PIN with its line end shows that it is too long.
    let mut room = Secret::zeroed(PIN_BYTES_MAX + 3);
    let mut filled = 0;
    while filled < room.len() {
        match source.read(&mut room.as_mut_slice()[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(place, error)),
        }
    }
    one_line(&room.as_slice()[..filled], place)
}

/// Drops one line end and checks the rest.
fn one_line(bytes: &[u8], place: &str) -> Result<Secret, CredentialError> {
    let place = || place.to_owned();
    let pin = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let pin = pin.strip_suffix(b"\r").unwrap_or(pin);
    if pin.is_empty() {
        return Err(CredentialError::Empty { place: place() });
    }
    if pin.len() > PIN_BYTES_MAX {
        return Err(CredentialError::TooLong { place: place() });
    }
    if pin.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(CredentialError::NotOneLine { place: place() });
    }
    Ok(Secret::from_slice(pin))
}

#[cfg(test)]
mod tests;
