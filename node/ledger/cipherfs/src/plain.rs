//! A plaintext database in its directory: what there is, and how far its sealing is. No key is needed to tell.
//!
//! ```text
//! DIR/sealing/FILES        names, lengths and digests of what is to be sealed: nobody opens the database
//! DIR/sealing/NAME         a sealed copy of DIR/NAME, which takes its name when it is durable and was read back
//! DIR/sealing/UNVERIFIED   the same list, once all is sealed: nobody opens it but to verify it
//! ```
//!
//! `CURRENT` is sealed last. A header says whether a file is sealed, so that an attempt needs no other notes of what is done; the list tells
//! a database that is half sealed from a mixture that somebody else made.

mod sealing;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bixi_platform::io::Storage;
use bixi_sealed::{SealedError, inspect_path};

use crate::error::CipherFsError;
use crate::fs::refuse_orphans;
use crate::kind::FileKind;

pub use sealing::{Sealing, SealingWatch};

/// Of the copies; there until what was sealed is verified.
const SEALING: &str = "sealing";
/// The list, in there, and its name once all is sealed.
const FILES: &str = "FILES";
const UNVERIFIED: &str = "UNVERIFIED";
/// Names the MANIFEST in use: without it there is no database.
const CURRENT: &str = "CURRENT";
/// What a file system keeps for itself where it is mounted.
const LOST_AND_FOUND: &str = "lost+found";

type Result<T> = std::result::Result<T, CipherFsError>;

/// How far the sealing of a plaintext database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainStage {
    /// There is nothing to seal: no directory, or one without a database.
    Nothing,
    /// Not begun: CURRENT is in plaintext, and there is no mark of a sealing.
    Plain,
    /// Begun: no plain RocksDB can read it any more.
    Begun,
    /// Every file is sealed, and nobody has said yet that what is in them is right.
    Unverified,
    /// Sealed, and opened by whoever has the keys.
    Sealed,
}

impl PlainStage {
    /// What refuses the database in `dir` until it is sealed and verified.
    pub fn refusal(self, dir: &Path) -> Option<CipherFsError> {
        let path = dir.to_owned();
        match self {
            Self::Nothing | Self::Sealed => None,
            Self::Plain => Some(CipherFsError::NotSealed { path: path.join(CURRENT) }),
            Self::Begun => Some(CipherFsError::HalfSealed { path }),
            Self::Unverified => Some(CipherFsError::Unverified { path }),
        }
    }
}

/// How far the sealing of a plaintext database is, by CURRENT and the marks of a sealing.
///
/// # Errors
/// [`CipherFsError::LostCurrent`]; [`CipherFsError::Mixture`] where CURRENT is in plaintext below a mark that says it is sealed; or the system's.
pub fn plain_stage(storage: &dyn Storage, dir: &Path) -> Result<PlainStage> {
    if !exists(storage, dir)? {
        return Ok(PlainStage::Nothing);
    }
    let (current, copies) = (dir.join(CURRENT), copies_of(dir));
    if exists(storage, &copies.join(FILES))? {
        return Ok(PlainStage::Begun);
    }
    if !exists(storage, &current)? {
        let names = storage.list(dir).map_err(CipherFsError::io(dir))?;
        let names: Vec<_> = names.iter().filter_map(|path| path.file_name()).map(OsStr::to_owned).collect();
        refuse_orphans(&current, &names)?;
        // Nobody begins another database below the mark of one that is gone.
        return match exists(storage, &copies)? {
            true => Err(CipherFsError::LostCurrent { path: current, witness: SEALING.to_owned() }),
            false => Ok(PlainStage::Nothing),
        };
    }
    let is_marked = exists(storage, &copies.join(UNVERIFIED))?;
    match (is_sealed(storage, &current)?, is_marked) {
        (false, true) => {
            Err(CipherFsError::mixture(&current, "it is in plaintext, beside a mark that says it is sealed"))
        }
        (false, false) => Ok(PlainStage::Plain),
        (true, true) => Ok(PlainStage::Unverified),
        // Ended between the mark's removal and the directory's: verified once too often rather than not at all.
        (true, false) if exists(storage, &copies)? => Ok(PlainStage::Unverified),
        (true, false) => Ok(PlainStage::Sealed),
    }
}

/// Refuses a plaintext database that could not be sealed, before anything is done.
///
/// # Errors
/// [`CipherFsError::Mixture`], [`CipherFsError::Foreign`], or the system's.
pub fn expect_sealable(storage: &dyn Storage, dir: &Path) -> Result<()> {
    for path in names(storage, dir)?.keys() {
        if is_sealed(storage, path)? {
            return Err(CipherFsError::mixture(path, "it is sealed, and CURRENT beside it is not"));
        }
    }
    Ok(())
}

/// Where the copies of a database are.
fn copies_of(dir: &Path) -> PathBuf {
    dir.join(SEALING)
}

/// Files of a database with their lengths, but for its lock and its info logs.
fn names(storage: &dyn Storage, dir: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let listed = storage.list(dir).map_err(CipherFsError::io(dir))?;
    for name in listed.iter().filter_map(|path| path.file_name()) {
        let path = dir.join(name);
        let metadata = storage.metadata(&path).map_err(CipherFsError::io(&path))?;
        if metadata.is_symlink {
            return Err(CipherFsError::foreign(&path, "a symbolic link, whose file would stay in plaintext"));
        }
        match metadata.is_dir {
            true if name == SEALING || name == LOST_AND_FOUND => continue,
            true => return Err(CipherFsError::foreign(&path, "a directory, which no database of a node has")),
            false if name == "LOCK" => continue,
            false => {}
        }
        if !FileKind::is_of_database(&path) {
            return Err(CipherFsError::foreign(&path, "RocksDB makes no file of this name"));
        }
        if metadata.names > 1 {
            let what = "it has another name, such as one in a checkpoint, under which it would stay in plaintext";
            return Err(CipherFsError::foreign(&path, what));
        }
        if !FileKind::is_info_log(&path) {
            found.insert(path, metadata.len);
        }
    }
    Ok(found)
}

fn is_sealed(storage: &dyn Storage, path: &Path) -> Result<bool> {
    match inspect_path(storage, path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.cause(), SealedError::NotSealed) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn exists(storage: &dyn Storage, path: &Path) -> Result<bool> {
    storage.exists(path).map_err(CipherFsError::io(path))
}
