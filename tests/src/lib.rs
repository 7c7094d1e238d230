//! What the end-to-end tests share: where the built programs are, a node and a chain as their users see them, their clients and what
//! they were promised, faults of a disk.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod broker;
pub mod chain;
pub mod console;
pub mod disk;
pub mod exposition;
pub mod fixture;
pub mod load;
pub mod node;
pub mod process;
pub mod promises;
pub mod rpc;
pub mod second_opinion;
pub mod settings;
pub mod swtpm;
pub mod terminal;
pub mod wallet;
pub mod wire;

use std::path::PathBuf;

/// A program or library of this workspace, beside the test's own executable's directory.
///
/// # Panics
/// When it was not built; the message says how.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/test-0123 → target/debug
    let directory = test.ancestors().nth(2).expect("tests lie two directories below the target's");
    let path = directory.join(name);
    assert!(path.is_file(), "{} is not built; run `cargo build -p bixi-cli -p bixi-hsm-token` first", path.display());
    path
}

/// A number that the environment may set: how long a campaign is, or the seed to repeat it.
///
/// # Panics
/// When it is set to something else.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
