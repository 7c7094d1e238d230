//! A node's ledger as a plain RocksDB writes it: the same rows, or some that say something else.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_ledger::engine::Reader as _;
use bixi_ledger::keys::{self, Column};
use bixi_tests::disk::files;
use bixi_tests::{binary, settings};
use bixi_types::state::StateTable;
use rocksdb::{ColumnFamilyDescriptor, DB, Options};

use crate::opened::{in_child, ledger_params};

/// The stopped node's directory, and what is to be otherwise in the plaintext.
const NODE: &str = "BIXI_UNSEALED_NODE";
const CHANGED: &str = "BIXI_UNSEALED_CHANGED";
/// A balance that no block gave; no record of which chain it is.
pub(crate) const BALANCE: &str = "balance";
pub(crate) const HEADLESS: &str = "headless";
/// Rows of these are plain in a plain database.
pub(crate) const NAMES: [&str; 4] =
    ["first-of-the-names", "second-of-the-names", "third-of-the-names", "fourth-of-the-names"];

/// Puts a plain RocksDB's database with the same rows in the place of a node's ledger.
pub(crate) fn unseal(node: &Path, changed: &str) {
    let variables = [(NODE, node.as_os_str()), (CHANGED, changed.as_ref())];
    in_child("plaintext::the_same_rows_in_plaintext", node, &variables);
}

#[test]
#[ignore = "runs as a child of the tests"]
fn the_same_rows_in_plaintext() {
    let (Some(node), Ok(changed)) = (std::env::var_os(NODE).map(PathBuf::from), std::env::var(CHANGED)) else { return };
    let (ledger, plain) = (node.join("data/ledger"), node.join("plain"));
    let engine = ledger_params(&node).open_engine().expect("the ledger's database");
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let columns = Column::ALL.map(|column| ColumnFamilyDescriptor::new(column.name(), Options::default()));
    let db = DB::open_cf_descriptors(&options, &plain, columns).expect("a database");
    for column in Column::ALL.into_iter().filter(|column| changed != HEADLESS || *column != Column::Meta) {
        let family = db.cf_handle(column.name()).expect("a column");
        let mut rows = 0;
        let mut copy = |key: &[u8], value: &[u8]| {
            db.put_cf(family, key, value).expect("written");
            rows += 1;
            // What follows is in the log alone.
            if rows == 5 {
                db.flush_cf(family).expect("flushed");
            }
            ControlFlow::Continue(())
        };
        engine.walk(column, &[], &mut copy).expect("read");
    }
    if changed == BALANCE {
        let family = db.cf_handle(Column::State.name()).expect("a column");
        db.put_cf(family, keys::state(StateTable::DagTransfer, NAMES[0].as_bytes()), [1; 32]).expect("written");
    }
    drop((db, engine));
    fs::remove_dir_all(&ledger).expect("removed");
    fs::rename(&plain, &ledger).expect("renamed");
}

/// `ledger-v1-plain.tar.gz` of the kept nodes' first; `tests/formats.rs` reads it.
#[test]
#[ignore = "writes the fixture of a plaintext ledger into the source tree"]
fn write_fixture() {
    assert!(std::env::var_os("BIXI_WRITE_FIXTURES").is_some(), "set BIXI_WRITE_FIXTURES=1");
    let (kept, place) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nodes"), tempfile::tempdir().unwrap());
    let tar = |arguments: &[&str], archive: &str, place: &Path, name: &str| {
        let mut command = Command::new("tar");
        let done = command.args(arguments).arg("-f").arg(kept.join(archive)).arg("-C").arg(place).arg(name).status();
        assert!(done.unwrap().success());
    };
    tar(&["-x", "-z", "--no-same-owner"], "node-v1-sm4-gcm.tar.gz", place.path(), "node0");
    let node = place.path().join("node0");
    let module = binary("bixi").with_file_name("libbixi_token.so");
    settings::set(&node.join("bixi.toml"), "hsm", "module", &format!("{:?}", module.to_str().unwrap()));
    unseal(&node, "");
    let make = ["-c", "-z", "--owner=0", "--group=0", "--exclude=LOCK", "--exclude=LOG*"];
    tar(&make, "ledger-v1-plain.tar.gz", &node.join("data"), "ledger");
}

/// Whether a name is to be read in a file of the ledger.
pub(crate) fn is_plain(node: &Path) -> bool {
    let has_name =
        |bytes: &[u8]| NAMES.iter().any(|name| bytes.windows(name.len()).any(|part| part == name.as_bytes()));
    files(&node.join("data/ledger")).unwrap().iter().any(|path| has_name(&fs::read(path).unwrap()))
}

/// Drops what a log holds behind its first record, as far as RocksDB's block reaches: it tells nobody.
pub(crate) fn make_hole(node: &Path) {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "log");
    let logs = files(&node.join("data/ledger")).unwrap().into_iter().filter(is_log);
    let log = logs.max_by_key(|path| path.metadata().unwrap().len()).expect("a log");
    let mut bytes = fs::read(&log).unwrap();
    const HEADER_BYTES: usize = 7;
    let second = HEADER_BYTES + usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    assert!(second + 1_000 < bytes.len().min(32 << 10), "rows are behind it: {second} of {}", bytes.len());
    bytes[second..second + HEADER_BYTES].fill(0);
    fs::write(&log, bytes).unwrap();
}
