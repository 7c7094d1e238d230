//! A storage that fails on purpose: a full disk, a failing operation, a process cut off in the middle.
//!
//! Operations that change the disk (writes, syncs, name changes) are counted from 1, so that a test can run a workload
//! once to count them and then fail each in turn. A failing write leaves a prefix behind, as a real one may.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{File, Lock, Metadata, OpenMode, Storage};

const NEVER: u64 = u64::MAX;

/// The faults of a [`FaultyStorage`], changed while it is in use; clones are the same faults.
#[derive(Clone, Debug)]
pub struct Faults(Arc<State>);

#[derive(Debug)]
struct State {
    operations: AtomicU64,
    fail_once_at: AtomicU64,
    dead_from: AtomicU64,
    bytes_left: AtomicU64,
    /// Only files of this extension find the disk full.
    full_for: Mutex<Option<String>>,
    fail_reads_at: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Faults {
    /// No fault yet.
    pub fn none() -> Self {
        Self(Arc::new(State {
            operations: AtomicU64::new(0),
            fail_once_at: AtomicU64::new(NEVER),
            dead_from: AtomicU64::new(NEVER),
            bytes_left: AtomicU64::new(NEVER),
            full_for: Mutex::default(),
            fail_reads_at: AtomicU64::new(NEVER),
        }))
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::SeqCst)
    }

    /// The `number`th changing operation fails with EIO; those after it work again.
    pub fn fail_once_at(&self, number: u64) {
        self.0.fail_once_at.store(number, Ordering::SeqCst);
    }

    /// From the `number`th changing operation on all fail, as if the process had been killed there.
    pub fn dead_from(&self, number: u64) {
        self.0.dead_from.store(number, Ordering::SeqCst);
    }

    /// Writes that extend beyond `bytes` more bytes fail with ENOSPC, after a prefix.
    pub fn full_after(&self, bytes: u64) {
        *self.full_for() = None;
        self.0.bytes_left.store(bytes, Ordering::SeqCst);
    }

    /// As [`Faults::full_after`], for files with this extension alone: the others have room reserved.
    pub fn full_after_for(&self, bytes: u64, extension: &str) {
        *self.full_for() = Some(extension.to_owned());
        self.0.bytes_left.store(bytes, Ordering::SeqCst);
    }

    /// Reads that touch the byte at `offset` of any file fail with EIO, as of a bad sector.
    pub fn bad_byte_at(&self, offset: u64) {
        self.0.fail_reads_at.store(offset, Ordering::SeqCst);
    }

    /// The disk has room and works again.
    pub fn heal(&self) {
        for fault in [&self.0.fail_once_at, &self.0.dead_from, &self.0.bytes_left, &self.0.fail_reads_at] {
            fault.store(NEVER, Ordering::SeqCst);
        }
    }

    fn full_for(&self) -> MutexGuard<'_, Option<String>> {
        self.0.full_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing operation and fails it if it is due.
    fn step(&self) -> io::Result<()> {
        let number = self.0.operations.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.0.fail_once_at.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.check_alive(number)
    }

    /// Fails the `number`th operation where the process would be dead by then.
    fn check_alive(&self, number: u64) -> io::Result<()> {
        match number >= self.0.dead_from.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => Ok(()),
        }
    }

    /// How much of a write of `len` bytes to a file finds room.
    fn room_for(&self, len: usize, path: &Path) -> usize {
        let left = self.0.bytes_left.load(Ordering::SeqCst);
        let spared =
            self.full_for().as_ref().is_some_and(|only| path.extension().is_none_or(|name| name != only.as_str()));
        if left == NEVER || spared {
            return len;
        }
        let taken = left.min(len as u64);
        self.0.bytes_left.fetch_sub(taken, Ordering::SeqCst);
        taken as usize
    }
}

/// A storage with faults before it.
#[derive(Debug)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    faults: Faults,
}

impl FaultyStorage {
    /// `inner`, failing as `faults` say.
    pub fn new(inner: Arc<dyn Storage>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl Storage for FaultyStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        if matches!(mode, OpenMode::CreateNew | OpenMode::Truncate) {
            self.faults.step()?;
        }
        Ok(Box::new(FaultyFile {
            inner: self.inner.open(path, mode)?,
            path: path.to_owned(),
            faults: self.faults.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.rename(from, to)
    }

    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.hard_link(existing, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.faults.step()?;
        self.inner.create_dir_all(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn backend(&self) -> &'static str {
        "faulty"
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn File>,
    /// As it was opened.
    path: PathBuf,
    faults: Faults,
}

impl File for FaultyFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let bad = self.faults.0.fail_reads_at.load(Ordering::SeqCst);
        if (offset..offset.saturating_add(out.len() as u64)).contains(&bad) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.faults.step() {
            self.inner.write_at(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        let room = self.faults.room_for(data.len(), &self.path);
        self.inner.write_at(offset, &data[..room])?;
        if room < data.len() { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.step()?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.faults.step()?;
        self.inner.sync_all()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.faults.step()?;
        self.inner.truncate(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        // No change of the disk, so it is not counted; a dead one refuses it.
        self.faults.check_alive(self.faults.operations() + 1)?;
        self.inner.begin_write_back(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{MemoryDisk, conformance};

    fn storage() -> (FaultyStorage, Faults) {
        let faults = Faults::none();
        (FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone()), faults)
    }

    #[test]
    fn without_faults_it_conforms() {
        conformance::check(&storage().0, Path::new("/"));
    }

    #[test]
    fn a_full_disk_takes_a_prefix() {
        let (storage, faults) = storage();
        let file = storage.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        faults.full_after(3);
        let error = file.write_at(0, b"12345").unwrap_err();
        assert_eq!((error.kind(), file.len().unwrap()), (io::ErrorKind::StorageFull, 3));
        assert!(file.write_at(3, b"45").is_err());
        faults.heal();
        file.write_at(3, b"45").unwrap();
    }

    #[test]
    fn a_disk_may_be_full_for_one_kind_of_file() {
        let (storage, faults) = storage();
        let open = |name| storage.open(Path::new(name), OpenMode::CreateNew).unwrap();
        let (table, log) = (open("/1.sst"), open("/2.log"));
        faults.full_after_for(2, "sst");
        log.write_at(0, b"12345").unwrap();
        assert_eq!(table.write_at(0, b"123").unwrap_err().kind(), io::ErrorKind::StorageFull);
        log.write_at(5, b"6").unwrap();
        faults.full_after(0);
        assert!(log.write_at(6, b"7").is_err());
    }

    #[test]
    fn the_chosen_operation_fails_once_and_a_dead_process_stays_dead() {
        let (storage, faults) = storage();
        let file = storage.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        faults.fail_once_at(faults.operations() + 2);
        file.write_at(0, b"one").unwrap();
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
        file.sync_data().unwrap();
        faults.dead_from(faults.operations() + 1);
        assert!(file.write_at(3, b"two!").is_err() && storage.remove(Path::new("/f")).is_err());
        assert_eq!(file.len().unwrap(), 5, "half of a failing write is there");
    }

    #[test]
    fn a_bad_sector_fails_reads_that_touch_it() {
        let (storage, faults) = storage();
        let file = storage.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[7; 100]).unwrap();
        faults.bad_byte_at(50);
        file.read_exact_at(0, &mut [0; 50]).unwrap();
        assert!(file.read_at(40, &mut [0; 20]).is_err());
    }
}
