use std::{collections::BTreeSet, path::Path};

use super::{Crash, MemoryDisk};
use crate::io::{OpenMode, Storage, conformance};

#[test]
fn memory_conforms() {
    conformance::check(&MemoryDisk::new(), Path::new("/"));
}

fn content(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenMode::Read).ok()?;
    let mut out = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(0, &mut out).unwrap();
    Some(out)
}

#[test]
fn power_loss_takes_what_was_not_synced() {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    file.write_and_sync(0, b"durable").unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(7, b" and not").unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(content(&disk, "/f").unwrap(), b"durable");
    assert!(file.len().is_err(), "handles do not outlive the crash");
}

#[test]
fn names_need_a_directory_sync() {
    let disk = MemoryDisk::new();
    disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap().write_and_sync(0, b"x").unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(content(&disk, "/f"), None);
}

#[test]
fn a_rename_is_whole_under_every_seed() {
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let disk = MemoryDisk::new();
        disk.open(Path::new("/old"), OpenMode::CreateNew).unwrap().write_and_sync(0, b"old").unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.open(Path::new("/new"), OpenMode::CreateNew).unwrap().write_and_sync(0, b"new").unwrap();
        disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
        disk.crash(Crash::Torn { seed });
        seen.insert(content(&disk, "/old").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn unsynced_writes_are_kept_lost_torn_and_reordered() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(0, &[1; 1024]).unwrap();
        file.write_at(1024, &[2; 512]).unwrap();
        disk.crash(Crash::Torn { seed });
        let bytes = content(&disk, "/f").unwrap();
        let sector = |index: usize| bytes.get(index * 512).copied().unwrap_or(0);
        seen.insert((sector(0), sector(1), sector(2)));
    }
    for expected in [(0, 0, 0), (1, 1, 2), (1, 1, 0), (0, 0, 2), (0, 1, 0), (1, 0, 2)] {
        assert!(seen.contains(&expected), "{expected:?} never happened");
    }
}

#[test]
fn the_end_of_the_process_alone_loses_nothing() {
    let disk = MemoryDisk::new();
    disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap().write_at(0, b"written").unwrap();
    disk.crash(Crash::KeepAll);
    assert_eq!(content(&disk, "/f").unwrap(), b"written");
}

#[test]
fn what_a_failed_sync_leaves_is_readable_and_never_durable() {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(0, b"lost").unwrap();
    disk.fail_next_sync();
    assert!(file.sync_data().is_err());
    file.write_at(4, b" kept").unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&disk, "/f").unwrap(), b"lost kept");
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(content(&disk, "/f").unwrap(), b"\0\0\0\0 kept");
}
