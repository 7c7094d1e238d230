//! What the tests of every layout share.

use std::path::PathBuf;

use bixi_platform::{
    io::{File, OpenMode, PreadStorage, Storage},
    secret::Secret,
};

use crate::{AtRest, KeyRing};

pub(crate) const SUITES: [AtRest; 2] = [AtRest::Sm4Gcm, AtRest::Aes256Gcm];

pub(crate) fn key(byte: u8) -> Secret {
    Secret::from_slice(&[byte; 32])
}

pub(crate) fn ring(suite: AtRest) -> KeyRing {
    KeyRing::new(suite, vec![(1, key(1))], 1).unwrap()
}

/// A directory of its own, removed at the end.
pub(crate) struct Disk {
    root: tempfile::TempDir,
    pub(crate) storage: PreadStorage,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), storage: PreadStorage::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, mode: OpenMode) -> Box<dyn File> {
        self.storage.open(&self.path(name), mode).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Replaces a file's bytes behind the codec's back.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Box<dyn File> {
        std::fs::write(self.path(name), bytes).unwrap();
        self.file(name, OpenMode::ReadWrite)
    }
}

/// Bytes without a pattern that a cipher could hide behind.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
