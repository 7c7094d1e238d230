//! The sealed files of a data directory by the epochs that their headers name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bixi_platform::io::Storage;
use bixi_sealed::{SealedError, inspect_path, reseal};

use super::Left;
use crate::launch::Failure;
use crate::settings::Settings;

/// Directories below the data directory that are looked into, counted from it.
const DEPTH_MAX: usize = 8;
/// How long a file may be without its header while a node makes it.
const CREATION_MAX: Duration = Duration::from_secs(5);
/// One that is longer has its header, or is none of ours.
const HEADER_BYTES_MIN: u64 = 56;
/// Between two looks at such a file.
const PAUSE: Duration = Duration::from_millis(20);

/// Refuses beside a recovery: it goes on with the vault as it knows it.
///
/// # Errors
/// Where one is under way, and the disk's.
pub(crate) fn expect_no_recovery(storage: &dyn Storage, settings: &Settings) -> Result<(), Failure> {
    match storage.exists(&settings.data("recovery"))? {
        true => Err(
            "a recovery is under way, which would not know the vault any more: end it first, with `bixi hsm recover`"
                .into(),
        ),
        false => Ok(()),
    }
}

/// The oldest epoch that a file needs, at most `current`.
///
/// # Errors
/// As [`epochs_in_use`], and for a file of an epoch that is not `known`.
pub(crate) fn oldest_in_use(storage: &dyn Storage, data: &Path, known: &[u32], current: u32) -> Result<u32, Failure> {
    let needed = epochs_in_use(storage, data)?;
    if let Some((epoch, path)) = needed.iter().find(|(epoch, _)| !known.contains(epoch)) {
        let text = format!(
            "{}: its header names epoch {epoch}, which the vault does not have; nothing is dropped",
            path.display()
        );
        return Err(text.into());
    }
    Ok(needed.keys().next().copied().unwrap_or(current).min(current))
}

/// Databases beside the ledger, of snapshots on their way, and what a cut-off replacement left: none is needed, and what is half there
/// cannot be read.
pub(crate) fn is_spare(data: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(data).unwrap_or(path);
    let is_beside_ledger =
        below.components().next().is_some_and(|first| first.as_os_str().to_string_lossy().starts_with("ledger."));
    is_beside_ledger || path.extension().is_some_and(|extension| extension == "tmp")
}

/// A file that stays, and why.
pub(crate) fn left(path: &Path, reason: impl std::fmt::Display) -> Left {
    Left { file: path.display().to_string(), reason: reason.to_string() }
}

/// Removes copies that an attempt before left below the data directory. Nobody may make any meanwhile.
pub(crate) fn remove_copies(storage: &dyn Storage, data: &Path) -> Result<(), Failure> {
    each_directory(storage, data, 0, &mut |dir| Ok(reseal::remove_copies(storage, dir)?))
}

/// Files of older epochs with their lengths.
pub(crate) fn old_files(storage: &dyn Storage, data: &Path, current: u32) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let mut old = Vec::new();
    each_directory(storage, data, 0, &mut |dir| {
        reseal::headers(storage, dir, |path, header, bytes| {
            if header.epoch < current {
                old.push((path, bytes));
            }
        })?;
        Ok(())
    })?;
    Ok(old)
}

/// The epochs that headers name, each with a file of it; the directories are durable when it returns.
///
/// # Errors
/// A file of a name that nodes seal, which is not sealed: damaged, its epoch cannot be told.
fn epochs_in_use(storage: &dyn Storage, data: &Path) -> Result<BTreeMap<u32, PathBuf>, Failure> {
    let mut epochs = BTreeMap::new();
    each_directory(storage, data, 0, &mut |dir| {
        storage.sync_dir(dir).map_err(|error| failed(dir, &error))?;
        let mut sealed = BTreeSet::new();
        reseal::headers(storage, dir, |path, header, _| {
            sealed.insert(path.clone());
            epochs.entry(header.epoch).or_insert(path);
        })?;
        for path in
            reseal::paths(storage, dir)?.into_iter().filter(|path| is_sealed_name(path) && !sealed.contains(path))
        {
            if let Some(epoch) = epoch_of_new(storage, &path)? {
                epochs.entry(epoch).or_insert(path);
            }
        }
        Ok(())
    })?;
    Ok(epochs)
}

/// The epoch of a file that had no header a moment ago; none where it is gone again.
fn epoch_of_new(storage: &dyn Storage, path: &Path) -> Result<Option<u32>, Failure> {
    let mut waited = Duration::ZERO;
    loop {
        match inspect_path(storage, path) {
            Ok(header) => return Ok(Some(header.epoch)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if matches!(error.cause(), SealedError::NotSealed) => {}
            Err(error) => return Err(error.into()),
        }
        if waited >= CREATION_MAX || storage.metadata(path).is_ok_and(|found| found.len > HEADER_BYTES_MIN) {
            return Err(format!(
                "{}: a node seals such a file, and this one is not sealed or empty: which epoch it needs cannot be told, so none is dropped",
                path.display()
            )
            .into());
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// Whether nodes seal files of that name.
pub(crate) fn is_sealed_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["CURRENT", "IDENTITY", "guard"].contains(&&*name)
        || name.starts_with("MANIFEST-")
        || name.starts_with("OPTIONS-")
        || path.extension().is_some_and(|extension| extension == "sst" || extension == "log")
}

fn each_directory(
    storage: &dyn Storage,
    dir: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(
            format!("{}: deeper than anything a node makes; move it out of the data directory", dir.display()).into()
        );
    }
    let visited = visit(dir).and_then(|()| Ok(reseal::paths(storage, dir)?));
    let paths = match visited {
        // A node at work removes directories of its own, of a snapshot that it joined.
        Err(_) if depth > 0 && !storage.exists(dir).map_err(|error| failed(dir, &error))? => return Ok(()),
        visited => visited?,
    };
    for path in paths {
        match storage.metadata(&path) {
            // Links, too: whoever works with what is in there follows them.
            Ok(found) if found.is_dir => each_directory(storage, &path, depth + 1, visit)?,
            Ok(_) => {}
            // A link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    format!("{}: {error}", path.display()).into()
}
