//! The codec of everything on disk, against the same bytes written and read without it.
//!
//! `disk=memory` shows the codec alone; `disk=file` is a file in the temporary directory, in the page cache. Only `frames::sync`
//! waits for the device.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use bixi_benches::{Bench, Case, Contender};
use bixi_platform::io::{File, MemoryDisk, OpenMode, PreadStorage, Storage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing, Purpose, frames, pages};
use std::hint::black_box;
use std::path::{Path, PathBuf};

const TABLE_BYTES: usize = 1 << 20;
const SUITES: [(&str, AtRest); 2] = [("sm4-gcm", AtRest::Sm4Gcm), ("aes-256-gcm", AtRest::Aes256Gcm)];

/// Where files lie.
struct Disk {
    name: &'static str,
    storage: Box<dyn Storage>,
    directory: PathBuf,
}

impl Disk {
    fn open(&self, file: &str, mode: OpenMode) -> Box<dyn File> {
        self.storage.open(&self.directory.join(file), mode).expect("a file")
    }
}

fn main() {
    let selected = bixi_accel::cpu::selected();
    let kernels: Vec<_> = selected.iter().map(|selected| (selected.operation, selected.kernel)).collect();
    let mut bench = Bench::from_args(&kernels);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let memory = MemoryDisk::new();
    memory.create_dir_all(Path::new("/bench")).expect("a directory");
    let disks = [
        Disk { name: "memory", storage: Box::new(memory), directory: "/bench".into() },
        Disk { name: "file", storage: Box::new(PreadStorage::new()), directory: temporary.path().to_owned() },
    ];
    for (suite, at_rest) in SUITES {
        let ring = KeyRing::new(at_rest, vec![(1, Secret::from_slice(&[1; 32]))], 1).expect("a key ring");
        for disk in &disks {
            write_pages(&mut bench, suite, &ring, disk);
            read_pages(&mut bench, suite, &ring, disk);
        }
        append_frames(&mut bench, suite, &ring, &disks[1]);
    }
    bench.finish();
}

/// A table of one mebibyte, as RocksDB writes one.
fn write_pages(bench: &mut Bench, suite: &str, ring: &KeyRing, disk: &Disk) {
    let data = vec![7; TABLE_BYTES];
    let case = Case::new("sealed::pages::write", suite).bytes(TABLE_BYTES).with("disk", disk.name);
    let ours = || {
        let file = disk.open("table", OpenMode::Truncate);
        let mut writer = pages::Writer::create(file, ring, Purpose::Table).expect("a writer");
        writer.append(black_box(&data)).expect("room");
        writer.finish().expect("room");
    };
    let plain = || {
        let file = disk.open("plain", OpenMode::Truncate);
        data.chunks(256 << 10).fold(0, |offset, chunk| {
            file.write_at(offset, black_box(chunk)).expect("room");
            offset + chunk.len() as u64
        });
    };
    bench.race(&case, &mut [Contender::new("ours", ours), Contender::new("unsealed", plain)]);
}

/// Reads at places that seldom share a page, as point lookups are, and one long read.
fn read_pages(bench: &mut Bench, suite: &str, ring: &KeyRing, disk: &Disk) {
    let mut writer =
        pages::Writer::create(disk.open("read", OpenMode::Truncate), ring, Purpose::Table).expect("a writer");
    writer.append(&vec![7; TABLE_BYTES]).and_then(|()| writer.finish()).expect("room");
    let reader = pages::Reader::open(disk.open("read", OpenMode::Read), ring, Purpose::Table).expect("a reader");
    let plain = disk.open("plain-read", OpenMode::Truncate);
    plain.write_at(0, &vec![7; TABLE_BYTES]).expect("room");
    for bytes in [4096, TABLE_BYTES] {
        let mut out = vec![0; bytes];
        let mut offsets = Offsets::new((TABLE_BYTES - bytes) as u64);
        let case = Case::new("sealed::pages::read", suite).bytes(bytes).with("disk", disk.name);
        let ours = || assert_eq!(reader.read_at(offsets.next(), black_box(&mut out)).expect("data"), bytes);
        let mut unsealed_out = vec![0; bytes];
        let mut unsealed_offsets = Offsets::new((TABLE_BYTES - bytes) as u64);
        let unsealed =
            || assert_eq!(plain.read_at(unsealed_offsets.next(), black_box(&mut unsealed_out)).expect("data"), bytes);
        bench.race(&case, &mut [Contender::new("ours", ours), Contender::new("unsealed", unsealed)]);
    }
}

/// A record made durable, as a vote in the ordering log is.
fn append_frames(bench: &mut Bench, suite: &str, ring: &KeyRing, disk: &Disk) {
    const RECORD_BYTES: usize = 512;
    let record = [7; RECORD_BYTES];
    let mut log =
        frames::Writer::create(disk.open("log", OpenMode::Truncate), ring, Purpose::ConsensusLog).expect("a log");
    let plain = disk.open("plain-log", OpenMode::Truncate);
    let mut end = 0;
    let case = Case::new("sealed::frames::sync", suite).bytes(RECORD_BYTES).with("disk", disk.name);
    let ours = || {
        log.append(black_box(&record)).and_then(|()| log.sync()).expect("room");
    };
    let unsealed = || {
        plain.write_and_sync(end, black_box(&record)).expect("room");
        end += RECORD_BYTES as u64;
    };
    bench.race(&case, &mut [Contender::new("ours", ours), Contender::new("unsealed", unsealed)]);
}

/// Offsets up to a bound, spread by a multiplicative step.
struct Offsets {
    bound: u64,
    state: u64,
}

impl Offsets {
    fn new(bound: u64) -> Self {
        Self { bound, state: 1 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.state >> 33) % (self.bound + 1)
    }
}
