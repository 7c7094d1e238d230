//! Names: the directory side of the file system. Content is [`crate::file`]'s.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bixi_platform::io::{Lock, Storage};
use bixi_sealed::pages::PageSize;
use bixi_sealed::{KeyRing, reseal};
use parking_lot::{Mutex, RwLock};

use crate::error::CipherFsError;
use crate::file::{self, Random, Sequential, Writable};
use crate::kind::FileKind;
use crate::open_files::OpenFiles;
use crate::plain::plain_stage;

/// Files of RocksDB on a storage, sealed under one key ring.
pub(crate) struct SealedFs {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) keys: KeyRing,
    /// Of tables made from now on.
    page: PageSize,
    pub(crate) open: OpenFiles,
    /// Held while a name changes: a copy that takes a file's place is not put where the file was removed or exchanged meanwhile.
    pub(crate) names: RwLock<()>,
    /// One at a time seals anew.
    pub(crate) resealing: Mutex<()>,
}

type Result<T> = std::result::Result<T, CipherFsError>;

impl SealedFs {
    pub(crate) fn new(storage: Arc<dyn Storage>, keys: KeyRing, page: PageSize) -> Self {
        let (open, names, resealing) = (OpenFiles::default(), RwLock::new(()), Mutex::new(()));
        Self { storage, keys, page, open, names, resealing }
    }

    pub(crate) fn create(&self, path: &Path) -> Result<Arc<Writable>> {
        let _names = self.names.write();
        Ok(self.open.written(path, Writable::create(&*self.storage, &self.keys, path, self.page)?))
    }

    pub(crate) fn reopen(&self, path: &Path) -> Result<Arc<Writable>> {
        let _names = self.names.write();
        Ok(self.open.written(path, Writable::reopen(&*self.storage, &self.keys, path, self.page)?))
    }

    pub(crate) fn sequential(&self, path: &Path) -> Result<Sequential> {
        Sequential::open(&*self.storage, &self.keys, path)
    }

    pub(crate) fn random(&self, path: &Path) -> Result<Random> {
        // No copy takes the file's place between its opening and its entry.
        let _names = self.names.read();
        let random = Random::open(&*self.storage, &self.keys, path)?;
        if let Some(table) = random.table() {
            self.open.read(path, table);
        }
        Ok(random)
    }

    /// Plaintext length. Directories and empty files (a lock, a file whose creation was cut short) have length 0.
    pub(crate) fn file_size(&self, path: &Path) -> Result<u64> {
        let metadata = self.storage.metadata(path).map_err(CipherFsError::io(path))?;
        if metadata.is_dir || metadata.len == 0 {
            return Ok(0);
        }
        file::plaintext_len(&*self.storage, &self.keys, path)
    }

    pub(crate) fn require(&self, path: &Path) -> Result<()> {
        self.storage.metadata(path).map(|_| ()).map_err(CipherFsError::io(path))
    }

