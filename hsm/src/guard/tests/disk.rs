//! A disk in memory that dies after a chosen number of operations and then forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::SystemTime;

use bixi_platform::io::{File, Lock, Metadata, OpenMode, Storage};

/// SplitMix64: small, seeded, good enough to choose faults.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                content.resize(content.len().max(offset + data.len()), 0);
                content[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Resize(len) => content.resize(*len, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Inode {
    live: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    live_names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    life: u64,
    steps_left: u64,
    dice: Dice,
}

/// Where syncs can be held up and are counted.
#[derive(Debug, Default)]
pub(super) struct SyncGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    waiting: usize,
    passed: usize,
}

impl SyncGate {
    /// From here on whoever syncs waits; returns how many syncs went through before.
    pub(super) fn shut(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.is_shut = true;
        state.passed
    }

    /// Lets all through.
    pub(super) fn open(&self) {
        self.state.lock().unwrap().is_shut = false;
        self.changed.notify_all();
    }

    pub(super) fn passed(&self) -> usize {
        self.state.lock().unwrap().passed
    }

    /// Returns once somebody waits at the gate.
    pub(super) fn until_somebody_waits(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.is_shut).unwrap();
        state.waiting -= 1;
        state.passed += 1;
    }
}

/// Handles of an earlier life stay dead after [`CrashDisk::crash`].
#[derive(Debug, Clone)]
pub(super) struct CrashDisk {
    state: Arc<Mutex<State>>,
    life: u64,
    pub(super) syncs: Arc<SyncGate>,
}

impl CrashDisk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            inodes: Vec::new(),
            live_names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            locks: BTreeSet::new(),
            life: 0,
            steps_left: u64::MAX,
            dice: Dice(seed),
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0, syncs: Arc::default() }
    }

    /// The disk dies in the middle of its `steps`-th change from now.
    pub(super) fn dies_after(&self, steps: u64) {
        self.lock().steps_left = steps;
    }

    /// Power returns: what was synced is there, of the rest any part may be.
    pub(super) fn crash(&self) -> Self {
        let mut state = self.lock();
        let State { inodes, live_names, synced_names, dice, .. } = &mut *state;
        for inode in inodes.iter_mut() {
            let mut content = std::mem::take(&mut inode.synced);
            for change in inode.unsynced.drain(..) {
                match (dice.below(3), change) {
                    (0, _) => {}
                    (1, Change::Write(offset, mut data)) => {
                        data.truncate(dice.below(data.len() as u64 + 1) as usize);
                        Change::Write(offset, data).apply(&mut content);
                    }
                    (_, change) => change.apply(&mut content),
                }
            }
            inode.live.clone_from(&content);
            inode.synced = content;
        }
        let survivors = if dice.below(2) == 0 { synced_names.clone() } else { live_names.clone() };
        (*live_names, *synced_names) = (survivors.clone(), survivors);
        state.locks.clear();
        state.steps_left = u64::MAX;
        state.life += 1;
        Self { state: self.state.clone(), life: state.life, syncs: Arc::clone(&self.syncs) }
    }

    pub(super) fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.lock();
        state.inodes[state.live_names[path]].live.clone()
    }

    pub(super) fn set_content(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.lock();
        let inode = state.live_names[path];
        state.inodes[inode] = Inode { live: content.clone(), synced: content, unsynced: Vec::new() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.life == self.life && state.steps_left > 0 { Ok(state) } else { Err(dead()) }
    }

    /// One change; false when the disk dies in its middle.
    fn change(&self) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.alive()?;
        state.steps_left -= 1;
        let survives = state.steps_left > 0;
        Ok((state, survives))
    }
}

fn dead() -> io::Error {
    io::Error::other("the disk is dead")
}

fn finish(survives: bool) -> io::Result<()> {
    if survives { Ok(()) } else { Err(dead()) }
}

#[derive(Debug)]
struct Held {
    disk: CrashDisk,
    path: PathBuf,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.life == self.disk.life {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    inode: usize,
}

impl Storage for CrashDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let known = self.alive()?.live_names.get(path).copied();
        let inode = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (Some(inode), OpenMode::Truncate) => {
                let (mut state, survives) = self.change()?;
                state.inodes[inode].live.clear();
                state.inodes[inode].unsynced.push(Change::Resize(0));
                finish(survives)?;
                inode
            }
            (Some(inode), _) => inode,
            (None, _) => {
                let (mut state, survives) = self.change()?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.live_names.insert(path.to_owned(), inode);
                finish(survives)?;
                inode
            }
        };
        Ok(Box::new(CrashFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, survives) = self.change()?;
        let inode = state.live_names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live_names.insert(to.to_owned(), inode);
        finish(survives)
    }

    fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, survives) = self.change()?;
        state.live_names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        finish(survives)
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.alive()?;
        Ok(state.live_names.keys().filter_map(|path| path.strip_prefix(dir).ok().map(Path::to_owned)).collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let (mut state, survives) = self.change()?;
        if survives {
            state.synced_names = state.live_names.clone();
        }
        finish(survives)
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.alive()?;
        let inode = *state.live_names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let len = state.inodes[inode].live.len() as u64;
        let modified = SystemTime::UNIX_EPOCH;
        Ok(Metadata { len, is_dir: false, is_file: true, modified, inode: inode as u64, names: 1, is_symlink: false })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.alive()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { disk: self.clone(), path: path.to_owned() }))
    }

    fn backend(&self) -> &'static str {
        "crash-disk"
    }
}

impl File for CrashFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let rest = state.inodes[self.inode].live.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut state, survives) = self.disk.change()?;
        let mut data = data.to_vec();
        if !survives {
            let keep = state.dice.below(data.len() as u64 + 1) as usize;
            data.truncate(keep);
        }
        let change = Change::Write(offset as usize, data);
        change.apply(&mut state.inodes[self.inode].live);
        state.inodes[self.inode].unsynced.push(change);
        finish(survives)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.inodes[self.inode].live.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.syncs.pass();
        let (mut state, survives) = self.disk.change()?;
        if survives {
            let inode = &mut state.inodes[self.inode];
            inode.unsynced.clear();
            inode.synced = inode.live.clone();
        }
        finish(survives)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let (mut state, survives) = self.disk.change()?;
        let inode = &mut state.inodes[self.inode];
        inode.live.resize(len as usize, 0);
        inode.unsynced.push(Change::Resize(len as usize));
        finish(survives)
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn begin_write_back(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}
