//! The data keys of a stopped node, exchanged ([`crate::data_keys`]).
//!
//! ```text
//! new epoch and its cipher (one write of the vault) ─▶ ledger, at work ─▶ other files, closed ─▶ audit trail ─▶ where wanted, older epochs dropped
//! ```
//!
//! Invariants:
//! - from the write of the vault on nothing is sealed under an older epoch, and no file begun with an older cipher, whatever becomes of the
//!   rest;
//! - no node works meanwhile: guard and ordering log are held to the end.
//!
//! A whole copy of the data directory has a vault of its own with the epochs that its files need: it opens with its key encryption key, and
//! nothing here ends that. Destroying the key encryption key does.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bixi_hsm::Guard;
use bixi_hsm::guard::GuardError;
use bixi_hsm_vault::Vault;
use bixi_ledger::engine::{Engine as _, Resealing};
use bixi_platform::io::Storage;
use bixi_sealed::{Current, SealedError, reseal};

use super::desk::{Desk, storage_of_stopped};
use super::mark;
use super::sealing::expect_sealed;
use crate::data_keys::files::{expect_no_recovery, is_spare, old_files, oldest_in_use, remove_copies};
use crate::data_keys::pace::Pace;
use crate::data_keys::{Moved, Wish, files};
use crate::launch::{Failure, LaunchError, ledger_params, step};
use crate::ordering_log::OrderingLog;
use crate::settings::Settings;

/// Is told how far it is, once there is an epoch to move to: bytes that are done, and all that there are to do.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// Exchanges the data keys of a stopped node.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a vault that cannot be written, a file that does not authenticate, a full disk.
pub fn exchange(settings: &Settings, wish: Wish, tell: Tell<'_>) -> Result<Moved, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    step("recovery", || expect_no_recovery(storage.as_ref(), settings))?;
    step("ledger", || expect_sealed(settings, storage.as_ref()))?;
    let (mut desk, mut vault) = Desk::open_with_vault(settings)?;
    let ring = vault.key_ring();
    if wish.new_epoch {
        let next = ring.current_epoch() + 1;
        let cipher = wish.cipher.map_or(String::new(), |cipher| format!(" with {}", cipher.name()));
        step("new epoch", || {
            desk.perform("rotate-data-key", &format!("data key epoch {next}{cipher}"), || {
                Ok(vault.add_epoch(desk.device.as_ref(), wish.cipher).map(drop)?)
            })
        })?;
    }
    let data = settings.data("");
    step("copies left behind", || remove_copies(storage.as_ref(), &data))?;
    let old = || old_files(storage.as_ref(), &data, ring.current_epoch());
    let mut work = Work::new(wish.bytes_per_second, step("files", old)?.iter().map(|(_, bytes)| bytes).sum(), tell);
    // Each begins a new file when it is opened, and keeps a node from starting until the end.
    let guard = step("guard", || {
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
                    left.push(files::left(&path, error));
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
    if let Some(guard) = &guard {
        step("count of the device, after all else was done", || mark::count(guard, desk.device.as_ref(), &vault))?;
    }
    let kept = vault.epochs().into_iter().filter(|epoch| *epoch != ring.current_epoch()).collect();
    let Current { epoch, suite } = ring.current();
    Ok(Moved { epoch, cipher: suite, bytes: work.done, dropped, kept, left })
}

/// Drops the epochs below every one that a file needs.
fn drop_older(storage: &Arc<dyn Storage>, data: &Path, desk: &Desk, vault: &mut Vault) -> Result<Vec<u32>, Failure> {
    let known = vault.epochs();
    let oldest = oldest_in_use(storage.as_ref(), data, &known, vault.key_ring().current_epoch())?;
    let unneeded: Vec<u32> = known.into_iter().filter(|epoch| *epoch < oldest).collect();
    for epoch in &unneeded {
        desk.perform("drop-data-key", &format!("data key epoch {epoch}, which no file needs"), || {
            Ok(vault.drop_epoch(*epoch)?)
        })?;
    }
    Ok(unneeded)
}

/// How far it is, and how fast it may go.
struct Work<'a> {
    pace: Pace,
    bytes_per_second: Option<u64>,
    done: u64,
    total: u64,
    tell: Tell<'a>,
}

impl<'a> Work<'a> {
    fn new(bytes_per_second: Option<u64>, total: u64, tell: Tell<'a>) -> Self {
        tell(0, total);
        Self { pace: Pace::begin(), bytes_per_second, done: 0, total, tell }
    }

    fn did(&mut self, bytes: u64) -> ControlFlow<()> {
        self.done += bytes;
        (self.tell)(self.done, self.total.max(self.done));
        self.pace.after(bytes, self.bytes_per_second, || false);
        ControlFlow::Continue(())
    }
}
