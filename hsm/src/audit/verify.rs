//! The explicit check of the whole chain: for an officer, not for a start.

use std::path::Path;

use bixi_platform::io::{OpenMode, Storage};
use bixi_sealed::frames::{End, Reader};
use bixi_sealed::{KeyRing, Purpose};

use super::AuditError;
use super::chain::{Entry, Follower, Head, file_numbers, file_path};
use super::signed::Recent;

/// A chain that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// Before its first entry here: zero, or the head of the last file that was moved to an archive.
    pub begins: Head,
    /// After its last entry: compare it with what was written down before.
    pub ends: Head,
    /// Files read.
    pub files: u32,
    /// Bytes of an unfinished write at the very end: a crash left them, or the log is being written now.
    pub torn_bytes: u64,
}

/// Reads every file of a directory in order and hands each entry to `visit`; fails at the first that does not fit, and at a signed
/// head whose signature is wrong or is over another history.
///
/// It needs no lock: a log that is being written reads as a prefix of it. What no local check can show is that the newest
/// entries were cut off, or a whole older copy put in place: compare [`Chain::ends`] with a head that was written down.
///
/// # Errors
/// [`AuditError::Broken`] and [`AuditError::Damaged`] name the first file that does not hold.
pub fn verify_chain(
    storage: &dyn Storage,
    dir: &Path,
    ring: &KeyRing,
    mut visit: impl FnMut(Entry),
) -> Result<Chain, AuditError> {
    let mut chain = Chain::default();
    let numbers = file_numbers(storage, dir)?;
    let Some((first, last)) = numbers.first().zip(numbers.last()) else { return Ok(chain) };
    let mut recent = None;
    let mut visit = |before: Head, entry: Entry| {
        recent.get_or_insert_with(|| Recent::begin(before)).take(&entry)?;
        visit(entry);
        Ok(())
    };
    for number in &numbers {
        let before = (number != first || *first == 1).then_some(chain.ends);
        let file = read_file(storage, dir, *number, ring, before, &mut visit)?;
        let head = match file.head {
            Some(head) => head,
            // A crash cut off the file's making; nothing was acknowledged in it.
            None if number == last && before.is_some() => chain.ends,
            None => return Err(file.broken("and all others of this file are missing")),
        };
        if number != last && file.torn_bytes > 0 {
            return Err(file.broken("is followed by bytes that are no entry, though later files were begun"));
        }
        if number == first {
            chain.begins = file.begins.unwrap_or_default();
        }
        chain = Chain { ends: head, files: chain.files + 1, torn_bytes: file.torn_bytes, ..chain };
    }
    Ok(chain)
}

/// One file that was read to its end.
pub(super) struct ReadFile {
    follower: Follower,
    begins: Option<Head>,
    pub(super) head: Option<Head>,
    pub(super) torn_bytes: u64,
}

impl ReadFile {
    pub(super) fn broken(&self, reason: &str) -> AuditError {
        self.follower.broken(reason.to_owned())
    }
}

pub(super) fn read_file(
    storage: &dyn Storage,
    dir: &Path,
    number: u32,
    ring: &KeyRing,
    before: Option<Head>,
    visit: &mut dyn FnMut(Head, Entry) -> Result<(), &'static str>,
) -> Result<ReadFile, AuditError> {
    let mut follower = Follower::new(file_path(dir, number), number, before);
    let failed = |error: &bixi_sealed::SealedError| AuditError::sealed(&file_path(dir, number), error);
    let file = storage
        .open(follower.path(), OpenMode::Read)
        .map_err(|error| AuditError::storage(follower.path(), "open", &error))?;
    let mut reader = Reader::open(file, ring, Purpose::Audit).map_err(|error| failed(&error))?;
    let mut begins = None;
    while let Some(frame) = reader.next_frame().map_err(|error| failed(&error))? {
        let before = follower.head;
        match (follower.take(frame)?, before) {
            (Some(entry), Some(before)) => {
                let sequence = entry.sequence;
                visit(before, entry).map_err(|reason| AuditError::Broken {
                    path: follower.path().to_owned(),
                    sequence,
                    reason: reason.to_owned(),
                })?;
            }
            _ => begins = follower.head,
        }
    }
    let torn_bytes = match reader.end() {
        End::Clean => 0,
        End::TornTail { dropped, .. } => dropped,
    };
    Ok(ReadFile { begins, head: follower.head, torn_bytes, follower })
}
