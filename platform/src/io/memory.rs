//! A disk in memory that can lose power.
//!
//! It keeps apart what was written and what was synced. [`MemoryDisk::crash`] throws away, keeps or tears every unsynced
//! write on its own, in sectors, and keeps only a prefix of the unsynced name changes: what real disks and journalling
//! file systems may do, chosen by a seed. Directories are durable at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{File, Lock, Metadata, OpenMode, Storage};

mod inode;

use inode::Inode;

/// What a loss of power does to unsynced changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of them are lost.
    LoseUnsynced,
    /// All of them happened to reach the disk: also what the end of the process alone leaves.
    KeepAll,
    /// Each is kept, lost, or torn in sectors, as the seed decides.
    Torn {
        /// Of the choices.
        seed: u64,
    },
}

/// A storage in memory; clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Name changes since the last directory sync, each as a whole.
    pending: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: BTreeSet<PathBuf>,
    /// Handles of an earlier life are dead.
    life: u64,
    fail_next_sync: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk with the directory `/`.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            dirs: BTreeSet::from([PathBuf::from("/")]),
            inodes: BTreeMap::new(),
            next_inode: 1,
            locks: BTreeSet::new(),
            life: 0,
            fail_next_sync: false,
        })))
    }

    /// Takes the power away and gives it back: open files and locks are gone, unsynced changes fare as `crash` says.
    pub fn crash(&self, crash: Crash) {
        self.disk().crash(crash);
    }

    /// The next sync of a file fails with EIO, the way Linux fails it: what it should have written stays readable, counts as
    /// clean, and reaches the disk only if it is written again. A second sync succeeds and makes nothing durable.
    pub fn fail_next_sync(&self) {
        self.disk().fail_next_sync = true;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not on the memory disk", path.display()))
}

impl Disk {
    fn crash(&mut self, crash: Crash) {
        let mut random = SplitMix(match crash {
            Crash::Torn { seed } => seed,
            _ => 0,
        });
        let kept = match crash {
            Crash::LoseUnsynced => 0,
            Crash::KeepAll => self.pending.len(),
            Crash::Torn { .. } => random.below(self.pending.len() as u64 + 1) as usize,
        };
        for change in self.pending.drain(..).take(kept) {
            apply(&mut self.durable_names, change);
        }
        for inode in self.inodes.values_mut() {
            inode.crash(crash, &mut random);
        }
        self.names = self.durable_names.clone();
        self.locks.clear();
        self.life += 1;
        self.forget_unnamed();
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.pending.push(change);
    }

    /// Inodes live as long as a name does; here that is until the next crash, because handles may still use them.
    fn forget_unnamed(&mut self) {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    fn inode_of(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| not_found(path))
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.dirs.contains(parent) => Ok(()),
            _ => Err(not_found(path.parent().unwrap_or(path))),
        }
    }

    fn children<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        self.names.keys().chain(&self.dirs).filter(move |path| path.parent() == Some(dir))
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path, inode);
        }
        NameChange::Unlink(path) => {
            names.remove(&path);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
    }
}

/// There are no symbolic links here, and no clock.
fn facts(len: u64, is_dir: bool, inode: u64, names: u64) -> Metadata {
    let (is_file, modified) = (!is_dir, SystemTime::UNIX_EPOCH);
    Metadata { len, is_dir, is_file, modified, inode, names, is_symlink: false }
}

impl Storage for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk();
        disk.check_parent(path)?;
        let inode = match (disk.names.get(path).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(not_found(path)),
            (Some(inode), _) => inode,
            (None, _) => {
                let inode = disk.next_inode;
                disk.next_inode += 1;
                disk.inodes.insert(inode, Inode::default());
                disk.change(NameChange::Link(path.to_owned(), inode));
                inode
            }
        };
        let life = disk.life;
        drop(disk);
        let file = MemoryFile { disk: self.clone(), inode, life, writable: mode != OpenMode::Read };
        if mode == OpenMode::Truncate {
            file.truncate(0)?;
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.inode_of(from)?;
        disk.check_parent(to)?;
        disk.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.inode_of(existing)?;
        disk.check_parent(to)?;
        if disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change(NameChange::Link(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.inode_of(path)?;
        disk.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.children(path).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if disk.dirs.remove(path) { Ok(()) } else { Err(not_found(path)) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk();
        if !disk.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let mut names: Vec<PathBuf> = disk.children(dir).filter_map(|path| path.file_name()).map(Into::into).collect();
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        // A journal commits what came before, of all directories.
        let pending = std::mem::take(&mut disk.pending);
        for change in pending {
            apply(&mut disk.durable_names, change);
        }
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let disk = self.disk();
        if disk.dirs.contains(path) {
            return Ok(facts(0, true, 0, 1));
        }
        let inode = disk.inode_of(path)?;
        let names = disk.names.values().filter(|other| **other == inode).count() as u64;
        Ok(facts(disk.inodes[&inode].len(), false, inode, names))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.exists(path)? {
            self.open(path, OpenMode::CreateNew)?;
        }
        let mut disk = self.disk();
        if !disk.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned(), life: disk.life }))
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    life: u64,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        if disk.life == self.life {
            disk.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: u64,
    life: u64,
    writable: bool,
}

impl MemoryFile {
    fn with<T>(&self, action: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut disk = self.disk.disk();
        let alive = disk.life == self.life;
        match disk.inodes.get_mut(&self.inode) {
            Some(inode) if alive => Ok(action(inode)),
            _ => Err(io::Error::other("the memory disk lost power after this file was opened")),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.with(|inode| inode.read_at(offset, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        self.with(|inode| inode.write_at(offset, data))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inode| inode.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        if std::mem::take(&mut self.disk.disk().fail_next_sync) {
            self.with(Inode::forget_unsynced)?;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.with(Inode::sync)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.with(|inode| inode.truncate(len))
    }

    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.with(|_| ())
    }

    fn begin_write_back(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.with(|_| ())
    }
}

/// SplitMix64: a seed's choices, the same on every machine.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests;
