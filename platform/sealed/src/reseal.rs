//! A file's content sealed anew, in another file, under the ring's current epoch and keys of its own; and files that nobody has open
//! exchanged for such copies.
//!
//! The copy is authenticated to its end and durable before it is given back, so that a caller may move it into the old one's place. What
//! the old file proved stays proved: the copy is made of what authenticated, and a log keeps the bounds of its frames.
//!
//! A file is exchanged by a rename: a crash leaves the old file or the new one, and a copy beside it that nothing reads. So nothing has
//! to be remembered: what is left to do is what the headers say.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_platform::io::{File, OpenMode, Storage, directory_of};
use zeroize::Zeroizing;

use crate::{Inspection, KeyRing, Layout, Purpose, Result, SealedError, frames, inspect_path, pages, small};

/// Ends the name of a copy that has not taken its file's place.
const COPY: &str = "resealed";

/// Plaintext of a table copied at once, and told of at once.
pub const CHUNK_BYTES: usize = 256 << 10;

/// A copy is made durable whenever so much of it was written: the disk that others wait for never has all of it to write at once.
const SYNC_BYTES: u64 = 1 << 20;

/// Told of the bytes that were written since it was told last; breaks to end a copy.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// Copies the log `from` into the empty file `to`, with a mark over everything. The writer that comes back goes on behind it; none where
/// `pace` ended it.
///
/// # Errors
/// What [`frames::Reader`] reports, [`SealedError::Incomplete`] for a log with a torn end, or the system's error.
pub fn log(
    from: impl Into<Arc<dyn File>>,
    to: impl Into<Arc<dyn File>>,
    ring: &KeyRing,
    purpose: Purpose,
    pace: Pace<'_>,
) -> Result<Option<frames::Writer>> {
    let mut reader = frames::Reader::open(from, ring, purpose)?;
    let mut writer = frames::Writer::create(to, ring, purpose)?;
    let mut synced = 0;
    while let Some(frame) = reader.next_frame()? {
        writer.append(frame)?;
        writer.flush()?;
        if writer.file_len() - synced >= SYNC_BYTES {
            writer.sync()?;
            synced = writer.file_len();
        }
        if pace(frame.len() as u64).is_break() {
            return Ok(None);
        }
    }
    if let frames::End::TornTail { offset, .. } = reader.end() {
        return Err(SealedError::Incomplete { offset });
    }
    writer.sync_with_mark()?;
    // The mark, too: a copy that takes a file's place has no end that may be torn.
    writer.sync()?;
    Ok(Some(writer))
}

/// Copies the table `from` into the empty file `to`, in pages of the same size; false where `pace` ended it.
///
/// # Errors
/// What [`pages::Reader`] reports, or the system's error.
pub fn table(
    from: &pages::Reader,
    to: impl Into<Arc<dyn File>>,
    ring: &KeyRing,
    purpose: Purpose,
    pace: Pace<'_>,
) -> Result<bool> {
    let to = to.into();
    let mut writer = pages::Writer::create_paged(Arc::clone(&to), ring, purpose, from.page_size())?;
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    let (mut offset, mut synced) = (0, 0);
    while offset < from.plaintext_len() {
        let filled = from.read_at(offset, &mut chunk)?;
        writer.append(&chunk[..filled])?;
        offset += filled as u64;
        if offset - synced >= SYNC_BYTES {
            to.sync_data().map_err(SealedError::io("sync"))?;
            synced = offset;
        }
        if pace(filled as u64).is_break() {
            return Ok(false);
        }
    }
    writer.sync()?;
    Ok(true)
}

/// Seals the file at `path` anew, durably; nobody may have it open for writing. False where `pace` ended it. A file that was removed or
/// exchanged meanwhile stays so.
///
/// # Errors
/// As [`copy`] and [`Copied::take_place`].
pub fn in_place(storage: &dyn Storage, path: &Path, ring: &KeyRing, pace: Pace<'_>) -> Result<bool> {
    match copy(storage, path, ring, pace)? {
        Some(copied) => copied.take_place(storage).map(|_| true),
        None => Ok(false),
    }
}

