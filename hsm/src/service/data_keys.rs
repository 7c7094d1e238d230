//! The data keys as a running node has them changed: by whoever has the device that opens the vault, and the trail that tells of it.
//!
//! A new epoch is durable in the vault before anything is sealed under it; guard and trail go on in files of their own under it at once.
//! Asking again is safe: a request names the epoch that it follows.

use std::time::Instant;

use bixi_sealed::AtRest;

use super::{SigningService, refuse, statement};
use crate::audit::{AuditError, Outcome};
use crate::gate::Priority;
use crate::protocol::{DataKeyEpochs, Refusal, TrailResealed};

/// Who holds the vault: its one writer in this process. What it changes is durable when it returns, and guard and trail use it.
pub trait DataKeys: Send + Sync {
    /// The version of the vault as it was last read or written here.
    fn vault_version(&self) -> u64;

    /// The epochs by the file, read anew.
    ///
    /// # Errors
    /// The device's; [`Refusal::DataKeys`] for a vault that does not open.
    fn epochs(&self) -> Result<DataKeyEpochs, Refusal>;

    /// The cipher that the current epoch began with, as the file was last read.
    fn suite(&self) -> AtRest;

    /// Begins the epoch that follows `after`, unless that is not the current one any more; with a cipher of its own where one is named.
    ///
    /// # Errors
    /// As [`Self::epochs`], and for a vault that cannot be written; it is then as it was, or has the epoch: [`Self::epochs`] tells.
    fn begin_epoch(&self, after: u32, suite: Option<AtRest>) -> Result<DataKeyEpochs, Refusal>;

    /// Whether epochs are dropped for a node at work.
    ///
    /// # Errors
    /// [`Refusal::DataKeys`] where whoever holds the device does not allow it.
    fn expect_droppable(&self) -> Result<(), Refusal>;

    /// Drops the epochs below one. What is sealed under them is lost.
    ///
    /// # Errors
    /// As [`Self::begin_epoch`], and where whoever holds the device does not allow it to a node at work.
    fn drop_epochs(&self, below: u32) -> Result<DataKeyEpochs, Refusal>;
}

impl SigningService {
    pub(super) fn rotate_data_key(&self, after: u32, suite: Option<AtRest>) -> Result<DataKeyEpochs, Refusal> {
        let holder = self.data_keys()?;
        let known = self.with_vault(|| holder.epochs())?;
        let epochs = match known.current {
            current if current > after => known,
            current if current == after => {
                let subject = format!("{}, about to begin", statement::epoch_after(after, suite));
                self.tell("rotate-data-key", subject, None, Outcome::Answered)?;
                self.with_vault(|| holder.begin_epoch(after, suite))?
            }
            current => {
                let reason = format!("the epoch after {after} is asked for, and epoch {current} is the current one");
                return Err(Refusal::DataKeys(reason));
            }
        };
        self.guard.renew().map_err(refuse)?;
        self.audit.renew().map_err(|error| Refusal::Audit(error.to_string()))?;
        // The guard knows this vault from now on, and the device that it does.
        self.count_if_due(Instant::now(), false)?;
        match (suite, holder.suite()) {
            // Somebody else was first: the trail must not say that it was done.
            (Some(wanted), begun) if begun != wanted => Err(Refusal::DataKeys(format!(
                "data key epoch {} was begun with {}, and {} is asked for: ask again",
                epochs.current,
                begun.name(),
                wanted.name()
            ))),
            _ => Ok(epochs),
        }
    }

    pub(super) fn reseal_trail(&self) -> Result<TrailResealed, Refusal> {
        self.audit.reseal_oldest().map_err(older_file)
    }

    pub(super) fn drop_data_keys(&self, below: u32) -> Result<DataKeyEpochs, Refusal> {
        let holder = self.data_keys()?;
        holder.expect_droppable()?;
        let known = self.with_vault(|| holder.epochs())?;
        let kept = |what: &dyn std::fmt::Display, epoch: u32| {
            Err(Refusal::DataKeys(format!("{what} needs epoch {epoch}: nothing is dropped")))
        };
        if below > known.current {
            return kept(&"everything that is written", known.current);
        }
        let guard = self.guard.file_epoch();
        if guard < below {
            return kept(&self.guard.path().display(), guard);
        }
        if let Some((file, epoch)) = self.audit.oldest_epoch().map_err(older_file)?
            && epoch < below
        {
            return kept(&file.display(), epoch);
        }
        let dropped: Vec<&u32> = known.known.iter().filter(|epoch| **epoch < below).collect();
        for epoch in &dropped {
            let subject = format!("data key epoch {epoch}, which no file needs, about to be dropped");
            self.tell("drop-data-key", subject, None, Outcome::Answered)?;
        }
        match dropped.is_empty() {
            true => Ok(known),
            false => {
                let epochs = self.with_vault(|| holder.drop_epochs(below))?;
                self.count_if_due(Instant::now(), false)?;
                Ok(epochs)
            }
        }
    }

    fn data_keys(&self) -> Result<&dyn DataKeys, Refusal> {
        let none = || Refusal::DataKeys("this service holds no vault".to_owned());
        self.data_keys.as_deref().ok_or_else(none)
    }

    /// The vault is opened by the device, whose callers have their turns.
    fn with_vault<T>(&self, work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let _place = self.place(Priority::Keeping)?;
        work()
    }
}

/// An older file is as it was, and says nothing of the one that entries go to.
fn older_file(error: AuditError) -> Refusal {
    Refusal::DataKeys(error.to_string())
}
