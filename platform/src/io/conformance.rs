//! One suite for every backend: what the traits promise, checked against the running kernel or the memory disk.

use std::{io, path::Path};

use super::{OpenMode, PreadStorage, Storage};

/// Runs every check on `storage`, inside the existing directory `root`.
pub(super) fn check(storage: &dyn Storage, root: &Path) {
    open_modes_follow_their_rules(storage, root);
    content_is_addressed_by_offset(storage, root);
    names_move_and_vanish(storage, root);
    locks_exclude(storage, root);
    many_threads_share_a_file(storage, root);
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error.kind(),
    }
}

fn open_modes_follow_their_rules(storage: &dyn Storage, root: &Path) {
    let path = root.join("modes");
    assert_eq!(kind(storage.open(&path, OpenMode::Read)), io::ErrorKind::NotFound);
    assert_eq!(kind(storage.open(&path, OpenMode::ReadWrite)), io::ErrorKind::NotFound);
    storage.open(&path, OpenMode::CreateNew).unwrap().write_at(0, b"abc").unwrap();
    assert_eq!(kind(storage.open(&path, OpenMode::CreateNew)), io::ErrorKind::AlreadyExists);
    assert_eq!(storage.open(&path, OpenMode::ReadWrite).unwrap().len().unwrap(), 3);
    let reader = storage.open(&path, OpenMode::Read).unwrap();
    assert!(reader.write_at(0, b"x").is_err(), "a file opened for reading takes no write");
    assert!(storage.open(&path, OpenMode::Truncate).unwrap().is_empty().unwrap());
}

fn content_is_addressed_by_offset(storage: &dyn Storage, root: &Path) {
    let file = storage.open(&root.join("content"), OpenMode::CreateNew).unwrap();
    let data: Vec<u8> = (0..300_000u32).map(|index| (index * 31 % 251) as u8).collect();
    file.write_at(0, &data).unwrap();
    file.write_and_sync(data.len() as u64 + 10, b"beyond").unwrap();
    assert_eq!(file.len().unwrap(), data.len() as u64 + 16);
    let mut out = vec![0xff; data.len() + 32];
    assert_eq!(file.read_at(0, &mut out).unwrap(), data.len() + 16, "a read ends at the end of the file");
    assert_eq!(out[..data.len()], data);
    assert_eq!(out[data.len()..data.len() + 16], *b"\0\0\0\0\0\0\0\0\0\0beyond", "a hole reads as zeros");
    assert_eq!(file.read_at(1 << 40, &mut out).unwrap(), 0);
    assert_eq!(kind(file.read_exact_at(data.len() as u64, &mut [0; 17])), io::ErrorKind::UnexpectedEof);
    file.write_at(0, &[]).unwrap();
    file.write_and_sync(0, &[]).unwrap();
    assert_eq!(file.read_at(5, &mut []).unwrap(), 0);
    file.begin_write_back(0, data.len() as u64).unwrap();
    file.begin_write_back(1 << 20, 1 << 20).unwrap();
    file.begin_write_back(0, 0).unwrap();
    file.truncate(100).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 100, "reserved space does not count");
    file.truncate(200).unwrap();
    file.read_exact_at(90, &mut out[..110]).unwrap();
    assert_eq!(out[..10], data[90..100]);
    assert!(out[10..110].iter().all(|&byte| byte == 0));
    file.sync_data().unwrap();
    file.sync_all().unwrap();
}

