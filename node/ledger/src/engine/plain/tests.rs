use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bixi_cipherfs::{CipherFs, CipherFsError, FileKind, PlainStage, Sealing, plain_stage};
use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};

use super::super::rocks::RocksEngine;
use super::super::{Batch, Engine as _};
use super::*;

const SMALL: Memory = Memory { cache_bytes: 4 << 20, write_buffer_bytes: 4 << 20 };
const ROUNDS: u32 = 3;
const ROWS: u32 = 300;

fn files() -> CipherFs {
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).expect("one epoch");
    CipherFs::new(Arc::new(PreadStorage), ring)
}

fn open_plain(dir: &Path) -> RocksEngine {
    RocksEngine::open_in(dir, &Env::new().unwrap(), SMALL).unwrap()
}

fn value(round: u32, i: u32) -> Vec<u8> {
    format!("row {i} of round {round}, in plaintext").repeat(5).into_bytes()
}

/// A ledger's database as a plain RocksDB leaves it: tables of the first rounds, and the last one in the log alone.
fn plaintext() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_plain(dir.path());
    for round in 0..ROUNDS {
        for column in Column::ALL {
            let mut batch = Batch::default();
            (0..ROWS).for_each(|i| batch.put(column, [round.to_be_bytes(), i.to_be_bytes()].concat(), value(round, i)));
            engine.write(batch).unwrap();
            if round + 1 < ROUNDS {
                engine.flush(column).unwrap();
            }
        }
    }
    dir
}

type Content = BTreeMap<&'static str, Vec<(Vec<u8>, Vec<u8>)>>;

fn content(engine: &RocksEngine) -> Content {
    let mut content = Content::new();
    for column in Column::ALL {
        let rows = content.entry(column.name()).or_default();
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        engine.walk(column, &[], &mut visit).unwrap();
    }
    content
}

fn read(dir: &Path) -> Result<RowsRead, EngineError> {
    read_plain(&Held::of(dir)?, SMALL, &mut |_| ControlFlow::Continue(())).map(|read| read.expect("nothing ends it"))
}

/// What `bixi db seal` does, but for the verification; how many rows were read.
fn seal(dir: &Path) -> Result<u64, EngineError> {
    let failed = |error: CipherFsError| EngineError(error.to_string());
    assert_eq!(plain_stage(&PreadStorage, dir).map_err(failed)?, PlainStage::Plain);
    let rows = read(dir)?.rows;
    let mut go_on = |_: &Sealing| ControlFlow::Continue(());
    assert!(files().begin_sealing(dir, &mut go_on).and_then(|_| files().seal_plain(dir, &mut go_on)).map_err(failed)?);
    files().accept_sealed(dir).map_err(failed)?;
    Ok(rows)
}

