//! The audit log: sealed files of hash-chained entries.
//!
//! An entry's hash covers the hash of the entry before it, across files, so an edit, a cut in the middle or a changed order
//! breaks the chain; the seal keeps outsiders from writing a chain of their own. An entry survives the end of the process when
//! [`AuditLog::record`] returns, and the loss of power after [`AuditLog::sync`]. What a crash tears off is noted as an entry.
//!
//! ```text
//! audit-000001.log ─ entry ─ entry ─ … ─▶ audit-000002.log ─ entry …      hash = SM3(domain ‖ borsh(entry))
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm3;
use bixi_platform::io::{Lock, OpenMode, Storage};
use bixi_sealed::frames::{End, Reader, Writer};
use bixi_sealed::{KeyRing, Purpose};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Audit, AuditError, Event, Outcome};

const DOMAIN: &[u8] = b"BIXI-HSM-AUDIT-V1";
/// A file that reached this size is followed by a new one.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// Counts from 0 over all files.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch, by this host's clock.
    pub at_ms: u64,
    /// Hash of the entry before; zero for the first.
    pub previous: [u8; 32],
    /// What happened.
    pub event: Event,
}

impl Entry {
    fn hash(&self) -> [u8; 32] {
        let mut hasher = sm3::Hasher::new();
        hasher.update(DOMAIN);
        hasher.update(&borsh::to_vec(self).expect("borsh into memory cannot fail"));
        hasher.finalize()
    }
}

/// Where the chain stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Head {
    sequence: u64,
    hash: [u8; 32],
}

impl Head {
    /// Moves over the next entry, if it is the next.
    fn follow(&mut self, path: &Path, frame: &[u8]) -> Result<Entry, AuditError> {
        let sequence = self.sequence;
        let broken = |reason: String| AuditError::Broken { path: path.to_owned(), sequence, reason };
        let entry = Entry::try_from_slice(frame).map_err(|error| broken(error.to_string()))?;
        if entry.sequence != sequence {
            return Err(broken(format!("is missing; entry {} stands in its place", entry.sequence)));
        }
        if entry.previous != self.hash {
            return Err(broken("does not follow from the entry before it".to_owned()));
        }
        *self = Self { sequence: sequence + 1, hash: entry.hash() };
        Ok(entry)
    }
}

/// The open log of one directory. One process writes it.
pub struct AuditLog {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    ring: KeyRing,
    inner: Mutex<Inner>,
    _lock: Box<dyn Lock>,
}

struct Inner {
    number: u32,
    writer: Writer,
    head: Head,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditLog({})", self.dir.display())
    }
}

impl AuditLog {
    /// Opens the log of an existing directory, or begins one; verifies the whole chain.
    pub fn open(storage: Arc<dyn Storage>, dir: impl AsRef<Path>, ring: KeyRing) -> Result<Self, AuditError> {
        let dir = dir.as_ref().to_owned();
        let lock = storage.lock(&dir.join("LOCK")).map_err(|error| failed(&dir, &error))?;
        let numbers = numbers(&*storage, &dir)?;
        let mut head = Head::default();
        let (earlier, last) = numbers.split_at(numbers.len().saturating_sub(1));
        for number in earlier {
            read_file(&*storage, &file_path(&dir, *number), &ring, &mut head, &mut |_| {})?;
        }
        let number = last.first().copied().unwrap_or(1);
        let path = file_path(&dir, number);
        let (writer, end) = if last.is_empty() {
            (begin(&*storage, &dir, &path, &ring)?, End::Clean)
        } else {
            reopen(&*storage, &path, &ring, &mut head)?
        };
        let log = Self { storage, dir, ring, inner: Mutex::new(Inner { number, writer, head }), _lock: lock };
        if let End::TornTail { dropped, .. } = end {
            log.record(&torn(dropped))?;
        }
        Ok(log)
    }

    /// Makes every entry so far durable.
    pub fn sync(&self) -> Result<(), AuditError> {
        let mut inner = self.lock();
        let path = file_path(&self.dir, inner.number);
        inner.writer.sync().map_err(|error| failed(&path, &error))
    }

