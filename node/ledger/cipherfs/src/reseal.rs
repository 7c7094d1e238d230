//! A database sealed anew under the ring's current epoch, while RocksDB works on it.
//!
//! Each file of an older epoch is copied beside itself and the copy takes its name, atomically; below what RocksDB has open it is exchanged:
//! tables for whoever reads them, so that the old file's space is free at once, and logs for whoever writes them. A crash leaves the old
//! file or the new one, and copies without a name, which the next attempt removes. So an attempt needs no notes: what is left to do is
//! what the headers say.
//!
//! A name changes under one lock with RocksDB's own creations, removals and renames: a table that a compaction has removed meanwhile does
//! not come back, and CURRENT is never put back to an older one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bixi_platform::io::{OpenMode, directory_of};
use bixi_sealed::reseal;

use crate::error::CipherFsError;
use crate::file;
use crate::fs::SealedFs;
use crate::kind::FileKind;

/// Before files that RocksDB is writing are looked at again.
const PAUSE: Duration = Duration::from_millis(50);

type Result<T> = std::result::Result<T, CipherFsError>;

/// How far a database has been sealed anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealing {
    /// Files that are done.
    pub files: u64,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Bytes of older epochs that were there at the beginning.
    pub bytes_total: u64,
}

/// Told now and then, at least once for each MiB and each file; may wait, and breaks to end it.
pub type Watch<'a> = &'a mut dyn FnMut(&Resealing) -> ControlFlow<()>;

/// How an attempt on a file ended.
enum Outcome {
    Done,
    /// RocksDB is writing it.
    Later,
    /// The watch ended it.
    Ended,
}

impl SealedFs {
    /// Seals anew what is of an older epoch than the current one. True when nothing is left; false where `watch` ended it.
    pub(crate) fn reseal(&self, dir: &Path, watch: Watch<'_>) -> Result<bool> {
        let _one = self.resealing.lock();
        reseal::remove_copies(&*self.storage, dir)?;
        let mut old = self.old_files(dir)?;
        let mut done = Resealing { bytes_total: old.values().sum(), ..Resealing::default() };
        loop {
            if old.is_empty() {
                // The last look sees no file between its name and its header: such a one may be of the epoch before.
                let _names = self.names.read();
                old = self.old_files(dir)?;
                if old.is_empty() {
                    break;
                }
            }
            let mut is_waiting = false;
            for path in old.keys() {
                match self.reseal_file(path, &mut done, watch)? {
                    Outcome::Done => done.files += 1,
                    Outcome::Later => is_waiting = true,
                    Outcome::Ended => return Ok(false),
                }
                if watch(&done).is_break() {
                    return Ok(false);
                }
            }
            if is_waiting {
                std::thread::sleep(PAUSE);
            }
            old = self.old_files(dir)?;
        }
        // Also what an attempt before this one renamed and could not make durable.
        self.sync_dir(dir)?;
        Ok(true)
    }

    /// Files of older epochs, and their bytes.
    fn old_files(&self, dir: &Path) -> Result<BTreeMap<PathBuf, u64>> {
        let current = self.keys.current_epoch();
        let mut old = BTreeMap::new();
        reseal::headers(&*self.storage, dir, |path, header, bytes| {
            if header.epoch < current {
                old.insert(path, bytes);
            }
        })?;
        Ok(old)
    }

    fn reseal_file(&self, path: &Path, done: &mut Resealing, watch: Watch<'_>) -> Result<Outcome> {
        let copy = reseal::copy_of(path);
        let outcome = match FileKind::of(path) {
            FileKind::Table => self.reseal_table(path, &copy, done, watch),
            FileKind::Log | FileKind::Manifest | FileKind::Small => self.reseal_log(path, &copy, done, watch),
        };
        if !matches!(outcome, Ok(Outcome::Done)) {
            // Nothing, or what the next attempt removes.
            drop(self.storage.remove(&copy));
        }
        match outcome {
            // RocksDB removed it meanwhile.
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => other,
        }
    }

