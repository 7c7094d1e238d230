//! The audit log: sealed files of hash-chained entries, one directory, one writer.
//!
//! Invariants:
//! - an entry's hash covers the hash of the entry before it, across files, so an edit, a cut in the middle or a changed
//!   order breaks the chain; the seal keeps whoever lacks the node's keys from writing a chain of their own;
//! - a file is followed by a new one when it is [`FILE_BYTES_MAX`] long, and begins with the head of the one before: opening
//!   reads the newest file only ([`verify_chain`](super::verify_chain) reads all). An older file is durable to its end
//!   before a newer one exists;
//! - nothing waits for a sync but who asked for one: entries are written while another thread syncs;
//! - a write or sync that failed ends the log: nothing is recorded until it is opened again;
//! - what a crash tears off is noted by the entry of the next opening.
//!
//! Old files are evidence and are never removed here. An entry of the daily work takes about 170 bytes, a block about four
//! of them: at one block a second that is 60 MB a day, 21 GB a year. From [`DISK_BYTES_WARN`] on each new file is announced
//! with a warning; an officer may then move the *oldest* files to an archive, never one between.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bixi_platform::io::{File, Lock, OpenMode, Storage};
use bixi_sealed::frames::{End, Writer};
use bixi_sealed::{KeyRing, Purpose, SealedError};

use super::chain::{Follower, Head, Record, file_numbers, file_path};
use super::epochs::{self, Resealing};
use super::reserved::Reserved;
use super::verify::read_file;
use super::{Audit, AuditError, Durability, Event, Outcome};
use crate::protocol::TrailResealed;

/// A file of this length is followed by a new one at the next [`AuditLog::sync`]; at twice the length, at once.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// From this length of all files on, new ones are announced with a warning.
pub const DISK_BYTES_WARN: u64 = 16 << 30;

/// The open log of one directory.
///
/// Whoever opens it keeps one `Arc` for the signing service and one to call [`AuditLog::sync`] about once a second on a
/// thread of its own, and once more when the service has answered its last request. Dropping it syncs too.
pub struct AuditLog {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    pub(super) ring: KeyRing,
    file_bytes_max: u64,
    inner: Mutex<Inner>,
    /// Held by the one who syncs.
    syncing: Mutex<()>,
    /// Held by the one who seals older files anew.
    pub(super) resealing: Mutex<Resealing>,
    _lock: Box<dyn Lock>,
}

struct Inner {
    number: u32,
    /// The file behind `writer`, to be synced without the lock.
    file: Arc<dyn File>,
    /// It must stay the one its name leads to.
    inode: u64,
    writer: Writer,
    /// The file is durable to here.
    synced: u64,
    head: Head,
    /// Entries up to the one with the last signed head, with it; where the files that were read have none, 0.
    sealed: u64,
    older: Usage,
    /// A write or sync failed, or is under way.
    broken: bool,
}

/// What a log takes of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of files.
    pub files: u32,
    /// Their length together.
    pub bytes: u64,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditLog({})", self.dir.display())
    }
}

impl AuditLog {
    /// How often ordinary entries are to be made durable; refusals and key management are at once.
    pub const SYNC_PERIOD: Duration = Duration::from_secs(1);

    /// Opens the log of a directory, or begins one; makes the directory when it is missing. Reads and verifies the newest
    /// file (two after a crash that cut off the making of a file), and records the opening.
    ///
    /// # Errors
    /// [`AuditError::InUse`]; [`AuditError::Broken`] and [`AuditError::Damaged`] when the newest file does not hold; the
    /// disk's errors.
    pub fn open(storage: Arc<dyn Storage>, dir: impl AsRef<Path>, ring: KeyRing) -> Result<Self, AuditError> {
        Self::open_reserved(Self::reserve(storage, dir)?, ring)
    }

    pub(super) fn open_limited(reserved: Reserved, ring: KeyRing, file_bytes_max: u64) -> Result<Self, AuditError> {
        let Reserved { storage, dir, lock } = reserved;
        let numbers = file_numbers(&*storage, &dir)?;
        let (inner, torn_bytes) = match numbers.split_last() {
            None => (begin(&*storage, &dir, &ring, 1, Head::default())?, 0),
            Some((last, earlier)) => reopen(&*storage, &dir, &ring, earlier, *last)?,
        };
        let (inner, syncing, resealing) = (Mutex::new(inner), Mutex::default(), Mutex::default());
        let log = Self { storage, dir, ring, file_bytes_max, inner, syncing, resealing, _lock: lock };
        log.record(&opened(torn_bytes), Durability::AtOnce)?;
        // The process before this one may have ended between the vault and this.
        log.renew()?;
        Ok(log)
    }

    /// Makes every entry so far durable, and begins a new file when the present one is long. Recording goes on meanwhile,
    /// except for the moment in which a new file is begun.
    ///
    /// # Errors
    /// The disk's. The log is then broken, and the next [`Audit::record`] fails.
    pub fn sync(&self) -> Result<(), AuditError> {
        self.make_durable()?;
        let mut inner = self.lock();
        if inner.writer.file_len() < self.file_bytes_max {
            return Ok(());
        }
        self.rotate(&mut inner)
    }

