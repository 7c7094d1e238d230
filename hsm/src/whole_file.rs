//! Small files that are read and replaced whole: the memory of wrong PINs, a backend's own records, vendor profiles.
//!
//! After a crash such a file is the old one or the new one, never a part: written beside, synced, renamed, directory synced.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The bytes of a file of at most `bytes_max`; `None` when there is none.
///
/// # Errors
/// The system's error, or `FileTooLarge`: nothing of a longer file is kept.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("longer than the {bytes_max} bytes such a file may have");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of the file, durably, readable by its owner only.
///
/// # Errors
/// The system's error; the old file is then still there, or the new one whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Removes the file, durably; one that is not there is no error.
///
/// # Errors
/// The system's error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_directory(path),
    }
}

/// The path with an extension appended, not exchanged: two files that differ in their extension only must not share what
/// lies beside them.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_and_nothing_longer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        assert_eq!(read(&path, 4).unwrap(), None);
        remove(&path).unwrap();
        replace(&path, b"old").unwrap();
        replace(&path, b"four").unwrap();
        assert_eq!(read(&path, 4).unwrap().as_deref(), Some(&b"four"[..]));
        assert_eq!(read(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        remove(&path).unwrap();
        assert_eq!(read(&path, 4).unwrap(), None);
        assert_eq!(beside(Path::new("a.b"), "c"), Path::new("a.b.c"));
    }
}
