//! Someone who can write to the disk removes a file, cuts it, or puts back an older one. The database is refused, or it is what
//! it was after some batch: all columns at the same moment. Anything else would be a wrong state under a right header.

use std::fs;

use super::*;

/// Small, so that RocksDB flushes while batches are written.
const TINY: Memory = Memory { cache_bytes: 1 << 20, write_buffer_bytes: 256 << 10 };
const BATCHES: u32 = 36;

fn open_in(dir: &Path) -> Result<RocksEngine, EngineError> {
    RocksEngine::open(dir, &files(1), TINY)
}

fn row(number: u32) -> String {
    format!("row-{number:04}")
}

/// Batch n sets `n` and a row of its own in every column; one column fills faster than the others.
fn write(engine: &RocksEngine, number: u32) {
    let mut batch = Batch::default();
    for column in Column::ALL {
        let bytes = if column == Column::State { 24_000 } else { 40 };
        let noise = (0..bytes).map(|i: u32| (i.wrapping_mul(i ^ number) >> 3) as u8).collect::<Vec<_>>();
        batch.put(column, "n", number.to_be_bytes());
        batch.put(column, row(number), noise);
    }
    engine.write(batch).unwrap();
}

/// What became of a database with a spoilt file.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(String),
    /// After this batch.
    At(u32),
    /// Different moments in one database.
    Torn(String),
}

fn moment(engine: &RocksEngine) -> Result<Outcome, EngineError> {
    let mut moments = Vec::new();
    for column in Column::ALL {
        let n = engine.get(column, b"n")?.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")));
        let mut rows = Vec::new();
        for number in 1..=BATCHES {
            rows.extend(engine.get(column, row(number).as_bytes())?.map(|_| number));
        }
        moments.push((n, rows));
    }
    let n = moments[0].0;
    let torn = moments.iter().any(|(at, rows)| *at != n || !rows.iter().copied().eq(1..=n));
    Ok(if torn { Outcome::Torn(format!("{moments:?}")) } else { Outcome::At(n) })
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in names(from) {
        // A table that a compaction removes meanwhile.
        let _ = fs::copy(from.join(&name), to.path().join(&name));
    }
    to
}

/// The database at the end, and copies of its directory on the way.
fn history() -> (tempfile::TempDir, Vec<tempfile::TempDir>) {
    let dir = tempfile::tempdir().unwrap();
    let mut earlier = Vec::new();
    let mut engine = open_in(dir.path()).unwrap();
    for number in 1..=BATCHES {
        write(&engine, number);
        if number % 10 == 0 {
            earlier.push(copy(dir.path()));
        }
        if number % 15 == 0 {
            drop(engine);
            engine = open_in(dir.path()).unwrap();
        }
    }
    drop(engine);
    (dir, earlier)
}

/// Opens a copy of `dir` after `spoil`.
fn spoilt(dir: &Path, spoil: impl FnOnce(&Path)) -> Outcome {
    let copy = copy(dir);
    spoil(copy.path());
    let outcome = open_in(copy.path()).and_then(|engine| moment(&engine));
    outcome.unwrap_or_else(|error| Outcome::Refused(error.to_string()))
}

/// The spoilt forms of one file: gone, cut, an older one of its name or, for a log, of another name.
///
/// A MANIFEST cut where a frame ends is left out: RocksDB takes it for a shorter history, forgets the tables after it and replays
/// the newer write-ahead log over the hole, and nothing here compares it with what the commits knew. `docs/STATE.md` has the gap.
fn forms(name: &str, whole: &[u8], earlier: &[tempfile::TempDir]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut forms = vec![("removed".to_owned(), None)];
    let cuts = if name.starts_with("MANIFEST") { 0 } else { 4 };
    forms.extend(
        (0..cuts).map(|part| whole.len() * part / 4).map(|cut| (format!("cut to {cut}"), Some(whole[..cut].into()))),
    );
    for (age, old) in earlier.iter().enumerate() {
        for other in names(old.path()) {
            let bytes = fs::read(old.path().join(&other)).unwrap();
            let may_replace = other == name || (other.ends_with(".log") && name.ends_with(".log"));
            if may_replace && bytes != whole {
                forms.push((format!("replaced by {other} of copy {age}"), Some(bytes)));
            }
        }
    }
    forms
}

#[test]
fn a_database_with_one_spoilt_file_is_refused_or_shows_one_moment() {
    let (end, earlier) = history();
    let end = end.path();
    assert_eq!(spoilt(end, |_| ()), Outcome::At(BATCHES));
    let mut outcomes = Vec::new();
    for name in names(end).into_iter().filter(|name| name != "LOCK") {
        let whole = fs::read(end.join(&name)).unwrap();
        for (form, bytes) in forms(&name, &whole, &earlier) {
            let outcome = spoilt(end, |dir| match &bytes {
                Some(bytes) => fs::write(dir.join(&name), bytes).unwrap(),
                None => fs::remove_file(dir.join(&name)).unwrap(),
            });
            outcomes.push((name.clone(), form, outcome));
        }
    }
    let torn: Vec<_> = outcomes.iter().filter(|(_, _, outcome)| matches!(outcome, Outcome::Torn(_))).collect();
    assert!(torn.is_empty(), "{torn:#?}");
    let earlier_moments = outcomes.iter().filter(|(_, _, outcome)| matches!(outcome, Outcome::At(n) if *n < BATCHES));
    assert!(earlier_moments.count() > 0, "a cut log is a whole earlier state, which the layers above compare");
}
