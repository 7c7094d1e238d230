use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::{Faults, FaultyStorage, MemoryDisk, Meter, MeteredStorage, OpenMode, Storage as _};

use super::{PAGES_START, PageSize, Reader, Writer};
use crate::{
    AtRest, KeyRing, Purpose, SealedError,
    fixtures::{Disk, SUITES, pattern, ring},
};

const PAYLOAD: usize = 4096 - 16;

fn write(disk: &Disk, name: &str, ring: &KeyRing, plaintext: &[u8]) {
    let file = disk.file(name, OpenMode::CreateNew);
    let mut writer = Writer::create_paged(file, ring, Purpose::Table, PageSize::KIB_4).unwrap();
    for chunk in plaintext.chunks(1000) {
        writer.append(chunk).unwrap();
    }
    writer.sync().unwrap();
}

fn open(disk: &Disk, name: &str, ring: &KeyRing) -> crate::Result<Reader> {
    Reader::open(disk.file(name, OpenMode::Read), ring, Purpose::Table)
}

fn read_whole(reader: &Reader) -> crate::Result<Vec<u8>> {
    let mut out = vec![0; reader.plaintext_len() as usize + 10];
    let got = reader.read_at(0, &mut out)?;
    out.truncate(got);
    Ok(out)
}

#[test]
fn every_length_around_a_page_comes_back() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        for len in [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 3 * PAYLOAD, 3 * PAYLOAD + 7, 300_000] {
            let (name, plaintext) = (len.to_string(), pattern(len, len as u64));
            write(&disk, &name, &ring, &plaintext);
            let reader = open(&disk, &name, &ring).unwrap();
            assert_eq!(reader.plaintext_len(), len as u64);
            assert!(read_whole(&reader).unwrap() == plaintext, "{len} bytes");
            let pages = len.div_ceil(PAYLOAD).max(1);
            assert_eq!(disk.bytes(&name).len() as u64, PAGES_START + (len + 16 * pages) as u64);
        }
    }
}

#[test]
fn random_reads_equal_the_plaintext() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    let plaintext = pattern(20 * PAYLOAD + 123, 5);
    write(&disk, "t", &ring, &plaintext);
    let reader = open(&disk, "t", &ring).unwrap();
    let steps = pattern(4 * 300, 11);
    for step in steps.chunks_exact(4) {
        let offset = u16::from_le_bytes([step[0], step[1]]) as usize * 5 / 4;
        let mut out = vec![0; u16::from_le_bytes([step[2], step[3]]) as usize / 3];
        let got = reader.read_at(offset as u64, &mut out).unwrap();
        let end = plaintext.len().min(offset + out.len());
        assert_eq!(out[..got], plaintext[offset.min(end)..end]);
    }
    assert_eq!(reader.read_at(u64::MAX, &mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_random_read_touches_only_its_pages() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    let plaintext = pattern(5 * PAYLOAD, 5);
    write(&disk, "t", &ring, &plaintext);
    let mut bytes = disk.bytes("t");
    bytes[PAGES_START as usize + 2 * 4096] ^= 1;
    let reader = Reader::open(disk.put("t", &bytes), &ring, Purpose::Table).unwrap();
    let mut out = vec![0; 2 * PAYLOAD];
    assert_eq!(reader.read_at(0, &mut out).unwrap(), out.len());
    assert_eq!(reader.read_at(3 * PAYLOAD as u64, &mut out).unwrap(), out.len());
    let error = reader.read_at(2 * PAYLOAD as u64 - 1, &mut out[..2]).unwrap_err();
    assert!(matches!(error, SealedError::Tampered { offset, .. } if offset == PAGES_START + 2 * 4096), "{error}");
}

#[test]
fn refuses_every_flipped_byte() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        write(&disk, "t", &ring, &pattern(PAYLOAD + 50, 2));
        let bytes = disk.bytes("t");
        let probes = (0..200).chain((200..bytes.len() - 100).step_by(61)).chain(bytes.len() - 100..bytes.len());
        for position in probes {
            let mut edited = bytes.clone();
            edited[position] ^= 1 << (position % 8);
            let read =
                Reader::open(disk.put("e", &edited), &ring, Purpose::Table).and_then(|reader| read_whole(&reader));
            assert!(read.is_err(), "byte {position} flipped and accepted");
        }
    }
}

#[test]
fn refuses_every_other_length() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Aes256Gcm));
    let plaintext = pattern(3 * PAYLOAD, 2);
    write(&disk, "t", &ring, &plaintext);
    let bytes = disk.bytes("t");
    let start = PAGES_START as usize;
    let boundaries = [start, start + 4096, start + 2 * 4096];
    for len in (0..bytes.len()).step_by(37).chain(boundaries) {
        let error = Reader::open(disk.put("e", &bytes[..len]), &ring, Purpose::Table).err();
        assert!(error.is_some(), "cut to {len} bytes and accepted");
        if boundaries[1..].contains(&len) {
            assert!(matches!(error, Some(SealedError::Incomplete { .. })), "{error:?}");
        }
    }
    for extra in [1, 16, 4096] {
        let longer = [&bytes[..], &vec![0; extra]].concat();
        assert!(Reader::open(disk.put("e", &longer), &ring, Purpose::Table).is_err(), "{extra} more bytes accepted");
    }
}

