//! Entries, their hashes, and the files they stand in.
//!
//! ```text
//! audit-000001.log ─ Start(1, 0) ─ Entry 0 ─ Entry 1 ─ … ─▶ audit-000002.log ─ Start(2, head) ─ Entry n ─ …
//! hash of an entry = SM3(domain ‖ borsh(entry)), and each entry holds the hash of the one before it
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bixi_accel::sm3;
use bixi_platform::io::Storage;
use bixi_types::H256;
use borsh::{BorshDeserialize, BorshSerialize};

use super::{AuditError, Event};

const DOMAIN: &[u8] = b"BIXI-HSM-AUDIT-V1";
/// Discriminant of [`Record::Entry`].
const ENTRY: u8 = 1;
/// Before the event in the frame of an entry: discriminant, sequence, time, hash of the entry before.
const FRAME_HEAD_BYTES: usize = 1 + 8 + 8 + 32;

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
    pub(super) fn hash(&self) -> [u8; 32] {
        hash(&borsh::to_vec(self).expect("borsh into memory cannot fail"))
    }
}

/// Of an entry as it is encoded.
fn hash(entry: &[u8]) -> [u8; 32] {
    let mut hasher = sm3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(entry);
    hasher.finalize()
}

/// Where the chain stands: what an officer writes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Entries so far: the sequence number of the next.
    pub entries: u64,
    /// Hash of the last; zero when there is none.
    pub hash: [u8; 32],
}

/// As an officer writes it down: entries, a colon, the hash.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.entries, H256(self.hash).to_hex())
    }
}

/// A text is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no head of an audit trail: a number of entries, a colon and 64 hexadecimal digits")]
pub struct HeadError(String);

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let read = || {
            let (entries, hash) = text.split_once(':')?;
            Some(Self { entries: entries.parse().ok()?, hash: hash.parse::<H256>().ok()?.0 })
        };
        // In one spelling only: what is written down is compared by eye, too.
        let head = read().filter(|head| head.to_string() == text);
        head.ok_or_else(|| HeadError(text.chars().take(100).collect()))
    }
}

impl Head {
    /// The frame of the entry that follows here, as [`Record::encode`] would make it, and where the chain stands after it. The event was
    /// encoded before the chain was locked.
    pub(super) fn next(&self, at_ms: u64, event: &[u8]) -> (Vec<u8>, Self) {
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + event.len());
        frame.push(ENTRY);
        frame.extend_from_slice(&self.entries.to_le_bytes());
        frame.extend_from_slice(&at_ms.to_le_bytes());
        frame.extend_from_slice(&self.hash);
        frame.extend_from_slice(event);
        let head = Self { entries: self.entries + 1, hash: hash(&frame[1..]) };
        (frame, head)
    }

    /// Where the chain stands after an entry.
    pub fn after(entry: &Entry) -> Self {
        Self { entries: entry.sequence + 1, hash: entry.hash() }
    }
}

/// One frame of a file.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Record {
    /// The first frame of every file, durable before any entry: where the chain stood when the file was begun. So opening
    /// reads one file, however many there are.
    Start {
        /// The file's number.
        number: u32,
        /// The head of the file before.
        head: Head,
    },
    /// Any later frame.
    Entry(Entry),
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }
}

/// Reads one file's frames in order.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    number: u32,
    /// Where the chain stood before this file, when the reader knows.
    expected: Option<Head>,
    /// `None` until the file's start was read.
    pub(super) head: Option<Head>,
}

impl Follower {
    pub(super) fn new(path: PathBuf, number: u32, expected: Option<Head>) -> Self {
        Self { path, number, expected, head: None }
    }

    /// Takes the next frame: the entry in it, if it is the next one.
    pub(super) fn take(&mut self, frame: &[u8]) -> Result<Option<Entry>, AuditError> {
        let record = Record::try_from_slice(frame).map_err(|error| self.broken(error.to_string()))?;
        match (record, self.head) {
            (Record::Start { number, head }, None) => self.start(number, head).map(|()| None),
            (Record::Entry(entry), Some(head)) => self.follow(head, entry).map(Some),
            (Record::Start { .. }, Some(_)) => Err(self.broken("is a second beginning of the file".to_owned())),
            (Record::Entry(_), None) => Err(self.broken("stands before the file's beginning".to_owned())),
        }
    }

    fn start(&mut self, number: u32, head: Head) -> Result<(), AuditError> {
        if number != self.number {
            return Err(self.broken(format!("should begin here, and this is file {number} under another name")));
        }
        if self.expected.is_some_and(|expected| expected != head) {
            return Err(self.broken("is not where the file before ends".to_owned()));
        }
        self.head = Some(head);
        Ok(())
    }

    fn follow(&mut self, head: Head, entry: Entry) -> Result<Entry, AuditError> {
        if entry.sequence != head.entries {
            return Err(self.broken(format!("is missing; entry {} stands in its place", entry.sequence)));
        }
        if entry.previous != head.hash {
            return Err(self.broken("does not follow from the entry before it".to_owned()));
        }
        self.head = Some(Head::after(&entry));
        Ok(entry)
    }

    pub(super) fn broken(&self, reason: String) -> AuditError {
        let head = self.head.or(self.expected).unwrap_or_default();
        AuditError::Broken { path: self.path.clone(), sequence: head.entries, reason }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("audit-{number:06}.log"))
}

/// Numbers of the files, without a gap. The oldest may have been moved to an archive.
pub(super) fn file_numbers(storage: &dyn Storage, dir: &Path) -> Result<Vec<u32>, AuditError> {
    let names = storage.list(dir).map_err(|error| AuditError::storage(dir, "list", &error))?;
    let number = |name: &PathBuf| {
        let number = name.to_str()?.strip_prefix("audit-")?.strip_suffix(".log")?.parse::<u32>().ok()?;
        (*name == file_path(Path::new(""), number)).then_some(number)
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    let first = numbers.first().copied().unwrap_or(1);
    match (first..).zip(&numbers).find(|(expected, found)| expected != *found) {
        None => Ok(numbers),
        Some((missing, _)) => Err(AuditError::Damaged {
            path: file_path(dir, missing),
            reason: "the file is missing, and earlier and later ones are there".to_owned(),
        }),
    }
}
