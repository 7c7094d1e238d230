//! The ordering log on disk: consensus entries and the batches they speak of, sealed, replayed at the start.
//!
//! One file holds a range of heights; it is removed when the ledger holds every height it mentions. Acknowledged bytes are
//! never rewritten. A torn tail above the last sync is dropped and told of; anything else that fails its tag is refused. A log is open
//! once: two that append to it would each forget what the other one remembers.
//!
//! Inside the sealed stream a record is `length: u32 LE ‖ borsh`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_consensus::LogEntry;
use bixi_platform::io::{Lock, OpenMode, Storage};
use bixi_sealed::frames::{End, Reader, Writer};
use bixi_sealed::reseal::Copied;
use bixi_sealed::{KeyRing, Purpose, SealedError};
use bixi_types::batch::Batch;
use bixi_types::limits::BATCH_BYTES_MAX;
use borsh::{BorshDeserialize, BorshSerialize};

/// A file is closed at this size and the next one begun.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest record: a batch with its framing.
const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX + 64;

/// Held while the log is open.
const LOCK_FILE: &str = "LOCK";

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// What consensus must remember.
    Entry(Box<LogEntry>),
    /// A batch, for the height it was built or fetched for.
    Batch { height: u64, batch: Batch },
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Stored {
    Entry(Vec<u8>),
    Batch { height: u64, bytes: Vec<u8> },
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Somebody has it open.
    #[error("ordering log {}: another process, or a thread of a node that did not end, has it open; end that first", dir.display())]
    Locked {
        /// Its directory.
        dir: PathBuf,
    },
    /// The sealed file failed.
    #[error("ordering log: {0}")]
    Sealed(#[from] SealedError),
    /// The system refused.
    #[error("ordering log {}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// From the system.
        source: io::Error,
    },
    /// An authentic record that this release cannot read.
    #[error("ordering log {}: record {index}: {detail}; start the release that wrote it", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Which record, from 0.
        index: usize,
        /// What is wrong.
        detail: String,
    },
}

impl Record {
    pub(crate) fn height(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.height(),
            Self::Batch { height, .. } => *height,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let stored = match self {
            Self::Entry(entry) => Stored::Entry(entry.encode()),
            Self::Batch { height, batch } => Stored::Batch { height: *height, bytes: batch.encode() },
        };
        borsh::to_vec(&stored).expect("borsh into memory cannot fail")
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        match borsh::from_slice(bytes).map_err(|error| error.to_string())? {
            Stored::Entry(bytes) => {
                LogEntry::decode(&bytes).map(Box::new).map(Self::Entry).map_err(|error| error.to_string())
            }
            Stored::Batch { height, bytes } => {
                let batch = Batch::decode(&bytes).map_err(|error| error.to_string())?;
                Ok(Self::Batch { height, batch })
            }
        }
    }
}

/// What a start reads back.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Everything durable, in the order written.
    pub records: Vec<Record>,
    /// Files whose tail was dropped. By the file alone a write that was never acknowledged looks like one that was damaged
    /// since; what the guard saw signed tells them apart.
    pub torn: Vec<PathBuf>,
}

struct ClosedFile {
    path: PathBuf,
    height_max: u64,
}

/// The log, open for appending.
pub(crate) struct OrderingLog {
    storage: Arc<dyn Storage>,
    ring: KeyRing,
    dir: PathBuf,
    closed: Vec<ClosedFile>,
    current: Writer,
    current_path: PathBuf,
    current_height_max: u64,
    sequence: u64,
    dirty: bool,
    _lock: Box<dyn Lock>,
}

