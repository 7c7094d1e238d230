//! What a file says about itself without any key: for tools, never for trust.

use std::path::Path;

use bixi_platform::io::{File, OpenMode, Storage};

use crate::{
    AtRest, FileId, Layout, Purpose, Result, SealedError,
    header::{HEADER_BYTES, Header},
};

/// The header's fields. Not authenticated: only a reader with the keys does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Cipher.
    pub suite: AtRest,
    /// Arrangement.
    pub layout: Layout,
    /// What the file is for.
    pub purpose: Purpose,
    /// Key epoch in which the file was made.
    pub epoch: u32,
    /// Random name of the file.
    pub file_id: FileId,
}

/// Reads the header of an open file.
///
/// # Errors
/// [`SealedError::NotSealed`] for a file of other origin or shorter than a header; or the system's error.
pub fn inspect(file: &dyn File) -> Result<Inspection> {
    let mut bytes = [0; HEADER_BYTES];
    if file.read_at(0, &mut bytes).map_err(SealedError::io("read"))? < HEADER_BYTES {
        return Err(SealedError::NotSealed);
    }
    let Header { suite, layout, purpose, epoch, file_id, .. } = Header::decode(&bytes)?;
    Ok(Inspection { suite, layout, purpose, epoch, file_id })
}

/// Reads the header of the file at `path`.
///
/// # Errors
/// As [`inspect`], naming the path.
pub fn inspect_path(storage: &dyn Storage, path: &Path) -> Result<Inspection> {
    let file = storage.open(path, OpenMode::Read).map_err(|error| SealedError::io("open")(error).at(path))?;
    inspect(&*file).map_err(|error| error.at(path))
}