    fn reseal_table(&self, path: &Path, copy: &Path, done: &mut Resealing, watch: Watch<'_>) -> Result<Outcome> {
        if self.open.writer(path).is_some() {
            return Ok(Outcome::Later);
        }
        let purpose = FileKind::Table.purpose();
        let from = file::open_pages(&*self.storage, &self.keys, path)?;
        let to = self.storage.open(copy, OpenMode::Truncate).map_err(CipherFsError::io(copy))?;
        let mut pace = |bytes| {
            done.bytes += bytes;
            watch(done)
        };
        if !reseal::table(&from, to, &self.keys, purpose, &mut pace).map_err(CipherFsError::sealed(path))? {
            return Ok(Outcome::Ended);
        }
        let readers = {
            let _names = self.names.write();
            // A table's name is given once: there it is this one, or RocksDB has removed it.
            self.require(path)?;
            self.storage.rename(copy, path).map_err(CipherFsError::io(path))?;
            self.open.readers(path)
        };
        self.sync_dir(directory_of(path))?;
        for reader in readers {
            reader.exchange(file::open_pages(&*self.storage, &self.keys, path)?);
        }
        Ok(Outcome::Done)
    }

    fn reseal_log(&self, path: &Path, copy: &Path, done: &mut Resealing, watch: Watch<'_>) -> Result<Outcome> {
        let Some(writer) = self.open.writer(path) else { return self.reseal_closed(path, done, watch) };
        let before = self.storage.metadata(path).map_err(CipherFsError::io(path))?.len;
        // Whoever writes it waits; names wait for both, in this order everywhere.
        let exchanged = writer.reseal(&*self.storage, &self.keys, copy, || {
            let _names = self.names.write();
            self.storage.rename(copy, path).map_err(CipherFsError::io(path))?;
            self.sync_dir(directory_of(path))
        })?;
        if !exchanged {
            // Closed meanwhile, and still held.
            return self.reseal_closed(path, done, watch);
        }
        done.bytes += before;
        Ok(Outcome::Done)
    }

    /// A log that nobody writes: copied while names change, and exchanged if it is what was copied still.
    fn reseal_closed(&self, path: &Path, done: &mut Resealing, watch: Watch<'_>) -> Result<Outcome> {
        let mut pace = |bytes| {
            done.bytes += bytes;
            watch(done)
        };
        let Some(copied) = reseal::copy(&*self.storage, path, &self.keys, &mut pace)? else {
            return Ok(Outcome::Ended);
        };
        let _names = self.names.write();
        match copied.take_place(&*self.storage)? {
            true => Ok(Outcome::Done),
            // Removed, replaced or written on: the next look tells.
            false => Ok(Outcome::Later),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bixi_platform::io::{MemoryDisk, Storage};
    use bixi_platform::secret::Secret;
    use bixi_sealed::{AtRest, KeyRing, frames, inspect_path};

    use super::*;

    const DIR: &str = "/d";

    fn ring() -> KeyRing {
        KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap()
    }

    fn closed_log(disk: &MemoryDisk, keys: &KeyRing) -> PathBuf {
        let path = Path::new(DIR).join("000001.log");
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        let mut writer = frames::Writer::create(file, keys, FileKind::Log.purpose()).unwrap();
        for record in [b"first", b"other"] {
            writer.append(record).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        path
    }

    /// Under epoch 2, on an empty disk.
    fn rotated() -> (MemoryDisk, SealedFs) {
        let (disk, keys) = (MemoryDisk::new(), ring());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        keys.rotate(2, Secret::from_slice(&[2; 32])).unwrap();
        (disk.clone(), SealedFs::new(Arc::new(disk), keys, Default::default()))
    }

    #[test]
    fn the_last_look_waits_for_a_file_between_its_name_and_its_header() {
        let (disk, fs) = rotated();
        std::thread::scope(|scope| {
            let creation = fs.names.write();
            let resealing = scope.spawn(|| fs.reseal(Path::new(DIR), &mut |_| ControlFlow::Continue(())));
            std::thread::sleep(Duration::from_millis(200));
            // It took its epoch before the rotation.
            let path = closed_log(&disk, &ring());
            drop(creation);
            assert!(resealing.join().unwrap().unwrap());
            assert_eq!(inspect_path(&disk, &path).unwrap().epoch, 2);
        });
    }

    #[test]
    fn names_change_while_a_closed_log_is_copied_and_the_copy_may_be_ended() {
        let (disk, fs) = rotated();
        let path = closed_log(&disk, &ring());
        let mut told = 0;
        let ended = fs.reseal(Path::new(DIR), &mut |_| {
            told += 1;
            assert!(fs.names.try_write().is_some(), "whoever makes a file waits for a copy");
            if told == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(!ended.unwrap());
        assert_eq!((inspect_path(&disk, &path).unwrap().epoch, disk.list(Path::new(DIR)).unwrap().len()), (1, 1));
        assert!(fs.reseal(Path::new(DIR), &mut |_| ControlFlow::Continue(())).unwrap());
        assert_eq!(inspect_path(&disk, &path).unwrap().epoch, 2);
    }
}