impl OrderingLog {
    /// Reads every file in order, then begins a new one. Refused while it is open elsewhere.
    pub(crate) fn open(storage: Arc<dyn Storage>, dir: &Path, ring: KeyRing) -> Result<(Self, Recovered), LogError> {
        storage.create_dir_all(dir).map_err(|source| LogError::Io { path: dir.to_owned(), source })?;
        let lock = lock(storage.as_ref(), dir)?;
        let (recovered, closed) = read_files(storage.as_ref(), dir, &ring)?;
        let sequence = closed.last().and_then(|file| sequence_of(&file.path)).map_or(0, |last| last + 1);
        let (current, current_path) = begin_file(storage.as_ref(), dir, &ring, sequence)?;
        let log = Self {
            storage,
            ring,
            dir: dir.to_owned(),
            closed,
            current,
            current_path,
            current_height_max: 0,
            sequence,
            dirty: false,
            _lock: lock,
        };
        Ok((log, recovered))
    }

    /// Appends a record; durable after the next [`Self::sync`].
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), LogError> {
        let bytes = record.encode();
        assert!(bytes.len() <= RECORD_BYTES_MAX, "a log record of {} bytes", bytes.len());
        let at = |error: SealedError| error.at(&self.current_path);
        self.current.append(&(bytes.len() as u32).to_le_bytes()).map_err(at)?;
        self.current.append(&bytes).map_err(at)?;
        self.current_height_max = self.current_height_max.max(record.height());
        self.dirty = true;
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        self.current.sync().map_err(|error| error.at(&self.current_path))?;
        self.dirty = false;
        if self.current.file_len() >= FILE_BYTES_MAX { self.begin_next() } else { Ok(()) }
    }

    /// Goes on in a file under the current epoch of the data keys, if the present one is of an older epoch.
    pub(crate) fn renew(&mut self) -> Result<(), LogError> {
        match self.current.file_epoch() == self.ring.current_epoch() {
            true => Ok(()),
            false => self.begin_next(),
        }
    }

    /// Puts a copy into the place of a closed file, if that is still here. Either of the two may have the name after a failure: they hold
    /// the same.
    pub(crate) fn exchange(&self, copied: Copied) -> Result<bool, SealedError> {
        match self.closed.iter().any(|file| file.path == copied.path()) {
            true => copied.take_place(self.storage.as_ref()),
            false => {
                copied.discard(self.storage.as_ref());
                Ok(false)
            }
        }
    }

    fn begin_next(&mut self) -> Result<(), LogError> {
        let sequence = self.sequence + 1;
        let (writer, path) = begin_file(self.storage.as_ref(), &self.dir, &self.ring, sequence)?;
        std::mem::replace(&mut self.current, writer).close().map_err(|error| error.at(&self.current_path))?;
        let path = std::mem::replace(&mut self.current_path, path);
        self.closed.push(ClosedFile { path, height_max: self.current_height_max });
        (self.sequence, self.current_height_max) = (sequence, 0);
        Ok(())
    }

    /// Removes the closed files that mention no height above `height`.
    pub(crate) fn forget(&mut self, height: u64) -> Result<(), LogError> {
        let (gone, kept) = std::mem::take(&mut self.closed).into_iter().partition(|file| file.height_max <= height);
        self.closed = kept;
        let gone: Vec<ClosedFile> = gone;
        for file in &gone {
            self.storage.remove(&file.path).map_err(|source| LogError::Io { path: file.path.clone(), source })?;
        }
        Ok(())
    }
}

/// Reads every file of a log that nobody writes, and changes nothing.
pub(crate) fn read_all(storage: &dyn Storage, dir: &Path, ring: &KeyRing) -> Result<Recovered, LogError> {
    Ok(read_files(storage, dir, ring)?.0)
}

/// Writes a log that nobody writes again with the records that `keeps` wants.
pub(crate) fn rewrite(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    ring: &KeyRing,
    keeps: impl Fn(&Record) -> bool,
) -> Result<(), LogError> {
    let records = read_all(storage.as_ref(), dir, ring)?.records;
    replace(storage, dir, ring, records.into_iter().filter(keeps))
}