fn ending(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    paths
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_plaintext_ledger_is_sealed_with_what_only_its_log_had() {
    let dir = plaintext();
    let before = RocksEngine::open(dir.path(), &files(), SMALL).err().expect("refused");
    assert!(before.to_string().contains("`bixi db seal`"), "{before}");
    let rows = u64::from(ROUNDS * ROWS) * Column::ALL.len() as u64;
    assert_eq!(seal(dir.path()).unwrap(), rows);
    let engine = RocksEngine::open(dir.path(), &files(), SMALL).unwrap();
    let found = content(&engine);
    assert_eq!(found.values().map(|rows| rows.len() as u64).sum::<u64>(), rows);
    for round in 0..ROUNDS {
        for i in 0..ROWS {
            let key = [round.to_be_bytes(), i.to_be_bytes()].concat();
            assert_eq!(engine.get(Column::State, &key).unwrap(), Some(value(round, i)));
        }
    }
    drop(engine);
    assert_eq!(plain_stage(&PreadStorage, dir.path()).unwrap(), PlainStage::Sealed);
    assert!(DB::open_cf(&rocksdb::Options::default(), dir.path(), ["default"]).is_err(), "for a plain RocksDB");
}

/// Which file, and nothing is lost: put right, it is sealed.
#[test]
fn a_damaged_table_is_refused_by_name_and_loses_nothing() {
    let dir = plaintext();
    let expected = content(&open_plain(dir.path()));
    let table = &ending(dir.path(), "sst")[0];
    let kept = std::fs::read(table).unwrap();
    flip(table, kept.len() / 4);
    let refused = seal(dir.path()).unwrap_err().to_string();
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(refused.contains(name), "{refused}");
    assert_eq!(plain_stage(&PreadStorage, dir.path()).unwrap(), PlainStage::Plain);
    std::fs::write(table, &kept[..kept.len() / 2]).unwrap();
    let refused = seal(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(name), "{refused}");
    std::fs::write(table, &kept).unwrap();
    seal(dir.path()).unwrap();
    assert_eq!(content(&RocksEngine::open(dir.path(), &files(), SMALL).unwrap()), expected);
}

/// A database whose rows are in small records of one log.
fn small_records() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_plain(dir.path());
    for i in 0..400u32 {
        let mut batch = Batch::default();
        batch.put(Column::State, i.to_be_bytes(), vec![b'v'; 150]);
        engine.write(batch).unwrap();
    }
    dir
}

/// RocksDB's own way to open would end the log there and go on without the rest.
#[test]
fn a_log_that_is_damaged_or_cut_is_refused_wherever_it_is() {
    let dir = small_records();
    let log = &ending(dir.path(), "log")[0];
    let kept = std::fs::read(log).unwrap();
    let record = first_of_last_block(&kept);
    let refuse_with = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = kept.clone();
        change(&mut bytes);
        std::fs::write(log, bytes).unwrap();
        expect_refused(dir.path(), what)
    };
    refuse_with("a byte in the middle", &|bytes| bytes[kept.len() / 2] ^= 0x10);
    refuse_with("a byte of the last block", &|bytes| bytes[record + 20] ^= 0x10);
    // It reaches behind the end now, as that of a record does that was cut; whole records are behind it.
    refuse_with("a length of the last block", &|bytes| bytes[record + 5] ^= 0x40);
    // What a crash tears: whoever wrote it says what is behind it.
    let refused = refuse_with("a cut record", &|bytes| bytes.truncate(kept.len() - 5));
    assert!(refused.contains("copy the directory first") && refused.contains("stop it in order"), "{refused}");
    drop(open_plain(dir.path()));
    assert_eq!(seal(dir.path()).unwrap(), 399);
}

/// RocksDB skips what is behind a header of zeros up to the block's end, and looks for ever at a kind of logs that are used again; it tells
/// nobody, however it opens.
#[test]
fn a_damaged_header_of_a_log_or_a_manifest_is_refused_whichever_bit_it_is() {
    let dir = small_records();
    let manifest = files_in(dir.path()).unwrap().into_iter().find(|path| FileKind::of(path) == FileKind::Manifest);
    let log = ending(dir.path(), "log").remove(0);
    for path in [log, manifest.expect("a MANIFEST")] {
        let kept = std::fs::read(&path).unwrap();
        let second = HEADER_BYTES + usize::from(u16::from_le_bytes([kept[4], kept[5]]));
        let refuse_with = |what: &str, bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            expect_refused(dir.path(), &format!("{}: {what}", path.display()))
        };
        for bit in 0..8 * HEADER_BYTES {
            let mut bytes = kept.clone();
            bytes[second + bit / 8] ^= 1 << (bit % 8);
            refuse_with(&format!("bit {bit}"), &bytes);
        }
        let mut bytes = kept.clone();
        bytes[second..second + HEADER_BYTES].fill(0);
        let refused = refuse_with("zeros", &bytes);
        // That would have RocksDB leave out what is hidden, and remove the log.
        assert!(!refused.contains("once more") && refused.contains("let no program open"), "{refused}");
        std::fs::write(&path, kept).unwrap();
    }
    assert_eq!(read(dir.path()).unwrap().rows, 400);
}

