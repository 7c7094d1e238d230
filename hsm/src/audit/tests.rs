mod gate;
mod signed;

use std::path::Path;
use std::sync::Arc;

use bixi_platform::io::{
    Crash, Faults, FaultyStorage, MemoryDisk, Meter, MeteredStorage, OpenMode, PreadStorage, Storage,
};
use bixi_platform::secret::Secret;
use bixi_sealed::frames::Writer;
use bixi_sealed::{AtRest, KeyRing, Purpose};

use super::chain::{Head, Record, file_path};
use super::*;

/// So small that a handful of entries fills a file.
const SMALL: u64 = 2_000;
const DIR: &str = "/audit";

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap()
}

fn open_small(storage: Arc<dyn Storage>, dir: &Path) -> Result<AuditLog, AuditError> {
    AuditLog::open_limited(AuditLog::reserve(storage, dir)?, ring(), SMALL)
}

fn open(dir: &Path) -> Result<AuditLog, AuditError> {
    open_small(Arc::new(PreadStorage::new()), dir)
}

fn event(subject: impl ToString) -> Event {
    Event {
        request: "sign-vote".to_owned(),
        subject: subject.to_string(),
        digest: Some([1; 32]),
        outcome: Outcome::Signed,
    }
}

fn record(log: &AuditLog, subject: impl ToString) {
    log.record(&event(subject), Durability::Grouped).unwrap();
}

/// Subjects of the entries, openings left out.
fn subjects_on(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>, AuditError> {
    let mut subjects = Vec::new();
    verify_chain(storage, dir, &ring(), |entry| {
        if entry.event.request != "audit-open" {
            subjects.push(entry.event.subject);
        }
    })?;
    Ok(subjects)
}

fn subjects(dir: &Path) -> Result<Vec<String>, AuditError> {
    subjects_on(&PreadStorage::new(), dir)
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// A log of `count` entries in several files, closed.
fn filled(count: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    for number in 0..count {
        record(&log, number);
        log.sync().unwrap();
    }
    assert!(log.usage().files > 3, "{:?}", log.usage());
    dir
}

/// What is written to a file that no later reader finds is recorded nowhere.
#[test]
fn a_file_that_was_taken_away_ends_the_log() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path()).unwrap();
    record(&log, "kept");
    log.sync().unwrap();
    let file = file_path(place.path(), 1);
    std::fs::rename(&file, place.path().join("archive")).unwrap();
    let refused = log.record(&event("lost"), Durability::AtOnce).unwrap_err();
    assert!(matches!(refused, AuditError::Storage { .. }), "{refused}");
    std::fs::write(&file, b"another").unwrap();
    assert!(log.record(&event("later"), Durability::Grouped).is_err(), "the log is broken from then on");
}

#[test]
fn the_chain_goes_on_over_restarts_and_files() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..3_u64 {
        let log = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(AuditError::InUse { .. })), "one writer");
        for number in 0..20 {
            record(&log, life * 20 + number);
            log.sync().unwrap();
        }
        assert_eq!(log.head().entries, (life + 1) * 21, "and one entry for each opening");
    }
    assert_eq!(subjects(dir.path()).unwrap(), numbers(60));
    let chain = verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {}).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!((chain.begins, chain.ends.entries, chain.torn_bytes), (Head::default(), log.head().entries - 1, 0));
    assert_eq!(chain.files, log.usage().files);
}

#[test]
fn opening_reads_the_newest_file_and_verifying_reads_all() {
    let dir = filled(60);
    let old = file_path(dir.path(), 2);
    let mut bytes = std::fs::read(&old).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&old, bytes).unwrap();
    let log = open(dir.path()).unwrap();
    record(&log, 60);
    assert!(matches!(subjects(dir.path()), Err(AuditError::Damaged { path, .. }) if path == old));
    let meter = Meter::default();
    let storage = MeteredStorage::new(Arc::new(PreadStorage::new()), meter.clone());
    drop(log);
    open_small(Arc::new(storage), dir.path()).unwrap();
    assert!(meter.counts().read_bytes < 3 * SMALL, "{:?}", meter.counts());
}

