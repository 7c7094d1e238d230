//! The keys of everything on disk, exchanged: a new epoch of the vault, and files of older epochs sealed anew under it.
//!
//! ```text
//! new epoch (one write of the vault) ─▶ ledger, at work ─▶ other files, closed ─▶ audit trail ─▶ where wanted, older epochs dropped
//! ```
//!
//! Invariants:
//! - from the write of the vault on nothing is sealed under an older epoch, whatever becomes of the rest;
//! - nothing is dropped unasked: files that an officer has moved elsewhere, such as older ones of the audit trail, are read with the vault's
//!   older epochs;
//! - what is dropped lies below every epoch that a header names, for a header names the oldest of its file, and every name that a node
//!   seals was read; the directories are durable before;
//! - no node works meanwhile: guard and ordering log are held to the end;
//! - a crash leaves each file under its old epoch or the new one, and the vault with both: what is left is done by another attempt.
//!
//! A whole copy of the data directory has a vault of its own with the epochs that its files need: it opens with its key encryption key, and
//! nothing here ends that. Destroying the key encryption key does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_hsm::Guard;
use bixi_hsm::guard::GuardError;
use bixi_hsm_vault::Vault;
use bixi_ledger::engine::{Engine as _, Resealing};
use bixi_platform::io::Storage;
use bixi_sealed::{SealedError, reseal};
use serde_json::{Value, json};

use super::desk::{Desk, storage_of_stopped};
use crate::launch::{Failure, LaunchError, ledger_params, step};
use crate::ordering_log::OrderingLog;
use crate::settings::Settings;

/// Directories below the data directory that are looked into, counted from it.
const DEPTH_MAX: usize = 8;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Begin a new epoch; else what is of an older epoch moves to the present one.
    pub new_epoch: bool,
    /// Drop older epochs that no file below the data directory needs.
    pub drop_older: bool,
    /// Most bytes sealed in a second.
    pub bytes_per_second: Option<u64>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The epoch of everything that is written from now on.
    pub epoch: u32,
    /// Bytes that were sealed anew.
    pub bytes: u64,
    /// Epochs that the vault has no more.
    pub dropped: Vec<u32>,
    /// Older epochs that the vault has still.
    pub kept: Vec<u32>,
    /// Files that stay under older epochs, with the reason.
    pub left: Vec<(PathBuf, String)>,
}

impl Moved {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Value {
        let left: Vec<Value> = self.left.iter().map(|(path, reason)| json!({"file": path, "reason": reason})).collect();
        json!({"epoch": self.epoch, "bytes": self.bytes, "dropped": self.dropped, "kept": self.kept, "left": left})
    }
}

