//! The guard's file: sealed frames, each a run of records; claims are durable before they are granted.
//!
//! Records are written under the guard's lock and synced without it ([`Pending`]), so that callers share a sync.
//!
//! Opening never appends to a file of an earlier life: everything is read, then written compactly into a new file that
//! replaces the old one atomically. So a torn tail ends with the life that tore it, and the file stays small.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_platform::io::{File, Lock, OpenMode, Storage};
use bixi_sealed::frames::{End, Reader, Writer};
use bixi_sealed::{KeyRing, Purpose, SealedError};
use bixi_types::H256;
use bixi_types::consensus::SignatureBytes;
use borsh::{BorshDeserialize, BorshSerialize};

use super::GuardError;
use super::counting::Note;
use super::lane::{Claim, Lanes};
use super::standing::{FirstStanding, Standing};

/// Records after which the file is rewritten compactly.
pub(super) const RECORDS_MAX: usize = 2_048;
/// Version of the records' encoding.
const FORMAT: u16 = 1;
/// The same with notes of a device's counter, which earlier versions cannot read.
const FORMAT_NOTED: u16 = 2;

/// One entry of the file. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Record {
    /// First record of every file.
    Identity { format: u16, chain: H256 },
    /// A granted claim.
    Claimed(Claim),
    /// The signature of an earlier claim.
    Signed(Claim, SignatureBytes),
    /// What officers have done, as first written; the second record of a file, where they have done something.
    FirstStanding(FirstStanding),
    /// The same as written today.
    Standing(Standing),
    /// What is known of the device's counter, and how often the guard had been changed by then; the latest counts.
    Noted { note: Note, changes: u64 },
}

/// The open file. Holds the lock that keeps a second signer away.
pub(super) struct Journal {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    ring: KeyRing,
    chain: H256,
    current: Current,
    /// Records in the file besides what it began with.
    records: usize,
    /// Records written in the journal's life.
    written: u64,
    /// How many of them are durable.
    durable: u64,
    poisoned: bool,
    #[cfg(test)]
    pub(super) sync_claims: bool,
    _lock: Box<dyn Lock>,
}

/// The file being written.
struct Current {
    /// The file behind `writer`, to be synced without the guard's lock.
    file: Arc<dyn File>,
    writer: Writer,
    /// It must stay the one its name leads to.
    inode: u64,
}

/// What a sync makes durable.
pub(super) struct Pending {
    file: Arc<dyn File>,
    inode: u64,
    file_len: u64,
    records: u64,
}