/// The newer one would be replayed over the hole.
#[test]
fn an_older_log_that_is_cut_is_refused() {
    let dir = plaintext();
    {
        let engine = open_plain(dir.path());
        let put = |column, key: &[u8]| {
            let mut batch = Batch::default();
            batch.put(column, key, b"a value in one of two logs".repeat(9));
            engine.write(batch).unwrap();
        };
        put(Column::Chain, b"in the older");
        put(Column::State, b"in the older");
        // A flush of one column begins a log; the other column needs the older one still.
        engine.flush(Column::State).unwrap();
        put(Column::Chain, b"in the newer");
    }
    let mut logs = ending(dir.path(), "log");
    logs.retain(|log| log.metadata().unwrap().len() > 0);
    logs.sort();
    assert_eq!(logs.len(), 2, "{logs:?}");
    let kept = std::fs::read(&logs[0]).unwrap();
    std::fs::write(&logs[0], &kept[..kept.len() - 5]).unwrap();
    expect_refused(dir.path(), "the older log");
    std::fs::write(&logs[0], kept).unwrap();
    seal(dir.path()).unwrap();
}

/// RocksDB would open what was there before, and remove what came after.
#[test]
fn a_manifest_that_lost_its_end_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, earlier) = {
        let engine = open_plain(dir.path());
        let write = |round| {
            let mut batch = Batch::default();
            (0..ROWS).for_each(|i| batch.put(Column::State, i.to_be_bytes(), value(round, i)));
            engine.write(batch).unwrap();
            engine.flush(Column::State).unwrap();
        };
        write(0);
        let is_manifest = |path: &PathBuf| FileKind::of(path) == FileKind::Manifest;
        let entries = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let manifest = entries.filter(is_manifest).max().expect("a MANIFEST");
        let earlier = std::fs::read(&manifest).unwrap();
        write(1);
        (manifest, earlier)
    };
    let whole = std::fs::read(&manifest).unwrap();
    assert!(whole.starts_with(&earlier) && whole.len() > earlier.len());
    let tables = ending(dir.path(), "sst").len();
    std::fs::write(&manifest, earlier).unwrap();
    let refused = read(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(".sst: a table that the database does not name"), "{refused}");
    assert_eq!(ending(dir.path(), "sst").len(), tables);
    std::fs::write(&manifest, whole).unwrap();
    assert_eq!(read(dir.path()).unwrap().rows, u64::from(ROWS));
}

/// Of a record in a log: checksum, length, type.
const HEADER_BYTES: usize = 7;

/// Where the first record begins that begins in the last block of a log.
fn first_of_last_block(log: &[u8]) -> usize {
    const BLOCK_BYTES: usize = 32 << 10;
    const FIRST: u8 = 2;
    let block = (log.len() - 1) / BLOCK_BYTES * BLOCK_BYTES;
    let continued = usize::from(u16::from_le_bytes([log[block + 4], log[block + 5]]));
    let begin = block + if log[block + 6] > FIRST { HEADER_BYTES + continued } else { 0 };
    assert!(block > 0 && begin + 2_000 < log.len(), "whole records are behind it: {begin} of {}", log.len());
    begin
}

fn expect_refused(dir: &Path, what: &str) -> String {
    let refused = seal(dir).expect_err(what).to_string();
    assert!(refused.contains("nothing was sealed"), "{what}: {refused}");
    assert_eq!(plain_stage(&PreadStorage, dir).unwrap(), PlainStage::Plain, "{what}");
    refused
}

