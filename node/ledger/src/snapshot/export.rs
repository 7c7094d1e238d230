//! The sender's side: one height held still while the chain goes on.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bixi_types::limits::{SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_MAX};
use bixi_types::{CryptoSuite, H256};

use super::{Chunk, FORMAT_VERSION, Manifest, chunk_hash};
use crate::engine::Reader;
use crate::error::LedgerError;
use crate::keys::Column;
use crate::ledger::Ledger;
use crate::records::Head;

/// The ledger at one height. While it lives the engine keeps the rows of that height.
pub struct Frozen<'a> {
    reader: Box<dyn Reader + 'a>,
    suite: CryptoSuite,
    chain: H256,
    head: Head,
}

/// A snapshot that can be sent. It holds the first key of each piece and reads the rest when asked.
pub struct Export<'a> {
    frozen: Frozen<'a>,
    manifest: Manifest,
    firsts: Vec<Vec<u8>>,
}

impl Ledger {
    /// Holds the ledger at its head: at a multiple of `multiple` if one is reached within `patience`, so that nodes asked at
    /// one time answer with one height.
    ///
    /// # Errors
    /// [`LedgerError::Uninitialised`].
    pub fn freeze(&self, multiple: u64, patience: Duration) -> Result<Frozen<'_>, LedgerError> {
        let deadline = Instant::now() + patience;
        let mut turn = self.commit_turn.lock();
        while !self.height().is_multiple_of(multiple) && !self.committed.wait_until(&mut turn, deadline).timed_out() {}
        // Head and engine agree: whoever commits holds the turn.
        let state = self.core.head().ok_or(LedgerError::Uninitialised)?;
        let (reader, chain) = (self.core.engine.snapshot(), state.genesis.hash());
        Ok(Frozen { reader, suite: self.core.suite, chain, head: state.head.clone() })
    }
}

impl<'a> Frozen<'a> {
    /// The height.
    pub fn height(&self) -> u64 {
        self.head.number
    }

    /// Reads the whole state once for its manifest; `None` when `go_on` says to stop.
    ///
    /// # Errors
    /// The engine's, or [`LedgerError::Unfit`] when the state is larger than a snapshot can be.
    pub fn describe(self, go_on: &dyn Fn() -> bool) -> Result<Option<Export<'a>>, LedgerError> {
        let mut outline = Outline::default();
        let mut outcome = Ok(true);
        self.reader.walk(Column::State, &[], &mut |key, value| {
            outcome = outline.take(self.suite, key, value).map(|closed| !closed || go_on());
            if matches!(outcome, Ok(true)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let unfit = |reason| LedgerError::Unfit { number: self.head.number, reason };
        if !outcome.map_err(unfit)? {
            return Ok(None);
        }
        outline.close(self.suite).map_err(unfit)?;
        let manifest = Manifest {
            format: FORMAT_VERSION,
            chain: self.chain,
            height: self.head.number,
            header_hash: self.head.hash,
            changes_root: self.head.changes_root,
            counts: self.head.counts,
            rows: outline.rows,
            bytes: outline.bytes,
            chunks: outline.hashes,
        };
        Ok(Some(Export { frozen: self, manifest, firsts: outline.firsts }))
    }
}

/// The pieces of a state while it is read.
#[derive(Default)]
struct Outline {
    chunk: Chunk,
    firsts: Vec<Vec<u8>>,
    hashes: Vec<H256>,
    rows: u64,
    bytes: u64,
}

impl Outline {
    /// Whether the row closed a piece.
    fn take(&mut self, suite: CryptoSuite, key: &[u8], value: &[u8]) -> Result<bool, String> {
        let is_full = self.chunk.push(key, value);
        if is_full {
            self.close(suite)?;
        }
        Ok(is_full)
    }

    fn close(&mut self, suite: CryptoSuite) -> Result<(), String> {
        let chunk = std::mem::take(&mut self.chunk);
        let Some((first, _)) = chunk.rows.first() else { return Ok(()) };
        let encoded = chunk.encode();
        if encoded.len() > SNAPSHOT_CHUNK_BYTES_MAX || self.hashes.len() == SNAPSHOT_CHUNKS_MAX {
            return Err(format!(
                "its state does not fit a snapshot of {SNAPSHOT_CHUNKS_MAX} pieces of {SNAPSHOT_CHUNK_BYTES_MAX} bytes"
            ));
        }
        self.firsts.push(first.clone());
        self.hashes.push(chunk_hash(suite, &encoded));
        self.rows += chunk.rows.len() as u64;
        self.bytes += encoded.len() as u64;
        Ok(())
    }
}

impl Export<'_> {
    /// What it is made of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// One piece; `None` when there is no such piece.
    ///
    /// # Errors
    /// The engine's.
    pub fn chunk(&self, index: u32) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(first) = self.firsts.get(index as usize) else { return Ok(None) };
        let mut chunk = Chunk::default();
        self.frozen.reader.walk(Column::State, first, &mut |key, value| {
            if chunk.push(key, value) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(Some(chunk.encode()))
    }
}
