use std::path::Path;

use bixi_platform::io::{Faults, FaultyStorage, MemoryDisk, OpenMode, Storage};

use super::*;
use crate::fixtures::{key, pattern, ring};
use crate::{AtRest, frames, pages, small};

const PURPOSE: Purpose = Purpose::Wal;
const FILE: &str = "/file";

fn open(disk: &dyn Storage, mode: OpenMode) -> Box<dyn File> {
    disk.open(Path::new(FILE), mode).unwrap()
}

fn flip(disk: &MemoryDisk, offset: u64, mask: u8) {
    let (file, mut byte) = (open(disk, OpenMode::ReadWrite), [0]);
    file.read_exact_at(offset, &mut byte).unwrap();
    file.write_at(offset, &[byte[0] ^ mask]).unwrap();
}

fn scrubbed(storage: &dyn Storage, ring: &KeyRing, layout: Layout) -> Scrubbed {
    scrub(open(storage, OpenMode::Read), ring, layout, PURPOSE, &mut |_| ControlFlow::Continue(()))
}

fn table(bytes: usize) -> (MemoryDisk, KeyRing) {
    let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
    let mut writer = pages::Writer::create(open(&disk, OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    writer.append(&pattern(bytes, 3)).unwrap();
    writer.sync().unwrap();
    (disk, ring)
}

/// Frames of one segment, of another one after a reopening, and of a third after a rotation; every record is synced. Returns where each
/// frame begins.
fn log() -> (MemoryDisk, KeyRing, Vec<u64>) {
    let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
    let mut writer = frames::Writer::create(open(&disk, OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    let mut begins = Vec::new();
    for round in 0..3 {
        for index in 0..4 {
            if (round, index) == (2, 0) {
                ring.rotate(2, key(2)).unwrap();
                writer.sync().unwrap();
            }
            let before = writer.file_len();
            writer.append(&pattern(40 + 13 * index, 7)).unwrap();
            writer.sync().unwrap();
            begins.push(if (round, index) == (2, 0) { before + 72 } else { before });
        }
        if round == 0 {
            writer.close().unwrap();
            writer = frames::Writer::open_append(open(&disk, OpenMode::ReadWrite), &ring, PURPOSE).unwrap().writer;
        }
    }
    writer.close().unwrap();
    (disk, ring, begins)
}

#[test]
fn every_damaged_page_is_told() {
    // More than one reading of several pages.
    let (disk, ring) = table(300_000);
    assert!(scrubbed(&disk, &ring, Layout::Pages).is_whole());
    let damaged: [u64; 5] = [0, 1, 40, 41, 73];
    for index in damaged {
        flip(&disk, 4096 + index * 4096 + 17, 0x20);
    }
    let found = scrubbed(&disk, &ring, Layout::Pages);
    let places: Vec<Place> = found.damage.iter().map(|damage| damage.place).collect();
    assert_eq!(places, damaged.map(Place::Page));
    assert!(found.damage.iter().all(|damage| damage.offset % 4096 == 0), "{found:?}");
    assert_eq!((found.damaged, found.bytes), (5, 4096 + 300_000 + 74 * 16));
}

#[test]
fn a_table_that_was_cut_or_goes_on_behind_its_end_is_told_with_its_other_damage() {
    let (disk, ring) = table(40_000);
    let whole = open(&disk, OpenMode::Read).len().unwrap();
    flip(&disk, 4096 + 2 * 4096, 1);
    for (length, last) in [(4096 * 6, 4), (4096 * 6 + 9, 5), (whole - 1, 9), (whole + 5, 9)] {
        let copy = MemoryDisk::new();
        let mut bytes = vec![0; whole as usize + 5];
        open(&disk, OpenMode::Read).read_at(0, &mut bytes).unwrap();
        open(&copy, OpenMode::CreateNew).write_at(0, &bytes[..length as usize]).unwrap();
        let found = scrubbed(&copy, &ring, Layout::Pages);
        assert_eq!(found.damage[0].place, Place::Page(2), "{length}");
        assert_eq!(found.damage.last().unwrap().place, Place::Page(last), "{length}: {found:?}");
    }
    for length in [0, 7, 100, 4096, 4100] {
        let copy = MemoryDisk::new();
        let mut bytes = vec![0; length];
        open(&disk, OpenMode::Read).read_at(0, &mut bytes).unwrap();
        open(&copy, OpenMode::CreateNew).write_at(0, &bytes).unwrap();
        let found = scrubbed(&copy, &ring, Layout::Pages);
        assert!(!found.is_whole(), "{length}");
        assert_eq!(found.is_unfinished, length != 7, "{length}: {found:?}");
    }
}

#[test]
fn a_log_is_read_on_behind_every_damaged_frame() {
    let (disk, ring, begins) = log();
    assert_eq!(scrubbed(&disk, &ring, Layout::Frames).damage, []);
    let damaged = [1, 2, 6, 9];
    for index in damaged {
        flip(&disk, begins[index] + 20, 4);
    }
    let found = scrubbed(&disk, &ring, Layout::Frames);
    // Frames that stand side by side are one gap: where the second begins is not known before it authenticates.
    let offsets: Vec<u64> = found.damage.iter().map(|damage| damage.offset).collect();
    assert_eq!(offsets, [1, 6, 9].map(|index| begins[index]), "{found:?}");
    assert_eq!(found.first_frame.as_deref(), Some(&pattern(40, 7)[..]));
    assert_eq!(found.torn, None);
}

#[test]
fn a_log_is_read_on_behind_a_damaged_head_of_a_segment() {
    let (disk, ring, begins) = log();
    // Of the segment that the rotation began.
    flip(&disk, begins[8] - 30, 1);
    flip(&disk, begins[1], 1);
    let found = scrubbed(&disk, &ring, Layout::Frames);
    let offsets: Vec<u64> = found.damage.iter().map(|damage| damage.offset).collect();
    assert_eq!(offsets, [begins[1], begins[8] - 72], "{found:?}");
}

/// A closed log ends in a mark, which covers everything but itself.
#[test]
fn every_flipped_bit_of_a_log_is_told_where_it_is_but_of_its_last_mark() {
    let (disk, ring, begins) = log();
    let length = open(&disk, OpenMode::Read).len().unwrap();
    for offset in 0..length {
        let mask = 1 << (offset % 8);
        flip(&disk, offset, mask);
        let found = scrubbed(&disk, &ring, Layout::Frames);
        if offset >= length - 32 {
            assert_eq!((found.torn, found.damaged), (Some((length - 32, 32)), 0), "byte {offset}");
        } else {
            assert_eq!(found.damaged, 1, "byte {offset}: {found:?}");
            let damage = &found.damage[0];
            assert!(damage.offset <= offset, "byte {offset}: {damage:?}");
            let next = begins.iter().copied().find(|begin| *begin > damage.offset).unwrap_or(length);
            assert!(damage.place == Place::Header || offset < next + 72, "byte {offset}: {damage:?}");
        }
        flip(&disk, offset, mask);
    }
    assert!(scrubbed(&disk, &ring, Layout::Frames).is_whole());
}

#[test]
fn a_small_file_is_told() {
    let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
    small::write_atomic(&disk, Path::new(FILE), &ring, PURPOSE, &pattern(99, 1)).unwrap();
    assert!(scrubbed(&disk, &ring, Layout::Small).is_whole());
    flip(&disk, 150, 1);
    assert_eq!(scrubbed(&disk, &ring, Layout::Small).damage[0].place, Place::Body);
    flip(&disk, 150, 1);
    flip(&disk, 30, 1);
    assert_eq!(scrubbed(&disk, &ring, Layout::Small).damage[0].place, Place::Header);
}

#[test]
fn a_file_of_another_purpose_or_under_another_key_is_told_at_its_header() {
    let (disk, _) = table(10);
    let stranger = KeyRing::new(AtRest::Sm4Gcm, vec![(1, key(9))], 1).unwrap();
    let found = scrubbed(&disk, &stranger, Layout::Pages);
    assert!(found.damage[0].place == Place::Header && !found.is_unfinished, "{found:?}");
    let (disk, ring) = table(10);
    let other =
        scrub(open(&disk, OpenMode::Read), &ring, Layout::Pages, Purpose::Table, &mut |_| ControlFlow::Continue(()));
    assert!(other.damage[0].reason.contains("cannot stand in"), "{other:?}");
}

#[test]
fn a_bad_sector_is_told_as_the_page_that_lies_on_it() {
    let (disk, ring) = table(300_000);
    let faults = Faults::none();
    let storage = FaultyStorage::new(Arc::new(disk), faults.clone());
    faults.bad_byte_at(4096 + 9 * 4096 + 5);
    let found = scrubbed(&storage, &ring, Layout::Pages);
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert_eq!(found.damage[0].place, Place::Page(9));
}

#[test]
fn who_breaks_off_is_told_so_and_damage_beyond_a_bound_is_counted() {
    let (disk, ring) = table(2_000_000);
    for index in 0..400 {
        flip(&disk, 4096 + index * 4096, 1);
    }
    let found = scrubbed(&disk, &ring, Layout::Pages);
    assert_eq!((found.damage.len(), found.damaged), (PLACES_MAX, 400));
    let cut = scrub(open(&disk, OpenMode::Read), &ring, Layout::Pages, PURPOSE, &mut |_| ControlFlow::Break(()));
    assert!(cut.is_cut_short && cut.damaged == 32, "{}", cut.damaged);
}
