//! One decoder of `tests/tests/decoders` under libFuzzer: `BIXI_FUZZ_PLAN` names it. `BIXI_FUZZ_SEEDS` names a directory to write the
//! seeds of all into instead.
#![no_main]

#[path = "../tests/decoders/consensus.rs"]
mod consensus;
#[path = "../tests/decoders/files.rs"]
mod files;
#[path = "../tests/decoders/hsm.rs"]
mod hsm;
#[path = "../tests/decoders/network.rs"]
mod network;
#[path = "../tests/decoders/plan.rs"]
mod plan;
#[path = "../tests/decoders/types.rs"]
mod types;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use plan::{Check, Decoder};

static CHECK: LazyLock<Check> = LazyLock::new(|| {
    let decoders = plan::decoders();
    if let Some(directory) = std::env::var_os("BIXI_FUZZ_SEEDS").map(PathBuf::from) {
        decoders.iter().for_each(|decoder| write_seeds(decoder, &directory));
        return |_| false;
    }
    let names: Vec<&str> = decoders.iter().map(|decoder| decoder.name).collect();
    let wanted = std::env::var("BIXI_FUZZ_PLAN").unwrap_or_else(|_| panic!("BIXI_FUZZ_PLAN is one of {names:?}"));
    let found = decoders.iter().find(|decoder| decoder.name == wanted);
    found.unwrap_or_else(|| panic!("{wanted} is none of {names:?}")).check
});

fn write_seeds(decoder: &Decoder, directory: &Path) {
    let corpus = directory.join(decoder.name);
    std::fs::create_dir_all(&corpus).expect("a directory for seeds");
    for (number, seed) in decoder.seeds.iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{number}")), seed).expect("a seed");
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    CHECK(data);
});
