//! Directories for a command's own use, with secrets in them, gone with the command; what one that was killed left is removed by the next.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::TempDir;

/// Held while the directory is in use.
const LOCK: &str = "in-use";

/// Such a directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    _in_use: File,
}

impl Scratch {
    /// A new one in `parent`, whose name begins with `prefix`.
    pub(crate) fn make(prefix: &str, parent: &Path) -> io::Result<Self> {
        let left = fs::read_dir(parent)?.filter_map(Result::ok).filter(|entry| is_ours(entry, prefix));
        left.for_each(|entry| remove_if_unused(&entry.path()));
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let in_use = File::create_new(directory.path().join(LOCK))?;
        in_use.lock()?;
        Ok(Self { directory, _in_use: in_use })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn is_ours(entry: &DirEntry, prefix: &str) -> bool {
    let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
    // Not that of whoever has made a link of that name where everybody may write.
    let is_directory = |found: &fs::Metadata| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    is_named && entry.path().symlink_metadata().is_ok_and(|found| is_directory(&found))
}

/// One without a lock is being made at this moment, by another command.
fn remove_if_unused(path: &Path) {
    let unused = File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
    if unused && let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "what an earlier command left could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_command_left_is_removed_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let killed = Scratch::make("bench-", parent.path()).unwrap();
        let Scratch { directory, _in_use } = killed;
        let left = directory.keep();
        drop(_in_use);
        let other = parent.path().join("bench-notes");
        fs::create_dir(&other).unwrap();
        let used = Scratch::make("bench-", parent.path()).unwrap();
        let next = Scratch::make("bench-", parent.path()).unwrap();
        assert!(!left.exists() && other.exists() && used.path().exists() && next.path().exists());
        let gone = next.path().to_owned();
        drop(next);
        assert!(!gone.exists());
    }
}
