//! A plaintext database of a ledger, opened once, to be sealed.
//!
//! This is the one place where a ledger's files are opened without their seal. No node comes here: it is for who seals a ledger
//! ([`crate::Params::begin_sealing`]). No key is needed here.

mod log;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bixi_cipherfs::FileKind;
use rocksdb::{DB, DBRecoveryMode, Env, Options};
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;

use super::rocks::{self, Memory};
use super::{EngineError, Reader as _};
use crate::keys::Column;

/// Bytes of rows after which the watch is told.
const TOLD_BYTES: u64 = 1 << 20;

/// Rows of a plaintext database that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsRead {
    /// How many.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Told at least once for each MiB of rows; may wait, and breaks to end it.
pub type RowsWatch<'a> = &'a mut dyn FnMut(RowsRead) -> ControlFlow<()>;

/// A plaintext database that no other program opens meanwhile, by the lock that each RocksDB takes, in a file that is made where it is missing.
///
/// The lock is this process's: it is lost when any file that this process has opened as the database's LOCK is closed.
#[derive(Debug)]
pub struct Held {
    dir: PathBuf,
    _lock: File,
}

impl Held {
    /// Holds the database in `dir`.
    ///
    /// # Errors
    /// Another process that has it open, or the system's.
    pub fn of(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("LOCK");
        let failed = |error: std::io::Error| EngineError(format!("{}: {error}", path.display()));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let lock = options.open(&path).map_err(failed)?;
        match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(Errno::AGAIN | Errno::ACCESS) => {
                Err(EngineError(format!("{}: another process has the database open: stop it first", path.display())))
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Opens a plaintext database without any seal, for reading alone, and reads every row with its checksum; `None` where `watch` ended it.
/// Nothing is written: rows that only its logs have are held in memory meanwhile.
///
/// # Errors
/// A database of other columns, a damaged table, one that the database does not name, a log that is damaged, cut short or used again.
pub fn read_plain(held: &Held, memory: Memory, watch: RowsWatch<'_>) -> Result<Option<RowsRead>, EngineError> {
    let dir = &held.dir;
    expect_whole_logs(dir)?;
    let mut options = rocks::database_options(&Env::new().map_err(rocks::failed)?, memory);
    // Another program's database, or one without our columns, is refused and not completed.
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    expect_own_columns(dir, &options)?;
    // A plaintext log has no tags that tell damage from what a crash tore: one that does not end with a whole record is refused.
    let db = open(dir, options.clone(), memory, DBRecoveryMode::AbsoluteConsistency)?;
    expect_all_named(dir, &db)?;
    let engine = rocks::RocksEngine::of(db);
    let (mut read, mut told, mut is_ended) = (RowsRead::default(), 0, false);
    for column in Column::ALL {
        engine.walk(column, &[], &mut |key, value| {
            read.rows += 1;
            read.bytes += (key.len() + value.len()) as u64;
            if read.bytes - told >= TOLD_BYTES {
                told = read.bytes;
                is_ended = watch(read).is_break();
            }
            if is_ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_ended {
            return Ok(None);
        }
    }
    let last = engine.last_sequence();
    drop(engine);
    // As a node will open it: what it would leave out is missed while the plaintext is there.
    let found = open(dir, options, memory, rocks::RECOVERY)?.latest_sequence_number();
    match found == last {
        true => Ok(Some(read)),
        false => Err(refused(
            dir,
            format!("a node would read its logs to write {found} only, and they go on to {last}"),
            DAMAGE_ADVICE,
        )),
    }
}

/// For what a crash leaves, and what only the program that wrote it can say.
const CUT_ADVICE: &str = "copy the directory first; then have the program that wrote the database open it once more, without logs that are used again \
                          (recycle_log_file_num = 0), and stop it in order";
/// Which of the two it is nobody can tell by the files.
const UNNAMED_ADVICE: &str = "restore the database from a copy; only if the program that wrote it was killed, copy the directory and have it open the \
                              database once more and stop in order";
/// Opened for writing, it would lose what the damage hides.
const DAMAGE_ADVICE: &str =
    "restore the database from a copy, and let no program open this one for writing: it would remove rows";

fn open(dir: &Path, mut options: Options, memory: Memory, recovery: DBRecoveryMode) -> Result<DB, EngineError> {
    options.set_wal_recovery_mode(recovery);
    DB::open_cf_descriptors_read_only(&options, dir, rocks::columns(memory), false)
        .map_err(|error| refused(dir, error, DAMAGE_ADVICE))
}

fn refused(path: &Path, what: impl Display, advice: &str) -> EngineError {
    EngineError(format!("{}: {what}: {advice}; nothing was sealed", path.display()))
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let entries = dir.read_dir().and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(|error| EngineError(format!("{}: {error}", dir.display())))
}

/// Refuses what RocksDB would pass over in silence.
fn expect_whole_logs(dir: &Path) -> Result<(), EngineError> {
    for path in files_in(dir)? {
        if !matches!(FileKind::of(&path), FileKind::Log | FileKind::Manifest) {
            continue;
        }
        let fault = File::open(&path).and_then(log::fault);
        if let Some(fault) = fault.map_err(|error| EngineError(format!("{}: {error}", path.display())))? {
            let advice = match fault.is_harmless && FileKind::of(&path) == FileKind::Log {
                true => CUT_ADVICE,
                false => DAMAGE_ADVICE,
            };
            return Err(refused(&path, format!("{} at byte {}", fault.what, fault.at), advice));
        }
    }
    Ok(())
}

/// Refuses what is no ledger's database: opened for reading alone RocksDB would leave out a column that it was not asked for.
fn expect_own_columns(dir: &Path, options: &Options) -> Result<(), EngineError> {
    let found = DB::list_cf(options, dir).map_err(|error| refused(dir, error, DAMAGE_ADVICE))?;
    match rocks::odd_column(&found) {
        Some(what) => Err(refused(dir, what, "this is no ledger of a node, or something was added to it")),
        None => Ok(()),
    }
}

/// Refuses a database with a table that it does not name: whoever opens it for writing removes that. A MANIFEST that lost its end names the
/// tables of before.
fn expect_all_named(dir: &Path, db: &DB) -> Result<(), EngineError> {
    let named: BTreeSet<_> = db.live_files().map_err(rocks::failed)?.into_iter().map(|file| file.name).collect();
    for path in files_in(dir)? {
        if path.extension().is_some_and(|ending| ending == "blob") {
            return Err(refused(&path, "values in a file of their own", "no ledger of a node has any"));
        }
        let is_of_tables = path.extension().is_some_and(|ending| ending == "sst");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_of_tables && !named.contains(&format!("/{name}")) {
            return Err(refused(
                &path,
                "a table that the database does not name: a crash left it, or the MANIFEST has lost its end",
                UNNAMED_ADVICE,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
