//! The page an officer is given: a heading for people, and numbered lines that hold everything.
//!
//! Bytes in the lines, filled up by the check to whole lines:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | 0 the share is open; 1 it is sealed under a passphrase |
//! | 16 + 8 + 3 | escrow, vault, threshold, number of shares, this one |
//! | 32, or 100 | the share, or its [`passphrase`](bixi_sealed::passphrase) wrap |
//! | 8 … 17 | beginning of SM3 over domain ‖ all before |

use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::{KEY_BYTES, WRAP_BYTES};
use zeroize::Zeroizing;

use crate::EscrowError;
use crate::lines::{self, LINE_BYTES, LINES_MAX, Lines};
use crate::share::{ID_BYTES, SealedShare, Share, ShareId};

/// Longest text that is looked at.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024;

const VERSION: u8 = 1;
const OPEN: u8 = 0;
const SEALED: u8 = 1;
const HEAD_BYTES: usize = 2 + ID_BYTES;
const CHECK_BYTES_MIN: usize = 8;
const CHECK_DOMAIN: &[u8] = b"BIXI-ESCROW-PAGE-V1";

/// A share as it is on paper.
#[derive(Debug)]
pub enum Document {
    /// Whoever reads the page has the share.
    Open(Share),
    /// The officer's passphrase is needed, too.
    Sealed(SealedShare),
}

impl Document {
    /// Which share it is.
    pub fn id(&self) -> &ShareId {
        match self {
            Self::Open(share) => share.id(),
            Self::Sealed(share) => share.id(),
        }
    }

    /// The page for `officer`.
    pub fn print(&self, officer: &str) -> Zeroizing<String> {
        match self {
            Self::Open(share) => share.page(officer),
            Self::Sealed(share) => share.page(officer),
        }
    }

    /// Reads a page: the lines alone, or with its heading.
    ///
    /// # Errors
    /// [`EscrowError::Line`] with the first line that is not as printed, or [`EscrowError::Document`].
    pub fn parse(text: &str) -> Result<Self, EscrowError> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(EscrowError::Document(format!("it is longer than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let begins = |line: &&str| line.trim_start().starts_with(|first: char| first.is_ascii_digit());
        let mut page = PageReader::new();
        for line in text.lines().skip_while(|line| !begins(line)).filter(|line| !line.trim().is_empty()) {
            page.take(line)?;
        }
        page.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, EscrowError> {
        let bad = |reason: &str| EscrowError::Document(reason.to_owned());
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| bad("lines are missing"))?;
        let [version, kind, id @ ..] = head;
        if *version != VERSION {
            return Err(bad("its version is none that this release reads; use the release that printed it"));
        }
        let content_bytes = content_bytes(*kind).ok_or_else(|| bad("its kind is unknown"))?;
        if bytes.len() != total_bytes(content_bytes) {
            return Err(bad("lines are missing, or there are too many"));
        }
        let (content, told) = rest.split_at(content_bytes);
        if !check(&bytes[..HEAD_BYTES + content_bytes]).starts_with(told) {
            return Err(bad("its lines do not belong together"));
        }
        let id = ShareId::decode(id).ok_or_else(|| bad("its numbers do not fit together"))?;
        match <&[u8; WRAP_BYTES]>::try_from(content) {
            Ok(wrap) => {
                let sealed = SealedShare::decode(id, wrap)
                    .ok_or_else(|| bad("it asks for more memory or time to open than any page that was printed"))?;
                Ok(Self::Sealed(sealed))
            }
            Err(_) => Ok(Self::Open(Share::new(id, Secret::from_slice(content)))),
        }
    }
}

/// Reads a page line by line, as an officer types it, into locked memory.
#[derive(Default)]
pub struct PageReader(Lines);

impl PageReader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of the line that comes next.
    pub fn next_line(&self) -> usize {
        self.0.next_line()
    }

    /// Takes the next line; one that is refused may be typed again.
    ///
    /// # Errors
    /// [`EscrowError::Line`].
    pub fn take(&mut self, line: &str) -> Result<(), EscrowError> {
        self.0.take(line)
    }

    /// Whether the page has all its lines.
    pub fn is_whole(&self) -> bool {
        let bytes = self.0.bytes();
        let expected = bytes.get(1).and_then(|kind| content_bytes(*kind)).map(total_bytes);
        expected.is_some_and(|expected| bytes.len() >= expected)
    }

    /// The share.
    ///
    /// # Errors
    /// [`EscrowError::Document`].
    pub fn finish(self) -> Result<Document, EscrowError> {
        Document::decode(self.0.bytes())
    }
}

impl Share {
    /// The open page for `officer`.
    pub fn page(&self, officer: &str) -> Zeroizing<String> {
        let warning = "Whoever reads this page has the share: keep it sealed and locked away.";
        print(self.id(), OPEN, self.value().as_slice(), officer, warning)
    }
}

impl SealedShare {
    /// The sealed page for `officer`.
    pub fn page(&self, officer: &str) -> Zeroizing<String> {
        print(self.id(), SEALED, &self.encode(), officer, "The share is sealed under the officer's passphrase.")
    }
}

fn print(id: &ShareId, kind: u8, content: &[u8], officer: &str, use_of_it: &str) -> Zeroizing<String> {
    let ShareId { escrow, vault, threshold, count, index } = id;
    let heading = format!(
        "BIXI ESCROW SHARE {index} OF {count}\nofficer   {officer}\nrecovers  any {threshold} of {count} shares together\n\
         escrow    {}\nvault     {}...\n{use_of_it}\n\n",
        hex::encode(escrow),
        hex::encode(vault)
    );
    let lines = lines::print(&encode(id, kind, content));
    let mut page = Zeroizing::new(String::with_capacity(heading.len() + lines.len()));
    page.push_str(&heading);
    page.push_str(&lines);
    page
}

fn encode(id: &ShareId, kind: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let total = total_bytes(content.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(total));
    bytes.extend([VERSION, kind]);
    bytes.extend(id.encode());
    bytes.extend_from_slice(content);
    let check = check(&bytes);
    let room = total - bytes.len();
    bytes.extend_from_slice(&check[..room]);
    bytes
}

fn content_bytes(kind: u8) -> Option<usize> {
    match kind {
        OPEN => Some(KEY_BYTES),
        SEALED => Some(WRAP_BYTES),
        _ => None,
    }
}

/// Head, content and the check that fills the last line.
const fn total_bytes(content_bytes: usize) -> usize {
    (HEAD_BYTES + content_bytes + CHECK_BYTES_MIN).next_multiple_of(LINE_BYTES)
}

const _: () = assert!(total_bytes(WRAP_BYTES) <= LINES_MAX * LINE_BYTES);

fn check(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = sm3::Hasher::new();
    hasher.update(CHECK_DOMAIN);
    hasher.update(bytes);
    hasher.finalize()
}
