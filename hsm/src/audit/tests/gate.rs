//! A disk whose syncs wait at a gate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use bixi_platform::io::{File, Lock, MemoryDisk, Metadata, OpenMode, Storage};

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    pub(super) fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    pub(super) fn open(&self) {
        self.0.0.lock().unwrap().closed = false;
        self.0.1.notify_all();
    }

    /// Returns when someone stands at the closed gate.
    pub(super) fn wait_for_a_caller(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        self.0.1.notify_all();
        let mut state = self.0.1.wait_while(state, |state| state.closed).unwrap();
        state.waiting -= 1;
    }
}

pub(super) fn storage(disk: MemoryDisk) -> (Arc<dyn Storage>, Gate) {
    let gate = Gate::default();
    (Arc::new(Gated { disk, gate: gate.clone() }), gate)
}

#[derive(Debug)]
struct Gated<D> {
    disk: D,
    gate: Gate,
}

impl Storage for Gated<MemoryDisk> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Gated { disk: self.disk.open(path, mode)?, gate: self.gate.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(existing, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.disk.metadata(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
    fn backend(&self) -> &'static str {
        "gated"
    }
}

impl File for Gated<Box<dyn File>> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, data)
    }
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.disk.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass();
        self.disk.sync_all()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.truncate(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.allocate(offset, len)
    }
    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.begin_write_back(offset, len)
    }
}