fn names_move_and_vanish(storage: &dyn Storage, root: &Path) {
    let dir = root.join("a/b");
    storage.create_dir_all(&dir).unwrap();
    storage.create_dir_all(&dir).unwrap();
    let (one, two, three) = (dir.join("one"), dir.join("two"), dir.join("three"));
    storage.open(&one, OpenMode::CreateNew).unwrap().write_at(0, b"1").unwrap();
    storage.open(&two, OpenMode::CreateNew).unwrap().write_at(0, b"22").unwrap();
    let (first, second) = (storage.metadata(&one).unwrap().inode, storage.metadata(&two).unwrap().inode);
    assert_ne!(first, second);
    storage.rename(&one, &two).unwrap();
    assert_eq!(storage.metadata(&two).unwrap().inode, first);
    assert!(!storage.exists(&one).unwrap());
    assert_eq!(storage.metadata(&two).unwrap().len, 1, "rename replaces");
    storage.hard_link(&two, &three).unwrap();
    assert_eq!(kind(storage.hard_link(&two, &three)), io::ErrorKind::AlreadyExists);
    assert_eq!(storage.metadata(&two).unwrap().names, 2);
    assert_eq!(storage.metadata(&three).unwrap().names, 2);
    assert_eq!(storage.metadata(&three).unwrap().inode, storage.metadata(&two).unwrap().inode);
    assert_eq!(storage.list(&dir).unwrap(), [Path::new("three"), Path::new("two")]);
    storage.remove(&two).unwrap();
    assert_eq!(kind(storage.remove(&two)), io::ErrorKind::NotFound);
    let mut byte = [0];
    storage.open(&three, OpenMode::Read).unwrap().read_exact_at(0, &mut byte).unwrap();
    assert_eq!(&byte, b"1", "the second name keeps the content");
    assert_eq!(storage.metadata(&three).unwrap().names, 1);
    storage.sync_dir(&dir).unwrap();
    assert!(storage.metadata(&dir).unwrap().is_dir);
    assert_eq!(kind(storage.remove_dir(&dir)), io::ErrorKind::DirectoryNotEmpty);
    storage.remove(&three).unwrap();
    storage.remove_dir(&dir).unwrap();
    assert_eq!(kind(storage.list(&dir)), io::ErrorKind::NotFound);
    assert_eq!(kind(storage.rename(&one, &two)), io::ErrorKind::NotFound);
}

fn locks_exclude(storage: &dyn Storage, root: &Path) {
    let path = root.join("LOCK");
    let held = storage.lock(&path).unwrap();
    assert_eq!(kind(storage.lock(&path)), io::ErrorKind::WouldBlock);
    drop(held);
    storage.lock(&path).unwrap();
}

fn many_threads_share_a_file(storage: &dyn Storage, root: &Path) {
    let file = storage.open(&root.join("shared"), OpenMode::CreateNew).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let file = &file;
            scope.spawn(move || {
                for step in 0..16u64 {
                    let offset = (step * 4 + thread) * 64;
                    file.write_and_sync(offset, &[thread as u8 + 1; 64]).unwrap();
                    let mut back = [0; 64];
                    file.read_exact_at(offset, &mut back).unwrap();
                    assert_eq!(back, [thread as u8 + 1; 64]);
                }
            });
        }
    });
    assert_eq!(file.len().unwrap(), 4 * 16 * 64);
}

#[test]
fn pread_conforms() {
    let root = tempfile::tempdir().unwrap();
    check(&PreadStorage::new(), root.path());
}

#[test]
fn a_symbolic_link_is_told_from_its_file() {
    let root = tempfile::tempdir().unwrap();
    let (file, link) = (root.path().join("file"), root.path().join("link"));
    let storage = PreadStorage::new();
    storage.open(&file, OpenMode::CreateNew).unwrap().write_at(0, b"123").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let facts = storage.metadata(&link).unwrap();
    assert!(facts.is_symlink && facts.len == 3 && facts.names == 1, "{facts:?}");
    assert!(!storage.metadata(&file).unwrap().is_symlink);
}

#[test]
fn new_files_belong_to_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let (dir, path) = (root.path().join("d"), root.path().join("f"));
    PreadStorage::new().create_dir_all(&dir).unwrap();
    PreadStorage::new().open(&path, OpenMode::CreateNew).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o177, 0);
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o077, 0);
}