impl Pending {
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Journal {
    pub(super) fn create(
        storage: Arc<dyn Storage>,
        path: &Path,
        ring: KeyRing,
        chain: H256,
        lanes: &Lanes,
    ) -> Result<Self, GuardError> {
        let lock = reserve(&*storage, path)?;
        if storage.exists(path).map_err(|error| failed(path, "look", &error))? {
            return Err(GuardError::Exists { path: path.to_owned() });
        }
        Self::begin(storage, path, ring, chain, lanes, lock)
    }

    pub(super) fn open(
        storage: Arc<dyn Storage>,
        path: &Path,
        ring: KeyRing,
        chain: H256,
        lock: Box<dyn Lock>,
    ) -> Result<(Lanes, Self), GuardError> {
        let (mut lanes, end) = read(&*storage, path, &ring, chain)?;
        if let End::TornTail { offset, dropped } = end {
            tracing::warn!(
                guard = %path.display(),
                offset,
                dropped,
                "the sign-once guard ended in the middle of a write, as after a loss of power; what is dropped was not known to be durable. If \
                 there was no such loss, look at this disk"
            );
        }
        lanes.retire_all_if_said();
        lanes.forget_left_behind();
        let journal = Self::begin(storage, path, ring, chain, &lanes, lock)?;
        Ok((lanes, journal))
    }

    fn begin(
        storage: Arc<dyn Storage>,
        path: &Path,
        ring: KeyRing,
        chain: H256,
        lanes: &Lanes,
        lock: Box<dyn Lock>,
    ) -> Result<Self, GuardError> {
        let current = write_compact(&*storage, path, &ring, chain, lanes)?;
        Ok(Self {
            storage,
            path: path.to_owned(),
            ring,
            chain,
            current,
            records: 0,
            written: 0,
            durable: 0,
            poisoned: false,
            #[cfg(test)]
            sync_claims: true,
            _lock: lock,
        })
    }

    pub(super) fn check_usable(&self) -> Result<(), GuardError> {
        if self.poisoned { Err(failed(&self.path, "write", &"an earlier write failed")) } else { Ok(()) }
    }

    /// Writes a record, which may be lost with the power until a sync is [settled](Self::settle).
    pub(super) fn append(&mut self, record: &Record) -> Result<(), GuardError> {
        self.check_usable()?;
        self.poisoned = true;
        let bytes = borsh::to_vec(record).expect("borsh into memory cannot fail");
        let writer = &mut self.current.writer;
        writer.append(&bytes).and_then(|()| writer.flush()).map_err(|error| failed(&self.path, "append", &error))?;
        self.records += 1;
        self.written += 1;
        self.poisoned = false;
        Ok(())
    }

    /// Records written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether the first `records` records survive the loss of power.
    pub(super) fn is_durable(&self, records: u64) -> bool {
        #[cfg(test)]
        if !self.sync_claims {
            return true;
        }
        records <= self.durable
    }

    /// What is written by now, to be synced without the lock and then [settled](Self::settle).
    pub(super) fn pending(&self) -> Pending {
        let Current { file, writer, inode } = &self.current;
        Pending { file: Arc::clone(file), inode: *inode, file_len: writer.file_len(), records: self.written }
    }

    /// Takes note of how a sync ended; one that failed ends all grants.
    pub(super) fn settle(&mut self, pending: &Pending, synced: io::Result<()>) -> Result<(), GuardError> {
        self.check_usable()?;
        self.poisoned = true;
        synced.map_err(|error| failed(&self.path, "sync", &error))?;
        self.check_in_place()?;
        // Else the file was rewritten meanwhile, and everything is durable in the new one.
        if pending.inode == self.current.inode {
            let writer = &mut self.current.writer;
            writer.note_synced(pending.file_len);
            // So that damage to what was just granted is no torn tail to the next start.
            writer.mark().map_err(|error| failed(&self.path, "mark", &error))?;
            self.durable = self.durable.max(pending.records);
        }
        self.poisoned = false;
        Ok(())
    }

    /// A claim is worth something only in the file that the next start will read.
    fn check_in_place(&self) -> Result<(), GuardError> {
        match self.storage.metadata(&self.path) {
            Ok(found) if found.inode == self.current.inode => Ok(()),
            Ok(_) => Err(failed(&self.path, "look", &"another file was put in its place while it was in use")),
            Err(error) => Err(failed(&self.path, "look", &error)),
        }
    }

    /// The epoch that the file's header names.
    pub(super) fn file_epoch(&self) -> u32 {
        self.current.writer.file_epoch()
    }

    pub(super) fn is_of_current_epoch(&self) -> bool {
        self.file_epoch() == self.ring.current_epoch()
    }

    pub(super) fn wants_compaction(&self) -> bool {
        self.records >= RECORDS_MAX
    }

    /// Replaces the file by one that holds only what the lanes remember.
    pub(super) fn compact(&mut self, lanes: &Lanes) -> Result<(), GuardError> {
        self.check_usable()?;
        self.poisoned = true;
        self.current = write_compact(&*self.storage, &self.path, &self.ring, self.chain, lanes)?;
        // What the lanes remember does not count: else a full history would be rewritten with every claim.
        self.records = 0;
        self.durable = self.written;
        self.poisoned = false;
        Ok(())
    }
}

pub(super) fn failed(path: &Path, action: &str, error: &dyn std::fmt::Display) -> GuardError {
    GuardError::Storage { path: path.to_owned(), reason: format!("{action}: {error}") }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> GuardError {
    GuardError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

/// The lock is found by the file's name, and rewriting replaces a name, not a file: so the file must have this name only.
fn check_names(storage: &dyn Storage, path: &Path) -> Result<(), GuardError> {
    let linked = |what: String| Err(GuardError::Linked { path: path.to_owned(), what });
    match storage.metadata(path) {
        Ok(found) if found.is_symlink => linked("a symbolic link".to_owned()),
        Ok(found) if found.names > 1 => linked(format!("one of {} hard links to its file", found.names)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, "look", &error)),
    }
}

/// Takes the lock of the guard at `path`, which has one name.
pub(super) fn reserve(storage: &dyn Storage, path: &Path) -> Result<Box<dyn Lock>, GuardError> {
    check_names(storage, path)?;
    lock(storage, path)
}

fn lock(storage: &dyn Storage, path: &Path) -> Result<Box<dyn Lock>, GuardError> {
    storage.lock(&beside(path, "lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => GuardError::InUse { path: path.to_owned() },
        _ => failed(path, "lock", &error),
    })
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Writes the new file under another name, durable with its name, and moves it into place.
fn write_compact(
    storage: &dyn Storage,
    path: &Path,
    ring: &KeyRing,
    chain: H256,
    lanes: &Lanes,
) -> Result<Current, GuardError> {
    let format = if lanes.noted.is_some() { FORMAT_NOTED } else { FORMAT };
    let mut records = vec![Record::Identity { format, chain }];
    if lanes.standing != Standing::default() {
        records.push(Record::Standing(lanes.standing.clone()));
    }
    for (claim, signature) in lanes.entries() {
        records.push(Record::Claimed(claim));
        records.extend(signature.map(|signature| Record::Signed(claim, signature)));
    }
    // Last: reading the claims counts them anew.
    records.extend(lanes.noted.map(|note| Record::Noted { note, changes: lanes.changes }));
    let mut frame = Vec::new();
    for record in &records {
        record.serialize(&mut frame).expect("borsh into memory cannot fail");
    }
    replace(storage, path, ring, &frame).map_err(|error| failed(path, "rewrite", &error))
}

fn replace(storage: &dyn Storage, path: &Path, ring: &KeyRing, frame: &[u8]) -> Result<Current, SealedError> {
    let io = |action| move |source| SealedError::Io { action, source };
    let temporary = beside(path, "tmp");
    let file: Arc<dyn File> = storage.open(&temporary, OpenMode::Truncate).map_err(io("create"))?.into();
    let mut writer = Writer::create(Arc::clone(&file), ring, Purpose::Guard)?;
    writer.append(frame)?;
    writer.sync()?;
    let inode = storage.metadata(&temporary).map_err(io("look at"))?.inode;
    storage.rename(&temporary, path).map_err(io("rename"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    storage.sync_dir(directory).map_err(io("sync the directory of"))?;
    Ok(Current { file, writer, inode })
}

/// Reads and authenticates the whole file. The disk's own errors are told apart from damage: they may pass.
pub(super) fn read(
    storage: &dyn Storage,
    path: &Path,
    ring: &KeyRing,
    chain: H256,
) -> Result<(Lanes, End), GuardError> {
    let refuse = |error: SealedError| match error.cause() {
        SealedError::Io { .. } => failed(path, "read", &error),
        _ => damaged(path, error),
    };
    let file = storage.open(path, OpenMode::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => GuardError::Missing { path: path.to_owned() },
        _ => failed(path, "open", &error),
    })?;
    let mut reader = Reader::open(file, ring, Purpose::Guard).map_err(refuse)?;
    let (mut lanes, mut first) = (Lanes::default(), true);
    while let Some(mut frame) = reader.next_frame().map_err(refuse)? {
        while !frame.is_empty() {
            let record = Record::deserialize(&mut frame).map_err(|error| damaged(path, error))?;
            apply(&mut lanes, record, first, chain).map_err(|reason| damaged(path, reason))?;
            first = false;
        }
    }
    if first {
        return Err(damaged(path, "it holds no record; a guard is never empty"));
    }
    let end = reader.end();
    Ok((lanes, end))
}

fn apply(lanes: &mut Lanes, record: Record, first: bool, chain: H256) -> Result<(), String> {
    match record {
        Record::Identity { format, .. } if first && !(FORMAT..=FORMAT_NOTED).contains(&format) => Err(format!(
            "its format is {format}, this binary reads {FORMAT} to {FORMAT_NOTED}: it was written by a later version, which has to go on with it"
        )),
        Record::Identity { chain: found, .. } if first => {
            if found == chain {
                Ok(())
            } else {
                Err(format!("it belongs to chain {found}, not to {chain}"))
            }
        }
        Record::FirstStanding(FirstStanding { overrulings, is_retired }) if !first && *lanes == Lanes::default() => {
            lanes.standing.overrulings = overrulings;
            lanes.retires_all = is_retired;
            Ok(())
        }
        Record::Standing(standing) if !first && *lanes == Lanes::default() => {
            lanes.standing = standing;
            Ok(())
        }
        Record::Noted { note, changes } if !first => {
            (lanes.noted, lanes.changes) = (Some(note), changes);
            Ok(())
        }
        Record::Claimed(claim) if !first && lanes.claim(&claim) => Ok(()),
        Record::Signed(claim, signature) if !first && lanes.store(&claim, signature) => Ok(()),
        record => Err(format!("a record out of order: {record:?}")),
    }
}
