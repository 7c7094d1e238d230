//! Small files: one sealed body, written whole and replaced atomically.
//!
//! After a crash a reader finds the old body or the new one, never a mixture: the new file is written under another
//! name, synced, moved over the old one, and the directory is synced.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use bixi_platform::io::{File, OpenMode, Storage, directory_of};
use zeroize::Zeroizing;

use crate::{
    KeyRing, Layout, Purpose, Result, SealedError,
    aead::TAG_BYTES,
    header::{Header, MAGIC, array},
    segment::{PROLOGUE_BYTES, fresh_prologue, open_prologue},
};

/// Largest body.
pub const BODY_BYTES_MAX: u64 = 64 << 20;

const BODY_COUNTER: u64 = 1;

/// Replaces the file at `path` by one that holds `body`. When this returns, the change is durable.
///
/// # Errors
/// [`SealedError::TooLarge`], or the system's error: the old file is then still there, unless only the directory's sync
/// failed. Every error names the path.
pub fn write_atomic(storage: &dyn Storage, path: &Path, ring: &KeyRing, purpose: Purpose, body: &[u8]) -> Result<()> {
    let sealed = seal(ring, purpose, body).map_err(|error| error.at(path))?;
    replace(storage, path, &sealed).map_err(|error| error.at(path))
}

/// Reads the body of the file at `path`.
///
/// # Errors
/// [`SealedError::NotSealed`] for a plaintext or foreign file, [`SealedError::Tampered`] or
/// [`SealedError::HeaderRefused`] for an edited one, or the system's error. Every error names the path.
pub fn read(storage: &dyn Storage, path: &Path, ring: &KeyRing, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>> {
    read_body(storage, path, ring, purpose).map_err(|error| error.at(path))
}

fn seal(ring: &KeyRing, purpose: Purpose, body: &[u8]) -> Result<Vec<u8>> {
    check_size(body.len() as u64)?;
    let header = Header::fresh(ring, Layout::Small, purpose, 0)?;
    let (segment, prologue) = fresh_prologue(ring, &header)?;
    let mut out = Vec::with_capacity(PROLOGUE_BYTES + body.len() + TAG_BYTES);
    out.extend_from_slice(&prologue);
    out.extend_from_slice(body);
    let tag = segment.seal(BODY_COUNTER, &associated(body.len()), &mut out[PROLOGUE_BYTES..])?;
    out.extend_from_slice(&tag);
    Ok(out)
}

fn replace(storage: &dyn Storage, path: &Path, sealed: &[u8]) -> Result<()> {
    let temporary = beside(path, "tmp");
    let file = storage.open(&temporary, OpenMode::Truncate).map_err(SealedError::io("create"))?;
    file.write_and_sync(0, sealed).map_err(SealedError::io("write"))?;
    storage.rename(&temporary, path).map_err(SealedError::io("replace"))?;
    storage.sync_dir(directory_of(path)).map_err(SealedError::io("sync the directory of"))
}

fn read_body(storage: &dyn Storage, path: &Path, ring: &KeyRing, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>> {
    read_open(&*storage.open(path, OpenMode::Read).map_err(SealedError::io("open"))?, ring, purpose)
}

/// [`read`] of an open file; errors name no path.
pub(crate) fn read_open(file: &dyn File, ring: &KeyRing, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>> {
    let file_bytes = file.len().map_err(SealedError::io("measure"))?;
    check_size(file_bytes.saturating_sub((PROLOGUE_BYTES + TAG_BYTES) as u64))?;
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(file_bytes).expect("bounded above")]);
    file.read_exact_at(0, &mut bytes).map_err(SealedError::io("read"))?;
    if bytes.len() < PROLOGUE_BYTES + TAG_BYTES {
        let cut = bytes.len().min(MAGIC.len());
        return Err(if bytes.is_empty() || bytes[..cut] != MAGIC[..cut] {
            SealedError::NotSealed
        } else {
            SealedError::Incomplete { offset: file_bytes }
        });
    }
    let (header, segment) = open_prologue(ring, &array(&bytes[..PROLOGUE_BYTES]))?;
    header.expect(Layout::Small, purpose)?;
    let body_end = bytes.len() - TAG_BYTES;
    let tag = array(&bytes[body_end..]);
    let body = &mut bytes[PROLOGUE_BYTES..body_end];
    let aad = associated(body.len());
    if !segment.aead.open(BODY_COUNTER, &aad, body, &tag) {
        return Err(SealedError::Tampered { offset: PROLOGUE_BYTES as u64, what: "the body does not authenticate" });
    }
    Ok(Zeroizing::new(body.to_vec()))
}

fn associated(body_bytes: usize) -> [u8; 8] {
    (body_bytes as u64).to_le_bytes()
}

fn check_size(bytes: u64) -> Result<()> {
    if bytes > BODY_BYTES_MAX {
        return Err(SealedError::TooLarge { bytes, bytes_max: BODY_BYTES_MAX });
    }
    Ok(())
}

/// `path` with an extension appended: the same directory, so that the rename stays within one file system.
pub(crate) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests;
