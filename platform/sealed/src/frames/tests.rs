use std::os::unix::fs::MetadataExt as _;

use bixi_platform::io::OpenMode;

use super::{End, Limits, Reader, Writer, read_all};
use crate::{
    AtRest, KeyRing, Purpose, SealedError,
    fixtures::{Disk, SUITES, key, pattern, ring},
};

const PURPOSE: Purpose = Purpose::ConsensusLog;

/// Writes each record as a frame of its own; true means it is synced.
fn write(disk: &Disk, name: &str, ring: &KeyRing, records: &[(&[u8], bool)]) {
    let mut writer = Writer::create(disk.file(name, OpenMode::CreateNew), ring, PURPOSE).unwrap();
    append(&mut writer, records);
}

fn append(writer: &mut Writer, records: &[(&[u8], bool)]) {
    for &(record, synced) in records {
        writer.append(record).unwrap();
        if synced { writer.sync().unwrap() } else { writer.flush().unwrap() }
    }
}

fn read(disk: &Disk, name: &str, ring: &KeyRing) -> crate::Result<(Vec<Vec<u8>>, End)> {
    read_all(disk.file(name, OpenMode::Read), ring, PURPOSE)
}

#[test]
fn flushes_come_back_as_frames_in_order() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
        writer.flush().unwrap();
        writer.sync().unwrap();
        writer.append(b"one ").unwrap();
        writer.append(b"frame").unwrap();
        writer.flush().unwrap();
        let long = pattern(200_000, 7);
        writer.append(&long).unwrap();
        writer.sync().unwrap();
        assert_eq!(writer.plaintext_len(), 200_009);
        assert_eq!(writer.file_len(), disk.bytes("log").len() as u64);
        let (frames, end) = read(&disk, "log", &ring).unwrap();
        assert_eq!((frames, end), (vec![b"one frame".to_vec(), long], End::Clean));
    }
}

#[test]
fn what_is_not_flushed_is_not_written() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    writer.append(b"lost with the process").unwrap();
    drop(writer);
    assert_eq!(read(&disk, "log", &ring).unwrap(), (vec![], End::Clean));
}

#[test]
fn no_plaintext_is_in_the_file() {
    let marker = b"0x1000 balance=000100 of the first account";
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        write(&disk, "log", &ring, &[(marker, true), (marker, false)]);
        let bytes = disk.bytes("log");
        assert!(!bytes.windows(6).any(|window| marker.windows(6).any(|part| part == window)));
    }
}

#[test]
fn reopening_starts_a_segment_with_another_key() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"first", true)]);
    let before = disk.bytes("log");
    let mut seen = Vec::new();
    let reopened = Writer::replay_append(disk.file("log", OpenMode::ReadWrite), &ring, PURPOSE, |frame| {
        seen.push(frame.to_vec());
    });
    let mut writer = reopened.unwrap().writer;
    append(&mut writer, &[(b"first", true)]);
    assert_eq!(seen, [b"first"]);
    assert_eq!(writer.plaintext_len(), 10);
    let after = disk.bytes("log");
    assert_eq!(after[..before.len()], before, "acknowledged bytes are never rewritten");
    assert_ne!(after[after.len() - 21..], before[before.len() - 21..], "the same counter seals under another key");
    assert_eq!(read(&disk, "log", &ring).unwrap(), (vec![b"first".to_vec(), b"first".to_vec()], End::Clean));
}

#[test]
fn two_continuations_of_a_restored_copy_share_no_key() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"common", true)]);
    let copy = disk.bytes("log");
    let tail = |text: &[u8]| {
        let file = disk.put("log", &copy);
        let mut writer = Writer::open_append(file, &ring, PURPOSE).unwrap().writer;
        append(&mut writer, &[(text, true)]);
        disk.bytes("log")[copy.len()..].to_vec()
    };
    let (one, two) = (tail(b"AAAAAAAAAAAAAAAA"), tail(b"BBBBBBBBBBBBBBBB"));
    assert_ne!(one[8..40], two[8..40], "salts");
    let xor: Vec<u8> = one.iter().zip(&two).map(|(left, right)| left ^ right).collect();
    assert!(!xor.windows(16).any(|window| window == [b'A' ^ b'B'; 16]), "the keystreams are equal");
}

#[test]
fn rotation_moves_an_open_writer_to_the_new_epoch() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    append(&mut writer, &[(b"old", true)]);
    ring.rotate(2, key(2)).unwrap();
    append(&mut writer, &[(b"new", true)]);
    assert_eq!(writer.epoch(), 2);
    let mut reader = Reader::open(disk.file("log", OpenMode::Read), &ring, PURPOSE).unwrap();
    while reader.next_frame().unwrap().is_some() {}
    assert_eq!((reader.end(), reader.epochs()), (End::Clean, &[1, 2][..]));
    let old_only = KeyRing::new(SUITES[0], vec![(1, key(1))], 1).unwrap();
    let error = read(&disk, "log", &old_only).unwrap_err();
    assert!(matches!(error, SealedError::MissingEpoch { epoch: 2 }), "{error}");
}

