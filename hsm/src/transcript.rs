//! The record of a ceremony: lines that are chained by SM3, so that what is written down at its end stands for all of them.
//!
//! ```text
//! BIXI CEREMONY TRANSCRIPT 1
//! <head before this entry, 64 hexadecimal digits> <entry: one line of text>
//! …
//! ```
//!
//! The head of the empty record is SM3(domain); each entry makes it SM3(domain ‖ head ‖ entry). Every entry carries the head
//! before it, so that an edit is told with its line; what only the head written down elsewhere shows is an edit of the last
//! entry, a cut of the newest ones, or another record in its place.
//!
//! Invariants: an entry is durable before [`Writer::append`] returns; a record is never continued or replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bixi_accel::sm3;

/// Longest record.
pub const TRANSCRIPT_BYTES_MAX: usize = 1024 * 1024;
/// Longest entry.
pub const ENTRY_BYTES_MAX: usize = 32 * 1024;

const TITLE: &str = "BIXI CEREMONY TRANSCRIPT 1";
const DOMAIN: &[u8] = b"BIXI-CEREMONY-TRANSCRIPT-V1";
const HEAD_DIGITS: usize = 64;

/// Why a record does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// Not a record of this version.
    #[error("this is no transcript that this release reads: {0}")]
    Foreign(&'static str),
    /// An entry was changed, removed, added or moved.
    #[error("line {line}: what stands before it was changed, removed or moved, or it does not belong here")]
    Broken {
        /// The first line that does not fit to those before it.
        line: usize,
    },
    /// A line that no ceremony writes.
    #[error("line {line}: {reason}")]
    Line {
        /// Where.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The head of a record without entries.
fn empty() -> [u8; 32] {
    sm3::digest(DOMAIN)
}

fn after(head: &[u8; 32], entry: &str) -> [u8; 32] {
    let mut hasher = sm3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(head);
    hasher.update(entry.as_bytes());
    hasher.finalize()
}

/// A record that is being written.
#[derive(Debug)]
pub struct Writer {
    file: File,
    head: [u8; 32],
    bytes: usize,
}

impl Writer {
    /// Begins a record where there is no file.
    ///
    /// # Errors
    /// The system's error; a file that is there stays as it is.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        writeln!(file, "{TITLE}")?;
        file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
        Ok(Self { file, head: empty(), bytes: TITLE.len() + 1 })
    }

    /// Writes an entry, durably.
    ///
    /// # Errors
    /// The system's error, or an entry that no reader would take; the ceremony must not go on then.
    pub fn append(&mut self, entry: &str) -> io::Result<()> {
        let line = format!("{} {entry}\n", hex(&self.head));
        let fits = check_entry(entry).is_ok() && self.bytes + line.len() <= TRANSCRIPT_BYTES_MAX;
        if !fits {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry is too long for a transcript"));
        }
        self.file.write_all(line.as_bytes())?;
        self.file.sync_all()?;
        self.bytes += line.len();
        self.head = after(&self.head, entry);
        Ok(())
    }

    /// What stands for all entries so far.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }
}

/// A record that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript<'a> {
    /// Its entries.
    pub entries: Vec<&'a str>,
    /// What stands for all of them.
    pub head: [u8; 32],
}

impl<'a> Transcript<'a> {
    /// Reads a record and follows its chain.
    ///
    /// # Errors
    /// [`TranscriptError`], with the first line that does not fit.
    pub fn parse(text: &'a str) -> Result<Self, TranscriptError> {
        if text.len() > TRANSCRIPT_BYTES_MAX {
            return Err(TranscriptError::Foreign("it is too long"));
        }
        let lines = text.strip_suffix('\n').ok_or(TranscriptError::Foreign("its last line is cut"))?;
        let mut lines = lines.split('\n');
        if lines.next() != Some(TITLE) {
            return Err(TranscriptError::Foreign("its first line is another"));
        }
        let mut transcript = Self { entries: Vec::new(), head: empty() };
        for (line, text) in (2..).zip(lines) {
            let entry = transcript.entry(line, text)?;
            transcript.head = after(&transcript.head, entry);
            transcript.entries.push(entry);
        }
        Ok(transcript)
    }

