//! Logs and small files on a disk that fails and loses power: what was synced is there, what was not is whole or gone.

use std::{path::Path, sync::Arc};

use bixi_platform::io::{Crash, Faults, FaultyStorage, MemoryDisk, OpenMode, Storage};

use crate::{
    AtRest, KeyRing, Purpose, SealedError,
    fixtures::{key, pattern, ring},
    frames, pages, small,
};

const LOG: &str = "/log";
const PURPOSE: Purpose = Purpose::Wal;

fn crashes(seeds: u64) -> impl Iterator<Item = Crash> {
    [Crash::LoseUnsynced, Crash::KeepAll].into_iter().chain((0..seeds).map(|seed| Crash::Torn { seed }))
}

/// Record `index`: of every size around sectors, so that frames tear in all ways.
fn record(index: u64) -> Vec<u8> {
    pattern(1 + (index as usize * 397) % 1500, index + 1)
}

/// What a workload had reached when it failed or ended.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    created: bool,
    flushed: u64,
    synced: u64,
}

/// Appends 12 records, syncing every third, rotating and reopening on the way.
fn write_log(storage: &dyn Storage, ring: &KeyRing, progress: &mut Progress) -> Result<(), SealedError> {
    let open = |mode| storage.open(Path::new(LOG), mode).map_err(SealedError::io("open"));
    let mut writer = frames::Writer::create(open(OpenMode::CreateNew)?, ring, PURPOSE)?;
    storage.sync_dir(Path::new("/")).map_err(SealedError::io("sync"))?;
    progress.created = true;
    for index in 0..12 {
        match index {
            4 if ring.current_epoch() == 1 => ring.rotate(2, key(2)).unwrap(),
            8 => writer = frames::Writer::open_append(open(OpenMode::ReadWrite)?, ring, PURPOSE)?.writer,
            _ => {}
        }
        writer.append(&record(index))?;
        if index % 3 == 2 {
            writer.sync()?;
            progress.synced = index + 1;
        } else {
            writer.flush()?;
        }
        progress.flushed = index + 1;
    }
    Ok(())
}

/// Opens the log after a crash: synced records are all there, in order, and appending works.
fn check_log(disk: &MemoryDisk, ring: &KeyRing, progress: Progress, context: &str) {
    let Ok(file) = disk.open(Path::new(LOG), OpenMode::ReadWrite) else {
        assert!(!progress.created, "{context}: the file is gone");
        return;
    };
    let mut frames = Vec::new();
    let reopened = frames::Writer::replay_append(file, ring, PURPOSE, |frame| frames.push(frame.to_vec()));
    let mut writer = reopened.unwrap_or_else(|error| panic!("{context}: {error}")).writer;
    let count = frames.len() as u64;
    assert!(count >= progress.synced, "{context}: {count} records of {} synced", progress.synced);
    assert!(count <= progress.flushed + 1, "{context}: {count} records of {} flushed", progress.flushed);
    assert!(frames.iter().zip(0..).all(|(frame, index)| *frame == record(index)), "{context}: altered records");
    writer.append(b"after").unwrap();
    writer.sync().unwrap();
    disk.crash(Crash::LoseUnsynced);
    let file = disk.open(Path::new(LOG), OpenMode::Read);
    if let Ok(file) = file {
        let (again, end) = frames::read_all(file, ring, PURPOSE).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!((again.len() as u64, end), (count + 1, frames::End::Clean), "{context}");
    }
}

/// Runs the workload with the fault that `arm` sets, then each crash on a disk of its own.
fn fail_and_crash(arm: impl Fn(&Faults), seeds: u64, name: &str) {
    for crash in crashes(seeds) {
        let (disk, faults, ring) = (MemoryDisk::new(), Faults::none(), ring(AtRest::Sm4Gcm));
        arm(&faults);
        let storage = FaultyStorage::new(Arc::new(disk.clone()), faults);
        let mut progress = Progress::default();
        let result = write_log(&storage, &ring, &mut progress);
        disk.crash(crash);
        if ring.current_epoch() == 1 {
            ring.rotate(2, key(2)).unwrap();
        }
        check_log(&disk, &ring, progress, &format!("{name}, {crash:?}, {result:?}"));
    }
}

fn operations_of_the_workload() -> u64 {
    let (faults, ring) = (Faults::none(), ring(AtRest::Sm4Gcm));
    let storage = FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone());
    write_log(&storage, &ring, &mut Progress::default()).unwrap();
    faults.operations()
}

#[test]
fn a_kill_at_every_operation_loses_nothing_synced() {
    let operations = operations_of_the_workload();
    assert!(operations > 20);
    for number in 1..=operations + 1 {
        fail_and_crash(|faults| faults.dead_from(number), 12, &format!("killed at operation {number}"));
    }
}

#[test]
fn one_failing_operation_anywhere_loses_nothing_synced() {
    for number in 1..=operations_of_the_workload() {
        fail_and_crash(|faults| faults.fail_once_at(number), 4, &format!("EIO at operation {number}"));
    }
}

#[test]
fn a_full_disk_anywhere_loses_nothing_synced() {
    for bytes in (0..11_000).step_by(233) {
        fail_and_crash(|faults| faults.full_after(bytes), 4, &format!("full after {bytes} bytes"));
    }
}

