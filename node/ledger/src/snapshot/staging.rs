//! The receiver's side: a database under construction beside the ledger.
//!
//! Every step is one synced batch that carries its own mark, so a stop or a crash loses the step under way and nothing else;
//! whoever opens the directory again learns what is still missing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_types::genesis::Genesis;
use bixi_types::header::{BlockHeader, HeaderExtension};
use bixi_types::state::StateKey;
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, H256, merkle};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Chunk, Manifest, SnapshotError, chunk_hash, lie};
use crate::commitment::{Change, LatticeCommitment, StateCommitment as _};
use crate::engine::{Batch, Engine};
use crate::error::{LedgerError, damaged};
use crate::history::put_nonce;
use crate::keys::{self, Column};
use crate::ledger::{Decision, Ledger, put_body, put_head, put_header};
use crate::open::Params;
use crate::records::{self, Body, Head, History};

/// Headers copied in one batch.
const HEADERS_AT_ONCE: u64 = 1_024;
/// Rows summed up at once.
const ROWS_AT_ONCE: usize = 4_096;

/// A block as it is received. Value, certificate and batches are the runtime's to check.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReceivedBlock {
    /// Canonical bytes, in order.
    pub transactions: Vec<Vec<u8>>,
    /// The decided value, as consensus encodes it.
    pub value: Vec<u8>,
    /// The commit certificate, as consensus encodes it.
    pub certificate: Vec<u8>,
    /// How the value's batches are made of the transactions.
    pub batches: Vec<u8>,
}

/// A snapshot being received.
pub struct Staging {
    engine: Box<dyn Engine>,
    suite: CryptoSuite,
    genesis: Arc<Genesis>,
    commitment: LatticeCommitment,
    manifest: Manifest,
}

