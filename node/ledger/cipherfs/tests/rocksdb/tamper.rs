//! An edited, exchanged or foreign file is refused by name; altered data is never served.

use std::path::Path;

use rocksdb::{DB, Options};

use crate::driver::*;

/// A closed database with tables, a log of several synced writes, and every small file.
fn database() -> (tempfile::TempDir, Rows) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for i in 0..200u32 {
        db.put(i.to_be_bytes(), [i as u8; 100]).unwrap();
    }
    db.flush().unwrap();
    for i in 200..230u32 {
        put_synced(&db, &[(&i.to_be_bytes(), &[i as u8; 100])]).unwrap();
    }
    let rows = read_all(&db).unwrap();
    drop(db);
    (dir, rows)
}

fn named(dir: &Path, wanted: fn(&str) -> bool) -> std::path::PathBuf {
    let mut found: Vec<_> = all_files(dir)
        .into_iter()
        .filter(|path| wanted(&path.file_name().unwrap().to_string_lossy()) && path.metadata().unwrap().len() > 0)
        .collect();
    found.pop().expect("there is such a file")
}

fn flip(path: &Path, offset: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[offset] ^= 0x40;
    std::fs::write(path, content).unwrap();
}

/// Opens and reads everything; the first error ends it.
fn use_database(dir: &Path) -> Result<Rows, String> {
    let db = try_open(dir, &files())?;
    let rows = read_all(&db)?;
    drop(db);
    Ok(rows)
}

/// Flips one byte at many places of the wanted file and hands each outcome to `judge`.
fn flip_many(
    wanted: fn(&str) -> bool,
    places: usize,
    mut judge: impl FnMut(&str, usize, usize, Result<Rows, String>, &Rows),
) {
    let (original, rows) = database();
    let length = named(original.path(), wanted).metadata().unwrap().len() as usize;
    let stride = (length / places).max(1);
    // An odd start in each stride, so that headers, tags and bodies are all met.
    let offsets = (0..length).step_by(stride).map(|start| (start + (start / stride) % stride).min(length - 1));
    for offset in offsets.chain([length - 1]) {
        let copy = copy_dir(original.path());
        let path = named(copy.path(), wanted);
        flip(&path, offset);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        judge(&name, offset, length, use_database(copy.path()), &rows);
    }
}

fn refused_by_name(name: &str, offset: usize, outcome: Result<Rows, String>) {
    let error =
        outcome.err().unwrap_or_else(|| panic!("byte {offset} of {name} was flipped and the database was used"));
    assert!(error.contains(name), "byte {offset} of {name}: {error}");
    assert!(!error.contains("Corruption"), "byte {offset} of {name}: {error}");
}

#[test]
fn a_flipped_byte_of_a_table_is_refused() {
    flip_many(
        |name| name.ends_with(".sst"),
        60,
        |name, offset, _, outcome, rows| match outcome {
            // A page that no read touched.
            Ok(found) => assert_eq!(&found, rows, "byte {offset} of {name}"),
            Err(error) => refused_by_name(name, offset, Err(error)),
        },
    );
}

#[test]
fn a_flipped_byte_of_current_identity_or_options_is_refused() {
    for wanted in
        [(|name| name == "CURRENT") as fn(&str) -> bool, |name| name == "IDENTITY", |name| name.starts_with("OPTIONS-")]
    {
        flip_many(wanted, 25, |name, offset, _, outcome, _| refused_by_name(name, offset, outcome));
    }
}

/// A closed log ends in an empty frame that marks everything before it as synced; damage to that frame alone is a torn end
/// which drops nothing.
const LAST_MARK_BYTES: usize = 32;

fn every_flip_before_the_last_mark_is_refused(wanted: fn(&str) -> bool) {
    flip_many(wanted, 60, |name, offset, length, outcome, rows| match outcome {
        Ok(found) => {
            assert!(offset >= length - LAST_MARK_BYTES, "byte {offset} of {length} of {name} was flipped unnoticed");
            assert_eq!(&found, rows);
        }
        Err(error) => refused_by_name(name, offset, Err(error)),
    });
}

#[test]
fn a_flipped_byte_of_the_manifest_is_refused() {
    every_flip_before_the_last_mark_is_refused(|name| name.starts_with("MANIFEST-"));
}

#[test]
fn a_flipped_byte_of_a_closed_log_is_refused() {
    every_flip_before_the_last_mark_is_refused(|name| name.ends_with(".log"));
}