/// Is told how far it is, once there is an epoch to move to: bytes that are done, and all that there are to do.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// Exchanges the data keys of a stopped node.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a vault that cannot be written, a file that does not authenticate, a full disk.
pub fn exchange(settings: &Settings, wish: Wish, tell: Tell<'_>) -> Result<Moved, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    step("recovery", || match storage.exists(&settings.data("recovery"))? {
        true => Err(Failure::from(
            "a recovery is under way, which would not know the vault any more: end it first, with `bixi hsm recover`",
        )),
        false => Ok(()),
    })?;
    let (mut desk, mut vault) = Desk::open_with_vault(settings)?;
    let ring = vault.key_ring();
    if wish.new_epoch {
        let next = ring.current_epoch() + 1;
        step("new epoch", || {
            desk.perform("rotate-data-key", &format!("data key epoch {next}"), || {
                Ok(vault.add_epoch(desk.device.as_ref()).map(drop)?)
            })
        })?;
    }
    let data = settings.data("");
    let old = || old_files(storage.as_ref(), &data, ring.current_epoch());
    let mut work = Work::new(wish.bytes_per_second, step("files", old)?.iter().map(|(_, bytes)| bytes).sum(), tell);
    // Each begins a new file when it is opened, and keeps a node from starting until the end.
    let _guard = step("guard", || {
        match Guard::open(storage.clone(), settings.data("guard"), ring.clone(), settings.genesis.hash()) {
            Ok(guard) => Ok(Some(guard)),
            Err(GuardError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    let _log = step("ordering log", || match storage.exists(&settings.data("ordering"))? {
        true => OrderingLog::open(storage.clone(), &settings.data("ordering"), ring.clone())
            .map(|(log, _)| Some(log))
            .map_err(Failure::from),
        false => Ok(None),
    })?;
    step("ledger", || {
        let params = ledger_params(settings, storage.clone(), ring.clone());
        if !storage.exists(&params.dir)? {
            return Ok(());
        }
        let mut before = 0;
        params.open_engine()?.reseal(&mut |done: &Resealing| {
            let bytes = done.bytes - before;
            before = done.bytes;
            work.did(bytes)
        })?;
        Ok::<_, Failure>(())
    })?;
    // The trail's files, too, and for that it must not be open.
    desk.close_trail();
    let left = step("other files", || {
        let mut left = Vec::new();
        for (path, _) in old()? {
            match reseal::in_place(storage.as_ref(), &path, &ring, &mut |bytes| work.did(bytes)) {
                Ok(_) => {}
                // That it is torn is told by whoever reads it next, against what was signed: that end stays.
                Err(error) if matches!(error.cause(), SealedError::Incomplete { .. }) || is_spare(&data, &path) => {
                    left.push((path, error.to_string()))
                }
                Err(error) => return Err(Failure::from(error)),
            }
        }
        Ok(left)
    })?;
    let desk = desk.with_trail(settings, &storage, &vault)?;
    let dropped = match wish.drop_older {
        true => step("older epochs", || drop_older(&storage, &data, &desk, &mut vault))?,
        false => Vec::new(),
    };
    let kept = vault.epochs().into_iter().filter(|epoch| *epoch != ring.current_epoch()).collect();
    Ok(Moved { epoch: ring.current_epoch(), bytes: work.done, dropped, kept, left })
}

/// Drops the epochs below every one that a file needs.
fn drop_older(storage: &Arc<dyn Storage>, data: &Path, desk: &Desk, vault: &mut Vault) -> Result<Vec<u32>, Failure> {
    let needed = epochs_in_use(storage.as_ref(), data)?;
    let known = vault.epochs();
    if let Some((epoch, path)) = needed.iter().find(|(epoch, _)| !known.contains(epoch)) {
        let text = format!(
            "{}: its header names epoch {epoch}, which the vault does not have; nothing is dropped",
            path.display()
        );
        return Err(text.into());
    }
    let current = vault.key_ring().current_epoch();
    let oldest = needed.keys().next().copied().unwrap_or(current).min(current);
    let unneeded: Vec<u32> = known.into_iter().filter(|epoch| *epoch < oldest).collect();
    for epoch in &unneeded {
        desk.perform("drop-data-key", &format!("data key epoch {epoch}, which no file needs"), || {
            Ok(vault.drop_epoch(*epoch)?)
        })?;
    }
    Ok(unneeded)
}

/// Databases beside the ledger, of snapshots on their way, and what a cut-off replacement left: none is needed, and what is half there
/// cannot be read.
fn is_spare(data: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(data).unwrap_or(path);
    let is_beside_ledger =
        below.components().next().is_some_and(|first| first.as_os_str().to_string_lossy().starts_with("ledger."));
    is_beside_ledger || path.extension().is_some_and(|extension| extension == "tmp")
}

/// How far it is, and how fast it may go.
struct Work<'a> {
    began: Instant,
    bytes_per_second: Option<u64>,
    done: u64,
    total: u64,
    tell: Tell<'a>,
}

impl<'a> Work<'a> {
    fn new(bytes_per_second: Option<u64>, total: u64, tell: Tell<'a>) -> Self {
        tell(0, total);
        Self { began: Instant::now(), bytes_per_second, done: 0, total, tell }
    }

    fn did(&mut self, bytes: u64) -> ControlFlow<()> {
        self.done += bytes;
        (self.tell)(self.done, self.total.max(self.done));
        if let Some(rate) = self.bytes_per_second {
            let due = Duration::from_secs_f64(self.done as f64 / rate.max(1) as f64);
            std::thread::sleep(due.saturating_sub(self.began.elapsed()));
        }
        ControlFlow::Continue(())
    }
}

/// Files of older epochs with their lengths.
fn old_files(storage: &dyn Storage, data: &Path, current: u32) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let mut old = Vec::new();
    each_directory(storage, data, 0, &mut |dir| {
        reseal::remove_copies(storage, dir)?;
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
    let mut unsealed = None;
    each_directory(storage, data, 0, &mut |dir| {
        storage.sync_dir(dir).map_err(|error| failed(dir, &error))?;
        let mut sealed = BTreeSet::new();
        reseal::headers(storage, dir, |path, header, _| {
            sealed.insert(path.clone());
            epochs.entry(header.epoch).or_insert(path);
        })?;
        let mut paths = reseal::paths(storage, dir)?.into_iter();
        unsealed = unsealed.take().or_else(|| paths.find(|path| is_sealed_name(path) && !sealed.contains(path)));
        Ok(())
    })?;
    match unsealed {
        Some(path) => Err(format!(
            "{}: a node seals such a file, and this one is not sealed or empty: which epoch it needs cannot be told, so none is dropped",
            path.display()
        )
        .into()),
        None => Ok(epochs),
    }
}

fn is_sealed_name(path: &Path) -> bool {
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
    visit(dir)?;
    for path in reseal::paths(storage, dir)? {
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