#[test]
fn pages_cannot_be_swapped_within_or_between_tables() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    for name in ["a", "b"] {
        write(&disk, name, &ring, &pattern(3 * PAYLOAD, 8));
    }
    let (a, b) = (disk.bytes("a"), disk.bytes("b"));
    let page = |bytes: &[u8], index: usize| {
        bytes[PAGES_START as usize + index * 4096..PAGES_START as usize + (index + 1) * 4096].to_vec()
    };
    let start = &a[..PAGES_START as usize];
    let within = [start, &page(&a, 1), &page(&a, 0), &page(&a, 2)].concat();
    let between = [start, &page(&b, 0), &page(&a, 1), &page(&a, 2)].concat();
    for edited in [within, between] {
        let reader = Reader::open(disk.put("e", &edited), &ring, Purpose::Table).unwrap();
        assert!(matches!(read_whole(&reader), Err(SealedError::Tampered { .. })));
    }
}

#[test]
fn sealed_as_final_takes_no_more() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    let mut writer = Writer::create(disk.file("t", OpenMode::CreateNew), &ring, Purpose::Table).unwrap();
    writer.append(b"data").unwrap();
    writer.flush().unwrap();
    writer.sync().unwrap();
    writer.sync().unwrap();
    writer.flush().unwrap();
    assert!(matches!(writer.append(b"more"), Err(SealedError::Finished)));
    assert_eq!(read_whole(&open(&disk, "t", &ring).unwrap()).unwrap(), b"data");
}

#[test]
fn what_is_begun_to_be_written_changes_nothing_and_ends_the_table_where_the_disk_refuses_it() {
    let (faults, meter) = (Faults::none(), Meter::default());
    let disk = Arc::new(FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone()));
    let (storage, ring) = (MeteredStorage::new(disk, meter.clone()), ring(AtRest::Sm4Gcm));
    let plaintext = pattern(700_000, 5);
    let create = |name: &str| {
        let file = storage.open(Path::new(name), OpenMode::CreateNew).unwrap();
        Writer::create(file, &ring, Purpose::Table).unwrap()
    };
    let mut writer = create("/t");
    for chunk in plaintext.chunks(100_000) {
        writer.append(chunk).unwrap();
        writer.begin_write_back().unwrap();
        writer.begin_write_back().unwrap();
    }
    let begun = meter.counts().write_back_bytes;
    assert!(begun > 400_000 && begun < 700_000 && begun.is_multiple_of(64 << 10), "{begun}: each byte once");
    writer.sync().unwrap();
    writer.begin_write_back().unwrap();
    assert_eq!(meter.counts().write_back_bytes, begun, "nothing is left to do");
    let reader = Reader::open(storage.open(Path::new("/t"), OpenMode::Read).unwrap(), &ring, Purpose::Table).unwrap();
    assert!(read_whole(&reader).unwrap() == plaintext);
    // What the disk refused it may have dropped: no later sync may say that it is there.
    let mut writer = create("/refused");
    writer.append(&plaintext).unwrap();
    faults.dead_from(0);
    assert!(matches!(writer.begin_write_back(), Err(SealedError::Io { .. })));
    faults.heal();
    assert!(matches!(writer.begin_write_back(), Err(SealedError::Poisoned)));
    assert!(matches!(writer.append(b"more"), Err(SealedError::Poisoned)));
    assert!(matches!(writer.sync(), Err(SealedError::Poisoned)));
}

#[test]
fn an_unfinished_table_is_refused() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    let file = disk.file("t", OpenMode::CreateNew);
    let mut writer = Writer::create_paged(file, &ring, Purpose::Table, PageSize::KIB_4).unwrap();
    assert!(matches!(open(&disk, "t", &ring), Err(SealedError::Incomplete { .. })));
    writer.append(&pattern(3 * PAYLOAD, 1)).unwrap();
    writer.flush().unwrap();
    assert!(matches!(open(&disk, "t", &ring), Err(SealedError::Incomplete { .. })));
}

#[test]
fn no_plaintext_is_in_the_file() {
    let marker = b"contract Bank at 0xbbbbbbbb";
    let (disk, ring) = (Disk::new(), ring(AtRest::Sm4Gcm));
    write(&disk, "t", &ring, &marker.repeat(1000));
    let bytes = disk.bytes("t");
    assert!(!bytes.windows(6).any(|window| marker.windows(6).any(|part| part == window)));
}
