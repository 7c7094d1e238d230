//! Small files that must be readable before anyone logs in: magic, kind, body and an SM3 checksum.
//!
//! The checksum finds damage, not intent: what matters is authenticated again under the master key at login.
//! A file is replaced as a whole: temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::StoreError;

const MAGIC: [u8; 8] = *b"BIXITOK1";
const CHECKSUM_BYTES: usize = 32;
/// Longest file accepted.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Read the body of `path`; `None` when there is no such file.
pub(super) fn read(path: &Path, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io(path, error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| StoreError::io(path, error))?;
    let damaged = |what| StoreError::Damaged { path: path.into(), what };
    let (head, checksum) =
        bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(damaged("it is shorter than its checksum"))?;
    let body = head.strip_prefix(&prefix(kind)[..]).ok_or(damaged("it is not a file of this kind"))?;
    if bixi_accel::sm3::digest(head) != *checksum {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(Some(body.to_vec()))
}

/// Replace `path` with `body`; durable when this returns.
pub(super) fn write(path: &Path, kind: &str, body: &[u8]) -> Result<(), StoreError> {
    let mut bytes = [&prefix(kind)[..], body].concat();
    let checksum = bixi_accel::sm3::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    replace(path, &bytes).map_err(|error| StoreError::io(path, error))
}

fn prefix(kind: &str) -> Vec<u8> {
    [&MAGIC[..], &[kind.len() as u8], kind.as_bytes()].concat()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Make the creation or removal of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a store file without a directory"))?;
    File::open(parent)?.sync_all()
}
