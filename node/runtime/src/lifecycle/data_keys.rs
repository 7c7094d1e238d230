//! The keys of everything on disk, exchanged: a new epoch of the vault, and files of older epochs sealed anew under it.
//!
//! ```text
//! new epoch (one write of the vault) ─▶ ledger, at work ─▶ other files, closed ─▶ audit trail ─▶ epochs that nothing needs are dropped
//! ```
//!
//! Invariants:
//! - from the write of the vault on nothing is sealed under an older epoch, whatever becomes of the rest;
//! - an epoch is dropped only when no file below the data directory names it in its header;
//! - a crash leaves each file under its old epoch or the new one, and the vault with both: what is left is done by another attempt.
//!
//! A whole copy of the data directory has a vault of its own with the epochs that its files need: it opens with its key encryption key, and
//! nothing here ends that. Destroying the key encryption key does.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bixi_hsm::Guard;
use bixi_hsm::guard::GuardError;
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
    /// Files that stay under older epochs, with the reason.
    pub left: Vec<(PathBuf, String)>,
}

impl Moved {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Value {
        let left: Vec<Value> = self.left.iter().map(|(path, reason)| json!({"file": path, "reason": reason})).collect();
        json!({"epoch": self.epoch, "bytes": self.bytes, "dropped": self.dropped, "left": left})
    }
}

/// Is told how far it is: bytes that are done, and all that there are to do.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// Exchanges the data keys of a stopped node.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a vault that cannot be written, a file that does not authenticate, a full disk.
pub fn exchange(settings: &Settings, wish: Wish, tell: Tell<'_>) -> Result<Moved, LaunchError> {
    let storage = storage_of_stopped(settings)?;
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
    // Each begins a new file when it is opened.
    step("guard", || {
        match Guard::open(storage.clone(), settings.data("guard"), ring.clone(), settings.genesis.hash()) {
            Ok(_) | Err(GuardError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    step("ordering log", || match storage.exists(&settings.data("ordering"))? {
        true => OrderingLog::open(storage.clone(), &settings.data("ordering"), ring.clone())
            .map(drop)
            .map_err(Failure::from),
        false => Ok(()),
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
                Err(error) if matches!(error.cause(), SealedError::Incomplete { .. }) => {
                    left.push((path, error.to_string()))
                }
                Err(error) => return Err(Failure::from(error)),
            }
        }
        Ok(left)
    })?;
    let desk = desk.with_trail(settings, &storage, &vault)?;
    let dropped = step("older epochs", || {
        let needed = epochs_in_use(storage.as_ref(), &data)?;
        // The trail was opened just now. Where its file is not seen, others are not either.
        if !needed.contains(&ring.current_epoch()) {
            return Err("no file of the present epoch is found, so nothing tells which epochs files need".into());
        }
        let unneeded: Vec<u32> = vault
            .epochs()
            .into_iter()
            .filter(|epoch| *epoch != ring.current_epoch() && !needed.contains(epoch))
            .collect();
        for epoch in &unneeded {
            desk.perform("drop-data-key", &format!("data key epoch {epoch}, which no file needs"), || {
                Ok(vault.drop_epoch(*epoch)?)
            })?;
        }
        Ok::<_, Failure>(unneeded)
    })?;
    Ok(Moved { epoch: ring.current_epoch(), bytes: work.done, dropped, left })
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
        })
    })?;
    Ok(old)
}

fn epochs_in_use(storage: &dyn Storage, data: &Path) -> Result<BTreeSet<u32>, Failure> {
    let mut epochs = BTreeSet::new();
    each_directory(storage, data, 0, &mut |dir| {
        reseal::headers(storage, dir, |_, header, _| {
            epochs.insert(header.epoch);
        })
    })?;
    Ok(epochs)
}

fn each_directory(
    storage: &dyn Storage,
    dir: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&Path) -> Result<(), SealedError>,
) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(
            format!("{}: deeper than anything a node makes; move it out of the data directory", dir.display()).into()
        );
    }
    visit(dir)?;
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    for name in storage.list(dir).map_err(|error| failed(dir, error))? {
        let path = dir.join(name);
        match storage.metadata(&path) {
            Ok(found) if found.is_dir && !found.is_symlink => each_directory(storage, &path, depth + 1, visit)?,
            Ok(_) => {}
            // A link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error).into()),
        }
    }
    Ok(())
}
