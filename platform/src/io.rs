//! Files and directories behind two small traits.
//!
//! Everything the node keeps on disk goes through [`Storage`] and [`File`]: the real backends read and write with
//! `pread`/`pwrite`; decorators under test make the disk fail, fill up or lose what was not synced.
//!
//! Durability contract, which every backend keeps and the conformance test checks as far as a live kernel shows it:
//! - a write is visible to later reads at once, and survives the end of the process;
//! - it survives the loss of power once a later [`File::sync_data`] of the file has returned;
//! - a new, renamed or removed name survives the loss of power once [`Storage::sync_dir`] of its directory has returned;
//! - after a failed write any prefix of it may be in the file; after a failed sync nothing is known about unsynced data.
//!
//! ```text
//! sealed ─► dyn File ─► pread | uring | tokio-uring
//!                  └─► faulty, metered ─► any of them, or the memory disk
//! ```

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Implements [`Storage`] for a backend whose names and directories are the plain calls of its field `names`.
macro_rules! delegate_names {
    ($storage:ty, $backend:literal, $open:expr) => {
        impl Storage for $storage {
            fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
                let open: fn(&$storage, &Path, OpenMode) -> io::Result<Box<dyn File>> = $open;
                open(self, path, mode)
            }

            fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
                self.names.rename(from, to)
            }

            fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
                self.names.hard_link(existing, to)
            }

            fn remove(&self, path: &Path) -> io::Result<()> {
                self.names.remove(path)
            }

            fn remove_dir(&self, path: &Path) -> io::Result<()> {
                self.names.remove_dir(path)
            }

            fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
                self.names.list(dir)
            }

            fn sync_dir(&self, dir: &Path) -> io::Result<()> {
                self.names.sync_dir(dir)
            }

            fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
                self.names.create_dir_all(dir)
            }

            fn metadata(&self, path: &Path) -> io::Result<Metadata> {
                self.names.metadata(path)
            }

            fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
                self.names.lock(path)
            }

            fn backend(&self) -> &'static str {
                $backend
            }
        }
    };
}
use delegate_names;

pub mod faulty;
pub mod memory;
pub mod metered;
pub mod pread;
pub mod select;
pub mod tokio_uring;
pub mod uring;

pub use faulty::{Faults, FaultyStorage};
pub use memory::{Crash, MemoryDisk};
pub use metered::{Meter, MeteredStorage};
pub use pread::PreadStorage;
pub use select::{Backend, Selection, select};
pub use tokio_uring::TokioUringStorage;
pub use uring::UringStorage;

/// The directory that holds the name `path`: what to sync after the name has changed.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// How [`Storage::open`] treats an existing or missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    ReadWrite,
    /// For reading and writing; the file must not exist.
    CreateNew,
    /// For reading and writing; made when missing, emptied when present.
    Truncate,
}

/// What a directory knows about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Length in bytes; 0 for directories.
    pub len: u64,
    /// Whether the name is a directory.
    pub is_dir: bool,
    /// Whether it is a regular file: no directory, socket, pipe or device.
    pub is_file: bool,
    /// Time of the last change of content.
    pub modified: SystemTime,
    /// Number of the file in its file system: another file that takes the name has another one.
    pub inode: u64,
    /// Names that lead to the file: more than 1 when it has hard links. Of a directory it says nothing.
    pub names: u64,
    /// Whether the name is a symbolic link; everything else here is of the file it leads to.
    pub is_symlink: bool,
}

/// Held while a lock file is locked; released on drop.
pub trait Lock: Send + Sync + fmt::Debug {}

/// A name space of files. Paths are used as they are given: no expansion, no current directory of its own.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Opens a file. New files are readable and writable by the owner only (0600).
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` by the rules of [`OpenMode`], or the system's error.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;
    /// Moves a file onto `to`, atomically, replacing what was there. Durable after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file a second name.
    ///
    /// # Errors
    /// `AlreadyExists` if `to` exists, or the system's error.
    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, or the system's error.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// The system's error; nothing is then known about the names' durability.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a directory and its missing parents, for the owner only (0700), and makes the new names durable.
    ///
    /// # Errors
    /// The system's error.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Facts about a name.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Takes the exclusive lock of a lock file, which is made when missing. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when another holder has it, or the system's error.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// The backend's name, for reports.
    fn backend(&self) -> &'static str;

    /// Whether the name exists.
    ///
    /// # Errors
    /// The system's error when it cannot be told.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An open file, addressed by offset; all methods may be called from many threads.
///
/// Calls on disjoint ranges may run at the same time. Overlapping writes have no defined order.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads into `out` from `offset` and returns how much; less than asked for only at the end of the file.
    ///
    /// # Errors
    /// The system's error; `out` is then undefined.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `data` at `offset`, extending the file when needed.
    ///
    /// # Errors
    /// The system's error; any prefix of `data` may then be in the file.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn len(&self) -> io::Result<u64>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// The system's error; the durability of everything unsynced is then unknown and stays so.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes content and all metadata durable.
    ///
    /// # Errors
    /// As [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
    /// Cuts or extends the file (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// The system's error.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Reserves space for a range without changing the file's length. Backends without the notion do nothing.
    ///
    /// # Errors
    /// The system's error, such as a full disk.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Has the system begin to write a range that was written to: a later sync finds less to do. Does not wait for the disk, but may for room
    /// in its queue. Makes nothing durable. Backends without the notion do nothing.
    ///
    /// # Errors
    /// The system's error, such as a failing disk; as after a failed sync, nothing is known about unsynced data then.
    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Writes `data` and makes it durable, in one submission where the backend can.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync_data`].
    fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.sync_data()
    }

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, or the system's error.
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let got = self.read_at(offset, out)?;
        if got < out.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("wanted {} bytes at offset {offset}, the file has {got}", out.len()),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod conformance;
