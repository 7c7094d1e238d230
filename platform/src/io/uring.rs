//! io_uring on the calling thread: a write and its sync are one submission of two linked entries.
//!
//! Each call takes a ring from a pool, submits, and waits for its completions before it returns, so buffers are only
//! borrowed for the time of the call. Names and directories use the plain calls.
//!
//! The kernel may lack io_uring (4.19) or forbid it (sysctl, seccomp): [`probe`] tells why, and
//! [`select()`](super::select()) falls back.

use std::{
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use io_uring::{IoUring, opcode, squeue, types};

use super::{
    File, Lock, Metadata, OpenMode, PreadStorage, Storage,
    pread::{allocate_std, begin_write_back_std, open_std},
};

const RING_ENTRIES: u32 = 8;
/// Most bytes of one entry: its length field has 32 bits, and the kernel stops at 2 GiB less a page.
const ENTRY_BYTES_MAX: usize = 1 << 30;
/// Idle rings kept for reuse; each holds a descriptor and a few locked pages.
const IDLE_RINGS_MAX: usize = 32;

/// Whether this kernel lets this process use what the backend needs, and if not, why.
///
/// # Errors
/// The reason, in words.
pub fn probe() -> Result<(), String> {
    let ring = IoUring::new(RING_ENTRIES).map_err(|error| format!("io_uring_setup is refused: {error}"))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| format!("io_uring is older than 5.6: {error}"))?;
    for (code, name) in [(opcode::Read::CODE, "read"), (opcode::Write::CODE, "write"), (opcode::Fsync::CODE, "fsync")] {
        if !probe.is_supported(code) {
            return Err(format!("io_uring lacks {name}"));
        }
    }
    Ok(())
}

/// Files through io_uring.
#[derive(Clone, Debug, Default)]
pub struct UringStorage {
    names: PreadStorage,
    rings: Arc<Rings>,
}

impl UringStorage {
    /// The backend, if the kernel allows it.
    ///
    /// # Errors
    /// The probe's reason.
    pub fn new() -> Result<Self, String> {
        probe()?;
        Ok(Self::default())
    }
}

#[derive(Default)]
struct Rings(Mutex<Vec<IoUring>>);

impl std::fmt::Debug for Rings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Rings({} idle)", self.idle().len())
    }
}

impl Rings {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<IoUring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits `entries` in order, each linked to the next, and returns their results.
    ///
    /// # Safety
    /// Buffers and descriptors of the entries must be valid, and the buffers not otherwise used, during the call.
    unsafe fn run<const N: usize>(&self, entries: [squeue::Entry; N]) -> io::Result<[i32; N]> {
        let idle = self.idle().pop();
        let mut ring = match idle {
            Some(ring) => ring,
            None => IoUring::new(RING_ENTRIES)?,
        };
        for (index, entry) in entries.into_iter().enumerate() {
            let linked = if index + 1 < N { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
            let entry = entry.flags(linked).user_data(index as u64);
            // SAFETY: the caller vouches for buffers and descriptors until this function has every completion.
            unsafe { ring.submission().push(&entry) }.expect("the ring has more entries than one call submits");
        }
        let results = await_all(&mut ring);
        let mut idle = self.idle();
        if idle.len() < IDLE_RINGS_MAX {
            idle.push(ring);
        }
        Ok(results)
    }
}

/// Submits what is queued and waits for all of it: nothing is in flight when this returns.
fn await_all<const N: usize>(ring: &mut IoUring) -> [i32; N] {
    let mut results = [0; N];
    let mut missing = N;
    while missing > 0 {
        if let Err(error) = ring.submit_and_wait(missing) {
            let passing = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY));
            if !passing {
                // The kernel may still read or write the caller's buffers: neither returning nor unwinding is sound.
                tracing::error!(%error, "io_uring cannot be waited for");
                std::process::abort();
            }
        }
        for completion in ring.completion() {
            results[completion.user_data() as usize] = completion.result();
            missing -= 1;
        }
    }
    results
}

/// A count, or the error an entry ended with.
fn count(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Interruptions are tried again.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

#[derive(Debug)]
struct UringFile {
    file: fs::File,
    rings: Arc<Rings>,
}

impl UringFile {
    fn fd(&self) -> types::Fd {
        types::Fd(self.file.as_raw_fd())
    }

    fn write_entry(&self, offset: u64, data: &[u8]) -> squeue::Entry {
        let len = data.len().min(ENTRY_BYTES_MAX) as u32;
        opcode::Write::new(self.fd(), data.as_ptr(), len).offset(offset).build()
    }

    fn sync_entry(&self, flags: types::FsyncFlags) -> squeue::Entry {
        opcode::Fsync::new(self.fd()).flags(flags).build()
    }

    fn sync(&self, flags: types::FsyncFlags) -> io::Result<()> {
        loop {
            // SAFETY: the entry has no buffer, and `self` keeps the descriptor open.
            let [result] = unsafe { self.rings.run([self.sync_entry(flags)])? };
            match count(result) {
                Err(error) if is_passing(&error) => {}
                other => return other.map(|_| ()),
            }
        }
    }
}

impl File for UringFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let len = rest.len().min(ENTRY_BYTES_MAX) as u32;
            let entry = opcode::Read::new(self.fd(), rest.as_mut_ptr(), len).offset(offset + filled as u64).build();
            // SAFETY: `rest` is exclusively borrowed and outlives the call; `self` keeps the descriptor open.
            let [result] = unsafe { self.rings.run([entry])? };
            match count(result) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < data.len() {
            let rest = &data[written..];
            // SAFETY: `rest` is borrowed and outlives the call; `self` keeps the descriptor open.
            let [result] = unsafe { self.rings.run([self.write_entry(offset + written as u64, rest)])? };
            match count(result) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(got) => written += got,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() || data.len() > ENTRY_BYTES_MAX {
            self.write_at(offset, data)?;
            return self.sync_data();
        }
        let entries = [self.write_entry(offset, data), self.sync_entry(types::FsyncFlags::DATASYNC)];
        // SAFETY: `data` is borrowed and outlives the call; `self` keeps the descriptor open.
        let [wrote, synced] = unsafe { self.rings.run(entries)? };
        let written = match count(wrote) {
            Ok(written) => written,
            Err(error) if is_passing(&error) => 0,
            Err(error) => return Err(error),
        };
        // A short write breaks the link and cancels the sync: finish both one after the other.
        if written < data.len() {
            self.write_at(offset + written as u64, &data[written..])?;
            return self.sync_data();
        }
        match count(synced) {
            Err(error) if is_passing(&error) => self.sync_data(),
            other => other.map(|_| ()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(types::FsyncFlags::DATASYNC)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(types::FsyncFlags::empty())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        allocate_std(&self.file, offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        begin_write_back_std(&self.file, offset, len)
    }
}

super::delegate_names!(UringStorage, "uring", |storage: &UringStorage, path, mode| {
    Ok(Box::new(UringFile { file: open_std(path, mode)?, rings: storage.rings.clone() }))
});
