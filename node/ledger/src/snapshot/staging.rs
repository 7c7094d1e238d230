//! The receiver's side: a database under construction beside the ledger.
//!
//! Every step is one synced batch that carries its own mark, so a stop or a crash loses the step under way and nothing else;
//! whoever opens the directory again learns what is still missing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_types::genesis::Genesis;
use bixi_types::header::BlockHeader;
use bixi_types::limits::SNAPSHOT_CHUNK_BYTES_TARGET;
use bixi_types::{CryptoSuite, H256};

use super::{CHUNK_DOMAIN, Chunk, Manifest, SnapshotError, chunk_hash, false_manifest, lie};
use crate::commitment::{LatticeCommitment, StateCommitment as _};
use crate::engine::{Batch, Engine};
use crate::error::{LedgerError, damaged};
use crate::keys::{self, Column};
use crate::ledger::{Ledger, put_head, put_header};
use crate::open::Params;
use crate::records::{self, Body, Head, History};
use crate::verification::each_rows;

/// Headers copied in one batch.
const HEADERS_AT_ONCE: u64 = 1_024;

/// SM3 of the concatenation of its parts by whatever is faster than the processor. A wrong answer costs time and nothing else.
pub type PieceDigest = Arc<dyn Fn(&[&[u8]]) -> [u8; 32] + Send + Sync>;

/// A snapshot being received.
pub struct Staging {
    pub(super) engine: Box<dyn Engine>,
    pub(super) suite: CryptoSuite,
    genesis: Arc<Genesis>,
    commitment: LatticeCommitment,
    manifest: Manifest,
    digest: Option<PieceDigest>,
    /// Of all pieces that are here.
    received_bytes: AtomicU64,
}

/// A piece that is here.
struct ChunkMark {
    index: u32,
    bytes: u64,
}