    /// Number of entries so far, and the hash of the last: what an officer writes down.
    pub fn head(&self) -> (u64, [u8; 32]) {
        let inner = self.lock();
        (inner.head.sequence, inner.head.hash)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn rotate(&self, inner: &mut Inner) -> Result<(), AuditError> {
        let path = file_path(&self.dir, inner.number);
        inner.writer.sync().map_err(|error| failed(&path, &error))?;
        let next = file_path(&self.dir, inner.number + 1);
        inner.writer = begin(&*self.storage, &self.dir, &next, &self.ring)?;
        inner.number += 1;
        Ok(())
    }
}

impl Audit for AuditLog {
    fn record(&self, event: &Event) -> Result<(), AuditError> {
        let mut inner = self.lock();
        if inner.writer.file_len() >= FILE_BYTES_MAX {
            self.rotate(&mut inner)?;
        }
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let Head { sequence, hash } = inner.head;
        let entry = Entry { sequence, at_ms, previous: hash, event: event.clone() };
        let bytes = borsh::to_vec(&entry).expect("borsh into memory cannot fail");
        let path = file_path(&self.dir, inner.number);
        let written = inner.writer.append(&bytes).and_then(|()| inner.writer.flush());
        written.map_err(|error| failed(&path, &error))?;
        inner.head = Head { sequence: sequence + 1, hash: entry.hash() };
        Ok(())
    }
}

/// Reads every file of a directory in order and hands each entry to `visit`; fails at the first that does not fit.
/// Returns the number of entries and the hash of the last.
pub fn verify_chain(
    storage: &dyn Storage,
    dir: &Path,
    ring: &KeyRing,
    mut visit: impl FnMut(Entry),
) -> Result<(u64, [u8; 32]), AuditError> {
    let mut head = Head::default();
    for number in numbers(storage, dir)? {
        read_file(storage, &file_path(dir, number), ring, &mut head, &mut visit)?;
    }
    Ok((head.sequence, head.hash))
}

fn torn(dropped: u64) -> Event {
    Event {
        request: "audit-open".to_owned(),
        subject: format!("{dropped} bytes torn off by a crash were dropped"),
        digest: None,
        outcome: Outcome::Answered,
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> AuditError {
    AuditError::Storage { path: path.to_owned(), reason: error.to_string() }
}

fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("audit-{number:06}.log"))
}

/// Numbers of the files, which must be 1, 2, 3 … without a gap.
fn numbers(storage: &dyn Storage, dir: &Path) -> Result<Vec<u32>, AuditError> {
    let names = storage.list(dir).map_err(|error| failed(dir, &error))?;
    let number = |name: &PathBuf| name.to_str()?.strip_prefix("audit-")?.strip_suffix(".log")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    match (1..).zip(&numbers).find(|(expected, found)| expected != *found) {
        None => Ok(numbers),
        Some((missing, _)) => Err(failed(&file_path(dir, missing), &"the file is missing, and later ones are there")),
    }
}

fn begin(storage: &dyn Storage, dir: &Path, path: &Path, ring: &KeyRing) -> Result<Writer, AuditError> {
    let file = storage.open(path, OpenMode::CreateNew).map_err(|error| failed(path, &error))?;
    let writer = Writer::create(file, ring, Purpose::Audit).map_err(|error| failed(path, &error))?;
    storage.sync_dir(dir).map_err(|error| failed(dir, &error))?;
    Ok(writer)
}

fn reopen(storage: &dyn Storage, path: &Path, ring: &KeyRing, head: &mut Head) -> Result<(Writer, End), AuditError> {
    let mut chain = Ok(());
    let file = storage.open(path, OpenMode::ReadWrite).map_err(|error| failed(path, &error))?;
    let reopened = Writer::replay_append(file, ring, Purpose::Audit, |frame| {
        if chain.is_ok() {
            chain = head.follow(path, frame).map(drop);
        }
    });
    chain?;
    let reopened = reopened.map_err(|error| failed(path, &error))?;
    Ok((reopened.writer, reopened.end))
}

fn read_file(
    storage: &dyn Storage,
    path: &Path,
    ring: &KeyRing,
    head: &mut Head,
    visit: &mut dyn FnMut(Entry),
) -> Result<(), AuditError> {
    let file = storage.open(path, OpenMode::Read).map_err(|error| failed(path, &error))?;
    let mut reader = Reader::open(file, ring, Purpose::Audit).map_err(|error| failed(path, &error))?;
    while let Some(frame) = reader.next_frame().map_err(|error| failed(path, &error))? {
        visit(head.follow(path, frame)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bixi_platform::io::PreadStorage;
    use bixi_platform::secret::Secret;
    use bixi_sealed::AtRest;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap()
    }

    fn open(dir: &Path) -> Result<AuditLog, AuditError> {
        AuditLog::open(Arc::new(PreadStorage::new()), dir, ring())
    }

    fn event(subject: u32) -> Event {
        Event {
            request: "sign-vote".to_owned(),
            subject: subject.to_string(),
            digest: Some([1; 32]),
            outcome: Outcome::Signed,
        }
    }

    fn subjects(dir: &Path) -> Result<Vec<String>, AuditError> {
        let mut subjects = Vec::new();
        verify_chain(&PreadStorage::new(), dir, &ring(), |entry| subjects.push(entry.event.subject))?;
        Ok(subjects)
    }

    #[test]
    fn the_chain_goes_on_over_restarts_and_files() {
        let dir = tempfile::tempdir().unwrap();
        for life in 0..3 {
            let log = open(dir.path()).unwrap();
            assert!(open(dir.path()).is_err(), "one writer");
            log.record(&event(2 * life)).unwrap();
            log.rotate(&mut log.lock()).unwrap();
            log.record(&event(2 * life + 1)).unwrap();
            log.sync().unwrap();
            assert_eq!(log.head().0, u64::from(2 * life + 2));
        }
        assert_eq!(subjects(dir.path()).unwrap(), ["0", "1", "2", "3", "4", "5"]);
    }

    #[test]
    fn removed_swapped_and_edited_files_break_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        for number in 0..4 {
            log.record(&event(number)).unwrap();
            log.rotate(&mut log.lock()).unwrap();
        }
        drop(log);
        let path = |number| file_path(dir.path(), number);
        let restore = |number: u32, bytes: &[u8]| std::fs::write(path(number), bytes).unwrap();
        let files: Vec<_> = (1..=5).map(|number| std::fs::read(path(number)).unwrap()).collect();

        std::fs::remove_file(path(2)).unwrap();
        assert!(subjects(dir.path()).is_err(), "a gap");
        restore(2, &files[2]);
        assert!(matches!(subjects(dir.path()), Err(AuditError::Broken { sequence: 1, .. })), "an entry cut out");
        restore(2, &files[1]);
        restore(3, &files[3]);
        restore(4, &files[2]);
        assert!(matches!(subjects(dir.path()), Err(AuditError::Broken { sequence: 2, .. })), "two entries swapped");
        restore(3, &files[2]);
        restore(4, &files[3]);
        let mut edited = files[0].clone();
        let middle = edited.len() - 20;
        edited[middle] ^= 1;
        restore(1, &edited);
        assert!(subjects(dir.path()).is_err(), "an edited entry");
        restore(1, &files[0]);
        assert_eq!(subjects(dir.path()).unwrap().len(), 4);
    }
}