/// Neither rewritten, which takes room and leaves more plaintext on the disk, nor mended: it may be evidence.
#[test]
fn reading_changes_nothing() {
    let dir = plaintext();
    let files = || {
        let paths = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let before = files();
    let rows = u64::from(ROUNDS * ROWS) * Column::ALL.len() as u64;
    assert_eq!(read(dir.path()).unwrap().rows, rows, "with those of its log");
    assert!(files() == before);
}

const HELD: &str = "BIXI_HELD_DATABASE";

#[test]
#[ignore = "runs as a child of the next test"]
fn a_database_is_held() {
    let Some(dir) = std::env::var_os(HELD) else { return };
    let _held = open_plain(Path::new(&dir));
    std::io::stderr().write_all(b"open").unwrap();
    std::io::read_to_string(std::io::stdin()).unwrap();
}

#[test]
fn a_database_that_another_process_has_open_is_refused() {
    let dir = plaintext();
    let piped = std::process::Stdio::piped;
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::plain::tests::a_database_is_held", "--ignored", "--nocapture"])
        .env(HELD, dir.path())
        .stdin(piped())
        .stderr(piped())
        .spawn()
        .unwrap();
    let mut told = [0; 4];
    other.stderr.as_mut().unwrap().read_exact(&mut told).unwrap();
    let refused = read(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("another process has the database open"), "{refused}");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    read(dir.path()).unwrap();
    // A copy has no LOCK as a rule.
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    let held = Held::of(dir.path()).unwrap();
    let late = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::plain::tests::a_database_is_held", "--ignored", "--nocapture"])
        .env(HELD, dir.path())
        .output()
        .unwrap();
    assert!(!late.status.success(), "it opened what is held here");
    drop(held);
}

#[test]
fn who_waits_is_told_of_the_rows_and_ends_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open_plain(dir.path());
        let mut batch = Batch::default();
        (0..20u8).for_each(|i| batch.put(Column::Chain, [i], vec![i; 200_000]));
        engine.write(batch).unwrap();
    }
    let mut told = Vec::new();
    let all = read_plain(&Held::of(dir.path()).unwrap(), SMALL, &mut |read| {
        told.push(read);
        ControlFlow::Continue(())
    });
    let all = all.unwrap().expect("nothing ended it");
    assert_eq!(all, RowsRead { rows: 20, bytes: 20 * 200_001 });
    assert!(told.len() >= 3 && told.is_sorted_by_key(|read| read.bytes), "{told:?}");
    assert!(told[0].bytes < 2 * TOLD_BYTES, "{told:?}");
    assert_eq!(read_plain(&Held::of(dir.path()).unwrap(), SMALL, &mut |_| ControlFlow::Break(())).unwrap(), None);
    seal(dir.path()).unwrap();
}

/// A node would not open it.
#[test]
fn a_database_with_another_column_is_refused_by_its_name() {
    const OTHER: &str = "of-somebody-else";
    let names = || Column::ALL.into_iter().map(Column::name).chain([OTHER]);
    for (rows, is_flushed) in [(0, false), (9, false), (9, true)] {
        let dir = plaintext();
        let mut options = rocks::database_options(&Env::new().unwrap(), SMALL);
        options.create_missing_column_families(true);
        {
            let db = DB::open_cf(&options, dir.path(), names()).unwrap();
            let family = db.cf_handle(OTHER).unwrap();
            (0..rows).for_each(|row| db.put_cf(family, [row], b"a value").unwrap());
            if is_flushed {
                db.flush_cf(family).unwrap();
            }
        }
        let refused = read(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(OTHER) && refused.contains("no ledger of a node"), "{rows} {is_flushed}: {refused}");
    }
}

#[test]
fn a_database_without_the_ledgers_columns_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    drop(DB::open(&options, dir.path()).unwrap());
    assert!(seal(dir.path()).unwrap_err().to_string().contains("no column family"));
    drop(DB::open(&rocksdb::Options::default(), dir.path()).unwrap());
    assert_eq!(plain_stage(&PreadStorage, &dir.path().join("absent")).unwrap(), PlainStage::Nothing);
}