impl Staging {
    /// Goes on in the directory of `params`; `None` when nothing was begun there.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn resume(params: &Params, own: &Ledger) -> Result<Option<Self>, LedgerError> {
        Self::resume_on(Box::new(params.open_engine()?), own)
    }

    /// The ledger that stands in the directory of `params` finished but not yet published, as a stop or a crash may leave it: what the
    /// node holds of its own may be missing.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn finished(params: &Params) -> Result<Option<Ledger>, LedgerError> {
        Ledger::open(params.clone()).map(|ledger| Some(ledger).filter(|ledger| ledger.head().is_some()))
    }

    /// The same on any engine.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn resume_on(engine: Box<dyn Engine>, own: &Ledger) -> Result<Option<Self>, LedgerError> {
        let Some(bytes) = engine.get(Column::Meta, keys::META_JOINING)? else { return Ok(None) };
        let manifest = records::decode("the manifest of a snapshot", &bytes)?;
        Self::new(engine, own, manifest).map(Some)
    }

    /// Begins in the empty directory of `params`, with the headers that `own` has.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn begin(params: &Params, own: &Ledger, manifest: Manifest) -> Result<Self, LedgerError> {
        Self::begin_on(Box::new(params.open_engine()?), own, manifest)
    }

    /// The same on any empty engine.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn begin_on(engine: Box<dyn Engine>, own: &Ledger, manifest: Manifest) -> Result<Self, LedgerError> {
        let staging = Self::new(engine, own, manifest)?;
        let last = own.height().min(staging.manifest.height);
        let mut next = 0;
        while next <= last {
            let mut batch = Batch::default();
            let end = last.min(next + HEADERS_AT_ONCE - 1);
            for number in next..=end {
                let missing = || damaged(format_args!("header {number} is missing"));
                let header = own.header(number)?.ok_or_else(missing)?;
                put_header(&mut batch, &header, &header.hash(staging.suite));
            }
            batch.put(Column::Meta, keys::META_JOINING_HEADERS, keys::number(end));
            staging.engine.write(batch)?;
            next = end + 1;
        }
        let mut batch = Batch::default();
        batch.put(Column::Chain, keys::body(0), records::encode(&Body::default()));
        // Last: a directory without it is begun anew.
        batch.put(Column::Meta, keys::META_JOINING, records::encode(&staging.manifest));
        staging.engine.write(batch)?;
        Ok(staging)
    }

    fn new(engine: Box<dyn Engine>, own: &Ledger, manifest: Manifest) -> Result<Self, LedgerError> {
        let (suite, genesis) = (own.core.suite, own.genesis().ok_or(LedgerError::Uninitialised)?);
        let (commitment, received_bytes) = (LatticeCommitment::new(suite), AtomicU64::default());
        let staging = Self { engine, suite, genesis, commitment, manifest, digest: None, received_bytes };
        let bytes = staging.chunk_marks()?.iter().fold(0, |sum: u64, mark| sum.saturating_add(mark.bytes));
        staging.received_bytes.store(bytes, Ordering::Relaxed);
        Ok(staging)
    }

    /// Looks at pieces by `digest` first. Suite `sm` only: others hash by other algorithms.
    pub fn digest_by(self, digest: Option<PieceDigest>) -> Self {
        Self { digest: digest.filter(|_| self.suite == CryptoSuite::Sm), ..self }
    }

    /// What is being received.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// First block whose transactions are needed: those that [`bixi_types::state::History`] must know after the snapshot.
    pub fn first_block(&self) -> u64 {
        (self.manifest.height + 1).saturating_sub(self.genesis.block_limit.into()).max(1)
    }

    /// Height of the last header.
    ///
    /// # Errors
    /// The engine's, as everywhere here.
    pub fn headers_through(&self) -> Result<u64, LedgerError> {
        let value = self.engine.get(Column::Meta, keys::META_JOINING_HEADERS)?;
        value.and_then(|value| keys::parse_number(&value)).ok_or_else(|| damaged("how far received headers reach"))
    }

    /// A header that is here.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] when it is not.
    pub fn header(&self, number: u64) -> Result<BlockHeader, LedgerError> {
        let bytes = self.engine.get(Column::Chain, &keys::header(number))?;
        let header = bytes.and_then(|bytes| BlockHeader::decode(&bytes).ok());
        header.ok_or_else(|| damaged(format_args!("received header {number}")))
    }

    /// Takes headers above the last one, signatures checked by the caller.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when they do not follow each other up to the snapshot's own.
    pub fn put_headers(&self, headers: &[BlockHeader]) -> Result<(), SnapshotError> {
        let mut last = self.headers_through()?;
        let mut parent = self.header(last)?.hash(self.suite);
        let mut batch = Batch::default();
        for header in headers {
            let number = last + 1;
            let follows = matches!(&header.parent_info[..], [one] if one.hash == parent);
            if !follows || u64::try_from(header.number) != Ok(number) || number > self.manifest.height {
                return Err(lie(format!("header {} does not follow header {last}", header.number)));
            }
            let hash = header.hash(self.suite);
            if number == self.manifest.height && hash != self.manifest.header_hash {
                return Err(lie(format!("the chain's header {number} is not the manifest's")));
            }
            put_header(&mut batch, header, &hash);
            (last, parent) = (number, hash);
        }
        batch.put(Column::Meta, keys::META_JOINING_HEADERS, keys::number(last));
        Ok(self.engine.write(batch)?)
    }

    /// Pieces that are not here.
    ///
    /// # Errors
    /// The engine's.
    pub fn missing_chunks(&self) -> Result<Vec<u32>, LedgerError> {
        let here: BTreeSet<u32> = self.chunk_marks()?.iter().map(|mark| mark.index).collect();
        Ok((0..self.manifest.chunks.len() as u32).filter(|index| !here.contains(index)).collect())
    }

    fn chunk_marks(&self) -> Result<Vec<ChunkMark>, LedgerError> {
        let mut marks = Vec::new();
        self.engine.scan(Column::Meta, keys::META_JOINING_CHUNKS, &mut |key, value| {
            let (index, bytes) = (keys::parse_joining_chunk(key), keys::parse_number(value));
            marks.push(index.zip(bytes).map(|(index, bytes)| ChunkMark { index, bytes }));
            ControlFlow::Continue(())
        })?;
        marks.into_iter().collect::<Option<_>>().ok_or_else(|| damaged("the mark of a received piece"))
    }

    /// Bytes of the pieces that are still to come, by the manifest.
    pub fn bytes_to_come(&self) -> u64 {
        self.manifest.bytes.saturating_sub(self.received_bytes.load(Ordering::Relaxed))
    }

    /// A match is one, whoever computed it, as nobody was told the name; only what differs is computed again by ourselves.
    fn has_hash(&self, bytes: &[u8], named: &H256) -> bool {
        let by_other = self.digest.as_ref().map(|digest| digest(&[CHUNK_DOMAIN, bytes]));
        by_other == Some(named.0) || chunk_hash(self.suite, bytes) == *named
    }

    /// Takes a piece; the same twice is the same.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when it is not the one of the manifest; [`SnapshotError::FalseManifest`] when it is, and holds something
    /// that is no row of a state, or more or less than the manifest's numbers allow.
    pub fn put_chunk(&self, index: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        if !self.manifest.chunks.get(index as usize).is_some_and(|named| self.has_hash(bytes, named)) {
            return Err(lie(format!("piece {index} is not the one the manifest names")));
        }
        let mark = keys::joining_chunk(index);
        if self.engine.get(Column::Meta, &mark)?.is_some() {
            return Ok(());
        }
        let rows = Chunk::decode(bytes).map_err(false_manifest)?;
        if !rows.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(false_manifest(format!("the rows of piece {index} do not rise")));
        }
        let (length, is_last) = (bytes.len() as u64, index as usize + 1 == self.manifest.chunks.len());
        if length > self.bytes_to_come() || (!is_last && bytes.len() < SNAPSHOT_CHUNK_BYTES_TARGET) {
            return Err(false_manifest(format!("piece {index} has {length} bytes, which is not what was announced")));
        }
        let mut batch = Batch::default();
        for (key, value) in rows {
            if keys::parse_state(&key).is_none() {
                return Err(false_manifest(format!("piece {index} holds a row of no table")));
            }
            batch.put(Column::State, key, value);
        }
        batch.put(Column::Meta, mark, keys::number(length));
        self.engine.write(batch)?;
        self.received_bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    /// Sums the state up as it stands in the database and, when it is that of the certified header, makes the database a ledger.
    ///
    /// # Errors
    /// [`SnapshotError::FalseManifest`], and [`LedgerError::Unfit`] when something is still missing.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        let Manifest { height, header_hash, changes_root, counts, .. } = self.manifest;
        if self.headers_through()? != height || !self.missing_chunks()?.is_empty() || !self.missing_blocks()?.is_empty()
        {
            return Err(LedgerError::Unfit { number: height, reason: "the snapshot is not complete".into() }.into());
        }
        let header = self.header(height)?;
        if header.hash(self.suite) != header_hash {
            return Err(false_manifest(format!("the chain's header {height} is not the manifest's")));
        }
        if self.bytes_to_come() > 0 {
            return Err(false_manifest(format!("its pieces have {} bytes too few", self.bytes_to_come())));
        }
        let accumulator = self.sum()?;
        if self.commitment.state_root(&accumulator, &changes_root) != header.state_root {
            return Err(false_manifest(format!(
                "its rows do not have the state root of the certified header {height}"
            )));
        }
        let mut batch = Batch::default();
        batch.put(Column::Meta, keys::META_SCHEMA, keys::SCHEMA_VERSION.to_le_bytes());
        batch.put(Column::Meta, keys::META_GENESIS, records::encode(&*self.genesis));
        put_head(&mut batch, &Head { number: height, hash: header_hash, changes_root, counts }, &accumulator);
        let history = History { joined: height, first_block: self.first_block() };
        batch.put(Column::Meta, keys::META_HISTORY, records::encode(&history));
        self.chunk_marks()?.iter().for_each(|mark| batch.delete(Column::Meta, keys::joining_chunk(mark.index)));
        batch.delete(Column::Meta, keys::META_JOINING);
        batch.delete(Column::Meta, keys::META_JOINING_HEADERS);
        Ok(self.engine.write(batch)?)
    }

    /// The lattice sum of every row in the database: what was received but lies elsewhere, or twice, or not at all, cannot hide.
    fn sum(&self) -> Result<Vec<u8>, LedgerError> {
        let mut sum = self.commitment.empty();
        each_rows(self.engine.as_ref(), &mut |rows| {
            sum = rows.gather(&self.commitment, &sum);
            ControlFlow::Continue(())
        })?;
        Ok(sum)
    }
}
