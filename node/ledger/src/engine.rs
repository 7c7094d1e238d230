//! What the ledger asks of a key-value engine. The rest of the room never sees RocksDB.
//!
//! A [`Batch`] is applied atomically and durably or not at all; reads see the last applied batch; a snapshot keeps seeing the
//! state in which it was taken. [`memory`] and [`rocks`] pass the same conformance test.

use std::ops::ControlFlow;

pub use bixi_cipherfs::{
    CipherFsError, PlainStage, Resealing, Sealing, SealingWatch, Watch, expect_sealable, plain_stage, scrub,
};
pub use plain::{Held, RowsRead, RowsWatch, read_plain};

use crate::keys::Column;

pub mod memory;
pub(crate) mod plain;
pub mod rocks;

#[cfg(test)]
mod conformance;

/// The engine failed. A failed write leaves the old state on disk; the caller must stop writing until the database is
/// reopened.
#[derive(Debug, thiserror::Error)]
#[error("database engine: {0}")]
pub struct EngineError(pub String);

/// One key and value of a [`Reader::scan`]; returning `Break` ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reads of one consistent state.
pub trait Reader: Send + Sync {
    /// One value.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Many values, in the order of `keys`.
    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError>;

    /// Every key that starts with `prefix`, rising.
    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError>;

    /// Every key from `first` on, rising, without displacing what is cached: for reading a whole column once.
    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError>;
}

/// A durable store.
pub trait Engine: Reader {
    /// Applies `batch` atomically; when it returns, the batch survives a power failure.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Names of the table files that hold what is written, without their directory; none where there are no files.
    fn tables(&self) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    /// The present state, unaffected by later writes.
    fn snapshot(&self) -> Box<dyn Reader + '_>;

    /// Seals what is on disk anew under the current epoch of its keys, at work; true when nothing is left, false where `watch` ended it.
    fn reseal(&self, watch: Watch<'_>) -> Result<bool, EngineError>;
}

/// One key set, or deleted when the value is `None`.
pub type Write = (Column, Vec<u8>, Option<Vec<u8>>);

/// Writes that belong together. A later write of the same key wins.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<Write>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push((column, key.into(), Some(value.into())));
    }

    /// Removes a key, present or not.
    pub fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.writes.push((column, key.into(), None));
    }

    /// The writes in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }
}