/// A durable copy of a file under the ring's current epoch, beside the file, which has not taken its place yet.
#[derive(Debug)]
pub struct Copied {
    path: PathBuf,
    /// Kept open: no other file can have its number meanwhile.
    from: Arc<dyn File>,
    inode: u64,
    len: u64,
}

/// Copies the file at `path` as it is now; none where `pace` ended it. One at a time for each file.
///
/// # Errors
/// As [`log`], [`table`] and [`small::read`], or the system's; the file is as it was. Names the path.
pub fn copy(storage: &dyn Storage, path: &Path, ring: &KeyRing, pace: Pace<'_>) -> Result<Option<Copied>> {
    make_copy(storage, path, ring, pace).map_err(|error| error.at(path)).inspect(|copied| {
        if copied.is_none() {
            remove_copy(storage, path);
        }
    })
}

fn make_copy(storage: &dyn Storage, path: &Path, ring: &KeyRing, pace: Pace<'_>) -> Result<Option<Copied>> {
    let open = |path: &Path, mode| storage.open(path, mode).map_err(SealedError::io("open"));
    // In this order: another file that has the name by then has another number than the one that is remembered.
    let found = storage.metadata(path).map_err(SealedError::io("look at"))?;
    let from: Arc<dyn File> = open(path, OpenMode::Read)?.into();
    let Inspection { layout, purpose, .. } = inspect_path(storage, path)?;
    let copy = copy_of(path);
    let is_whole = match layout {
        Layout::Small => {
            let body = small::read(storage, path, ring, purpose)?;
            small::write_atomic(storage, &copy, ring, purpose, &body)?;
            pace(body.len() as u64).is_continue()
        }
        Layout::Frames => {
            let to = open(&copy, OpenMode::Truncate)?;
            log(Arc::clone(&from), to, ring, purpose, pace)?.is_some()
        }
        Layout::Pages => {
            let whole = pages::Reader::open(Arc::clone(&from), ring, purpose)?;
            table(&whole, open(&copy, OpenMode::Truncate)?, ring, purpose, pace)?
        }
    };
    let copied = Copied { path: path.to_owned(), from, inode: found.inode, len: found.len };
    Ok(is_whole.then_some(copied))
}

impl Copied {
    /// The file whose place it takes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the copy.
    pub fn discard(self, storage: &dyn Storage) {
        remove_copy(storage, &self.path);
    }

    /// Takes the file's place, durably, if the file is the one that was copied still and nobody has written to it; else the copy is
    /// removed, and false. Nobody else may change the name meanwhile.
    ///
    /// # Errors
    /// The system's. Of a sync that failed: the name leads to the copy, and to which of the two after a loss of power is not known.
    pub fn take_place(self, storage: &dyn Storage) -> Result<bool> {
        self.exchange(storage).map_err(|error| error.at(&self.path))
    }

    fn exchange(&self, storage: &dyn Storage) -> Result<bool> {
        let is_same = match storage.metadata(&self.path) {
            Ok(found) => found.inode == self.inode && found.len == self.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(SealedError::io("look at")(error)),
        };
        if !is_same || self.from.len().map_err(SealedError::io("measure"))? != self.len {
            remove_copy(storage, &self.path);
            return Ok(false);
        }
        storage.rename(&copy_of(&self.path), &self.path).map_err(SealedError::io("replace"))?;
        storage.sync_dir(directory_of(&self.path)).map_err(SealedError::io("sync the directory of"))?;
        Ok(true)
    }
}

/// Nothing reads it, and the next attempt removes what stays.
fn remove_copy(storage: &dyn Storage, path: &Path) {
    drop(storage.remove(&copy_of(path)));
}

