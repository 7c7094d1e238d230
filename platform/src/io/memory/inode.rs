//! One file of the memory disk: what was written, what is durable, and the changes between.

use super::{Crash, SplitMix};

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.content.len() as u64
    }

    pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.content.len());
        let count = out.len().min(self.content.len() - start);
        out[..count].copy_from_slice(&self.content[start..start + count]);
        count
    }

    pub(super) fn write_at(&mut self, offset: u64, data: &[u8]) {
        if !data.is_empty() {
            let offset = usize::try_from(offset).expect("files of tests fit into memory");
            self.record(Change::Write { offset, data: data.to_vec() });
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        self.record(Change::Truncate(usize::try_from(len).expect("files of tests fit into memory")));
    }

    fn record(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Unsynced changes stay readable and are no longer waiting to be written.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn crash(&mut self, crash: Crash, random: &mut SplitMix) {
        for change in self.unsynced.drain(..) {
            match crash {
                Crash::LoseUnsynced => {}
                Crash::KeepAll => change.apply(&mut self.durable),
                Crash::Torn { .. } => change.apply_torn(&mut self.durable, random),
            }
        }
        self.content.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(len) => bytes.resize(*len, 0),
            Self::Write { offset, data } => put(bytes, *offset, data),
        }
    }

    /// Keeps it, loses it, or keeps each sector with even odds.
    fn apply_torn(&self, bytes: &mut Vec<u8>, random: &mut SplitMix) {
        match (random.below(3), self) {
            (0, _) => {}
            (1, _) | (_, Self::Truncate(_)) => self.apply(bytes),
            (_, Self::Write { offset, data }) => {
                let mut start = 0;
                while start < data.len() {
                    let sector_end = (*offset + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                    let end = data.len().min(sector_end - *offset);
                    if random.below(2) == 0 {
                        put(bytes, *offset + start, &data[start..end]);
                    }
                    start = end;
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}
