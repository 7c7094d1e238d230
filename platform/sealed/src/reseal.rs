//! A file's content sealed anew, in another file, under the ring's current epoch and keys of its own.
//!
//! The copy is authenticated to its end and durable before it is given back, so that a caller may move it into the old one's place. What
//! the old file proved stays proved: the copy is made of what authenticated, and a log keeps the bounds of its frames.

use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_platform::io::File;
use zeroize::Zeroizing;

use crate::{KeyRing, Purpose, Result, SealedError, frames, pages};

/// Plaintext of a table copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Told of the bytes that were written since it was told last; breaks to end a copy.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// Copies the log `from` into the empty file `to`, with a mark over everything. The writer that comes back goes on behind it.
///
/// # Errors
/// What [`frames::Reader`] reports, [`SealedError::Incomplete`] for a log with a torn end, or the system's error.
pub fn log(
    from: impl Into<Arc<dyn File>>,
    to: impl Into<Arc<dyn File>>,
    ring: &KeyRing,
    purpose: Purpose,
) -> Result<frames::Writer> {
    let mut reader = frames::Reader::open(from, ring, purpose)?;
    let mut writer = frames::Writer::create(to, ring, purpose)?;
    while let Some(frame) = reader.next_frame()? {
        writer.append(frame)?;
        writer.flush()?;
    }
    if let frames::End::TornTail { offset, .. } = reader.end() {
        return Err(SealedError::Incomplete { offset });
    }
    writer.sync_with_mark()?;
    Ok(writer)
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
    let mut writer = pages::Writer::create_paged(to, ring, purpose, from.page_size())?;
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    let mut offset = 0;
    while offset < from.plaintext_len() {
        let filled = from.read_at(offset, &mut chunk)?;
        writer.append(&chunk[..filled])?;
        offset += filled as u64;
        if pace(filled as u64).is_break() {
            return Ok(false);
        }
    }
    writer.sync()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bixi_platform::io::{MemoryDisk, OpenMode, Storage as _};

    use super::*;
    use crate::fixtures::{key, pattern, ring};
    use crate::{AtRest, inspect};

    const PURPOSE: Purpose = Purpose::Wal;

    fn open(disk: &MemoryDisk, name: &str, mode: OpenMode) -> Box<dyn File> {
        disk.open(Path::new(name), mode).unwrap()
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
            let mut copy = log(from, to, &ring, PURPOSE).unwrap();
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
        let copy = || log(open(&disk, "/old", OpenMode::Read), open(&disk, "/new", OpenMode::Truncate), &ring, PURPOSE);
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
}