/// Shows the sealed files of a directory and their lengths. The epoch of a header is the oldest of its file, because segments only ever go
/// up; nothing proves it, but a header that somebody changed makes the file unreadable whatever is done with it.
///
/// # Errors
/// A file of another release, or the system's.
pub fn headers(storage: &dyn Storage, dir: &Path, mut visit: impl FnMut(PathBuf, Inspection, u64)) -> Result<()> {
    for path in paths(storage, dir)? {
        let metadata = match storage.metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(SealedError::io("look at")(error).at(&path)),
        };
        if metadata.is_dir || metadata.len == 0 || is_copy(&path) {
            continue;
        }
        match inspect_path(storage, &path) {
            Ok(inspection) => visit(path, inspection, metadata.len),
            // Removed meanwhile, or never ours.
            Err(error) if error.is_not_found() || matches!(error.cause(), SealedError::NotSealed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is in a directory, by its path.
///
/// # Errors
/// The system's.
pub fn paths(storage: &dyn Storage, dir: &Path) -> Result<Vec<PathBuf>> {
    let names = storage.list(dir).map_err(|error| SealedError::io("list")(error).at(dir))?;
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Removes copies that a crash left in a directory.
///
/// # Errors
/// The system's.
pub fn remove_copies(storage: &dyn Storage, dir: &Path) -> Result<()> {
    for path in paths(storage, dir)? {
        if is_copy(&path) {
            storage.remove(&path).map_err(|error| SealedError::io("remove")(error).at(&path))?;
        }
    }
    Ok(())
}

/// The name of a copy of `path` until it takes its place.
pub fn copy_of(path: &Path) -> PathBuf {
    small::beside(path, COPY)
}

/// Whether the name is that of a copy that has not taken its file's place.
pub fn is_copy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == COPY)
}

#[cfg(test)]
mod tests {
    use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk};

    use super::*;
    use crate::fixtures::{key, pattern, ring};
    use crate::{AtRest, Current, inspect};

    const PURPOSE: Purpose = Purpose::Wal;

    fn open(disk: &MemoryDisk, name: &str, mode: OpenMode) -> Box<dyn File> {
        disk.open(Path::new(name), mode).unwrap()
    }

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn a_log_keeps_its_frames_and_goes_on() {
        for suite in [AtRest::Sm4Gcm, AtRest::Aes256Gcm] {
            let (disk, ring) = (MemoryDisk::new(), ring(suite));
            let mut writer = frames::Writer::create(open(&disk, "/old", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
            let mut records: Vec<Vec<u8>> = (0..20).map(|index| pattern(1 + index * 397, index as u64)).collect();
            for record in &records {
                writer.append(record).unwrap();
                writer.flush().unwrap();
            }
            writer.sync().unwrap();
            ring.rotate(2, key(2)).unwrap();
            let (from, to) = (open(&disk, "/old", OpenMode::Read), open(&disk, "/new", OpenMode::CreateNew));
            let mut copy = log(from, to, &ring, PURPOSE, &mut go_on).unwrap().unwrap();
            assert_eq!(copy.plaintext_len(), writer.plaintext_len());
            copy.append(b"after").unwrap();
            copy.sync().unwrap();
            records.push(b"after".to_vec());
            ring.retire(1).unwrap();
            let file = open(&disk, "/new", OpenMode::Read);
            assert_eq!(inspect(&*file).unwrap().epoch, 2);
            let (found, end) = frames::read_all(file, &ring, PURPOSE).unwrap();
            assert_eq!((found, end), (records, frames::End::Clean));
        }
    }

    /// What was cut off after the copy's last frame was durable: no torn write.
    #[test]
    fn a_copy_that_is_cut_is_refused_and_a_torn_log_is_not_copied() {
        let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
        let mut writer = frames::Writer::create(open(&disk, "/old", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
        for record in [&b"first"[..], b"second"] {
            writer.append(record).unwrap();
            writer.flush().unwrap();
        }
        let length = writer.file_len();
        let copy = || {
            let (from, to) = (open(&disk, "/old", OpenMode::Read), open(&disk, "/new", OpenMode::Truncate));
            log(from, to, &ring, PURPOSE, &mut go_on)
        };
        copy().unwrap();
        let new = open(&disk, "/new", OpenMode::ReadWrite);
        new.write_at(length - 1, &[0x55]).unwrap();
        let refused = frames::read_all(new, &ring, PURPOSE).unwrap_err();
        assert!(matches!(refused, SealedError::Tampered { .. }), "{refused}");
        open(&disk, "/old", OpenMode::ReadWrite).truncate(length - 1).unwrap();
        assert!(matches!(copy().err(), Some(SealedError::Incomplete { .. })));
    }

    #[test]
    fn a_table_keeps_its_pages_and_may_be_left_halfway() {
        let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
        let content = pattern(3 * CHUNK_BYTES + 17, 5);
        let page = pages::PageSize::from_log2(14).unwrap();
        let file = open(&disk, "/old", OpenMode::CreateNew);
        let mut writer = pages::Writer::create_paged(file, &ring, Purpose::Table, page).unwrap();
        writer.append(&content).unwrap();
        writer.sync().unwrap();
        ring.rotate(2, key(2)).unwrap();
        let from = pages::Reader::open(open(&disk, "/old", OpenMode::Read), &ring, Purpose::Table).unwrap();
        let copy = |pace: Pace<'_>| table(&from, open(&disk, "/new", OpenMode::Truncate), &ring, Purpose::Table, pace);
        assert!(!copy(&mut |_| ControlFlow::Break(())).unwrap());
        let half = pages::Reader::open(open(&disk, "/new", OpenMode::Read), &ring, Purpose::Table);
        assert!(half.is_err(), "never finished");
        let mut told = 0;
        let finished = copy(&mut |bytes| {
            told += bytes;
            ControlFlow::Continue(())
        });
        assert!(finished.unwrap());
        assert_eq!(told, content.len() as u64);
        ring.retire(1).unwrap();
        let new = pages::Reader::open(open(&disk, "/new", OpenMode::Read), &ring, Purpose::Table).unwrap();
        let mut found = vec![0; content.len()];
        assert_eq!(new.read_at(0, &mut found).unwrap(), content.len());
        assert_eq!((new.epoch(), new.page_size(), found == content), (2, page, true));
    }

    /// A log, a table and a small file, each with its content.
    fn three(storage: &dyn Storage, ring: &KeyRing) -> [(&'static Path, Vec<u8>); 3] {
        let files = [("/d/log", 900), ("/d/table", 40_000), ("/d/small", 77)];
        let files = files.map(|(path, bytes)| (Path::new(path), pattern(bytes, 3)));
        storage.create_dir_all(Path::new("/d")).unwrap();
        for (path, content) in &files {
            let open = || storage.open(path, OpenMode::CreateNew).unwrap();
            match path.to_str().unwrap() {
                "/d/log" => {
                    let mut writer = frames::Writer::create(open(), ring, PURPOSE).unwrap();
                    writer.append(content).unwrap();
                    writer.close().unwrap();
                }
                "/d/table" => {
                    let mut writer = pages::Writer::create(open(), ring, PURPOSE).unwrap();
                    writer.append(content).unwrap();
                    writer.sync().unwrap();
                }
                _ => small::write_atomic(storage, path, ring, PURPOSE, content).unwrap(),
            }
        }
        storage.sync_dir(Path::new("/d")).unwrap();
        files
    }

    fn content(storage: &dyn Storage, path: &Path, ring: &KeyRing) -> Vec<u8> {
        let open = || storage.open(path, OpenMode::Read).unwrap();
        match path.to_str().unwrap() {
            "/d/log" | "/log" => frames::read_all(open(), ring, PURPOSE).unwrap().0.concat(),
            "/d/table" => {
                let reader = pages::Reader::open(open(), ring, PURPOSE).unwrap();
                let mut content = vec![0; reader.plaintext_len() as usize];
                reader.read_at(0, &mut content).unwrap();
                content
            }
            _ => small::read(storage, path, ring, PURPOSE).unwrap().to_vec(),
        }
    }

    fn current(storage: &dyn Storage) -> Vec<Current> {
        let mut found = Vec::new();
        let mut visit = |Inspection { epoch, suite, .. }: Inspection| found.push(Current { epoch, suite });
        headers(storage, Path::new("/d"), |_, inspection, _| visit(inspection)).unwrap();
        found
    }

    /// A log that is open, or opened again, while the cipher changes keeps its own until its copy takes its place.
    #[test]
    fn a_log_goes_on_in_its_own_cipher_until_it_is_copied() {
        let (disk, ring, path) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm), Path::new("/log"));
        let mut writer = frames::Writer::create(open(&disk, "/log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
        writer.append(b"first").unwrap();
        ring.rotate_to(2, AtRest::Aes256Gcm, key(2)).unwrap();
        writer.append(b"second").unwrap();
        writer.close().unwrap();
        let again = frames::Writer::open_append(open(&disk, "/log", OpenMode::ReadWrite), &ring, PURPOSE).unwrap();
        let mut writer = again.writer;
        writer.append(b"third").unwrap();
        writer.close().unwrap();
        let named = |inspection: Inspection| (inspection.epoch, inspection.suite);
        assert_eq!(named(inspect_path(&disk, path).unwrap()), (1, AtRest::Sm4Gcm));
        assert!(in_place(&disk, path, &ring, &mut go_on).unwrap());
        assert_eq!(named(inspect_path(&disk, path).unwrap()), (2, AtRest::Aes256Gcm));
        ring.retire(1).unwrap();
        assert_eq!(content(&disk, path, &ring), b"firstsecondthird");
    }

    #[test]
    fn a_copy_takes_no_place_of_what_was_changed_or_removed_meanwhile() {
        let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
        let files = three(&disk, &ring);
        ring.rotate(2, key(2)).unwrap();
        let copied = || files.each_ref().map(|(path, _)| copy(&disk, path, &ring, &mut go_on).unwrap().unwrap());
        let [log, table, small] = copied();
        // A writer began a segment, the table was removed, and the small file was replaced by its owner.
        frames::Writer::open_append(open(&disk, "/d/log", OpenMode::ReadWrite), &ring, PURPOSE).unwrap();
        disk.remove(table.path()).unwrap();
        small::write_atomic(&disk, small.path(), &ring, PURPOSE, b"newer").unwrap();
        for copied in [log, table, small] {
            assert!(!copied.take_place(&disk).unwrap());
        }
        assert!(!disk.exists(Path::new("/d/table")).unwrap());
        assert_eq!(content(&disk, Path::new("/d/small"), &ring), b"newer");
        assert_eq!(content(&disk, Path::new("/d/log"), &ring), files[0].1);
        assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 2, "copies are gone");
        // What ended early leaves nothing either.
        let ended = copy(&disk, Path::new("/d/log"), &ring, &mut |_| ControlFlow::Break(()));
        assert!(ended.unwrap().is_none());
        assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 2);
    }

    #[test]
    fn files_that_are_exchanged_are_old_or_new_whatever_fails() {
        for number in 1.. {
            let (disk, faults, ring) = (MemoryDisk::new(), Faults::none(), ring(AtRest::Sm4Gcm));
            let files = three(&disk, &ring);
            ring.rotate_to(2, AtRest::Aes256Gcm, key(2)).unwrap();
            let storage = FaultyStorage::new(Arc::new(disk.clone()), faults.clone());
            let exchange_all = |storage: &dyn Storage| {
                remove_copies(storage, Path::new("/d"))?;
                files.iter().try_for_each(|(path, _)| {
                    in_place(storage, path, &ring, &mut |_| ControlFlow::Continue(())).map(|done| assert!(done))
                })
            };
            faults.dead_from(number);
            let ended = exchange_all(&storage);
            disk.crash(Crash::Torn { seed: number });
            for (path, expected) in &files {
                assert!(content(&disk, path, &ring) == *expected, "{number}: {}", path.display());
            }
            exchange_all(&disk).unwrap();
            assert_eq!(current(&disk), [ring.current(); 3]);
            assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 3, "copies are gone");
            ring.retire(1).unwrap();
            for (path, expected) in &files {
                assert!(content(&disk, path, &ring) == *expected, "{number}: {}", path.display());
            }
            if ended.is_ok() {
                assert!(number > 10, "{number}");
                return;
            }
        }
    }
}
