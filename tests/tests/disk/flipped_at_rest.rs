//! One byte of a stopped node's files is changed: the start is refused by the file's name, or everything acknowledged is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bixi_tests::disk::{copy, files, flip};
use bixi_tests::node::{RunningNode, make_chain};
use bixi_tests::promises::{Promises, Unreadable};
use bixi_tests::setting;
use bixi_tests::wallet::{Seeded, Wallet};

use crate::load;

/// What a file is to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    WriteAheadLog,
    Table,
    Manifest,
    OrderingLog,
    Guard,
    Vault,
    Audit,
    Token,
}

/// What may become of a changed byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bearing {
    /// Every byte is authenticated at the start.
    Refused,
    /// The same, but for a tail above the last sync mark, which reads as torn and is dropped.
    RefusedOrTorn,
    /// A start reads a part; the rest is refused when it is read.
    RefusedWhenRead,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::WriteAheadLog,
        Self::Table,
        Self::Manifest,
        Self::OrderingLog,
        Self::Guard,
        Self::Vault,
        Self::Audit,
        Self::Token,
    ];

    /// The kind of a file, by its path below the node's directory.
    fn of(path: &Path) -> Option<Self> {
        let (text, extension) = (path.to_string_lossy(), path.extension().unwrap_or_default());
        match () {
            () if text.ends_with(".lock") || text.ends_with("/lock") || text.ends_with("LOCK") => None,
            () if text.starts_with("data/ledger/") && extension == "log" => Some(Self::WriteAheadLog),
            () if text.starts_with("data/ledger/") && extension == "sst" => Some(Self::Table),
            () if text.starts_with("data/ledger/MANIFEST-") => Some(Self::Manifest),
            () if text.starts_with("data/ordering/") => Some(Self::OrderingLog),
            () if text.starts_with("data/guard") => Some(Self::Guard),
            () if text.starts_with("data/vault") => Some(Self::Vault),
            () if text.starts_with("data/audit") => Some(Self::Audit),
            () if text.starts_with("token/") => Some(Self::Token),
            () => None,
        }
    }

    fn bearing(self) -> Bearing {
        match self {
            Self::Vault | Self::Token => Bearing::Refused,
            Self::WriteAheadLog | Self::Manifest | Self::OrderingLog | Self::Guard | Self::Audit => {
                Bearing::RefusedOrTorn
            }
            Self::Table => Bearing::RefusedWhenRead,
        }
    }
}

/// A node with tables from an earlier life and logs that nobody closed, killed under load.
pub(crate) fn killed_node(place: &Path, promises: &Promises) -> PathBuf {
    let config = make_chain(place);
    for life in 0..2 {
        let node = RunningNode::start(&config);
        load::beside(&node, promises, 40 + life, || {
            std::thread::sleep(Duration::from_millis(500));
            node.kill_now();
        });
    }
    config.parent().expect("a file has a directory").to_owned()
}

fn files_by_kind(node: &Path) -> BTreeMap<Kind, Vec<PathBuf>> {
    let mut found = BTreeMap::<Kind, Vec<PathBuf>>::new();
    for file in files(node).unwrap() {
        let below = file.strip_prefix(node).unwrap().to_owned();
        if let Some(kind) = Kind::of(&below).filter(|_| fs::metadata(&file).unwrap().len() > 0) {
            found.entry(kind).or_default().push(below);
        }
    }
    found
}

#[test]
fn a_flipped_byte_at_rest_is_refused_by_name_or_loses_nothing() {
    let (offsets, seed) = (setting("BIXI_FLIP_OFFSETS", 2), setting("BIXI_DISK_SEED", 1));
    println!("seed {seed}, {offsets} offsets for each kind of file");
    let (place, promises) = (tempfile::tempdir().unwrap(), Promises::default());
    let original = killed_node(place.path(), &promises);
    let kinds = files_by_kind(&original);
    let mut random = Seeded(seed);
    for kind in Kind::ALL {
        let candidates = kinds.get(&kind).unwrap_or_else(|| panic!("the node has no {kind:?}"));
        for number in 0..offsets {
            let file = &candidates[random.below(candidates.len() as u64) as usize];
            let length = fs::metadata(original.join(file)).unwrap().len();
            // The first is anywhere, the next near the end, and so on.
            let offset =
                if number % 2 == 0 { random.below(length) } else { length - 1 - random.below(length.min(100)) };
            let copied = tempfile::tempdir().unwrap();
            copy(&original, copied.path()).unwrap();
            flip(&copied.path().join(file), offset, 1 << random.below(8)).unwrap();
            let context = format!("seed {seed}: {kind:?} {} byte {offset} of {length}", file.display());
            println!("{context}: {}", judge(copied.path(), kind, file, &promises, &context));
        }
    }
}

/// What became of it, in words; panics when it may not have.
fn judge(node: &Path, kind: Kind, file: &Path, promises: &Promises, context: &str) -> String {
    match RunningNode::try_start(&node.join("bixi.toml")) {
        Err(ended) => {
            let name = file.file_name().unwrap().to_string_lossy();
            // A person has to put right what guards keys: no service manager starts that again.
            let is_custody = matches!(kind, Kind::Guard | Kind::Vault | Kind::Audit | Kind::Token);
            let status = ended.status.code();
            assert!(status == Some(1) || is_custody && status == Some(78), "{context}: {status:?}: {}", ended.said);
            assert!(ended.said.contains(&*name), "{context} is not named: {}", ended.said);
            format!("refused: {}", ended.last_words())
        }
        Ok(running) => {
            assert_ne!(kind.bearing(), Bearing::Refused, "{context} went unnoticed");
            let Unreadable(unreadable) = promises.check_readable(&running, context);
            if kind.bearing() == Bearing::RefusedOrTorn {
                assert_eq!(unreadable, 0, "{context}: acknowledged and gone");
                let transaction = Wallet::new(6).user_add("afterwards", 1, running.height() + 900);
                let receipt = running.connect().unwrap().submit(&transaction.encode());
                assert_eq!(receipt.expect(context)["status"], 0, "{context}: the chain goes on");
            }
            format!("ready, {unreadable} answers refused, none wrong")
        }
    }
}
