//! A storage that counts: operations and bytes, for metrics and for tests that assert what was *not* touched.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{File, Lock, Metadata, OpenMode, Storage};

/// Counters since the storage was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that read.
    pub reads: u64,
    /// Bytes they returned.
    pub read_bytes: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Bytes they were given.
    pub write_bytes: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Bytes that the system was asked to begin to write.
    pub write_back_bytes: u64,
}

/// Shared counters of a [`MeteredStorage`]; clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    write_bytes: AtomicU64,
    syncs: AtomicU64,
    write_back_bytes: AtomicU64,
}

impl Meter {
    /// The counters now.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { reads, read_bytes, writes, write_bytes, syncs, write_back_bytes } = &*self.0;
        Counts {
            reads: load(reads),
            read_bytes: load(read_bytes),
            writes: load(writes),
            write_bytes: load(write_bytes),
            syncs: load(syncs),
            write_back_bytes: load(write_back_bytes),
        }
    }

    fn read(&self, bytes: usize) {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        self.0.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn wrote(&self, bytes: usize) {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        self.0.write_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn synced(&self) {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A storage with a meter before it.
#[derive(Debug)]
pub struct MeteredStorage {
    inner: Arc<dyn Storage>,
    meter: Meter,
}

impl MeteredStorage {
    /// `inner`, counted by `meter`.
    pub fn new(inner: Arc<dyn Storage>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl Storage for MeteredStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        Ok(Box::new(MeteredFile { inner: self.inner.open(path, mode)?, meter: self.meter.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(existing, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.meter.synced();
        self.inner.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }
}

#[derive(Debug)]
struct MeteredFile {
    inner: Box<dyn File>,
    meter: Meter,
}

impl File for MeteredFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read_at(offset, out)?;
        self.meter.read(got);
        Ok(got)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meter.wrote(data.len());
        self.inner.write_at(offset, data)
    }

    fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meter.wrote(data.len());
        self.meter.synced();
        self.inner.write_and_sync(offset, data)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.synced();
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.meter.synced();
        self.inner.sync_all()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        self.meter.0.write_back_bytes.fetch_add(len, Ordering::Relaxed);
        self.inner.begin_write_back(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{MemoryDisk, conformance};

    #[test]
    fn it_conforms_and_counts() {
        let meter = Meter::default();
        let storage = MeteredStorage::new(Arc::new(MemoryDisk::new()), meter.clone());
        let file = storage.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        file.write_at(0, b"12345").unwrap();
        file.write_and_sync(5, b"67").unwrap();
        file.read_at(0, &mut [0; 100]).unwrap();
        file.begin_write_back(2, 4).unwrap();
        storage.sync_dir(Path::new("/")).unwrap();
        let expected = Counts { reads: 1, read_bytes: 7, writes: 2, write_bytes: 7, syncs: 2, write_back_bytes: 4 };
        assert_eq!(meter.counts(), expected);
        conformance::check(&storage, Path::new("/"));
    }
}
