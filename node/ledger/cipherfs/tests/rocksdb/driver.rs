//! Opens small databases on sealed files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_cipherfs::CipherFs;
use bixi_platform::io::{PreadStorage, Storage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};
use rocksdb::{DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};

/// Rows as a test expects them.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn ring(key: u8) -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[key; 32]))], 1).expect("one epoch")
}

pub(crate) fn files() -> CipherFs {
    files_on(Arc::new(PreadStorage))
}

pub(crate) fn files_on(storage: Arc<dyn Storage>) -> CipherFs {
    CipherFs::new(storage, ring(1))
}

pub(crate) fn options(files: &CipherFs) -> Options {
    let mut options = Options::default();
    options.set_env(&files.env().expect("env"));
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_recycle_log_file_num(0);
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// Checks, then opens: the way the ledger does it. The error is text.
pub(crate) fn try_open(dir: &Path, files: &CipherFs) -> Result<DB, String> {
    files.check(dir).map_err(|error| error.to_string())?;
    DB::open(&options(files), dir).map_err(|error| error.to_string())
}

pub(crate) fn open(dir: &Path) -> DB {
    try_open(dir, &files()).expect("open")
}

pub(crate) fn put_synced(db: &DB, rows: &[(&[u8], &[u8])]) -> Result<(), String> {
    let mut batch = WriteBatch::default();
    for (key, value) in rows {
        batch.put(key, value);
    }
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options).map_err(|error| error.to_string())
}

/// Every row, or the first error.
pub(crate) fn read_all(db: &DB) -> Result<Rows, String> {
    db.iterator(IteratorMode::Start)
        .map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())).map_err(|error| error.to_string()))
        .collect()
}

/// Every file below a directory.
pub(crate) fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A copy of a flat directory.
pub(crate) fn copy_dir(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("temporary directory");
    for path in all_files(from) {
        std::fs::copy(&path, to.path().join(path.file_name().expect("name"))).expect("copy");
    }
    to
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
