//! The file header: what a file is, readable without a key, authenticated by every segment.

use bixi_platform::random::OsRandom;

use crate::{AtRest, Current, KeyRing, Result, SealedError};

pub(crate) const MAGIC: [u8; 8] = *b"BIXISEAL";
pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 56;

/// Random name of a file, bound into its keys.
pub type FileId = [u8; 16];

/// How the bytes after the header are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A log: one frame for each flush.
    Frames,
    /// A table: fixed pages, read at random.
    Pages,
    /// One body, written whole.
    Small,
}

impl Layout {
    fn id(self) -> u8 {
        match self {
            Self::Frames => 1,
            Self::Pages => 2,
            Self::Small => 3,
        }
    }

    fn from_id(id: u8) -> Option<Self> {
        [Self::Frames, Self::Pages, Self::Small].into_iter().find(|layout| layout.id() == id)
    }
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $id:literal,)*) => {
        /// What a file is for. Bound into its keys, so that no file can stand in for one of another purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Purpose { $($(#[$doc])* $name,)* }

        impl Purpose {
            /// Number in the file header; never reused.
            pub(crate) fn id(self) -> u16 {
                match self { $(Self::$name => $id,)* }
            }

            fn from_id(id: u16) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }
        }
    };
}

purposes! {
    /// Write-ahead log of the ledger.
    Wal = 1,
    /// Sorted table of the ledger.
    Table = 2,
    /// List of the ledger's tables.
    Manifest = 3,
    /// Any other small file.
    Small = 4,
    /// Ordering log of consensus.
    ConsensusLog = 5,
    /// Sign-once guard.
    Guard = 6,
    /// Data keys.
    Vault = 7,
    /// Objects of the software token.
    Token = 8,
    /// Audit records.
    Audit = 9,
    /// State snapshot for peers or operators.
    Snapshot = 10,
}

/// The decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) suite: AtRest,
    pub(crate) layout: Layout,
    pub(crate) purpose: Purpose,
    /// Binary logarithm of the page size on disk; 0 where there are no pages.
    pub(crate) page_log2: u8,
    /// Key epoch in which the file was made; each segment names its own.
    pub(crate) epoch: u32,
    pub(crate) file_id: FileId,
}

impl Header {
    /// A header with a fresh file id, of the ring's current epoch and cipher.
    pub(crate) fn fresh(ring: &KeyRing, layout: Layout, purpose: Purpose, page_log2: u8) -> Result<Self> {
        let Current { epoch, suite } = ring.current();
        let file_id = OsRandom.array().map_err(SealedError::io("draw an id for"))?;
        Ok(Self { suite, layout, purpose, page_log2, epoch, file_id })
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10] = self.suite.id();
        out[11] = self.layout.id();
        out[12..14].copy_from_slice(&self.purpose.id().to_le_bytes());
        out[14] = self.page_log2;
        out[16..20].copy_from_slice(&self.epoch.to_le_bytes());
        out[20..36].copy_from_slice(&self.file_id);
        out
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        if bytes[..8] != MAGIC {
            return Err(SealedError::NotSealed);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(unsupported("version", version));
        }
        if bytes[15] != 0 || bytes[36..].iter().any(|&byte| byte != 0) {
            return Err(unsupported("reserved field", 1u8));
        }
        let purpose = u16::from_le_bytes([bytes[12], bytes[13]]);
        Ok(Self {
            suite: AtRest::from_id(bytes[10]).ok_or_else(|| unsupported("cipher suite", bytes[10]))?,
            layout: Layout::from_id(bytes[11]).ok_or_else(|| unsupported("layout", bytes[11]))?,
            purpose: Purpose::from_id(purpose).ok_or_else(|| unsupported("purpose", purpose))?,
            page_log2: bytes[14],
            epoch: u32::from_le_bytes(array(&bytes[16..20])),
            file_id: array(&bytes[20..36]),
        })
    }

    /// Refuses a file of another layout or purpose.
    pub(crate) fn expect(&self, layout: Layout, purpose: Purpose) -> Result<()> {
        if self.layout != layout {
            return Err(SealedError::WrongLayout { found: self.layout, expected: layout });
        }
        if self.purpose != purpose {
            return Err(SealedError::WrongPurpose { found: self.purpose, expected: purpose });
        }
        Ok(())
    }
}

fn unsupported(field: &'static str, value: impl Into<u64>) -> SealedError {
    SealedError::Unsupported { field, value: value.into() }
}

/// The `N` bytes of a slice that was cut to that length.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}