#[test]
fn a_used_up_key_is_replaced() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    for (name, limits) in [
        ("frames", Limits { frames_max: 3, ..Limits::default() }),
        ("bytes", Limits { bytes_max: 3 * (32 + 10), ..Limits::default() }),
    ] {
        let file = disk.file(name, OpenMode::CreateNew);
        let mut writer = Writer::create_limited(file, &ring, PURPOSE, limits).unwrap();
        append(&mut writer, &[(&b"0123456789"[..], false); 7]);
        let segments = disk.bytes(name).windows(4).filter(|window| window == b"SEG1").count();
        assert_eq!(segments, 3, "{name}: seven frames, three for each key");
        assert_eq!(read(&disk, name, &ring).unwrap(), (vec![b"0123456789".to_vec(); 7], End::Clean));
    }
}

/// Reads an edited log and sorts the outcome: an error, or the number of frames before the torn tail.
fn outcome(disk: &Disk, ring: &KeyRing, bytes: &[u8], written: &[&[u8]]) -> Result<usize, SealedError> {
    let (frames, end) = read_all(disk.put("edited", bytes), ring, PURPOSE)?;
    assert_eq!(frames, written[..frames.len()], "what is read is a prefix of what was written");
    if frames.len() < written.len() {
        assert!(!bytes.is_empty() && (end == End::Clean || matches!(end, End::TornTail { .. })));
    }
    Ok(frames.len())
}

#[test]
fn a_flipped_byte_is_refused_or_lies_above_the_last_mark() {
    for suite in SUITES {
        let (disk, ring) = (Disk::new(), ring(suite));
        write(&disk, "log", &ring, &[(b"alpha", true), (b"beta", true)]);
        let mut writer = Writer::open_append(disk.file("log", OpenMode::ReadWrite), &ring, PURPOSE).unwrap().writer;
        append(&mut writer, &[(b"gamma", true), (b"delta", false), (b"epsilon", false)]);
        let written: [&[u8]; 5] = [b"alpha", b"beta", b"gamma", b"delta", b"epsilon"];
        let bytes = disk.bytes("log");
        let first_unmarked = bytes.len() - (32 + 7) - (32 + 5);
        for position in 0..bytes.len() {
            for bit in [0, 7] {
                let mut edited = bytes.clone();
                edited[position] ^= 1 << bit;
                match outcome(&disk, &ring, &edited, &written) {
                    Err(error) => assert!(
                        position < first_unmarked,
                        "byte {position} is above the last mark, so a crash may have torn it: {error}"
                    ),
                    Ok(frames) => {
                        assert!(position >= first_unmarked, "byte {position} below the last mark was flipped unseen");
                        assert!(frames == 3 || frames == 4);
                    }
                }
            }
        }
    }
}

#[test]
fn after_a_clean_close_every_flip_of_a_record_is_refused() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    append(&mut writer, &[(b"alpha", true), (b"omega", false)]);
    writer.close().unwrap();
    let bytes = disk.bytes("log");
    let closing = bytes.len() - 32;
    for position in 0..closing {
        let mut edited = bytes.clone();
        edited[position] ^= 0x10;
        assert!(outcome(&disk, &ring, &edited, &[b"alpha", b"omega"]).is_err(), "byte {position}");
    }
    assert_eq!(outcome(&disk, &ring, &bytes, &[b"alpha", b"omega"]).unwrap(), 2);
}

#[test]
fn what_the_owner_synced_by_itself_is_durable_for_readers() {
    let ring = ring(SUITES[0]);
    for noted in [false, true] {
        let disk = Disk::new();
        let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
        append(&mut writer, &[(b"first", false), (b"second", false)]);
        let through = writer.file_len();
        disk.file("log", OpenMode::Read).sync_data().unwrap();
        if noted {
            writer.note_synced(through);
        }
        append(&mut writer, &[(b"third", false)]);
        let mut bytes = disk.bytes("log");
        bytes[through as usize - 1] ^= 1;
        let read = outcome(&disk, &ring, &bytes, &[b"first", b"second", b"third"]);
        assert_eq!(read.is_err(), noted, "{read:?}");
    }
}

