//! Reading the vault's file and replacing it atomically.

use std::io;
use std::path::{Path, PathBuf};

use bixi_accel::sm3;
use bixi_platform::io::{OpenMode, Storage};

use crate::VaultError;
use crate::format::FILE_BYTES_MAX;

/// What must stand at the path before a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing.
    Absent,
    /// The very file this process last saw.
    Seen,
}

/// The whole file, refused when longer than any vault.
pub(crate) fn read(storage: &dyn Storage, path: &Path) -> Result<Vec<u8>, VaultError> {
    read_file(storage, path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => VaultError::Missing { path: path.to_owned() },
        io::ErrorKind::InvalidData => VaultError::Damaged { path: path.to_owned(), reason: error.to_string() },
        _ => VaultError::Storage { path: path.to_owned(), action: "read", error },
    })
}

fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > FILE_BYTES_MAX as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes are more than a vault has")));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Writes a temporary file, syncs it, renames it onto `path` and syncs the directory. Returns SM3 of the new file without its
/// checksum, as the parser reports it.
pub(crate) fn replace(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
    expect: Expect,
    seen: &[u8; 32],
) -> Result<[u8; 32], VaultError> {
    let failed = |action| move |error| VaultError::Storage { path: path.to_owned(), action, error };
    let _held = storage.lock(&beside(path, "lock")).map_err(failed("lock"))?;
    match (expect, storage.exists(path).map_err(failed("look"))?) {
        (Expect::Absent, true) => return Err(VaultError::Exists { path: path.to_owned() }),
        (Expect::Absent, false) => {}
        (Expect::Seen, _) => expect_seen(storage, path, seen)?,
    }
    let temporary = write_temporary(storage, path, bytes)?;
    storage.rename(&temporary, path).map_err(failed("rename"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    storage.sync_dir(directory).map_err(failed("sync directory"))?;
    Ok(checksum(bytes).expect("a printed vault has a checksum"))
}

/// Does what [`replace`] does up to the replacement, with a file of `bytes_max` bytes, and removes that: the file could be replaced.
pub(crate) fn rehearse(
    storage: &dyn Storage,
    path: &Path,
    bytes_max: usize,
    seen: &[u8; 32],
) -> Result<(), VaultError> {
    let failed = |action| move |error| VaultError::Storage { path: path.to_owned(), action, error };
    let _held = storage.lock(&beside(path, "lock")).map_err(failed("lock"))?;
    expect_seen(storage, path, seen)?;
    let temporary = write_temporary(storage, path, &vec![0; bytes_max])?;
    storage.remove(&temporary).map_err(failed("remove a file beside it"))
}

fn expect_seen(storage: &dyn Storage, path: &Path, seen: &[u8; 32]) -> Result<(), VaultError> {
    match checksum(&read(storage, path)?) == Some(*seen) {
        true => Ok(()),
        false => Err(VaultError::Stale { path: path.to_owned() }),
    }
}

/// A durable file beside the vault, which takes its place next.
fn write_temporary(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<PathBuf, VaultError> {
    let failed = |action| move |error| VaultError::Storage { path: path.to_owned(), action, error };
    let temporary = beside(path, "tmp");
    let file = storage.open(&temporary, OpenMode::Truncate).map_err(failed("create"))?;
    file.write_at(0, bytes).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    Ok(temporary)
}

/// SM3 over everything but the last 32 bytes.
fn checksum(bytes: &[u8]) -> Option<[u8; 32]> {
    let (content, _) = bytes.split_last_chunk::<32>()?;
    Some(sm3::digest(content))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