    pub(crate) fn is_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.storage.metadata(path).map_err(CipherFsError::io(path))?.is_dir)
    }

    pub(crate) fn modified_s(&self, path: &Path) -> Result<u64> {
        let modified = self.storage.metadata(path).map_err(CipherFsError::io(path))?.modified;
        Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()))
    }

    pub(crate) fn children(&self, path: &Path) -> Result<Vec<OsString>> {
        let names = self.storage.list(path).map_err(CipherFsError::io(path))?;
        Ok(names.iter().filter_map(|name| name.file_name()).map(ToOwned::to_owned).collect())
    }

    pub(crate) fn delete(&self, path: &Path) -> Result<()> {
        let _names = self.names.write();
        self.open.forget(path);
        self.storage.remove(path).map_err(CipherFsError::io(path))
    }

    pub(crate) fn delete_dir(&self, path: &Path) -> Result<()> {
        self.storage.remove_dir(path).map_err(CipherFsError::io(path))
    }

    pub(crate) fn create_dir(&self, path: &Path, may_exist: bool) -> Result<()> {
        if !may_exist && self.storage.exists(path).map_err(CipherFsError::io(path))? {
            return Err(CipherFsError::io(path)(io::ErrorKind::AlreadyExists.into()));
        }
        self.storage.create_dir_all(path).map_err(CipherFsError::io(path))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.storage.sync_dir(path).map_err(CipherFsError::io(path))
    }

    /// Makes the content of a closed file durable without touching it.
    pub(crate) fn sync_file(&self, path: &Path) -> Result<()> {
        let file = self.storage.open(path, bixi_platform::io::OpenMode::ReadWrite).map_err(CipherFsError::io(path))?;
        file.sync_all().map_err(CipherFsError::io(path))
    }

    /// The kind is bound into a file's key, so a name of another kind could never be read.
    fn same_kind(from: &Path, to: &Path, what: &'static str) -> Result<()> {
        if FileKind::of(from) == FileKind::of(to) {
            return Ok(());
        }
        Err(CipherFsError::Unsupported { path: from.to_owned(), what })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if !self.is_dir(from)? {
            Self::same_kind(from, to, "renaming to another kind of file")?;
        }
        let _names = self.names.write();
        self.storage.rename(from, to).map_err(CipherFsError::io(from))
    }

    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<()> {
        Self::same_kind(from, to, "linking to another kind of file")?;
        self.storage.hard_link(from, to).map_err(CipherFsError::io(from))
    }

    pub(crate) fn link_count(&self, path: &Path) -> Result<u64> {
        Ok(std::fs::metadata(path).map_err(CipherFsError::io(path))?.nlink())
    }

    pub(crate) fn same_file(&self, first: &Path, second: &Path) -> Result<bool> {
        let first = std::fs::metadata(first).map_err(CipherFsError::io(first))?;
        let second = std::fs::metadata(second).map_err(CipherFsError::io(second))?;
        Ok((first.dev(), first.ino()) == (second.dev(), second.ino()))
    }

    pub(crate) fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.storage.lock(path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => CipherFsError::Locked { path: path.to_owned() },
            _ => CipherFsError::io(path)(source),
        })
    }

    pub(crate) fn absolute(&self, path: &Path) -> Result<PathBuf> {
        std::path::absolute(path).map_err(CipherFsError::io(path))
    }

    pub(crate) fn test_dir(&self) -> Result<PathBuf> {
        let dir = std::env::temp_dir().join("bixi-cipherfs");
        self.create_dir(&dir, true)?;
        Ok(dir)
    }

    pub(crate) fn free_bytes(&self, path: &Path) -> Result<u64> {
        let fail = || CipherFsError::io(path);
        let name = std::ffi::CString::new(path.as_os_str().as_bytes())
            .map_err(|_| fail()(io::ErrorKind::InvalidInput.into()))?;
        let mut facts = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `name` is NUL-terminated and `facts` is writable for one statvfs.
        if unsafe { libc::statvfs(name.as_ptr(), facts.as_mut_ptr()) } != 0 {
            return Err(fail()(io::Error::last_os_error()));
        }
        // SAFETY: statvfs returned 0, so it filled `facts`.
        let facts = unsafe { facts.assume_init() };
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// See [`crate::CipherFs::check`]. RocksDB reads IDENTITY and OPTIONS rarely or never; here they are all authenticated.
    pub(crate) fn check_database(&self, dir: &Path) -> Result<()> {
        if !self.storage.exists(dir).map_err(CipherFsError::io(dir))? {
            return Ok(());
        }
        match plain_stage(&*self.storage, dir)?.refusal(dir) {
            Some(refusal) => Err(refusal),
            None => self.check_files(dir),
        }
    }

    /// The same, whatever became of a sealing.
    pub(crate) fn check_files(&self, dir: &Path) -> Result<()> {
        let names = self.children(dir)?;
        let current = dir.join("CURRENT");
        if !self.storage.exists(&current).map_err(CipherFsError::io(&current))? {
            return refuse_orphans(&current, &names);
        }
        self.random(&current)?;
        for name in names {
            let path = dir.join(name);
            let unread = path.extension().is_some_and(|extension| extension == "dbtmp")
                || path.ends_with("LOCK")
                || reseal::is_copy(&path);
            if FileKind::of(&path) == FileKind::Small && !unread && !self.is_dir(&path)? {
                self.random(&path)?;
            }
        }
        Ok(())
    }
}

/// RocksDB makes logs and tables only after CURRENT is durable; a MANIFEST alone is what a cut-off creation leaves.
pub(crate) fn refuse_orphans(current: &Path, names: &[OsString]) -> Result<()> {
    let holds_data = |name: &&OsString| matches!(FileKind::of(Path::new(name)), FileKind::Log | FileKind::Table);
    match names.iter().find(holds_data) {
        Some(name) => {
            Err(CipherFsError::LostCurrent { path: current.to_owned(), witness: name.to_string_lossy().into_owned() })
        }
        None => Ok(()),
    }
}