#[test]
fn every_length_of_a_torn_file_reads_as_a_prefix_and_takes_appends() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Aes256Gcm));
    write(&disk, "log", &ring, &[(b"alpha", true), (b"beta", false), (b"gamma", false)]);
    let bytes = disk.bytes("log");
    for len in 0..=bytes.len() {
        let file = disk.put("torn", &bytes[..len]);
        let mut frames = Vec::new();
        let mut writer =
            Writer::replay_append(file, &ring, PURPOSE, |frame| frames.push(frame.to_vec())).unwrap().writer;
        let expected = [128 + 37, 128 + 37 + 36, bytes.len()].iter().filter(|&&end| end <= len).count();
        assert_eq!(frames.len(), expected, "{len} bytes");
        append(&mut writer, &[(b"after the crash", true)]);
        frames.push(b"after the crash".to_vec());
        assert_eq!(read(&disk, "torn", &ring).unwrap(), (frames, End::Clean), "{len} bytes");
    }
}

#[test]
fn unsynced_frames_may_be_lost_in_any_order() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"alpha", true), (b"beta", false), (b"gamma", false)]);
    let mut bytes = disk.bytes("log");
    bytes[165..165 + 36].fill(0);
    let (frames, end) = read_all(disk.put("log", &bytes), &ring, PURPOSE).unwrap();
    assert_eq!((frames, end), (vec![b"alpha".to_vec()], End::TornTail { offset: 165, dropped: 36 + 37 }));
}

#[test]
fn frames_and_segments_cannot_be_moved() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"AAAAA", true), (b"BBBBB", true), (b"CCCCC", true)]);
    let bytes = disk.bytes("log");
    let frame = |index: usize| &bytes[128 + 37 * index..128 + 37 * (index + 1)];
    let swapped = [&bytes[..128], frame(1), frame(0), frame(2)].concat();
    let repeated = [&bytes[..], frame(2)].concat();
    let removed = [&bytes[..128 + 37], frame(2)].concat();
    assert!(matches!(outcome(&disk, &ring, &swapped, &[]), Err(SealedError::Tampered { offset: 128, .. })));
    assert_eq!(outcome(&disk, &ring, &repeated, &[b"AAAAA", b"BBBBB", b"CCCCC"]).unwrap(), 3);
    assert_eq!(outcome(&disk, &ring, &removed, &[b"AAAAA"]).unwrap(), 1, "a cut is a prefix: the head's mark tells");
}

#[test]
fn a_segment_of_another_history_is_refused() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"base", true)]);
    let base = disk.bytes("log");
    let history = |text: &[u8]| {
        for record in [text, b"later"] {
            let file = disk.file("log", OpenMode::ReadWrite);
            append(&mut Writer::open_append(file, &ring, PURPOSE).unwrap().writer, &[(record, true)]);
        }
        let bytes = disk.bytes("log");
        disk.put("log", &base);
        bytes
    };
    let (one, two) = (history(b"pay 1"), history(b"pay 2"));
    let cut = base.len() + 72 + 37;
    let spliced = [&one[..cut], &two[cut..]].concat();
    let error = outcome(&disk, &ring, &spliced, &[b"base", b"pay 1"]).unwrap_err();
    assert!(matches!(error, SealedError::Tampered { offset, .. } if offset == cut as u64), "{error}");
}

/// The power goes while the head of a segment is written: each of the two sectors it lies in may be there or not.
#[test]
fn a_segment_torn_at_any_sector_boundary_is_a_torn_tail() {
    const SECTOR_BYTES: usize = 512;
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    for in_first_sector in 1..=72 {
        let len = SECTOR_BYTES - in_first_sector - (128 + 32);
        let record = pattern(len, 3);
        let _ = std::fs::remove_file(disk.path("log"));
        write(&disk, "log", &ring, &[(&record, true)]);
        let end = disk.bytes("log").len();
        drop(Writer::open_append(disk.file("log", OpenMode::ReadWrite), &ring, PURPOSE).unwrap());
        let whole = disk.bytes("log");
        for lost in [end..SECTOR_BYTES, SECTOR_BYTES..whole.len(), end..whole.len()] {
            let mut torn = whole.clone();
            torn[lost.clone()].fill(0);
            let (frames, found) = read_all(disk.put("torn", &torn), &ring, PURPOSE)
                .unwrap_or_else(|error| panic!("head at {end}, bytes {lost:?} lost: {error}"));
            assert_eq!(frames, [&record[..]], "head at {end}, bytes {lost:?} lost");
            let dropped = if lost.is_empty() { End::Clean } else { End::TornTail { offset: end as u64, dropped: 72 } };
            assert_eq!(found, dropped, "head at {end}, bytes {lost:?} lost");
            let mut writer = Writer::open_append(disk.put("torn", &torn), &ring, PURPOSE).unwrap().writer;
            append(&mut writer, &[(b"after the crash", true)]);
            assert_eq!(read(&disk, "torn", &ring).unwrap().0, [&record[..], b"after the crash"]);
        }
    }
}

