use bixi_platform::io::{Crash, MemoryDisk};
use bixi_platform::secret::Secret;
use bixi_sealed::AtRest;
use bixi_types::H256;
use bixi_types::consensus::{CommitCertificate, Value};

use super::*;

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[7; 32]))], 1).expect("one epoch")
}

fn decided(height: u64) -> Record {
    let value =
        Value { height, parent: H256::ZERO, timestamp_ms: height, builder: 0, protocol_version: 1, batches: vec![] };
    let certificate = CommitCertificate { height, round: 0, value: H256::ZERO, signatures: vec![] };
    Record::Entry(Box::new(LogEntry::Decided { value, certificate }))
}

fn batch(height: u64, bytes: usize) -> Record {
    Record::Batch { height, batch: Batch { transactions: vec![vec![height as u8; bytes]] } }
}

fn open(disk: &MemoryDisk) -> (OrderingLog, Vec<Record>) {
    let (log, recovered) = OrderingLog::open(Arc::new(disk.clone()), Path::new("/ordering"), ring()).expect("opens");
    (log, recovered.records)
}

#[test]
fn synced_records_come_back_in_order_after_a_crash() {
    let disk = MemoryDisk::new();
    let (mut log, found) = open(&disk);
    assert!(found.is_empty());
    let written: Vec<Record> = (1..=20).flat_map(|height| [batch(height, 1_000), decided(height)]).collect();
    for record in &written {
        log.append(record).unwrap();
    }
    log.sync().unwrap();
    log.append(&decided(21)).unwrap();
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    let (mut log, found) = open(&disk);
    assert_eq!(found, written, "what was synced, and nothing half");
    log.append(&decided(22)).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.len(), written.len() + 1);
    assert_eq!(found.last(), Some(&decided(22)));
}

#[test]
fn torn_tails_never_give_half_a_record() {
    for seed in 0..64 {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk);
        log.append(&decided(1)).unwrap();
        log.sync().unwrap();
        for height in 2..6 {
            log.append(&batch(height, 70_000)).unwrap();
        }
        drop(log);
        disk.crash(Crash::Torn { seed });
        let (_, found) = open(&disk);
        let whole: Vec<Record> =
            std::iter::once(decided(1)).chain((2..6).map(|height| batch(height, 70_000))).collect();
        assert!(!found.is_empty() && whole.starts_with(&found), "seed {seed}: {} records", found.len());
    }
}

#[test]
fn forgetting_removes_only_files_the_ledger_has_passed() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&decided(1)).unwrap();
    log.append(&decided(9)).unwrap();
    log.sync().unwrap();
    drop(log);
    let (mut log, _) = open(&disk);
    log.forget(8).unwrap();
    log.append(&decided(10)).unwrap();
    log.sync().unwrap();
    drop(log);
    let (mut log, found) = open(&disk);
    assert_eq!(found.len(), 3);
    log.forget(9).unwrap();
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found, [decided(10)]);
}

#[test]
fn changed_bytes_below_a_sync_are_refused() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&batch(1, 4_000)).unwrap();
    log.sync().unwrap();
    log.append(&decided(1)).unwrap();
    log.sync().unwrap();
    drop(log);
    let path = Path::new("/ordering").join(file_name(0));
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(1_000, &mut byte).unwrap();
    file.write_at(1_000, &[byte[0] ^ 1]).unwrap();
    let error = OrderingLog::open(Arc::new(disk.clone()), Path::new("/ordering"), ring()).err().expect("refused");
    assert!(error.to_string().contains("000000000000.log"), "{error}");
}

#[test]
fn a_log_is_open_once() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let second = || OrderingLog::open(Arc::new(disk.clone()), Path::new("/ordering"), ring()).map(drop);
    assert!(matches!(second(), Err(LogError::Locked { .. })));
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let rewritten = rewrite(&storage, Path::new("/ordering"), &ring(), |_| false);
    assert!(matches!(rewritten, Err(LogError::Locked { .. })), "nobody empties it beneath a node");
    log.append(&decided(1)).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(&disk).1, [decided(1)]);
}
