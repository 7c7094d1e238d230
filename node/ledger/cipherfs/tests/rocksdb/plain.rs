//! A plaintext database sealed where it is: whatever ends it, it is gone on with, and what it holds stays.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bixi_cipherfs::{CipherFs, PlainStage, Sealing, expect_sealable, plain_stage, scrub};
use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk, OpenMode, PreadStorage, Storage};
use bixi_sealed::inspect_path;
use rocksdb::{ColumnFamilyDescriptor, DB, IteratorMode, Options};

use crate::driver::*;

mod foreign;

const COLUMNS: [&str; 3] = ["default", "chain", "state"];
const MARKER: &[u8] = b"a-marker-in-plaintext";

type Content = BTreeMap<&'static str, Rows>;

fn open_with(dir: &Path, options: &Options) -> Result<DB, String> {
    let columns = COLUMNS.map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
    DB::open_cf_descriptors(options, dir, columns).map_err(|error| error.to_string())
}

/// A database of a plain RocksDB with tables of each column and rows that only its log has.
fn plain_database(dir: &Path) -> Content {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let db = open_with(dir, &options).unwrap();
    for (round, is_flushed) in [(0u8, true), (1, true), (2, false)] {
        for column in COLUMNS {
            let family = db.cf_handle(column).unwrap();
            for i in 0..200u8 {
                let value = [MARKER, column.as_bytes(), &[round; 40]].concat();
                db.put_cf(family, [column.as_bytes(), &[round, i]].concat(), value).unwrap();
            }
            if is_flushed {
                db.flush_cf(family).unwrap();
            }
        }
    }
    content(&db)
}

fn content(db: &DB) -> Content {
    let rows = |column| {
        let rows = db.iterator_cf(db.cf_handle(column).unwrap(), IteratorMode::Start).map(|row| row.expect("readable"));
        (column, rows.map(|(key, value)| (key.into_vec(), value.into_vec())).collect())
    };
    COLUMNS.map(rows).into()
}

fn sealed_content(dir: &Path, files: &CipherFs) -> Content {
    files.check(dir).unwrap();
    content(&open_with(dir, &options(files)).unwrap())
}

fn go_on(_: &Sealing) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What the ledger does, but for the plain opening and the verification.
fn seal(dir: &Path, files: &CipherFs) -> Result<(), String> {
    seal_on(&PreadStorage, dir, files)
}

/// The same on another disk than the system's.
fn seal_on(storage: &dyn Storage, dir: &Path, files: &CipherFs) -> Result<(), String> {
    match plain_stage(storage, dir).map_err(|error| error.to_string())? {
        PlainStage::Nothing => return Err("no database".to_owned()),
        PlainStage::Sealed => return Err("sealed already".to_owned()),
        PlainStage::Plain | PlainStage::Begun | PlainStage::Unverified => {}
    }
    let sealed = || {
        if plain_stage(storage, dir)? == PlainStage::Plain {
            expect_sealable(storage, dir)?;
            assert!(files.begin_sealing(dir, &mut go_on)?);
        }
        assert!(files.seal_plain(dir, &mut go_on)?);
        files.accept_sealed(dir)
    };
    sealed().map_err(|error| error.to_string())
}

fn expect_all_sealed(storage: &dyn Storage, dir: &Path) {
    let paths: Vec<_> = storage.list(dir).unwrap().iter().map(|name| dir.join(name)).collect();
    assert!(paths.len() > 8, "{paths:?}");
    for path in paths.iter().filter(|path| !path.ends_with("LOCK") && !path.ends_with("sealing")) {
        inspect_path(storage, path).unwrap();
        let file = storage.open(path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(0, &mut bytes).unwrap();
        assert!(!contains(&bytes, MARKER) && !contains(&bytes, b"rocksdb"), "{}", path.display());
    }
}

/// The files of a directory on a disk in memory, under the same names and durable.
fn on_memory(dir: &Path) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(dir).unwrap();
    for path in all_files(dir) {
        disk.open(&path, OpenMode::CreateNew).unwrap().write_and_sync(0, &std::fs::read(&path).unwrap()).unwrap();
    }
    disk.sync_dir(dir).unwrap();
    disk
}

#[test]
fn a_plaintext_database_is_sealed_and_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    let is_there = |name: &str| all_files(dir.path()).iter().any(|path| path.ends_with(name));
    assert!(is_there("LOG"));
    assert!(all_files(dir.path()).iter().any(|path| contains(&std::fs::read(path).unwrap(), MARKER)), "plaintext");
    assert!(files().check(dir.path()).unwrap_err().to_string().contains("bixi db seal"));
    assert_eq!(seal(dir.path(), &files()), Ok(()));
    assert!(!is_there("LOG"), "names and settings are in it");
    expect_all_sealed(&PreadStorage, dir.path());
    assert_eq!(sealed_content(dir.path(), &files()), expected);
    let again = seal(dir.path(), &files()).unwrap_err();
    assert!(again.contains("sealed already"), "{again}");
    assert!(seal(&dir.path().join("none"), &files()).unwrap_err().contains("no database"));
}

