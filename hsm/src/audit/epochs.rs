//! The files of a trail under newer data keys. Those that are followed by another are written no more, and are exchanged for copies of
//! the same entries; whatever ends that leaves each old or new.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bixi_sealed::{inspect_path, reseal};

use super::chain::{file_numbers, file_path};
use super::{AuditError, AuditLog};
use crate::protocol::TrailResealed;

/// Where the work is: files up to `number` are of `epoch`, so that each file is looked at once however often it is asked for.
#[derive(Debug, Default)]
pub(super) struct Resealing {
    epoch: u32,
    number: u32,
}

/// The epoch that a file's header names; none of one that was moved to an archive meanwhile.
fn epoch_of(log: &AuditLog, path: &Path) -> Result<Option<u32>, AuditError> {
    match inspect_path(&*log.storage, path) {
        Ok(header) => Ok(Some(header.epoch)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(AuditError::sealed(path, &error)),
    }
}

pub(super) fn reseal_oldest(log: &AuditLog) -> Result<TrailResealed, AuditError> {
    let mut done = log.resealing.lock().unwrap_or_else(PoisonError::into_inner);
    let (written, current) = (log.number(), log.ring.current_epoch());
    if done.epoch != current {
        *done = Resealing { epoch: current, number: 0 };
    }
    let numbers = file_numbers(&*log.storage, &log.dir)?;
    for number in numbers.into_iter().filter(|number| *number < written) {
        if number <= done.number {
            continue;
        }
        let path = file_path(&log.dir, number);
        let mut bytes = 0;
        let is_older = epoch_of(log, &path)?.is_some_and(|epoch| epoch < current);
        if is_older {
            let sealed = reseal::in_place(&*log.storage, &path, &log.ring, &mut |more| {
                bytes += more;
                ControlFlow::Continue(())
            });
            sealed.map_err(|error| AuditError::sealed(&path, &error))?;
        }
        done.number = number;
        if is_older {
            return Ok(TrailResealed { bytes, files_left: written - 1 - number });
        }
    }
    Ok(TrailResealed::default())
}

pub(super) fn oldest(log: &AuditLog) -> Result<Option<(PathBuf, u32)>, AuditError> {
    let mut oldest: Option<(PathBuf, u32)> = None;
    for number in file_numbers(&*log.storage, &log.dir)? {
        let path = file_path(&log.dir, number);
        if let Some(epoch) = epoch_of(log, &path)?
            && oldest.as_ref().is_none_or(|(_, least)| epoch < *least)
        {
            oldest = Some((path, epoch));
        }
    }
    Ok(oldest)
}