/// A log that was not closed: its last frame is covered by no later mark, so damage there is a torn end, which the layers
/// above detect by height.
#[test]
fn a_flipped_byte_of_an_open_log_is_refused_or_drops_the_last_write_whole() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for i in 0..30u32 {
        put_synced(&db, &[(&i.to_be_bytes(), &[i as u8; 100])]).unwrap();
    }
    let rows = read_all(&db).unwrap();
    let length = named(dir.path(), |name| name.ends_with(".log")).metadata().unwrap().len() as usize;
    let (mut refused, mut dropped) = (0, 0);
    for offset in (0..length).step_by(37) {
        let copy = copy_dir(dir.path());
        flip(&named(copy.path(), |name| name.ends_with(".log")), offset);
        match use_database(copy.path()) {
            Ok(found) => {
                dropped += 1;
                assert!(is_prefix(&found, &rows) && found.len() + 1 == rows.len(), "byte {offset}: {}", found.len());
            }
            Err(error) => {
                refused += 1;
                assert!(error.contains(".log"), "byte {offset}: {error}");
            }
        }
    }
    assert!(dropped <= 6 && refused > 100, "{refused} refused, {dropped} dropped the last write");
}

/// A MANIFEST that was not closed: what follows its last edit is a mark, so no damage can make RocksDB forget a table.
#[test]
fn a_flipped_byte_of_an_open_manifest_is_refused_or_drops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for i in 0..30u32 {
        put_synced(&db, &[(&i.to_be_bytes(), &[i as u8; 100])]).unwrap();
        if i % 10 == 9 {
            db.flush().unwrap();
        }
    }
    let rows = read_all(&db).unwrap();
    let is_manifest = |name: &str| name.starts_with("MANIFEST-");
    let length = named(dir.path(), is_manifest).metadata().unwrap().len() as usize;
    let mut refused = 0;
    for offset in (0..length).step_by(7).chain(length - 200..length) {
        let copy = copy_dir(dir.path());
        flip(&named(copy.path(), is_manifest), offset);
        match use_database(copy.path()) {
            Ok(found) => {
                assert!(offset >= length - LAST_MARK_BYTES, "byte {offset} of {length} was flipped unnoticed");
                assert_eq!(found, rows, "byte {offset} of {length}");
            }
            Err(error) => {
                refused += 1;
                assert!(error.contains("MANIFEST-"), "byte {offset}: {error}");
            }
        }
    }
    assert!(refused > 100, "{refused} refused");
    drop(db);
}

fn is_prefix(found: &Rows, rows: &Rows) -> bool {
    found.iter().zip(rows).all(|(one, other)| one == other) && found.len() <= rows.len()
}

#[test]
fn the_known_plaintext_edit_of_a_log_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    put_synced(&db, &[(b"account", b"balance=000100")]).unwrap();
    put_synced(&db, &[(b"other", b"1")]).unwrap();
    drop(db);
    let path = named(dir.path(), |name| name.ends_with(".log"));
    let sealed = std::fs::read(&path).unwrap();
    let difference: Vec<u8> = b"balance=000100".iter().zip(b"balance=999999").map(|(old, new)| old ^ new).collect();
    for start in 0..sealed.len() - difference.len() {
        let mut edited = sealed.clone();
        for (byte, change) in edited[start..].iter_mut().zip(&difference) {
            *byte ^= change;
        }
        std::fs::write(&path, edited).unwrap();
        let copy = copy_dir(dir.path());
        if let Ok(rows) = use_database(copy.path()) {
            let served = rows.get(&b"account"[..]);
            assert!(served.is_none_or(|value| value == b"balance=000100"), "edit at {start} was served");
        }
    }
}

#[test]
fn exchanged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for round in 0..2u8 {
        for i in 0..100u32 {
            db.put(i.to_be_bytes(), [round; 50]).unwrap();
        }
        db.flush().unwrap();
    }
    drop(db);
    let tables: Vec<_> =
        all_files(dir.path()).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "sst")).collect();
    assert!(tables.len() >= 2);
    let (first, second) = (std::fs::read(&tables[0]).unwrap(), std::fs::read(&tables[1]).unwrap());
    std::fs::write(&tables[0], second).unwrap();
    std::fs::write(&tables[1], first).unwrap();
    let outcome = use_database(dir.path());
    assert!(outcome.is_err(), "two tables were exchanged unnoticed");

    let (other, _) = database();
    let log = named(other.path(), |name| name.ends_with(".log"));
    std::fs::copy(named(other.path(), |name| name.ends_with(".sst")), &log).unwrap();
    refused_by_name(&log.file_name().unwrap().to_string_lossy(), 0, use_database(other.path()));
}