    /// Where the chain stands: what an officer writes down.
    pub fn head(&self) -> Head {
        self.lock().head
    }

    /// The number of the file that entries go to.
    pub(super) fn number(&self) -> u32 {
        self.lock().number
    }

    /// What the log takes of the disk.
    pub fn usage(&self) -> Usage {
        self.lock().usage()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, inner: &Inner) -> PathBuf {
        file_path(&self.dir, inner.number)
    }

    fn check_usable(&self, inner: &Inner) -> Result<(), AuditError> {
        if inner.broken {
            return Err(AuditError::storage(&self.path(inner), "write", &"an earlier write failed"));
        }
        Ok(())
    }

    fn append(&self, event: &Event) -> Result<(), AuditError> {
        let encoded = event.encode();
        let mut inner = self.lock();
        self.check_usable(&inner)?;
        // Only when nobody calls `sync`: a file must not grow without bound.
        if inner.writer.file_len() >= 2 * self.file_bytes_max {
            self.rotate(&mut inner)?;
        }
        let (frame, head) = inner.head.next(now_ms(), &encoded);
        inner.broken = true;
        let written = inner.writer.append(&frame).and_then(|()| inner.writer.flush());
        written.map_err(|error| AuditError::sealed(&self.path(&inner), &error))?;
        inner.note(&head, &event.outcome);
        inner.broken = false;
        Ok(())
    }

    /// Syncs what is written by now, without the lock on entries. One caller at a time: a failed write is told to one sync only, and who
    /// waited finds his entry durable or the log broken.
    fn make_durable(&self) -> Result<(), AuditError> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, file, inode, end) = {
            let inner = self.lock();
            self.check_usable(&inner)?;
            let end = inner.writer.file_len();
            if inner.is_durable(inner.number, end) {
                return Ok(());
            }
            (inner.number, Arc::clone(&inner.file), inner.inode, end)
        };
        let synced = file.sync_data().and_then(|()| self.check_in_place(number, inode));
        let mut inner = self.lock();
        if let Err(error) = synced {
            inner.broken = true;
            return Err(AuditError::storage(&file_path(&self.dir, number), "sync", &error));
        }
        self.check_usable(&inner)?;
        inner.note_durable(number, end);
        Ok(())
    }

    /// An entry is worth something only in a file that a later reader will find.
    fn check_in_place(&self, number: u32, inode: u64) -> std::io::Result<()> {
        match self.storage.metadata(&file_path(&self.dir, number)) {
            Ok(found) if found.inode == inode => Ok(()),
            Ok(_) => Err(std::io::Error::other("another file was put in its place while it was written")),
            Err(error) => Err(error),
        }
    }

    /// The old file is durable to its end before the new one has a name.
    fn rotate(&self, inner: &mut Inner) -> Result<(), AuditError> {
        self.check_usable(inner)?;
        inner.broken = true;
        inner.writer.sync().map_err(|error| AuditError::sealed(&self.path(inner), &error))?;
        let older = inner.usage();
        let next = begin(&*self.storage, &self.dir, &self.ring, inner.number + 1, inner.head)?;
        *inner = Inner { older, sealed: inner.sealed, ..next };
        if older.bytes >= DISK_BYTES_WARN {
            let (files, gib) = (older.files, older.bytes >> 30);
            tracing::warn!(files, gib, dir = %self.dir.display(), "the audit log is long: move its oldest files to an archive");
        }
        Ok(())
    }
}

impl Inner {
    /// The chain stands at `head`, after an entry with that outcome.
    fn note(&mut self, head: &Head, outcome: &Outcome) {
        self.head = *head;
        if matches!(outcome, Outcome::HeadSigned(_)) {
            self.sealed = head.entries;
        }
    }

    fn usage(&self) -> Usage {
        Usage { files: self.older.files + 1, bytes: self.older.bytes + self.writer.file_len() }
    }

    /// A file that was followed by another is durable.
    fn is_durable(&self, number: u32, end: u64) -> bool {
        number != self.number || end <= self.synced
    }

    fn note_durable(&mut self, number: u32, end: u64) {
        if !self.is_durable(number, end) {
            self.synced = end;
            self.writer.note_synced(end);
        }
    }
}

impl Audit for AuditLog {
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError> {
        self.append(event)?;
        match durability {
            Durability::Grouped => Ok(()),
            Durability::AtOnce => self.make_durable(),
        }
    }

    fn check(&self) -> Result<(), AuditError> {
        self.check_usable(&self.lock())
    }

    fn head(&self) -> Option<Head> {
        Some(self.lock().head)
    }

    fn sealed(&self) -> u64 {
        self.lock().sealed
    }

    fn renew(&self) -> Result<(), AuditError> {
        let mut inner = self.lock();
        match inner.writer.file_epoch() == self.ring.current_epoch() {
            true => Ok(()),
            false => self.rotate(&mut inner),
        }
    }

