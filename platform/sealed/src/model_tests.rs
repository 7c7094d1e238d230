//! Random histories of one log against a model: every append, flush, sync, reopening, rotation and crash in any order.

use std::path::Path;

use bixi_platform::io::{Crash, File, MemoryDisk, OpenMode, Storage};
use proptest::prelude::*;

use crate::{
    AtRest, KeyRing, Purpose,
    fixtures::{key, pattern, ring},
    frames::{End, Writer, read_all},
};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Flush,
    Sync,
    Reopen,
    Rotate,
    Crash(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (1..3000usize).prop_map(Step::Append),
        4 => Just(Step::Flush),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::Rotate),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn open(disk: &MemoryDisk, mode: OpenMode) -> Box<dyn File> {
    disk.open(Path::new("/log"), mode).unwrap()
}

/// What must be in the log and what may be.
#[derive(Default)]
struct Model {
    pending: Vec<u8>,
    flushed: Vec<u8>,
    synced_bytes: usize,
    appended: u64,
}

fn run(steps: Vec<Step>) {
    let (disk, ring) = (MemoryDisk::new(), ring(AtRest::Sm4Gcm));
    let mut writer = Writer::create(open(&disk, OpenMode::CreateNew), &ring, Purpose::Audit).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(len) => {
                model.appended += 1;
                let data = pattern(len, model.appended);
                writer.append(&data).unwrap();
                model.pending.extend(data);
            }
            Step::Flush | Step::Sync => {
                model.flushed.append(&mut model.pending);
                if matches!(step, Step::Sync) {
                    writer.sync().unwrap();
                    model.synced_bytes = model.flushed.len();
                } else {
                    writer.flush().unwrap();
                }
            }
            Step::Reopen => writer = reopen(&disk, &ring, &mut model),
            Step::Rotate => {
                let epoch = ring.current_epoch() + 1;
                ring.rotate(epoch, key(epoch as u8)).unwrap();
            }
            Step::Crash(seed) => {
                disk.crash(Crash::Torn { seed });
                writer = reopen(&disk, &ring, &mut model);
            }
        }
        assert_eq!(writer.plaintext_len(), (model.flushed.len() + model.pending.len()) as u64);
    }
    writer.close().unwrap();
    model.flushed.append(&mut model.pending);
    let (frames, end) = read_all(open(&disk, OpenMode::Read), &ring, Purpose::Audit).unwrap();
    assert!(frames.concat() == model.flushed && end == End::Clean);
}

/// Reopens the log; the model takes over what survived, which must be a prefix that holds all that was synced.
fn reopen(disk: &MemoryDisk, ring: &KeyRing, model: &mut Model) -> Writer {
    let mut survived = Vec::new();
    let file = open(disk, OpenMode::ReadWrite);
    let reopened =
        Writer::replay_append(file, ring, Purpose::Audit, |frame| survived.extend_from_slice(frame)).unwrap();
    assert!(survived.len() >= model.synced_bytes, "synced bytes are lost");
    assert!(model.flushed.starts_with(&survived), "what survives is a prefix");
    model.pending.clear();
    // Reopening makes what it found durable.
    model.synced_bytes = survived.len();
    model.flushed = survived;
    reopened.writer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_promises(steps in steps()) {
        run(steps);
    }
}