    fn entry(&self, line: usize, text: &'a str) -> Result<&'a str, TranscriptError> {
        let digits = text.bytes().take(HEAD_DIGITS).take_while(u8::is_ascii_hexdigit).count();
        let split = (digits == HEAD_DIGITS).then(|| text.split_at(HEAD_DIGITS));
        let entry = split.and_then(|(head, entry)| Some((head, entry.strip_prefix(' ')?)));
        let (head, entry) =
            entry.ok_or(TranscriptError::Line { line, reason: "it does not begin with a head and a space" })?;
        check_entry(entry).map_err(|reason| TranscriptError::Line { line, reason })?;
        if head == hex(&self.head) { Ok(entry) } else { Err(TranscriptError::Broken { line }) }
    }
}

fn check_entry(entry: &str) -> Result<(), &'static str> {
    match entry {
        "" => Err("an entry is not empty"),
        entry if entry.len() > ENTRY_BYTES_MAX => Err("the entry is too long"),
        entry if entry.chars().any(char::is_control) => Err("an entry has no control characters"),
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[&str]) -> (String, [u8; 32]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transcript");
        let mut writer = Writer::create(&path).unwrap();
        entries.iter().for_each(|entry| writer.append(entry).unwrap());
        assert_eq!(Writer::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        (std::fs::read_to_string(path).unwrap(), writer.head())
    }

    #[test]
    fn what_was_written_is_read_with_its_head() {
        let (text, head) = written(&["first", "second {\"a\": 1}", "third"]);
        let read = Transcript::parse(&text).unwrap();
        assert_eq!(read, Transcript { entries: vec!["first", "second {\"a\": 1}", "third"], head });
    }

    /// Heads computed by OpenSSL's SM3.
    #[test]
    fn a_record_of_the_first_release_is_read() {
        let read = Transcript::parse(include_str!("../tests/fixtures/transcript-v1.txt")).unwrap();
        assert_eq!(read.entries.len(), 3);
        assert_eq!(hex(&read.head), "2ce4856f311ba89e78c451cd8b7d4fa0864c127cf054efd963074ac807303467");
    }

    #[test]
    fn every_changed_byte_shows_in_the_chain_or_in_the_head() {
        let (text, head) = written(&["first", "second", "third"]);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(Transcript::parse(&changed).map_or(true, |read| read.head != head), "byte {place}");
        }
    }

    #[test]
    fn cuts_moves_and_additions_are_told_with_their_line() {
        let (text, head) = written(&["first", "second", "third", "fourth"]);
        let lines: Vec<&str> = text.lines().collect();
        let with = |places: &[usize]| places.iter().map(|place| format!("{}\n", lines[*place])).collect::<String>();
        let parse = |places: &[usize]| {
            Transcript::parse(&with(places)).map(|read| read.head).map_err(|error| error.to_string())
        };
        assert_eq!(parse(&[0, 1, 2, 3, 4]), Ok(head));
        for (places, line) in [(&[0, 1, 3, 4][..], 3), (&[0, 2, 1, 3, 4], 2), (&[0, 1, 2, 2, 3, 4], 4)] {
            assert!(parse(places).unwrap_err().starts_with(&format!("line {line}:")), "{places:?}");
        }
        assert!(
            parse(&[0, 1, 2, 3]).is_ok_and(|cut| cut != head),
            "only the head that was written down shows a cut end"
        );
        assert!(parse(&[1, 2]).is_err() && Transcript::parse(&text[..text.len() - 1]).is_err());
    }

    #[test]
    fn an_entry_that_no_reader_takes_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&directory.path().join("transcript")).unwrap();
        for entry in ["", "two\nlines", &"x".repeat(ENTRY_BYTES_MAX + 1)] {
            assert!(writer.append(entry).is_err());
        }
        assert_eq!(writer.head(), empty());
    }
}
