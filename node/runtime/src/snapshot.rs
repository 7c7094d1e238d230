//! Joining a long chain by a snapshot instead of executing all of it.
//!
//! ```text
//! peers' heads (view) ─▶ far behind? ─▶ offers ─▶ headers, believed one by one ─▶ state, blocks ─▶ sum == state root ─▶ publish
//!        join.rs                                  trust.rs                        blocks.rs        bixi_ledger::snapshot
//!                                                                                                        │
//!              serve.rs ◀── requests of peers                Fault::Joined ─▶ the node starts again ◀────┘
//! ```
//!
//! While a snapshot is fetched the node goes on as before: it serves, follows and executes what it can. The snapshot lies beside the
//! ledger, and takes its place at a start, before the ledger is opened (`launch::adopted`): consensus begins on it as on any ledger
//! after a stop, so whether and what this node may sign is decided as after every start. `docs/adr-008-snapshots.md` says what is
//! believed and why.

mod blocks;
mod fetch;
mod join;
mod progress;
mod serve;
mod trust;

use bixi_ledger::snapshot::Manifest;
use bixi_types::H256;
use bixi_types::limits::{
    SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_BLOCK_PART_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_MAX,
};
use borsh::{BorshDeserialize, BorshSerialize};

pub(crate) use blocks::BlockChecks;
pub(crate) use join::{JoinEvent, JoinParams, Joiner, Pace};
pub(crate) use progress::{JoinProgress, Joining};
pub(crate) use serve::{SnapshotJob, SnapshotServer};
pub(crate) use trust::{Signed, follow};

/// What one asks the other for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) enum Wanted {
    /// The manifest of the snapshot that is offered.
    Manifest,
    /// A piece of a snapshot, by the id of its manifest.
    Chunk { snapshot: H256, index: u32 },
    /// A part of a block as it travels, from a byte on.
    Block { height: u64, offset: u32 },
}

/// A message about snapshots; part of [`crate::exchange::Exchange`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Message {
    /// A request.
    Want(Wanted),
    /// Its answer.
    Manifest(Box<Manifest>),
    /// Its answer.
    Chunk { snapshot: H256, index: u32, bytes: Vec<u8> },
    /// Its answer: `total` is the length of the whole.
    Block { height: u64, offset: u32, total: u32, bytes: Vec<u8> },
    /// What was asked for is not here, or no longer.
    NotHeld(Wanted),
}

/// Fields of a manifest beside its hashes, and of the messages around it.
const FRAMING_BYTES: usize = 256;
const MANIFEST_BYTES_MAX: usize = SNAPSHOT_CHUNKS_MAX * H256::LEN;

impl Message {
    /// Longest encoding.
    pub(crate) const BYTES_MAX: usize = FRAMING_BYTES
        + if SNAPSHOT_CHUNK_BYTES_MAX > MANIFEST_BYTES_MAX { SNAPSHOT_CHUNK_BYTES_MAX } else { MANIFEST_BYTES_MAX };

    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        let what = match self {
            Self::Manifest(manifest) if manifest.chunks.len() > SNAPSHOT_CHUNKS_MAX => "manifest",
            Self::Chunk { bytes, .. } if bytes.len() > SNAPSHOT_CHUNK_BYTES_MAX => "piece of a snapshot",
            Self::Block { offset, total, bytes, .. } if !is_part(*offset, *total, bytes.len()) => "part of a block",
            _ => return Ok(()),
        };
        Err(format!("a {what} outside its bounds"))
    }
}

/// How long the part from `offset` on is of a block of `total` bytes: a sender cannot make them many by making them short.
fn part_length(offset: u32, total: u32) -> usize {
    (total.saturating_sub(offset) as usize).min(SNAPSHOT_BLOCK_PART_BYTES_MAX)
}

/// Whether a part of so many bytes can stand there: none is empty, and none reaches beyond the whole.
fn is_part(offset: u32, total: u32, length: usize) -> bool {
    (1..=SNAPSHOT_BLOCK_PART_BYTES_MAX).contains(&length)
        && total as usize <= SNAPSHOT_BLOCK_BYTES_MAX
        && (offset as usize).checked_add(length).is_some_and(|end| end <= total as usize)
}

#[cfg(test)]
mod tests;
