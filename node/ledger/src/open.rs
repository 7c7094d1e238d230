//! Opening a ledger, and what must hold before it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_cipherfs::{CipherFs, CipherFsError};
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::genesis::Genesis;
use bixi_types::{CryptoSuite, H256};
use parking_lot::RwLock;

use crate::cache::StateCache;
use crate::commitment::LatticeCommitment;
use crate::engine::memory::MemoryEngine;
use crate::engine::rocks::{Memory, RocksEngine};
use crate::engine::{Engine, EngineError, SealingWatch};
use crate::error::{LedgerError, damaged};
use crate::history::Ordered;
use crate::keys::{self, Column};
use crate::layers::Layers;
use crate::ledger::{Core, HeadState, Ledger};
use crate::records::{self, Head};

/// How many headers below the head are checked at start.
const CHECKED_HEADERS: u64 = 16;

/// Where and how a ledger is kept.
#[derive(Clone)]
pub struct Params {
    /// The database directory; made when missing.
    pub dir: PathBuf,
    /// Where its files live.
    pub storage: Arc<dyn Storage>,
    /// Unlocked at-rest keys.
    pub keyring: KeyRing,
    /// The chain's suite.
    pub suite: CryptoSuite,
    /// Hash of the configured genesis: a ledger of another chain is refused.
    pub genesis: Option<H256>,
    /// Decrypted blocks of RocksDB.
    pub block_cache_mb: usize,
    /// Memtables of RocksDB.
    pub write_buffer_mb: usize,
    /// State rows.
    pub state_cache_mb: usize,
}

impl Params {
    /// Opens the database below a ledger, for what looks into the files of a stopped node. What is written through it is checked by nothing.
    ///
    /// # Errors
    /// As [`Ledger::open`]'s first.
    pub fn open_engine(&self) -> Result<RocksEngine, LedgerError> {
        self.open_by(RocksEngine::open)
    }

    /// The same as it is: nothing is written, and refused where somebody asks for it.
    ///
    /// # Errors
    /// As [`Ledger::open_read_only`]'s first.
    pub(crate) fn open_engine_read_only(&self) -> Result<RocksEngine, LedgerError> {
        self.open_by(RocksEngine::open_read_only)
    }

    /// The same for who verifies it ([`RocksEngine::open_to_verify`]).
    ///
    /// # Errors
    /// As [`Ledger::open_read_only`]'s first.
    pub(crate) fn open_engine_to_verify(&self) -> Result<RocksEngine, LedgerError> {
        self.open_by(RocksEngine::open_to_verify)
    }

    /// Writes down what is to be sealed of a plaintext database that [`read_plain`](crate::engine::read_plain) has read. Nobody may have it
    /// open, and nobody opens it, but to verify it, before [`Self::accept_sealed`]. False where `watch` ended it before.
    ///
    /// # Errors
    /// [`LedgerError::Sealing`]: something that cannot be sealed, or the system's.
    pub fn begin_sealing(&self, watch: SealingWatch<'_>) -> Result<bool, LedgerError> {
        self.on_files(|files| files.begin_sealing(&self.dir, watch))
    }

    /// Seals where it is what [`Self::begin_sealing`] wrote down, or goes on with that; false where `watch` ended it.
    ///
    /// # Errors
    /// [`LedgerError::Sealing`]: a mixture, or the system's; what is done stays done.
    pub fn seal_plain(&self, watch: SealingWatch<'_>) -> Result<bool, LedgerError> {
        self.on_files(|files| files.seal_plain(&self.dir, watch))
    }

    /// Lets the ledger be opened that was sealed from plaintext, once it was found to be whole.
    ///
    /// # Errors
    /// [`LedgerError::Sealing`]: the system's.
    pub fn accept_sealed(&self) -> Result<(), LedgerError> {
        self.on_files(|files| files.accept_sealed(&self.dir))
    }

    fn on_files<T>(&self, work: impl FnOnce(&CipherFs) -> Result<T, CipherFsError>) -> Result<T, LedgerError> {
        work(&self.files()).map_err(LedgerError::Sealing)
    }

    fn files(&self) -> CipherFs {
        CipherFs::new(Arc::clone(&self.storage), self.keyring.clone())
    }

    fn open_by<T>(
        &self,
        open: impl FnOnce(&Path, &CipherFs, Memory) -> Result<T, EngineError>,
    ) -> Result<T, LedgerError> {
        let files = self.files();
        let memory = Memory { cache_bytes: self.block_cache_mb << 20, write_buffer_bytes: self.write_buffer_mb << 20 };
        open(&self.dir, &files, memory).map_err(|source| LedgerError::Open { dir: self.dir.clone(), source })
    }
}

impl Ledger {
    /// Opens the ledger in a directory, or makes an empty one there.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when the files cannot be opened (wrong key, plaintext, damage, another process),
    /// [`LedgerError::Schema`], [`LedgerError::OtherChain`], [`LedgerError::Damaged`].
    pub fn open(params: Params) -> Result<Self, LedgerError> {
        let engine = params.open_engine()?;
        Self::with_engine(Box::new(engine), params.suite, params.genesis, params.state_cache_mb << 20)
    }

    /// Opens the ledger in a directory for who only looks at it: nothing is written, and the process that writes it is not disturbed; beside
    /// one, an opening or a read may fail because a file was replaced meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`], and [`LedgerError::Open`] where there is none.
    pub fn open_read_only(params: Params) -> Result<Self, LedgerError> {
        let engine = params.open_engine_read_only()?;
        Self::with_engine(Box::new(engine), params.suite, params.genesis, params.state_cache_mb << 20)
    }