/// Power lost before each operation: the database is whole in plaintext, or refused until it is gone on with.
#[test]
fn power_lost_anywhere_leaves_a_database_that_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    let (mut whole, mut half, mut unverified) = (0, 0, 0);
    for number in 1.. {
        let (disk, faults) = (on_memory(dir.path()), Faults::none());
        faults.dead_from(number);
        let faulty = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults));
        let ended = seal_on(&*faulty, dir.path(), &files_on(Arc::clone(&faulty) as Arc<dyn Storage>));
        disk.crash(Crash::Torn { seed: number });
        let files = files_on(Arc::new(disk.clone()));
        if ended.is_err() {
            match plain_stage(&disk, dir.path()).unwrap() {
                PlainStage::Plain => {
                    whole += 1;
                    assert!(files.check(dir.path()).is_err(), "{number}");
                    for path in all_files(dir.path()) {
                        let file = disk.open(&path, OpenMode::Read).unwrap();
                        let mut bytes = vec![0; file.len().unwrap() as usize];
                        file.read_exact_at(0, &mut bytes).unwrap();
                        assert!(bytes == std::fs::read(&path).unwrap(), "{number}: {}", path.display());
                    }
                }
                stage @ (PlainStage::Begun | PlainStage::Unverified) => {
                    half += 1;
                    unverified += u32::from(stage == PlainStage::Unverified);
                    let refused = files.check(dir.path()).unwrap_err().to_string();
                    assert!(refused.contains("bixi db seal"), "{number}: {refused}");
                    // CURRENT is the last.
                    if inspect_path(&disk, &dir.path().join("CURRENT")).is_ok() {
                        expect_all_sealed(&disk, dir.path());
                    }
                }
                // The last of it was the removal of an empty directory.
                PlainStage::Sealed => {}
                PlainStage::Nothing => panic!("{number}: it is gone"),
            }
            if let Err(error) = seal_on(&disk, dir.path(), &files) {
                assert_eq!(error, "sealed already", "{number}");
            }
        }
        expect_all_sealed(&disk, dir.path());
        assert_eq!(sealed_content(dir.path(), &files), expected, "{number}");
        if ended.is_ok() {
            break;
        }
    }
    assert!(whole > 10 && half > 50 && unverified > 2, "{whole} whole, {half} begun, {unverified} of them unverified");
}

#[test]
fn one_operation_that_fails_anywhere_is_told_and_done_by_the_next_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    for number in 1.. {
        let (disk, faults) = (on_memory(dir.path()), Faults::none());
        faults.fail_once_at(number);
        let faulty = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults));
        let files = files_on(Arc::clone(&faulty) as Arc<dyn Storage>);
        let first = seal_on(&*faulty, dir.path(), &files);
        if let Err(error) = &first {
            assert!(error.contains(dir.path().to_str().unwrap()), "{number}: {error}");
            assert!(seal_on(&*faulty, dir.path(), &files).is_ok() || files.check(dir.path()).is_ok(), "{number}");
        }
        expect_all_sealed(&disk, dir.path());
        assert_eq!(sealed_content(dir.path(), &files_on(Arc::new(disk))), expected, "{number}");
        if first.is_ok() {
            assert!(number > 60, "{number}");
            break;
        }
    }
}

#[test]
fn a_full_disk_ends_it_and_loses_nothing() {
    let mut is_begun = false;
    for room_bytes in [0, 1, 1_000, 10_000, 60_000] {
        let dir = tempfile::tempdir().unwrap();
        let expected = plain_database(dir.path());
        let faults = Faults::none();
        let full = files_on(Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone())));
        faults.full_after(room_bytes);
        let error = seal(dir.path(), &full).expect_err("full");
        assert!(error.to_lowercase().contains("space"), "{room_bytes}: {error}");
        is_begun |= plain_stage(&PreadStorage, dir.path()).unwrap() == PlainStage::Begun;
        assert_eq!(seal(dir.path(), &files()), Ok(()));
        assert_eq!(sealed_content(dir.path(), &files()), expected, "{room_bytes}");
    }
    assert!(is_begun, "the list was never written");
}

