//! Libraries of the tests: what stands around a node under test, never in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library out of one of our C fixtures, made in `into`, to be preloaded or loaded by one node.
///
/// # Panics
/// When there is no C compiler: RocksDB needs one, too.
pub fn library(fixture: &str, into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
    let library = into.join(fixture).with_extension("so");
    let ran = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").output();
    let ran = ran.expect("a C compiler");
    assert!(ran.status.success(), "{fixture}: {}", String::from_utf8_lossy(&ran.stderr));
    library
}