    fn reseal_oldest(&self) -> Result<TrailResealed, AuditError> {
        epochs::reseal_oldest(self)
    }

    fn oldest_epoch(&self) -> Result<Option<(PathBuf, u32)>, AuditError> {
        epochs::oldest(self)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if self.lock().broken {
            return;
        }
        if let Err(error) = self.make_durable() {
            tracing::error!(%error, "the last entries of the audit log may not survive a loss of power");
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn opened(torn_bytes: u64) -> Event {
    let subject = match torn_bytes {
        0 => "after a whole entry".to_owned(),
        torn => format!("{torn} bytes torn off by a crash were dropped"),
    };
    Event { request: "audit-open".to_owned(), subject, digest: None, outcome: Outcome::Answered }
}

/// Makes the file of that number, durable with its name and start.
fn begin(storage: &dyn Storage, dir: &Path, ring: &KeyRing, number: u32, head: Head) -> Result<Inner, AuditError> {
    let path = file_path(dir, number);
    let file = storage.open(&path, OpenMode::CreateNew).map_err(|error| AuditError::storage(&path, "make", &error))?;
    let file: Arc<dyn File> = file.into();
    let sealed = |error: SealedError| AuditError::sealed(&path, &error);
    let mut writer = Writer::create(Arc::clone(&file), ring, Purpose::Audit).map_err(sealed)?;
    start(&mut writer, number, head).map_err(sealed)?;
    storage.sync_dir(dir).map_err(|error| AuditError::storage(dir, "sync", &error))?;
    let synced = writer.file_len();
    let inode = inode_of(storage, &path)?;
    Ok(Inner { number, file, inode, writer, synced, head, sealed: 0, older: Usage::default(), broken: false })
}

fn inode_of(storage: &dyn Storage, path: &Path) -> Result<u64, AuditError> {
    storage.metadata(path).map(|found| found.inode).map_err(|error| AuditError::storage(path, "look at", &error))
}

fn start(writer: &mut Writer, number: u32, head: Head) -> Result<(), SealedError> {
    writer.append(&Record::Start { number, head }.encode())?;
    writer.sync()
}

/// Continues the newest file; also says how many bytes a crash had torn off it.
fn reopen(
    storage: &dyn Storage,
    dir: &Path,
    ring: &KeyRing,
    earlier: &[u32],
    number: u32,
) -> Result<(Inner, u64), AuditError> {
    let path = file_path(dir, number);
    let file = storage.open(&path, OpenMode::ReadWrite).map_err(|error| AuditError::storage(&path, "open", &error))?;
    let file: Arc<dyn File> = file.into();
    let mut follower = Follower::new(path.clone(), number, (number == 1).then(Head::default));
    let mut chain = Ok(());
    let mut sealed = 0;
    let reopened = Writer::replay_append(Arc::clone(&file), ring, Purpose::Audit, |frame| {
        if chain.is_ok() {
            chain = follower.take(frame).map(|entry| {
                let signed = entry.filter(|entry| matches!(entry.event.outcome, Outcome::HeadSigned(_)));
                sealed = signed.map_or(sealed, |entry| entry.sequence + 1);
            });
        }
    });
    chain?;
    let failed = |error: SealedError| AuditError::sealed(&path, &error);
    let reopened = reopened.map_err(failed)?;
    let mut writer = reopened.writer;
    let head = match follower.head {
        Some(head) => head,
        None => {
            // A crash cut off the making of this file; the chain stands where the file before it ends.
            let head = head_before(storage, dir, ring, number)?;
            start(&mut writer, number, head).map_err(failed)?;
            head
        }
    };
    let torn_bytes = match reopened.end {
        End::Clean => 0,
        End::TornTail { dropped, .. } => dropped,
    };
    let (synced, older) = (writer.file_len(), usage_of(storage, dir, earlier)?);
    let inode = inode_of(storage, &path)?;
    Ok((Inner { number, file, inode, writer, synced, head, sealed, older, broken: false }, torn_bytes))
}

fn head_before(storage: &dyn Storage, dir: &Path, ring: &KeyRing, number: u32) -> Result<Head, AuditError> {
    if number == 1 {
        return Ok(Head::default());
    }
    let before = read_file(storage, dir, number - 1, ring, None, &mut |_, _| Ok(()))?;
    match before.head {
        Some(head) if before.torn_bytes == 0 => Ok(head),
        _ => Err(before.broken("was torn off, though a later file was begun")),
    }
}

fn usage_of(storage: &dyn Storage, dir: &Path, numbers: &[u32]) -> Result<Usage, AuditError> {
    let mut usage = Usage::default();
    for number in numbers {
        let path = file_path(dir, *number);
        let metadata = storage.metadata(&path).map_err(|error| AuditError::storage(&path, "measure", &error))?;
        usage = Usage { files: usage.files + 1, bytes: usage.bytes + metadata.len };
    }
    Ok(usage)
}
