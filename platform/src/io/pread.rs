//! The plain backend: `pread`, `pwrite`, `fdatasync` on the calling thread.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use super::{File, Lock, Metadata, OpenMode, Storage, directory_of};

/// Files of the operating system through blocking calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct PreadStorage;

impl PreadStorage {
    /// The backend; it has no state.
    pub fn new() -> Self {
        Self
    }
}

/// Opens `path` by the rules every real backend shares.
pub(super) fn open_std(path: &Path, mode: OpenMode) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).mode(0o600);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::ReadWrite => options.write(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::Truncate => options.write(true).create(true).truncate(true),
    };
    options.open(path)
}

/// Reserves blocks beyond the end without changing the length; a file system without `fallocate` is left alone.
pub(super) fn allocate_std(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = signed(offset, len)?;
    // SAFETY: the descriptor is open for the life of `file`; no pointer is passed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, offset, len) };
    unless_one_of(&[libc::EOPNOTSUPP], result)
}

/// Has the kernel begin to write a range; where it does not know how, is not allowed to or has no memory for it, a sync does all of it.
/// Never with a flag that waits: that would take errors away from the sync.
pub(super) fn begin_write_back_std(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = signed(offset, len)?;
    // To the kernel no length means everything.
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the descriptor is open for the life of `file`; no pointer is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    unless_one_of(&[libc::ENOSYS, libc::EPERM, libc::ENOMEM], result)
}

/// A range as system calls take it.
fn signed(offset: u64, len: u64) -> io::Result<(libc::off64_t, libc::off64_t)> {
    match (offset.try_into(), len.try_into()) {
        (Ok(offset), Ok(len)) => Ok((offset, len)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The error of a call that has just returned `result`, unless what was wanted can do without.
fn unless_one_of(tolerated: &[i32], result: i32) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error().is_some_and(|code| tolerated.contains(&code)) { Ok(()) } else { Err(error) }
}

/// The directories that making `dir` would make, lowest first.
fn missing_levels(dir: &Path) -> io::Result<Vec<&Path>> {
    let mut missing = Vec::new();
    for level in dir.ancestors().take_while(|level| *level != Path::new("")) {
        if level.try_exists()? {
            break;
        }
        missing.push(level);
    }
    Ok(missing)
}

impl Storage for PreadStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        Ok(Box::new(PreadFile(open_std(path, mode)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, existing: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(existing, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into())).collect::<io::Result<Vec<PathBuf>>>()?;
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing = missing_levels(dir)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // The lowest level is durable once every name on the way to it is.
        missing.into_iter().try_for_each(|level| self.sync_dir(directory_of(level)))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(path)?;
        let len = if metadata.is_dir() { 0 } else { metadata.len() };
        Ok(Metadata {
            len,
            is_dir: metadata.is_dir(),
            is_file: metadata.is_file(),
            modified: metadata.modified()?,
            inode: metadata.ino(),
            names: metadata.nlink(),
            is_symlink: fs::symlink_metadata(path)?.is_symlink(),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock()?;
        Ok(Box::new(FileLock { _file: file }))
    }

    fn backend(&self) -> &'static str {
        "pread"
    }
}

/// A `flock`ed file: the kernel releases the lock with the descriptor.
#[derive(Debug)]
struct FileLock {
    _file: fs::File,
}

impl Lock for FileLock {}

#[derive(Debug)]
struct PreadFile(fs::File);

impl File for PreadFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.0.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        allocate_std(&self.0, offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        begin_write_back_std(&self.0, offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_that_must_be_made_is_found_lowest_first() {
        let root = tempfile::tempdir().unwrap();
        let (a, b, c) = (root.path().join("a"), root.path().join("a/b"), root.path().join("a/b/c"));
        assert_eq!(missing_levels(&c).unwrap(), [&c, &b, &a]);
        PreadStorage.create_dir_all(&b).unwrap();
        assert_eq!(missing_levels(&c).unwrap(), [&c]);
        assert!(missing_levels(&b).unwrap().is_empty());
        let relative = Path::new("no-such-directory/below");
        assert_eq!(missing_levels(relative).unwrap(), [relative, Path::new("no-such-directory")]);
    }
}
