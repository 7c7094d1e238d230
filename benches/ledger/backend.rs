//! The contenders: ways for RocksDB to keep its files.

use std::path::Path;
use std::sync::Arc;

use bixi_benches_ctr::Form;
use bixi_cipherfs::CipherFs;
use bixi_ledger::engine::rocks::{Memory, RocksEngine};
use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::pages::PageSize;
use bixi_sealed::{AtRest, KeyRing};
use rocksdb::Env;

/// One way to keep files.
pub(crate) struct Backend {
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Sealed(PageSize),
    Plaintext,
    Counter(Form),
}

impl Backend {
    /// Ours, plaintext, peers; this order is what a row means by `ours` and `plaintext`.
    pub(crate) fn contenders() -> Vec<Self> {
        let ours = Self { name: "ours".to_owned(), kind: Kind::Sealed(PageSize::default()) };
        let blocks = Self { name: "ctr".to_owned(), kind: Kind::Counter(Form::Blocks) };
        let spans = Self { name: "ctr-spans".to_owned(), kind: Kind::Counter(Form::Spans) };
        vec![ours, Self::plaintext(), spans, blocks]
    }

    pub(crate) fn plaintext() -> Self {
        Self { name: "plaintext".to_owned(), kind: Kind::Plaintext }
    }

    /// Ours, with pages of that size.
    pub(crate) fn paged(log2: u8) -> Self {
        let page = PageSize::from_log2(log2).expect("a size that sealed tables have");
        Self { name: format!("{} KiB", page.bytes() >> 10), kind: Kind::Sealed(page) }
    }

    /// The ledger's engine, the same options for everybody.
    pub(crate) fn open(&self, dir: &Path, memory: Memory) -> RocksEngine {
        let engine = match self.kind {
            Kind::Sealed(page) => {
                RocksEngine::open(dir, &CipherFs::with_page_size(Arc::new(PreadStorage::new()), keys(), page), memory)
            }
            Kind::Plaintext => RocksEngine::open_unsealed(dir, &Env::new().expect("RocksDB's own environment"), memory),
            Kind::Counter(form) => RocksEngine::open_unsealed(dir, &bixi_benches_ctr::env(form, &[1; 16]), memory),
        };
        engine.unwrap_or_else(|error| panic!("{} at {}: {error}", self.name, dir.display()))
    }
}

fn keys() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).expect("a key ring")
}
