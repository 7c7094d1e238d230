//! RocksDB over sealed files.
//!
//! One write-ahead log serves all columns, so a batch across columns is atomic; every batch is synced before it returns.
//! Memory is bounded by [`Memory`]: memtables are counted by one write buffer manager, index and filter blocks live in the
//! block cache. Compression happens before sealing: LZ4 in the upper levels, Zstandard in the last.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bixi_cipherfs::CipherFs;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRecoveryMode, Env, LogLevel, Options, ReadOptions, Snapshot, WaitForCompactOptions,
    WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{Batch, Engine, EngineError, Reader, Visit, Watch};
use crate::keys::{self, Column};

/// Threads that flush and compact. RocksDB names them `rocksdb:high` and `rocksdb:low`.
const BACKGROUND_JOBS: i32 = 2;
/// Tables kept open; each costs a descriptor and its sealed header.
const OPEN_FILES_MAX: i32 = 256;
/// Target size of one table file.
const TABLE_BYTES: u64 = 32 << 20;
/// One memtable; the manager may ask for a flush earlier.
const MEMTABLE_BYTES: usize = 8 << 20;
/// A table is on its way to the disk whenever so much of it was written: synced whole at its end, a flush or a compaction would have commits
/// wait for all of it.
const WRITE_BACK_BYTES: u64 = 1 << 20;
/// Logs are dropped by flushing the oldest memtable above this.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Bounds on RocksDB's memory.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Decrypted and decompressed blocks, indexes and filters.
    pub cache_bytes: usize,
    /// All memtables together.
    pub write_buffer_bytes: usize,
}

/// Stops at a torn record, refuses on an I/O error: what the file system reports as damage is never skipped.
pub(super) const RECOVERY: DBRecoveryMode = DBRecoveryMode::PointInTime;

/// RocksDB on a [`CipherFs`].
pub struct RocksEngine {
    db: DB,
    /// Where its files are, and what they are sealed by.
    sealed: Option<(PathBuf, CipherFs)>,
}

impl RocksEngine {
    /// Opens or creates the database in `dir`. A foreign, plaintext or wrongly keyed directory is refused before RocksDB
    /// reads it.
    pub fn open(dir: &Path, files: &CipherFs, memory: Memory) -> Result<Self, EngineError> {
        let env = files.create_dir(dir).and_then(|()| files.check(dir)).and_then(|()| files.env());
        let engine = Self::open_in(dir, &env.map_err(|error| EngineError(error.to_string()))?, memory)?;
        Ok(Self { sealed: Some((dir.to_owned(), files.clone())), ..engine })
    }

    /// [`Self::open`] on any environment, with the same options: to measure what sealing costs.
    #[cfg(feature = "unsealed")]
    pub fn open_unsealed(dir: &Path, env: &Env, memory: Memory) -> Result<Self, EngineError> {
        Self::open_in(dir, env, memory)
    }

    pub(super) fn open_in(dir: &Path, env: &Env, memory: Memory) -> Result<Self, EngineError> {
        let db = DB::open_cf_descriptors(&database_options(env, memory), dir, columns(memory)).map_err(failed)?;
        Ok(Self::of(db))
    }

    /// What is below it is not sealed, or nobody seals it anew.
    pub(super) fn of(db: DB) -> Self {
        Self { db, sealed: None }
    }

    /// Opens the database in `dir` as it is: takes no lock, writes nothing and refuses to. Beside a process that writes it, what is read is
    /// of the moment of the opening, and an opening or a read may fail because a file was replaced meanwhile.
    pub fn open_read_only(dir: &Path, files: &CipherFs, memory: Memory) -> Result<Self, EngineError> {
        files.check(dir).map_err(|error| EngineError(error.to_string()))?;
        Self::read_checked(dir, files, memory)
    }

    /// The same for who verifies it: one that was sealed from plaintext and is not verified yet is opened, too.
    pub fn open_to_verify(dir: &Path, files: &CipherFs, memory: Memory) -> Result<Self, EngineError> {
        files.check_to_verify(dir).map_err(|error| EngineError(error.to_string()))?;
        Self::read_checked(dir, files, memory)
    }

    fn read_checked(dir: &Path, files: &CipherFs, memory: Memory) -> Result<Self, EngineError> {
        let env = files.env().map_err(|error| EngineError(error.to_string()))?;
        let mut options = database_options(&env, memory);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        // Opened for reading alone RocksDB leaves a column out that it was not asked for, and a node fails to open it.
        if let Some(odd) = odd_column(&DB::list_cf(&options, dir).map_err(failed)?) {
            let meaning = match odd {
                OddColumn::Foreign(_) => "something was added to the ledger",
                OddColumn::Missing(_) => "a start of the node completes a ledger whose first start was cut off",
            };
            return Err(EngineError(format!("{odd}: {meaning}")));
        }
        let db = DB::open_cf_descriptors_read_only(&options, dir, columns(memory), false).map_err(failed)?;
        Ok(Self::of(db))
    }

