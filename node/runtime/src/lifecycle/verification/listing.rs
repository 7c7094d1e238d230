//! The files below the data directory. What cannot be looked into is told, and everything else is listed all the same.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bixi_platform::io::Storage;

/// Directories below the data directory.
const DEPTH_MAX: usize = 8;
/// What a file system keeps for itself where it is mounted.
const LOST_AND_FOUND: &str = "lost+found";

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files with their lengths; no sockets, pipes or links that lead nowhere.
    pub files: Vec<(PathBuf, u64)>,
    /// What could not be looked into.
    pub unlisted: Vec<(PathBuf, io::Error)>,
}

/// Lists the files of `data` and of the directories below it. What is removed meanwhile is not there.
pub(crate) fn list(storage: &dyn Storage, data: &Path) -> Listing {
    let mut listing = Listing::default();
    listing.enter(storage, data, 0);
    listing
}

impl Listing {
    fn enter(&mut self, storage: &dyn Storage, dir: &Path, depth: usize) {
        if depth > DEPTH_MAX {
            let error = io::Error::other("deeper than anything a node makes; move it out of the data directory");
            return self.unlisted.push((dir.to_owned(), error));
        }
        let Some(names) = self.told(dir, storage.list(dir)) else { return };
        for name in names.into_iter().filter(|name| depth > 0 || name.as_os_str() != LOST_AND_FOUND) {
            let path = dir.join(name);
            let found = storage.metadata(&path);
            match self.told(&path, found) {
                Some(found) if found.is_dir => self.enter(storage, &path, depth + 1),
                Some(found) if found.is_file => self.files.push((path, found.len)),
                _ => {}
            }
        }
    }

    fn told<T>(&mut self, path: &Path, found: io::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    self.unlisted.push((path.to_owned(), error));
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use bixi_platform::io::PreadStorage;

    use super::*;

    #[test]
    fn everything_is_listed_beside_what_cannot_be_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..=DEPTH_MAX).fold(dir.path().to_owned(), |path, depth| path.join(depth.to_string()));
        for below in [&deep, &dir.path().join("lost+found"), &dir.path().join("z")] {
            fs::create_dir_all(below).unwrap();
            fs::write(below.join("file"), b"12345").unwrap();
        }
        symlink("nowhere", dir.path().join("gone")).unwrap();
        symlink("turn", dir.path().join("turn")).unwrap();
        let Listing { files, unlisted } = list(&PreadStorage, dir.path());
        assert_eq!(files, [(dir.path().join("z/file"), 5)]);
        let unlisted: Vec<&Path> = unlisted.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(unlisted, [deep.as_path(), &dir.path().join("turn")]);
    }
}