#[test]
fn removed_swapped_and_edited_files_are_found() {
    let dir = filled(60);
    let path = |number| file_path(dir.path(), number);
    let read = |number| std::fs::read(path(number)).unwrap();
    let (second, third) = (read(2), read(3));

    std::fs::remove_file(path(2)).unwrap();
    assert!(matches!(subjects(dir.path()), Err(AuditError::Damaged { path: found, .. }) if found == path(2)), "a gap");
    assert!(open(dir.path()).is_err(), "a start sees the gap too");
    std::fs::write(path(2), &third).unwrap();
    assert!(matches!(subjects(dir.path()), Err(AuditError::Broken { path: found, .. }) if found == path(2)), "renamed");
    std::fs::write(path(3), &second).unwrap();
    assert!(matches!(subjects(dir.path()), Err(AuditError::Broken { .. })), "swapped");
    std::fs::write(path(3), &third).unwrap();
    for position in (0..second.len()).step_by(41) {
        let mut edited = second.clone();
        edited[position] ^= 1;
        std::fs::write(path(2), &edited).unwrap();
        assert!(subjects(dir.path()).is_err(), "byte {position} of a closed file was changed unseen");
    }
    for bytes in [&second[..second.len() - 1], &second[..second.len() / 2], &[&second[..], &[0; 40]].concat()] {
        std::fs::write(path(2), bytes).unwrap();
        assert!(subjects(dir.path()).is_err(), "{} of {} bytes of a closed file", bytes.len(), second.len());
    }
    std::fs::write(path(2), &second).unwrap();
    assert_eq!(subjects(dir.path()).unwrap(), numbers(60));
}

#[test]
fn whoever_has_the_keys_still_has_to_make_the_chain_fit() {
    let entries = |count: u32| {
        let mut head = Head::default();
        let mut next = |number| {
            let (frame, after) = head.next(7, &event(number).encode());
            let record = borsh::from_slice::<Record>(&frame).unwrap();
            let Record::Entry(entry) = &record else { panic!("an entry") };
            assert_eq!((Head::after(entry), record.encode()), (after, frame));
            head = after;
            record
        };
        (0..count).map(&mut next).collect::<Vec<_>>()
    };
    let start = Record::Start { number: 1, head: Head::default() };
    let whole = [vec![start.clone()], entries(6)].concat();
    let check = |records: &[Record]| {
        let dir = tempfile::tempdir().unwrap();
        let file = PreadStorage::new().open(&file_path(dir.path(), 1), OpenMode::CreateNew).unwrap();
        let mut writer = Writer::create(file, &ring(), Purpose::Audit).unwrap();
        for record in records {
            writer.append(&record.encode()).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        let (verified, opened) = (subjects(dir.path()), open(dir.path()));
        assert_eq!(verified.is_ok(), opened.is_ok(), "{records:?}");
        verified
    };
    assert_eq!(check(&whole).unwrap(), numbers(6));
    let broken = |records: Vec<Record>, at: u64| match check(&records) {
        Err(AuditError::Broken { sequence, .. }) => assert_eq!(sequence, at),
        other => panic!("{other:?}"),
    };
    let mut cut = whole.clone();
    cut.remove(3);
    broken(cut, 2);
    let mut swapped = whole.clone();
    swapped.swap(2, 4);
    broken(swapped, 1);
    let mut changed = whole.clone();
    let Record::Entry(entry) = &mut changed[3] else { panic!("an entry") };
    entry.event.outcome = Outcome::Refused("it never happened".to_owned());
    broken(changed, 3);
    broken(whole[1..].to_vec(), 0);
    broken([&whole[..3], &[start]].concat(), 2);
    broken([&[Record::Start { number: 2, head: Head::default() }], &whole[1..]].concat(), 0);
    let shifted = Head { entries: 1, hash: [0; 32] };
    broken([&[Record::Start { number: 1, head: shifted }], &whole[1..]].concat(), 0);
}

#[test]
fn the_oldest_files_may_be_archived_and_the_rest_says_where_it_begins() {
    let dir = filled(60);
    let whole = verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {}).unwrap();
    let archive = tempfile::tempdir().unwrap();
    for number in 1..=2 {
        std::fs::rename(file_path(dir.path(), number), file_path(archive.path(), number)).unwrap();
    }
    let archived = verify_chain(&PreadStorage::new(), archive.path(), &ring(), |_| {}).unwrap();
    let rest = verify_chain(&PreadStorage::new(), dir.path(), &ring(), |_| {}).unwrap();
    assert_eq!((archived.begins, rest.ends), (whole.begins, whole.ends));
    assert!(archived.ends == rest.begins && rest.begins.entries > 0, "the two parts meet");
    record(&open(dir.path()).unwrap(), 60);
    assert_eq!(archived.files + rest.files, whole.files);
}