    /// An empty ledger in memory, for simulators and tests.
    pub fn in_memory(suite: CryptoSuite) -> Self {
        Self::with_engine(Box::new(MemoryEngine::new()), suite, None, 4 << 20)
            .expect("an empty engine passes every check")
    }

    /// A ledger on any engine.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_engine(
        engine: Box<dyn Engine>,
        suite: CryptoSuite,
        genesis: Option<H256>,
        state_cache_bytes: usize,
    ) -> Result<Self, LedgerError> {
        let core = Core {
            engine,
            suite,
            commitment: Box::new(LatticeCommitment::new(suite)),
            cache: StateCache::new(state_cache_bytes),
            layers: RwLock::new(Layers::default()),
            head: RwLock::new(None),
            ordered: RwLock::new(Ordered::default()),
        };
        let head = load_head(&core, genesis)?;
        *core.head.write() = head.map(Arc::new);
        Ok(Self::from_core(core))
    }
}

fn load_head(core: &Core, expected: Option<H256>) -> Result<Option<HeadState>, LedgerError> {
    let Some(state) = load_records(core.engine.as_ref(), core.suite, expected)? else { return Ok(None) };
    check_headers(core, &state.head)?;
    check_state_root(core, &state.head, &state.accumulator)?;
    Ok(Some(state))
}

/// What the ledger says of itself, compared with nothing but the configured chain.
pub(crate) fn load_records(
    engine: &dyn Engine,
    suite: CryptoSuite,
    expected: Option<H256>,
) -> Result<Option<HeadState>, LedgerError> {
    let Some(schema) = engine.get(Column::Meta, keys::META_SCHEMA)? else {
        return match engine.get(Column::Meta, keys::META_HEAD)? {
            Some(_) => Err(damaged("there is a head but no schema version")),
            None => Ok(None),
        };
    };
    check_schema(&schema)?;
    let genesis: Genesis = records::decode("the genesis", &required(engine, keys::META_GENESIS)?)?;
    check_chain(&genesis, suite, expected)?;
    let head: Head = records::decode("the head", &required(engine, keys::META_HEAD)?)?;
    let accumulator = required(engine, keys::META_ACCUMULATOR)?;
    let history = engine.get(Column::Meta, keys::META_HISTORY)?;
    let history = history.map(|bytes| records::decode("the history", &bytes)).transpose()?;
    let past = engine.get(Column::Meta, keys::META_PAST)?;
    let past = past.map(|bytes| records::decode("the past", &bytes)).transpose()?.unwrap_or_default();
    let (accumulator, genesis, past) = (accumulator.into(), Arc::new(genesis), Arc::new(past));
    Ok(Some(HeadState { head, accumulator, genesis, history, past }))
}

fn required(engine: &dyn Engine, key: &[u8]) -> Result<Vec<u8>, LedgerError> {
    let value = engine.get(Column::Meta, key)?;
    value.ok_or_else(|| damaged(format_args!("the record {:?} is missing", String::from_utf8_lossy(key))))
}

fn check_schema(bytes: &[u8]) -> Result<(), LedgerError> {
    let found = u32::from_le_bytes(bytes.try_into().map_err(|_| damaged("the schema version"))?);
    let supported = keys::SCHEMA_VERSION;
    let advice = match found.cmp(&supported) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => "no release wrote it: restore the ledger from a backup",
        std::cmp::Ordering::Greater => "install the program that wrote it, or a newer one",
    };
    Err(LedgerError::Schema { found, supported, advice })
}

fn check_chain(genesis: &Genesis, suite: CryptoSuite, expected: Option<H256>) -> Result<(), LedgerError> {
    let found = genesis.hash();
    match expected {
        Some(expected) if expected != found => Err(LedgerError::OtherChain { found, expected }),
        _ if genesis.suite != suite => Err(LedgerError::OtherSuite { found: genesis.suite, expected: suite }),
        _ => Ok(()),
    }
}

/// The last headers hash to what is stored for them, name each other as parents, and nothing stands above the head.
fn check_headers(core: &Core, head: &Head) -> Result<(), LedgerError> {
    let mut expected = head.hash;
    let lowest = head.number.saturating_sub(CHECKED_HEADERS - 1);
    for number in (lowest..=head.number).rev() {
        let header = core.header(number)?.ok_or_else(|| damaged(format_args!("header {number} is missing")))?;
        let hash = header.hash(core.suite);
        let indexed = core.engine.get(Column::Index, &keys::block_number(&hash))?;
        if hash != expected || core.hash_at(number)? != Some(hash) {
            return Err(damaged(format_args!("header {number} does not have the hash its successor names")));
        }
        if u64::try_from(header.number) != Ok(number) || indexed.as_deref() != Some(&keys::number(number)) {
            return Err(damaged(format_args!("header {number} does not stand at its own height")));
        }
        expected = match (&header.parent_info[..], number) {
            ([], 0) => break,
            ([parent], 1..) => parent.hash,
            _ => return Err(damaged(format_args!("header {number} has {} parents", header.parent_info.len()))),
        };
    }
    match core.header(head.number + 1)? {
        Some(_) => Err(damaged(format_args!("there is a header above the head {}", head.number))),
        None => Ok(()),
    }
}

fn check_state_root(core: &Core, head: &Head, accumulator: &[u8]) -> Result<(), LedgerError> {
    if accumulator.len() != core.commitment.accumulator_bytes() {
        return Err(damaged("the accumulator has a wrong length"));
    }
    let header = core.header(head.number)?.ok_or_else(|| damaged("the head's header is missing"))?;
    if core.commitment.state_root(accumulator, &head.changes_root) != header.state_root {
        return Err(damaged("the stored state commitment is not the head's state root"));
    }
    Ok(())
}
