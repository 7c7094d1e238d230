//! Faults of a node's disk: a file system that fills up, a byte that changes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, mounted for one test. Dropping it unmounts it.
pub struct SmallDisk {
    place: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it; the error says why this machine does not allow that.
    pub fn mount(bytes: u64) -> Result<Self, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "bixi-test"]).arg(place.path());
        let output = command.output().map_err(|error| format!("mount: {error}"))?;
        let refusal = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(Self { place }) } else { Err(refusal.trim().to_owned()) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes all room but `leave` bytes, at once.
    ///
    /// # Panics
    /// When writing fails otherwise than by a full disk.
    pub fn fill(&self, leave: u64) {
        let mut ballast = File::create(self.ballast()).expect("a new file");
        let block = vec![0xb1; 256 << 10];
        let taken = loop {
            match ballast.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break ballast.metadata().expect("open").len(),
                Err(error) => panic!("ballast: {error}"),
            }
        };
        ballast.set_len(taken.saturating_sub(leave)).expect("a file can shrink");
    }

    /// Gives the room back.
    pub fn empty(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("ballast: {error}"),
            _ => {}
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a killed process may hold it for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Every file below `directory`.
///
/// # Errors
/// When the directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if !kind.is_socket() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a stopped node's directory, modes included.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from).expect("below the directory"));
        fs::create_dir_all(target.parent().expect("a file has a directory"))?;
        fs::copy(&file, &target)?;
    }
    Ok(())
}

/// Changes one byte of a file in place, under whoever has it open.
///
/// # Errors
/// When the file has no such byte.
pub fn flip(file: &Path, offset: u64, mask: u8) -> io::Result<()> {
    assert_ne!(mask, 0, "a flip changes something");
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ mask], offset)?;
    file.sync_all()
}