/// A segment's head was durable before its frames: losing it, to damage or to an attacker, must not pass for a crash.
#[test]
fn a_durable_segment_whose_head_is_gone_is_refused() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"alpha", true)]);
    let head = disk.bytes("log").len();
    for records in [&[(&b"beta"[..], false)][..], &[(b"beta", true), (b"gamma", true), (b"delta", false)]] {
        let file = disk.put("damaged", &disk.bytes("log"));
        append(&mut Writer::open_append(file, &ring, PURPOSE).unwrap().writer, records);
        let whole = disk.bytes("damaged");
        for damage in [head..head + 72, head..head + 5, head + 3..head + 40, head + 20..head + 72] {
            for filler in [0, 0xa5] {
                let mut edited = whole.clone();
                edited[damage.clone()].fill(filler);
                let error = outcome(&disk, &ring, &edited, &[b"alpha"]).expect_err("dropped as a torn tail");
                let refused = matches!(error, SealedError::Tampered { offset, .. } if offset == head as u64);
                assert!(refused || matches!(error, SealedError::MissingEpoch { .. }), "{damage:?}: {error}");
            }
        }
    }
    let mut sector = disk.bytes("damaged");
    sector[head..head + 72 + 36].fill(0);
    let error = outcome(&disk, &ring, &sector, &[b"alpha"]).expect_err("the first frame is lost too");
    assert!(matches!(error, SealedError::Tampered { offset, .. } if offset == head as u64), "{error}");
}

#[test]
fn a_crafted_tail_costs_bounded_work() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    write(&disk, "log", &ring, &[(b"alpha", true)]);
    let mut bytes = disk.bytes("log");
    let bad = bytes.len() as u64;
    bytes.extend_from_slice(&[0xff; 64]);
    for counter in 2..8000u32 {
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&counter.to_le_bytes());
        bytes.extend_from_slice(&(bad + 1).to_le_bytes());
        bytes.extend_from_slice(&[0xee; 16]);
    }
    let error = outcome(&disk, &ring, &bytes, &[b"alpha"]).unwrap_err();
    assert!(matches!(error, SealedError::Tampered { offset, .. } if offset == bad), "{error}");
}

#[test]
fn foreign_and_misplaced_files_are_refused() {
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let error = read_all(disk.put("f", b"plaintext log\n"), &ring, PURPOSE).unwrap_err();
    assert!(matches!(error, SealedError::NotSealed), "{error}");
    write(&disk, "log", &ring, &[(b"alpha", true)]);
    let error = read_all(disk.file("log", OpenMode::Read), &ring, Purpose::Wal).unwrap_err();
    assert!(matches!(error, SealedError::WrongPurpose { .. }), "{error}");
    let error = Writer::create(disk.file("log", OpenMode::ReadWrite), &ring, PURPOSE).err().unwrap();
    assert!(matches!(error, SealedError::NotEmpty { bytes: 165 }), "{error}");
    let mut erased = disk.bytes("log");
    erased[..128].fill(0);
    let error = outcome(&disk, &ring, &erased, &[]).unwrap_err();
    assert!(matches!(error, SealedError::Tampered { offset: 0, .. }), "{error}");
}

#[test]
fn data_longer_than_a_frame_is_split() {
    let (disk, ring) = (Disk::new(), ring(AtRest::Aes256Gcm));
    let long = pattern(super::FRAME_PLAINTEXT_BYTES_MAX + 5, 9);
    write(&disk, "log", &ring, &[(&long, true)]);
    let (frames, end) = read(&disk, "log", &ring).unwrap();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [super::FRAME_PLAINTEXT_BYTES_MAX, 5]);
    assert!(frames.concat() == long && end == End::Clean);
}

#[test]
fn room_is_reserved_past_the_end_and_given_back() {
    const ROOM_BYTES: u64 = 4 << 20;
    let (disk, ring) = (Disk::new(), ring(SUITES[0]));
    let mut writer = Writer::create(disk.file("log", OpenMode::CreateNew), &ring, PURPOSE).unwrap();
    let on_disk = || std::fs::metadata(disk.path("log")).unwrap();
    writer.reserve(ROOM_BYTES).unwrap();
    append(&mut writer, &[(b"alpha", true)]);
    assert_eq!(on_disk().len(), writer.file_len());
    assert!(on_disk().blocks() * 512 >= ROOM_BYTES, "no room was kept");
    assert_eq!(read(&disk, "log", &ring).unwrap().0, [b"alpha"]);
    writer.close().unwrap();
    assert!(on_disk().blocks() * 512 < ROOM_BYTES / 4, "{} blocks are left", on_disk().blocks());
    assert_eq!(read(&disk, "log", &ring).unwrap(), (vec![b"alpha".to_vec()], End::Clean));
}
