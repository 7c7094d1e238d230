//! Every byte of a small database is flipped, one after the other: it is refused with file, place and reason, or it lies in an end of a log
//! that no sync covers, or in a place that nothing reads; and what is read is never anything else than what was written.
//!
//! One bit of each byte, another one in each; `BIXI_BITS=8` flips every bit of every byte (`.ci/campaign-bits`).

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bixi_platform::io::memory::MemoryDisk;
use bixi_platform::io::{OpenMode, Storage};

use crate::driver::*;

/// Every file of a database with its sealed bytes.
pub(crate) type Image = Vec<(PathBuf, Vec<u8>)>;

/// Where the database lies on its disk in memory. RocksDB's bindings make the directory on the real disk, too: it is there.
pub(crate) fn dir() -> PathBuf {
    std::env::temp_dir()
}

fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A table of some pages and a log of some synced writes, as they lie on the disk while the database is open; and the rows after each of the
/// writes of the log.
pub(crate) fn small_database() -> (Image, Vec<Rows>) {
    let disk = disk_of(&[]);
    let db = try_open(&dir(), &files_on(Arc::new(disk.clone()))).unwrap();
    for i in 0..6u32 {
        db.put(i.to_be_bytes(), noise(i, 1_250)).unwrap();
    }
    db.flush().unwrap();
    let mut rows = vec![read_all(&db).unwrap()];
    for i in 6..9u32 {
        put_synced(&db, &[(&i.to_be_bytes(), &noise(i, 40)), (&[&i.to_be_bytes()[..], b"twin"].concat(), b"2")])
            .unwrap();
        rows.push(read_all(&db).unwrap());
    }
    (image_of(&disk), rows)
}

pub(crate) fn image_of(disk: &MemoryDisk) -> Image {
    let names = disk.list(&dir()).unwrap();
    let read = |name: PathBuf| {
        let path = dir().join(name);
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(0, &mut bytes).unwrap();
        (path, bytes)
    };
    names.into_iter().map(read).collect()
}

pub(crate) fn disk_of(image: &[(PathBuf, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(&dir()).unwrap();
    for (path, bytes) in image {
        disk.open(path, OpenMode::CreateNew).unwrap().write_at(0, bytes).unwrap();
    }
    disk
}

/// Opens and reads everything; the first error ends it.
pub(crate) fn read_through(disk: &MemoryDisk) -> Result<Rows, String> {
    let db = try_open(&dir(), &files_on(Arc::new(disk.clone())))?;
    read_all(&db)
}

/// What became of a database whose file `path` was edited from byte `from` on.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Outcome {
    Refused,
    /// It lies in an end of a log that no sync covers: so many writes were dropped, whole.
    Dropped(usize),
    /// Nothing read it, and all is there; verifying tells it.
    Unread,
}

const REASONS: [&str; 11] = [
    "tampered at byte",
    "incomplete at byte",
    "does not start with the magic",
    "is not sealed",
    "the end of the file is missing",
    "the header is refused under key epoch",
    "which this build does not know",
    "needs key epoch",
    "has layout",
    "was sealed as",
    "ends in a damaged frame at offset",
];

/// Holds an edited database against what it was.
pub(crate) fn judge(image: &Image, place: usize, from: usize, states: &[Rows], at: &str) -> Outcome {
    let (path, name) = (&image[place].0, image[place].0.file_name().unwrap().to_string_lossy());
    let disk = disk_of(image);
    let told = bixi_cipherfs::scrub(&disk, &ring(1), path, &mut |_| ControlFlow::Continue(())).unwrap();
    match read_through(&disk) {
        Err(error) => {
            assert!(error.contains(&*name), "{at}: {error}");
            assert!(REASONS.iter().any(|reason| error.contains(reason)), "{at}: {error}");
            assert!(!error.contains("Corruption"), "{at}: {error}");
            let damage = told.damage.first().unwrap_or_else(|| panic!("{at}: verifying tells nothing of {error}"));
            assert!(damage.offset as usize <= from && !damage.reason.is_empty(), "{at}: {damage:?}");
            Outcome::Refused
        }
        Ok(rows) => match told.torn {
            Some((offset, _)) => {
                assert!(told.is_whole() && offset as usize <= from, "{at}: {told:?}");
                let kept = states.iter().position(|state| *state == rows);
                let kept = kept.unwrap_or_else(|| panic!("{at}: {} rows are no state that ever was", rows.len()));
                Outcome::Dropped(states.len() - 1 - kept)
            }
            None => {
                assert_eq!(Some(&rows), states.last(), "{at}");
                assert!(!told.is_whole(), "{at}: neither refused nor told");
                Outcome::Unread
            }
        },
    }
}

/// Bits of each byte that are flipped; more than one is the long form of these tests.
pub(crate) fn bits() -> usize {
    std::env::var("BIXI_BITS").map_or(1, |bits| bits.parse().expect("a number of bits from 1 to 8"))
}

#[test]
fn every_flipped_byte_is_refused_by_name_or_proven_harmless() {
    let bits = bits();
    let (image, states) = small_database();
    let (mut refused, mut unread, mut dropped, mut bytes) = (0u64, 0u64, [0u64; 2], 0);
    for place in 0..image.len() {
        let mut edited = image.clone();
        let name = image[place].0.file_name().unwrap().to_string_lossy().into_owned();
        let length = image[place].1.len();
        bytes += length;
        for offset in 0..length {
            for bit in (0..8).map(|bit| (offset + bit) % 8).take(bits) {
                edited[place].1[offset] ^= 1 << bit;
                match judge(
                    &edited,
                    place,
                    offset,
                    &states,
                    &format!("bit {bit} of byte {offset} of {length} of {name}"),
                ) {
                    Outcome::Refused => refused += 1,
                    Outcome::Unread => unread += 1,
                    Outcome::Dropped(writes) => {
                        assert!(name.ends_with(".log") || name.starts_with("MANIFEST-"), "{name}");
                        dropped[writes] += 1;
                    }
                }
                edited[place].1[offset] ^= 1 << bit;
            }
        }
    }
    println!(
        "{bytes} bytes in {} files: {refused} flips refused; in unsynced ends {} dropped nothing and {} the last write; {unread} unread",
        image.len(),
        dropped[0],
        dropped[1]
    );
    // The last mark of the MANIFEST, and the last frame of the log.
    assert!(dropped[0] >= 32 && (100..400 * bits as u64).contains(&dropped[1]), "{dropped:?}");
    assert!(refused > bytes as u64 * 9 / 10 * bits as u64, "{refused} of {bytes} bytes");
}