impl Staging {
    /// Goes on in the directory of `params`; `None` when nothing was begun there.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn resume(params: &Params, own: &Ledger) -> Result<Option<Self>, LedgerError> {
        Self::resume_on(Box::new(params.open_engine()?), own)
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
        Ok(Self { engine, suite, genesis, commitment: LatticeCommitment::new(suite), manifest })
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
        let here: BTreeSet<u32> = self.chunk_marks()?.iter().filter_map(|key| keys::parse_joining_chunk(key)).collect();
        Ok((0..self.manifest.chunks.len() as u32).filter(|index| !here.contains(index)).collect())
    }

    fn chunk_marks(&self) -> Result<Vec<Vec<u8>>, LedgerError> {
        let mut marks = Vec::new();
        self.engine.scan(Column::Meta, keys::META_JOINING_CHUNKS, &mut |key, _| {
            marks.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(marks)
    }

    /// Takes a piece; the same twice is the same.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when it is not the one of the manifest, or holds something that is no row of a state.
    pub fn put_chunk(&self, index: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        let named = self.manifest.chunks.get(index as usize);
        if named != Some(&chunk_hash(self.suite, bytes)) {
            return Err(lie(format!("piece {index} is not the one the manifest names")));
        }
        let rows = Chunk::decode(bytes)?;
        if !rows.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(lie(format!("the rows of piece {index} do not rise")));
        }
        let mut batch = Batch::default();
        for (key, value) in rows {
            if keys::parse_state(&key).is_none() {
                return Err(lie(format!("piece {index} holds a row of no table")));
            }
            batch.put(Column::State, key, value);
        }
        batch.put(Column::Meta, keys::joining_chunk(index), []);
        Ok(self.engine.write(batch)?)
    }

    /// Blocks that are needed and not here.
    ///
    /// # Errors
    /// The engine's.
    pub fn missing_blocks(&self) -> Result<Vec<u64>, LedgerError> {
        let numbers: Vec<u64> = (self.first_block()..=self.manifest.height).collect();
        let keys: Vec<Vec<u8>> = numbers.iter().map(|number| keys::body(*number)).collect();
        let bodies = self.engine.multi_get(Column::Chain, &keys)?;
        Ok(numbers.into_iter().zip(bodies).filter(|(_, body)| body.is_none()).map(|(number, _)| number).collect())
    }

    /// Takes a block whose header is here.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when its transactions are not those of the header.
    pub fn put_block(&self, number: u64, block: &ReceivedBlock) -> Result<(), SnapshotError> {
        let transactions = self.check_transactions(&self.header(number)?, &block.transactions)?;
        let mut batch = Batch::default();
        let decision = Decision { value: &block.value, certificate: &block.certificate, batches: &block.batches };
        put_body(&mut batch, number, block.transactions.len(), &decision);
        for ((index, (transaction, hash, sender)), bytes) in (0u32..).zip(&transactions).zip(&block.transactions) {
            batch.put(Column::Chain, keys::transaction(number, index), bytes.as_slice());
            batch.put(Column::Index, keys::transaction_place(hash), keys::place(number, index));
            // Blocks may come in any order: among these the chain took no nonce twice.
            put_nonce(&mut batch, number, transaction, sender);
        }
        Ok(self.engine.write(batch)?)
    }

    /// Both roots: hashes as clients know them, and the bytes with their signatures. The signatures themselves were checked by
    /// those who certified the bytes.
    fn check_transactions(
        &self,
        header: &BlockHeader,
        encodings: &[Vec<u8>],
    ) -> Result<Vec<(Transaction, H256, Address)>, SnapshotError> {
        let wrong = |what: &str| lie(format!("block {}: {what}", header.number));
        let extension = HeaderExtension::decode(&header.extra_data).map_err(|error| wrong(&error.to_string()))?;
        let bytes = encodings.iter().map(Vec::as_slice);
        let expected = HeaderExtension::new(self.suite, extension.value_id, bytes);
        if expected.transactions_bytes_root != extension.transactions_bytes_root {
            return Err(wrong("its transactions are not those the header commits to"));
        }
        let read = |bytes: &Vec<u8>| {
            let transaction = Transaction::decode(bytes).map_err(|error| wrong(&error.to_string()))?;
            let hash = transaction.hash(self.suite);
            let sender = transaction.signer_unchecked(self.suite).ok_or_else(|| wrong("a transaction of nobody"))?;
            Ok((transaction, hash, sender))
        };
        let transactions: Vec<_> = encodings.iter().map(read).collect::<Result<_, SnapshotError>>()?;
        let hashes: Vec<H256> = transactions.iter().map(|(_, hash, _)| *hash).collect();
        let is_root = merkle::root(self.suite, &hashes) == header.txs_root;
        if is_root { Ok(transactions) } else { Err(wrong("its transactions do not have the header's root")) }
    }

    /// Sums the state up as it stands in the database and, when it is that of the certified header, makes the database a ledger.
    ///
    /// # Errors
    /// [`SnapshotError::Lie`] when the manifest was false: all who offered it are faulty. [`LedgerError::Unfit`] when something is
    /// still missing.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        let Manifest { height, header_hash, changes_root, counts, .. } = self.manifest;
        if self.headers_through()? != height || !self.missing_chunks()?.is_empty() || !self.missing_blocks()?.is_empty()
        {
            return Err(LedgerError::Unfit { number: height, reason: "the snapshot is not complete".into() }.into());
        }
        let header = self.header(height)?;
        if header.hash(self.suite) != header_hash {
            return Err(lie(format!("the chain's header {height} is not the manifest's")));
        }
        let accumulator = self.sum()?;
        if self.commitment.state_root(&accumulator, &changes_root) != header.state_root {
            return Err(lie(format!("its rows do not have the state root of the certified header {height}")));
        }
        let mut batch = Batch::default();
        batch.put(Column::Meta, keys::META_SCHEMA, keys::SCHEMA_VERSION.to_le_bytes());
        batch.put(Column::Meta, keys::META_GENESIS, records::encode(&*self.genesis));
        put_head(&mut batch, &Head { number: height, hash: header_hash, changes_root, counts }, &accumulator);
        let history = History { joined: height, first_block: self.first_block() };
        batch.put(Column::Meta, keys::META_HISTORY, records::encode(&history));
        self.chunk_marks()?.into_iter().for_each(|mark| batch.delete(Column::Meta, mark));
        batch.delete(Column::Meta, keys::META_JOINING);
        batch.delete(Column::Meta, keys::META_JOINING_HEADERS);
        Ok(self.engine.write(batch)?)
    }

    /// The lattice sum of every row in the database: what was received but lies elsewhere, or twice, or not at all, cannot hide.
    fn sum(&self) -> Result<Vec<u8>, LedgerError> {
        let mut sum = self.commitment.empty();
        let mut rows: Vec<(StateKey, Vec<u8>)> = Vec::with_capacity(ROWS_AT_ONCE);
        let mut stray = None;
        self.engine.walk(Column::State, &[], &mut |key, value| {
            let Some(parsed) = keys::parse_state(key) else {
                stray = Some(damaged("a row of no table"));
                return ControlFlow::Break(());
            };
            rows.push((parsed, value.to_vec()));
            if rows.len() == ROWS_AT_ONCE {
                sum = self.gather(&sum, &rows);
                rows.clear();
            }
            ControlFlow::Continue(())
        })?;
        match stray {
            Some(error) => Err(error),
            None => Ok(self.gather(&sum, &rows)),
        }
    }

    fn gather(&self, sum: &[u8], rows: &[(StateKey, Vec<u8>)]) -> Vec<u8> {
        let changes: Vec<Change<'_>> = rows
            .iter()
            .map(|(key, value)| Change { table: key.table, key: &key.key, old: None, new: Some(value) })
            .collect();
        self.commitment.gather(sum, &changes)
    }
}