#[test]
fn an_error_poisons_the_writer() {
    let (faults, ring) = (Faults::none(), ring(AtRest::Sm4Gcm));
    let storage = FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone());
    let open = |path| storage.open(Path::new(path), OpenMode::CreateNew).unwrap();
    let mut log = frames::Writer::create(open("/log"), &ring, PURPOSE).unwrap();
    let mut table = pages::Writer::create(open("/table"), &ring, Purpose::Table).unwrap();
    log.append(b"one").unwrap();
    table.append(b"one").unwrap();
    faults.full_after(1);
    assert!(matches!(log.flush(), Err(SealedError::Io { .. })));
    assert!(matches!(table.finish(), Err(SealedError::Io { .. })));
    faults.heal();
    for result in [log.append(b"two"), log.flush(), log.sync(), table.append(b"two"), table.flush(), table.sync()] {
        assert!(matches!(result, Err(SealedError::Poisoned)), "{result:?}");
    }
}

#[test]
fn a_failed_sync_poisons_the_writer() {
    let (faults, ring) = (Faults::none(), ring(AtRest::Sm4Gcm));
    let storage = FaultyStorage::new(Arc::new(MemoryDisk::new()), faults.clone());
    let file = storage.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let mut log = frames::Writer::create(file, &ring, PURPOSE).unwrap();
    log.append(b"one").unwrap();
    log.flush().unwrap();
    faults.fail_once_at(faults.operations() + 1);
    assert!(matches!(log.sync(), Err(SealedError::Io { .. })));
    assert!(matches!(log.sync(), Err(SealedError::Poisoned)), "a second sync would lie");
}

/// After a failed sync the kernel shows data that it will never write. A writer that found it, and built on it, must have
/// written it.
#[test]
fn what_a_failed_sync_left_readable_is_durable_once_it_was_replayed() {
    for unsynced in [1, 40] {
        let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
        let open = |mode| disk.open(Path::new(LOG), mode).unwrap();
        let mut log = frames::Writer::create(open(OpenMode::CreateNew), &ring, PURPOSE).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        log.append(&record(0)).unwrap();
        log.sync().unwrap();
        for index in 1..=unsynced {
            log.append(&record(index)).unwrap();
            log.flush().unwrap();
        }
        disk.fail_next_sync();
        assert!(matches!(log.sync(), Err(SealedError::Io { .. })));
        drop(log);

        let mut found = Vec::new();
        let reopened = frames::Writer::replay_append(open(OpenMode::ReadWrite), &ring, PURPOSE, |frame| {
            found.push(frame.to_vec());
        });
        let mut log = reopened.unwrap().writer;
        assert_eq!(found.len() as u64, unsynced + 1, "the page cache shows them");
        log.append(b"built on them").unwrap();
        log.sync().unwrap();
        found.push(b"built on them".to_vec());
        disk.crash(Crash::LoseUnsynced);
        let (after, end) = frames::read_all(open(OpenMode::Read), &ring, PURPOSE).unwrap();
        assert!(after == found && end == frames::End::Clean, "{} of {} records", after.len(), found.len());
    }
}

#[test]
fn a_read_error_is_an_io_error_and_changes_nothing() {
    let (disk, faults, ring) = (MemoryDisk::new(), Faults::none(), ring(AtRest::Sm4Gcm));
    let storage = FaultyStorage::new(Arc::new(disk), faults.clone());
    let file = storage.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let mut log = frames::Writer::create(file, &ring, PURPOSE).unwrap();
    log.append(&record(1)).unwrap();
    log.sync().unwrap();
    let open = || storage.open(Path::new(LOG), OpenMode::ReadWrite).unwrap();
    let len = open().len().unwrap();
    faults.bad_byte_at(200);
    let error = frames::Writer::open_append(open(), &ring, PURPOSE).err().unwrap();
    assert!(matches!(error, SealedError::Io { .. }), "a bad sector is not a torn tail: {error}");
    faults.heal();
    assert_eq!(open().len().unwrap(), len);
}

#[test]
fn a_small_file_is_the_old_or_the_new_one() {
    let path = Path::new("/guard");
    let ring = ring(AtRest::Sm4Gcm);
    let (old, new) = (pattern(700, 1), pattern(1300, 2));
    for number in 1..=5 {
        for crash in crashes(24) {
            let (disk, faults) = (MemoryDisk::new(), Faults::none());
            small::write_atomic(&disk, path, &ring, Purpose::Guard, &old).unwrap();
            faults.dead_from(number);
            let storage = FaultyStorage::new(Arc::new(disk.clone()), faults);
            let written = small::write_atomic(&storage, path, &ring, Purpose::Guard, &new);
            disk.crash(crash);
            let found = small::read(&disk, path, &ring, Purpose::Guard).unwrap();
            assert!(*found == new || (*found == old && written.is_err()), "operation {number}, {crash:?}");
        }
    }
}

#[test]
fn a_table_after_a_crash_is_whole_or_refused() {
    let ring = ring(AtRest::Sm4Gcm);
    let plaintext = pattern(50_000, 4);
    for crash in crashes(60) {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("/table"), OpenMode::CreateNew).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut writer = pages::Writer::create_paged(file, &ring, Purpose::Table, pages::PageSize::KIB_4).unwrap();
        for chunk in plaintext.chunks(9000) {
            writer.append(chunk).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
        disk.crash(crash);
        let file = disk.open(Path::new("/table"), OpenMode::Read).unwrap();
        let mut out = vec![0; plaintext.len()];
        let read = pages::Reader::open(file, &ring, Purpose::Table).and_then(|reader| reader.read_at(0, &mut out));
        match read {
            Ok(got) => assert!(got == plaintext.len() && out == plaintext, "{crash:?}"),
            Err(error) => assert!(crash != Crash::KeepAll, "{error}"),
        }
    }
}