#[test]
fn a_wrong_key_is_refused_before_rocksdb_reads() {
    let (dir, _) = database();
    let stranger = bixi_cipherfs::CipherFs::new(std::sync::Arc::new(bixi_platform::io::PreadStorage), ring(2));
    let error = try_open(dir.path(), &stranger).expect_err("refused");
    assert!(error.contains("CURRENT") && error.contains("key"), "{error}");
}

#[test]
fn a_plaintext_database_is_refused_before_rocksdb_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut plain = Options::default();
    plain.create_if_missing(true);
    drop(DB::open(&plain, dir.path()).unwrap());
    let error = try_open(dir.path(), &files()).expect_err("refused");
    let (evidence, seal) = (error.find("keep the directory as evidence"), error.find("`bixi db seal`"));
    assert!(error.contains("not sealed") && evidence.is_some() && evidence < seal, "{error}");
}

#[test]
fn a_sealed_database_is_refused_by_a_plain_rocksdb() {
    let (dir, _) = database();
    assert!(DB::open(&Options::default(), dir.path()).is_err());
}

#[test]
fn a_cut_table_is_refused() {
    let (original, rows) = database();
    let length = named(original.path(), |name| name.ends_with(".sst")).metadata().unwrap().len();
    for keep in [0, 1, 100, length / 2, length - 1] {
        let copy = copy_dir(original.path());
        let path = named(copy.path(), |name| name.ends_with(".sst"));
        std::fs::File::options().write(true).open(&path).unwrap().set_len(keep).unwrap();
        match use_database(copy.path()) {
            Ok(found) => panic!("{keep} of {length} bytes were left, {} of {} rows served", found.len(), rows.len()),
            Err(error) => assert!(error.contains(".sst") || error.contains("Corruption"), "{error}"),
        }
    }
}

/// RocksDB takes a directory without CURRENT for an empty one: it begins a database, and the next start deletes the old tables.
#[test]
fn a_lost_current_is_refused_and_nothing_is_deleted() {
    let (dir, rows) = database();
    let current = dir.path().join("CURRENT");
    let kept = std::fs::read(&current).unwrap();
    std::fs::remove_file(&current).unwrap();
    let left = all_files(dir.path());
    for start in ["first", "second"] {
        let error = use_database(dir.path()).expect_err("an empty database was begun");
        assert!(error.contains("CURRENT") && error.contains("restore"), "{start} start: {error}");
        assert_eq!(all_files(dir.path()), left, "{start} start");
    }
    std::fs::write(&current, kept).unwrap();
    assert_eq!(use_database(dir.path()).unwrap(), rows);
}

#[test]
fn a_creation_cut_off_before_current_begins_again() {
    let (dir, _) = database();
    for path in all_files(dir.path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !(name.starts_with("MANIFEST-") || name == "IDENTITY") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(use_database(dir.path()).unwrap().is_empty());
}

#[test]
fn an_older_log_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    put_synced(&db, &[(b"a", b"1")]).unwrap();
    let is_log = |name: &str| name.ends_with(".log");
    let old = std::fs::read(named(dir.path(), is_log)).unwrap();
    db.flush().unwrap();
    put_synced(&db, &[(b"a", b"2")]).unwrap();
    drop(db);
    let path = named(dir.path(), is_log);
    std::fs::write(&path, old).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let error = use_database(dir.path()).expect_err("an older log was replayed");
    assert!(error.contains(&name) && error.contains("was written as"), "{error}");
}

/// The title is the first frame: a creation that was cut off before it leaves an empty log, and so it stays when reopened.
#[test]
fn a_log_cut_anywhere_in_its_beginning_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = named(dir.path(), |name| name.ends_with(".log"));
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 1, 127, 128, 140, 128 + 32 + "000004.log".len()] {
        let copy = copy_dir(dir.path());
        std::fs::write(copy.path().join(path.file_name().unwrap()), &whole[..cut]).unwrap();
        assert!(use_database(copy.path()).unwrap().is_empty(), "cut to {cut} bytes");
    }
}