    /// Flushes and compacts everything down to the last level, for tests and maintenance.
    pub fn compact(&self) -> Result<(), EngineError> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for column in Column::ALL {
            self.flush(column)?;
            self.db.compact_range_cf_opt(self.family(column), None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// Waits until flushes and compactions under way or due are done.
    pub fn settle(&self) -> Result<(), EngineError> {
        self.db.wait_for_compact(&WaitForCompactOptions::default()).map_err(failed)
    }

    /// Has what is in memory and in the log go to a table.
    pub(super) fn flush(&self, column: Column) -> Result<(), EngineError> {
        self.db.flush_cf(self.family(column)).map_err(failed)
    }

    /// The number of the last write.
    pub(super) fn last_sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(column.name()).expect("every column was opened")
    }

    fn scan_with(
        &self,
        column: Column,
        prefix: &[u8],
        mut options: ReadOptions,
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        if let Some(end) = keys::prefix_end(prefix) {
            options.set_iterate_upper_bound(end);
        }
        self.walk_with(column, prefix, options, &mut |key, value| {
            if key.starts_with(prefix) { visit(key, value) } else { ControlFlow::Break(()) }
        })
    }

    fn walk_with(
        &self,
        column: Column,
        first: &[u8],
        options: ReadOptions,
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        let mut cursor = self.db.raw_iterator_cf_opt(self.family(column), options);
        cursor.seek(first);
        while let Some((key, value)) = cursor.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            cursor.next();
        }
        cursor.status().map_err(failed)
    }
}

pub(super) fn failed(error: rocksdb::Error) -> EngineError {
    EngineError(error.into_string())
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// For reads of a whole column.
fn walk_options(mut options: ReadOptions) -> ReadOptions {
    options.fill_cache(false);
    options
}

pub(super) fn database_options(env: &Env, memory: Memory) -> Options {
    let mut options = Options::default();
    options.set_env(env);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(RECOVERY);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(memory.write_buffer_bytes, false));
    options.set_bytes_per_sync(WRITE_BACK_BYTES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// What tells that a database is no ledger's, or not a whole one.
pub(super) enum OddColumn {
    Foreign(String),
    Missing(&'static str),
}

impl fmt::Display for OddColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(name) => write!(f, "it has the column family {name:?}"),
            Self::Missing(name) => write!(f, "it has no column family {name:?}"),
        }
    }
}

/// The first that differs from a ledger's columns.
pub(super) fn odd_column(found: &[String]) -> Option<OddColumn> {
    let is_own = |name: &String| Column::ALL.iter().any(|column| column.name() == name);
    if let Some(name) = found.iter().find(|name| !is_own(name)) {
        return Some(OddColumn::Foreign(name.clone()));
    }
    let missing = Column::ALL.into_iter().find(|column| !found.iter().any(|name| name == column.name()))?;
    Some(OddColumn::Missing(missing.name()))
}

pub(super) fn columns(memory: Memory) -> impl Iterator<Item = ColumnFamilyDescriptor> {
    let cache = Cache::new_hyper_clock_cache(memory.cache_bytes, 0);
    Column::ALL
        .into_iter()
        .map(move |column| ColumnFamilyDescriptor::new(column.name(), column_options(column, &cache)))
}

fn column_options(column: Column, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    match column {
        Column::Chain => table.set_block_size(16 << 10),
        // Most look-ups are for keys that are not there: the filters answer them without a read.
        Column::Index | Column::State => {
            table.set_block_size(8 << 10);
            table.set_bloom_filter(10.0, false);
            table.set_optimize_filters_for_memory(true);
        }
        Column::Meta => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

impl Reader for RocksEngine {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.db.get_cf_opt(self.family(column), key, &read_options()).map_err(failed)
    }

    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.db
            .batched_multi_get_cf_opt(self.family(column), keys, false, &read_options())
            .into_iter()
            .map(|value| value.map(|found| found.map(|slice| slice.to_vec())).map_err(failed))
            .collect()
    }

    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.scan_with(column, prefix, read_options(), visit)
    }

    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.walk_with(column, first, walk_options(read_options()), visit)
    }
}

impl Engine for RocksEngine {
    fn reseal(&self, watch: Watch<'_>) -> Result<bool, EngineError> {
        let Some((dir, files)) = &self.sealed else { return Ok(true) };
        // What is in the log goes to tables, so that the log begins anew: less is copied while its writer waits.
        for column in Column::ALL {
            self.flush(column)?;
        }
        files.reseal(dir, watch).map_err(|error| EngineError(error.to_string()))
    }

    fn tables(&self) -> Result<Vec<String>, EngineError> {
        let files = self.db.live_files().map_err(failed)?;
        Ok(files.into_iter().map(|file| file.name.trim_start_matches('/').to_owned()).collect())
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut writes = WriteBatch::default();
        for (column, key, value) in batch.writes() {
            match value {
                Some(value) => writes.put_cf(self.family(*column), key, value),
                None => writes.delete_cf(self.family(*column), key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(writes, &options).map_err(failed)
    }

    fn snapshot(&self) -> Box<dyn Reader + '_> {
        Box::new(Frozen { engine: self, snapshot: self.db.snapshot() })
    }
}

struct Frozen<'a> {
    engine: &'a RocksEngine,
    snapshot: Snapshot<'a>,
}

impl Frozen<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = read_options();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl Reader for Frozen<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.engine.db.get_cf_opt(self.engine.family(column), key, &self.options()).map_err(failed)
    }

    fn multi_get(&self, column: Column, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.engine
            .db
            .batched_multi_get_cf_opt(self.engine.family(column), keys, false, &self.options())
            .into_iter()
            .map(|value| value.map(|found| found.map(|slice| slice.to_vec())).map_err(failed))
            .collect()
    }

    fn scan(&self, column: Column, prefix: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.engine.scan_with(column, prefix, self.options(), visit)
    }

    fn walk(&self, column: Column, first: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        self.engine.walk_with(column, first, walk_options(self.options()), visit)
    }
}

#[cfg(test)]
mod tests;
