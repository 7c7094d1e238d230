//! The files of a trail under newer data keys. Those that are followed by another are written no more, and are exchanged for copies of
//! the same entries; whatever ends that leaves each old or new.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::PoisonError;

use bixi_sealed::{inspect_path, reseal};

use super::chain::{file_numbers, file_path};
use super::{AuditError, AuditLog};
use crate::protocol::TrailResealed;

/// The files with the epochs that their headers name, oldest file first.
fn files(log: &AuditLog) -> Result<Vec<(u32, PathBuf, u32)>, AuditError> {
    let mut files = Vec::new();
    for number in file_numbers(&*log.storage, &log.dir)? {
        let path = file_path(&log.dir, number);
        match inspect_path(&*log.storage, &path) {
            Ok(header) => files.push((number, path, header.epoch)),
            // Moved to an archive meanwhile.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(AuditError::sealed(&path, &error)),
        }
    }
    Ok(files)
}

pub(super) fn reseal_oldest(log: &AuditLog) -> Result<TrailResealed, AuditError> {
    let _one = log.resealing.lock().unwrap_or_else(PoisonError::into_inner);
    let (written, current) = (log.number(), log.ring.current_epoch());
    let mut older = files(log)?.into_iter().filter(|(number, _, epoch)| *number < written && *epoch < current);
    let Some((_, path, _)) = older.next() else { return Ok(TrailResealed::default()) };
    let mut bytes = 0;
    let sealed = reseal::in_place(&*log.storage, &path, &log.ring, &mut |more| {
        bytes += more;
        ControlFlow::Continue(())
    });
    sealed.map_err(|error| AuditError::sealed(&path, &error))?;
    Ok(TrailResealed { bytes, files_left: older.count() as u32 })
}

pub(super) fn oldest(log: &AuditLog) -> Result<Option<(PathBuf, u32)>, AuditError> {
    let oldest = files(log)?.into_iter().min_by_key(|(number, _, epoch)| (*epoch, *number));
    Ok(oldest.map(|(_, path, epoch)| (path, epoch)))
}
