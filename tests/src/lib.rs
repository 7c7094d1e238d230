//! What the end-to-end tests share: where the built programs are, a node as its users see it, a client's wallet.

#![forbid(unsafe_code)]

pub mod node;
pub mod wallet;

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