/// Puts `records` into a new file, durably, and only then removes the files before it. After a crash in between the log holds both;
/// repeating it makes one of them again, because a record that is there is not written twice.
pub(crate) fn replace(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    ring: &KeyRing,
    records: impl Iterator<Item = Record>,
) -> Result<(), LogError> {
    let (mut log, _) = OrderingLog::open(Arc::clone(storage), dir, ring.clone())?;
    let before = std::mem::take(&mut log.closed);
    let mut written = HashSet::new();
    for record in records.filter(|record| written.insert(record.encode())) {
        log.append(&record)?;
    }
    log.sync()?;
    for file in before {
        storage.remove(&file.path).map_err(|source| LogError::Io { path: file.path, source })?;
    }
    storage.sync_dir(dir).map_err(|source| LogError::Io { path: dir.to_owned(), source })
}

fn lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>, LogError> {
    let path = dir.join(LOCK_FILE);
    storage.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => LogError::Locked { dir: dir.to_owned() },
        _ => LogError::Io { path, source },
    })
}

/// Every file in order, and what is in them.
fn read_files(storage: &dyn Storage, dir: &Path, ring: &KeyRing) -> Result<(Recovered, Vec<ClosedFile>), LogError> {
    let mut recovered = Recovered::default();
    let mut closed = Vec::new();
    for path in storage.list(dir).map_err(|source| LogError::Io { path: dir.to_owned(), source })? {
        let path = dir.join(path);
        if sequence_of(&path).is_none() {
            continue;
        }
        let (found, end) = read_file(storage, &path, ring)?;
        if let End::TornTail { offset, dropped } = end {
            tracing::warn!(path = %path.display(), offset, dropped, "dropped a torn tail");
            recovered.torn.push(path.clone());
        }
        closed.push(ClosedFile { path, height_max: found.iter().map(Record::height).max().unwrap_or(0) });
        recovered.records.extend(found);
    }
    Ok((recovered, closed))
}

fn file_name(sequence: u64) -> String {
    format!("{sequence:012}.log")
}

fn sequence_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

fn begin_file(storage: &dyn Storage, dir: &Path, ring: &KeyRing, sequence: u64) -> Result<(Writer, PathBuf), LogError> {
    let path = dir.join(file_name(sequence));
    let file =
        storage.open(&path, OpenMode::CreateNew).map_err(|source| LogError::Io { path: path.clone(), source })?;
    let mut writer = Writer::create(file, ring, Purpose::ConsensusLog).map_err(|error| error.at(&path))?;
    writer.sync().map_err(|error| error.at(&path))?;
    storage.sync_dir(dir).map_err(|source| LogError::Io { path: dir.to_owned(), source })?;
    Ok((writer, path))
}

fn read_file(storage: &dyn Storage, path: &Path, ring: &KeyRing) -> Result<(Vec<Record>, End), LogError> {
    let file = storage.open(path, OpenMode::Read).map_err(|source| LogError::Io { path: path.to_owned(), source })?;
    // Consensus goes on from what it reads: a page cache that outlived the process is not the disk yet.
    file.sync_data().map_err(|source| LogError::Io { path: path.to_owned(), source })?;
    let at = |error: SealedError| LogError::from(error.at(path));
    let mut reader = Reader::open(file, ring, Purpose::ConsensusLog).map_err(at)?;
    let mut records = Vec::new();
    let mut pending = Vec::new();
    while let Some(frame) = reader.next_frame().map_err(at)? {
        pending.extend_from_slice(frame);
        let used = take_records(path, &pending, &mut records)?;
        pending.drain(..used);
    }
    Ok((records, reader.end()))
}

/// Decodes the whole records at the start of `bytes`; returns how many bytes they take.
fn take_records(path: &Path, bytes: &[u8], records: &mut Vec<Record>) -> Result<usize, LogError> {
    let fault = |index, detail| LogError::Record { path: path.to_owned(), index, detail };
    let mut used = 0;
    while let Some((length, rest)) = bytes[used..].split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(fault(records.len(), format!("{length} bytes; at most {RECORD_BYTES_MAX} are written")));
        }
        let Some(body) = rest.get(..length) else { break };
        records.push(Record::decode(body).map_err(|detail| fault(records.len(), detail))?);
        used += 4 + length;
    }
    Ok(used)
}

#[cfg(test)]
mod tests;