#[test]
fn only_what_must_be_durable_at_once_is_synced_on_the_way() {
    let (disk, meter) = (MemoryDisk::new(), Meter::default());
    let storage = MeteredStorage::new(Arc::new(disk), meter.clone());
    let log = AuditLog::open(Arc::new(storage), DIR, ring()).unwrap();
    let syncs = || meter.counts().syncs;
    let before = syncs();
    for number in 0..1_000 {
        record(&log, number);
    }
    assert_eq!(syncs(), before);
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!(syncs(), before + 1, "nothing new is nothing to sync");
    log.record(&event("refused"), Durability::AtOnce).unwrap();
    assert_eq!(syncs(), before + 2);
    record(&log, "last");
    drop(log);
    assert_eq!(syncs(), before + 3, "the end of the log is durable");
}

#[test]
fn recording_does_not_wait_for_a_sync() {
    let (storage, gate) = gate::storage(MemoryDisk::new());
    let log = Arc::new(AuditLog::open(storage, DIR, ring()).unwrap());
    record(&log, 0);
    gate.close();
    let syncing = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.sync()
    });
    gate.wait_for_a_caller();
    for number in 1..100 {
        record(&log, number);
    }
    assert!(!syncing.is_finished());
    gate.open();
    syncing.join().unwrap().unwrap();
}

#[test]
fn a_flipped_byte_below_the_last_sync_is_never_taken_for_a_crash() {
    let (disk, path) = (MemoryDisk::new(), file_path(Path::new(DIR), 1));
    let log = AuditLog::open(Arc::new(disk.clone()), DIR, ring()).unwrap();
    (0..5).for_each(|number| record(&log, number));
    log.sync().unwrap();
    let synced = disk.metadata(&path).unwrap().len;
    // A later frame carries the mark of that sync.
    record(&log, 5);
    drop(log);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    for position in 0..synced {
        let mut byte = [0];
        file.read_exact_at(position, &mut byte).unwrap();
        file.write_at(position, &[byte[0] ^ 0x10]).unwrap();
        let opened = AuditLog::open(Arc::new(disk.clone()), DIR, ring());
        assert!(matches!(opened, Err(AuditError::Damaged { .. })), "byte {position}: {opened:?}");
        file.write_at(position, &byte).unwrap();
    }
    assert_eq!(subjects_on(&disk, Path::new(DIR)).unwrap(), numbers(6));
}

#[test]
fn a_failed_write_or_sync_ends_the_log_until_it_is_opened_again() {
    for (operation, durability) in [(1, Durability::Grouped), (2, Durability::AtOnce)] {
        let (disk, faults) = (MemoryDisk::new(), Faults::none());
        let storage = || Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults.clone()));
        let log = AuditLog::open(storage(), DIR, ring()).unwrap();
        record(&log, 0);
        faults.fail_once_at(faults.operations() + operation);
        assert!(matches!(log.record(&event(1), durability), Err(AuditError::Storage { .. })));
        for durability in [Durability::Grouped, Durability::AtOnce] {
            assert!(log.record(&event(2), durability).is_err(), "the disk works again, and what it holds is unknown");
        }
        assert!(log.sync().is_err());
        drop(log);
        record(&AuditLog::open(storage(), DIR, ring()).unwrap(), 3);
        let subjects = subjects_on(&disk, Path::new(DIR)).unwrap();
        assert!(subjects == ["0", "3"] || subjects == ["0", "1", "3"], "{subjects:?}");
    }
}