/// A sector that takes a write and does not give it back is found while the plaintext is still there.
#[test]
fn a_copy_that_cannot_be_read_back_takes_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    let length = |path: &std::path::PathBuf| path.metadata().unwrap().len();
    let is_sealed = |path: &std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with("LOG");
    let longest = all_files(dir.path()).into_iter().filter(is_sealed).max_by_key(length).expect("files");
    let plain = std::fs::read(&longest).unwrap();
    let faults = Faults::none();
    let faulty = files_on(Arc::new(FaultyStorage::new(Arc::new(PreadStorage), faults.clone())));
    // Behind the end of every plaintext file, and not of the longest one's copy.
    faults.bad_byte_at(plain.len() as u64 + 10);
    let error = seal(dir.path(), &faulty).expect_err("it cannot be read");
    assert!(error.contains(longest.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(std::fs::read(&longest).unwrap() == plain, "it is as it was");
    assert_eq!(seal(dir.path(), &files()), Ok(()));
    assert_eq!(sealed_content(dir.path(), &files()), expected);
}

#[test]
fn what_is_ended_is_gone_on_with_and_every_file_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    let is_listed = |path: &std::path::PathBuf| !["LOCK", "LOG"].iter().any(|name| path.ends_with(name));
    let files_there = all_files(dir.path()).iter().filter(|path| is_listed(path)).count();
    begin(dir.path());
    let (mut attempts, mut sealed) = (0, 0);
    // A file at a time.
    loop {
        attempts += 1;
        let mut last = Sealing::default();
        let done = files().seal_plain(dir.path(), &mut |now| {
            last = *now;
            if now.files > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(last.files, 1, "{attempts}");
        sealed += last.files;
        if sealed == files_there as u64 {
            // The last was CURRENT; nothing is left but the mark.
            assert!(!done.unwrap() && last.read == last.read_total, "{last:?}");
            break;
        }
        assert!(!done.unwrap() && last.read < last.read_total, "{last:?}");
    }
    assert!(attempts > 5, "{attempts}");
    seal(dir.path(), &files()).unwrap();
    assert_eq!(sealed_content(dir.path(), &files()), expected);
    // All of it at once.
    let dir = tempfile::tempdir().unwrap();
    plain_database(dir.path());
    let mut last = Sealing::default();
    let mut watch = |now: &Sealing| {
        last = *now;
        ControlFlow::Continue(())
    };
    assert!(files().begin_sealing(dir.path(), &mut watch).unwrap());
    assert!(files().seal_plain(dir.path(), &mut watch).unwrap());
    assert_eq!((last.files, last.read), (files_there as u64, last.read_total));
    assert_eq!(last.read, 2 * last.bytes);
}

/// Sealing makes authentic whatever was there.
#[test]
fn what_was_sealed_is_opened_by_nobody_but_who_verifies_it_until_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let expected = plain_database(dir.path());
    begin(dir.path());
    let expect_refused = |words: &str| {
        let refused = files().check(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("`bixi db seal`") && refused.contains(words), "{refused}");
    };
    expect_refused("broken off");
    assert!(files().check_to_verify(dir.path()).is_err());
    assert!(files().seal_plain(dir.path(), &mut go_on).unwrap());
    for _ in 0..2 {
        assert_eq!(plain_stage(&PreadStorage, dir.path()).unwrap(), PlainStage::Unverified);
        expect_refused("keep the directory as evidence");
        files().check_to_verify(dir.path()).unwrap();
        // Given again, there is nothing left to seal.
        assert!(files().seal_plain(dir.path(), &mut |_| panic!("nothing is left")).unwrap());
    }
    // The mark is read as every file is.
    let mark = dir.path().join("sealing/UNVERIFIED");
    let mut go_on = |_: u64| ControlFlow::Continue(());
    assert!(scrub(&PreadStorage, &ring(1), &mark, &mut go_on).unwrap().is_whole());
    // Power lost between the mark's removal and the directory's: verified once more.
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(plain_stage(&PreadStorage, dir.path()).unwrap(), PlainStage::Unverified);
    expect_refused("keep the directory as evidence");
    files().accept_sealed(dir.path()).unwrap();
    assert_eq!(sealed_content(dir.path(), &files()), expected);
}

/// With one file of it sealed.
#[test]
fn a_plain_rocksdb_reads_nothing_and_makes_nothing_of_what_is_half_sealed() {
    let dir = tempfile::tempdir().unwrap();
    plain_database(dir.path());
    begin(dir.path());
    let one = &mut |now: &Sealing| if now.files > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(!files().seal_plain(dir.path(), one).unwrap());
    let names = || {
        let is_of_data = |path: &std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with("LOG");
        all_files(dir.path()).into_iter().filter(is_of_data).collect::<Vec<_>>()
    };
    let before = names();
    assert!(open_with(dir.path(), &Options::default()).is_err());
    assert_eq!(names(), before, "it made files");
    seal(dir.path(), &files()).unwrap();
}

fn begin(dir: &Path) {
    assert!(files().begin_sealing(dir, &mut go_on).unwrap());
}

/// The first of them.
fn table_of(dir: &Path) -> std::path::PathBuf {
    let is_table = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    let mut tables: Vec<_> = all_files(dir).into_iter().filter(is_table).collect();
    tables.sort();
    tables.remove(0)
}
