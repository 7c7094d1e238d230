//! Snapshots: the state at a certified height, from one ledger to another without executing what lies between.
//!
//! ```text
//! Ledger::freeze ─▶ Frozen ─▶ Export {manifest, pieces}          one consistent view of the engine; the chain goes on
//!                                  │ wire (runtime)
//!                                  ▼
//! Staging: headers ─ pieces ─ blocks ─▶ finish ─▶ publish ─▶ adopt     a directory beside the ledger, never the ledger
//! ```
//!
//! What travels is plain; each side seals what it writes under its own keys. Nothing that is received is believed:
//! - headers link to the receiver's own (their signatures are the runtime's part);
//! - a piece has the hash its manifest names, and its rows rise;
//! - a block's transactions have the two roots of its header;
//! - at the end the lattice sum is computed over the rows *as they stand in the new database* and must give the state root of
//!   the certified header: a wrong, missing or additional row is found out, whatever the manifest says.
//!
//! Not bound by any header, and so taken on the sender's word: the totals of transactions ([`Counts`]), which nothing follows from.
//! Receipts do not travel: the pre-image of FISCO BCOS's receipt hash has no lengths, so one root fits several readings.
//! `node/docs/adr-008-snapshots.md` has the argument.

mod block;
mod export;
mod past;
mod place;
mod staging;

use bixi_types::limits::{
    BLOCK_TRANSACTIONS_MAX, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_TARGET, SNAPSHOT_CHUNKS_MAX,
};
use bixi_types::{CryptoSuite, H256};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::engine::EngineError;
use crate::error::LedgerError;
use crate::records::{self, Counts};

pub use block::ReceivedBlock;
pub(crate) use block::transactions_of;
pub use export::{Export, Frozen};
pub use place::{Places, adopt, bytes_in, discard, publish};
pub use staging::{PieceDigest, Staging};

/// Format of manifests and pieces.
pub const FORMAT_VERSION: u16 = 1;

const MANIFEST_DOMAIN: &[u8] = b"BIXI-SNAPSHOT-MANIFEST-V1";
const CHUNK_DOMAIN: &[u8] = b"BIXI-SNAPSHOT-CHUNK-V1";

/// What a snapshot is made of. Two ledgers of one chain make equal manifests of one height.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format: u16,
    /// Genesis hash.
    pub chain: H256,
    /// Height of the state.
    pub height: u64,
    /// Hash of the header of that height.
    pub header_hash: H256,
    /// Commitment to that block's writes: with the sum of the state it gives the header's state root.
    pub changes_root: H256,
    /// Totals of the chain; bound by nothing.
    pub counts: Counts,
    /// Rows of the state.
    pub rows: u64,
    /// Bytes of all pieces.
    pub bytes: u64,
    /// Hash of each piece, in order of the rows.
    pub chunks: Vec<H256>,
}

impl Manifest {
    /// What names the snapshot: H(domain ‖ borsh).
    pub fn id(&self, suite: CryptoSuite) -> H256 {
        suite.hash(&[MANIFEST_DOMAIN, &records::encode(self)])
    }

    /// Whether this release reads snapshots of its format: a peer of another release offers nothing false with one it cannot use.
    pub const fn is_readable(&self) -> bool {
        self.format == FORMAT_VERSION
    }

    /// Whether the numbers can be those of any snapshot of `chain`. Every piece but the last is a full one.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, chain: &H256) -> Result<(), String> {
        if self.chain != *chain {
            return Err(format!("a snapshot of the chain with genesis {}", self.chain));
        }
        if i64::try_from(self.height).is_err() {
            return Err(format!("height {}, which no header can have", self.height));
        }
        let transactions_max = self.height.saturating_mul(BLOCK_TRANSACTIONS_MAX as u64);
        if self.counts.transactions > transactions_max || self.counts.failed > self.counts.transactions {
            return Err(format!("{:?} at height {}", self.counts, self.height));
        }
        let chunks = self.chunks.len() as u64;
        let is_bounded = (1..=SNAPSHOT_CHUNKS_MAX as u64).contains(&chunks)
            && (bytes_min(chunks)..=chunks * SNAPSHOT_CHUNK_BYTES_MAX as u64).contains(&self.bytes)
            && (chunks..=self.bytes / ROW_BYTES_MIN).contains(&self.rows);
        let Self { rows, bytes, .. } = self;
        if is_bounded { Ok(()) } else { Err(format!("{rows} rows, {bytes} bytes in {chunks} pieces")) }
    }
}

/// Two lengths and nothing else.
const ROW_BYTES_MIN: u64 = 8;

/// What so many pieces have together when the last is as short as can be.
const fn bytes_min(chunks: u64) -> u64 {
    chunks.saturating_sub(1) * SNAPSHOT_CHUNK_BYTES_TARGET as u64 + ROW_BYTES_MIN
}

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// What was received is not what the chain certified, or no snapshot at all: whoever sent it is faulty.
    #[error("{0}")]
    Lie(String),
    /// What was received is what the manifest names, and cannot be part of a snapshot: all who offered the manifest are faulty.
    #[error("{0}")]
    FalseManifest(String),
    /// Our own storage.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<EngineError> for SnapshotError {
    fn from(error: EngineError) -> Self {
        Self::Ledger(error.into())
    }
}

pub(crate) fn lie(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Lie(what.into())
}

pub(crate) fn false_manifest(what: impl Into<String>) -> SnapshotError {
    SnapshotError::FalseManifest(what.into())
}

/// A key of the state column with its value.
type Row = (Vec<u8>, Vec<u8>);

/// Rows on their way into a piece. Where a piece ends is a function of the rows alone.
#[derive(Default)]
struct Chunk {
    rows: Vec<Row>,
    bytes: usize,
}

impl Chunk {
    /// Takes a row; whether the piece is full with it.
    fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        const LENGTHS_BYTES: usize = 8;
        self.bytes += LENGTHS_BYTES + key.len() + value.len();
        self.rows.push((key.to_vec(), value.to_vec()));
        self.bytes >= SNAPSHOT_CHUNK_BYTES_TARGET
    }

    fn encode(&self) -> Vec<u8> {
        records::encode(&self.rows)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Row>, String> {
        if bytes.len() > SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(format!("a piece of {} bytes; at most {SNAPSHOT_CHUNK_BYTES_MAX} are sent", bytes.len()));
        }
        borsh::from_slice(bytes).map_err(|error| format!("a malformed piece: {error}"))
    }
}

fn chunk_hash(suite: CryptoSuite, bytes: &[u8]) -> H256 {
    suite.hash(&[CHUNK_DOMAIN, bytes])
}

#[cfg(test)]
mod tests;