#[test]
fn a_file_nobody_syncs_still_ends() {
    let (disk, dir) = (MemoryDisk::new(), Path::new(DIR));
    let log = open_small(Arc::new(disk.clone()), dir).unwrap();
    (0..100).for_each(|number| record(&log, number));
    let usage = log.usage();
    assert!(usage.bytes / u64::from(usage.files) < 3 * SMALL, "{usage:?}");
    assert_eq!(subjects_on(&disk, dir).unwrap(), numbers(100));
}

#[test]
fn long_words_of_others_are_cut() {
    let (disk, dir) = (MemoryDisk::new(), Path::new(DIR));
    let log = AuditLog::open(Arc::new(disk.clone()), dir, ring()).unwrap();
    let before = log.usage().bytes;
    let long = "虺".repeat(1 << 20);
    let event = Event { outcome: Outcome::Refused(long.clone()), ..event(long) };
    log.record(&event, Durability::AtOnce).unwrap();
    assert!(log.usage().bytes - before < 2_000);
    assert_eq!(subjects_on(&disk, dir).unwrap()[0].len(), TEXT_BYTES_MAX - TEXT_BYTES_MAX % 3);
}

/// What a workload had reached when its disk died or it ended.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    recorded: u32,
    durable: u32,
}

/// Records 120 events over two openings and several files, every seventh to be durable at once. In the second life nobody
/// calls for syncs, so that a file is followed by another while its last entries are not durable yet.
fn workload(storage: &Arc<dyn Storage>, progress: &mut Progress) -> Result<(), AuditError> {
    for (events, syncs) in [(20, true), (100, false)] {
        let log = open_small(Arc::clone(storage), Path::new(DIR))?;
        for _ in 0..events {
            let number = progress.recorded;
            let durability = if number % 7 == 6 { Durability::AtOnce } else { Durability::Grouped };
            log.record(&event(number), durability)?;
            progress.recorded += 1;
            if durability == Durability::AtOnce {
                progress.durable = progress.recorded;
            } else if syncs && number % 5 == 4 {
                log.sync()?;
                progress.durable = progress.recorded;
            }
        }
    }
    Ok(())
}

#[test]
fn whatever_crashes_the_chain_holds_and_nothing_durable_is_lost() {
    let faults = Faults::none();
    let healthy: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone()));
    workload(&healthy, &mut Progress::default()).unwrap();
    let operations = faults.operations();
    assert!(operations > 60, "{operations}");
    for number in 1..=operations + 1 {
        let torn = (0..10).map(|seed| Crash::Torn { seed });
        for crash in [Crash::LoseUnsynced, Crash::KeepAll].into_iter().chain(torn) {
            let (disk, faults) = (MemoryDisk::new(), Faults::none());
            faults.dead_from(number);
            let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults));
            let mut progress = Progress::default();
            let _ = workload(&storage, &mut progress);
            disk.crash(crash);
            check_after_a_crash(&disk, progress, crash, &format!("operation {number}, {crash:?}, {progress:?}"));
        }
    }
}

fn check_after_a_crash(disk: &MemoryDisk, progress: Progress, crash: Crash, context: &str) {
    let dir = Path::new(DIR);
    let log = open_small(Arc::new(disk.clone()), dir);
    let log = log.unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = subjects_on(disk, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let count = found.len() as u32;
    assert_eq!(found, numbers(count), "{context}");
    let survivors = if crash == Crash::KeepAll { progress.recorded } else { progress.durable };
    assert!((survivors..=progress.recorded + 1).contains(&count), "{context}: {count} entries survived");
    log.record(&event(count), Durability::AtOnce).unwrap();
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(subjects_on(disk, dir).unwrap(), numbers(count + 1), "{context}");
}
