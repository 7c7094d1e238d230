//! The at-rest check: what was sent is in no file in the clear, and a copy with one flipped byte does not start.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bixi_runtime::chain::NodeDirectory;
use bixi_runtime::process::OsRandom;

use crate::demo::node::{Started, start};

/// What was found.
#[derive(Debug)]
pub(crate) struct AtRest {
    /// Files that hold a marker, raw or in hexadecimal.
    pub(crate) marker_hits: Vec<PathBuf>,
    /// Files searched.
    pub(crate) files: usize,
    /// What became of each flipped copy.
    pub(crate) flips: Vec<Flip>,
}

/// One copy with one flipped byte.
#[derive(Debug)]
pub(crate) struct Flip {
    /// Whose copy.
    pub(crate) node: String,
    /// What kind of file.
    pub(crate) kind: &'static str,
    /// The file, below the data directory; none when there was none to damage.
    pub(crate) file: Option<PathBuf>,
    pub(crate) outcome: Outcome,
}

/// What became of a flipped copy.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It did not start; its last words, which name the damaged file.
    Refused(String),
    /// It did not start, for another reason: nothing is proven.
    Elsewhere(String),
    /// It became ready.
    Unnoticed,
    /// Nothing was flipped, and why.
    Skipped(&'static str),
}

impl AtRest {
    /// Every flip that was tried was refused, and there was one. What was not tried is in [`AtRest::skipped`].
    pub(crate) fn flip_refused(&self) -> bool {
        let refused = |flip: &Flip| matches!(flip.outcome, Outcome::Refused(_));
        let unproven = |flip: &Flip| matches!(flip.outcome, Outcome::Unnoticed | Outcome::Elsewhere(_));
        self.flips.iter().any(refused) && !self.flips.iter().any(unproven)
    }

    /// Kinds of files of which this chain has none yet.
    pub(crate) fn skipped(&self) -> usize {
        self.flips.iter().filter(|flip| matches!(flip.outcome, Outcome::Skipped(_))).count()
    }
}

/// A word that no file holds by chance.
pub(crate) fn fresh_marker() -> anyhow::Result<String> {
    let random: [u8; 8] = OsRandom.array()?;
    Ok(format!("BixiMarker{}", hex::encode(random)))
}

/// Searches every file of the chain in `work`, logs too, and flips bytes in copies of every node. The nodes keep running; a copy of
/// one never does: it has the same keys, so one that became ready is killed at once and counts as a failure, and no copy
/// outlives its test.
pub(crate) async fn check(nodes: &[NodeDirectory], work: &Path, marker: &str) -> anyhow::Result<AtRest> {
    let mut files = Vec::new();
    walk(work, &mut files)?;
    let hex_marker = hex::encode(marker);
    let patterns = [marker.as_bytes().to_vec(), hex_marker.to_uppercase().into_bytes(), hex_marker.into_bytes()];
    let mut marker_hits = Vec::new();
    for file in &files {
        if holds(file, &patterns)? {
            marker_hits.push(file.clone());
        }
    }
    let mut flips = Vec::new();
    for node in nodes {
        for kind in [Kind::Wal, Kind::Table, Kind::OrderingLog, Kind::Vault] {
            // Closed to others, and removed on every way out.
            let copy = tempfile::Builder::new().prefix("flipped-").tempdir_in(work)?;
            copy_node(node, &NodeDirectory::new(copy.path()))?;
            flips.push(flip(node.name(), copy.path(), kind, &copy.path().join("node.log")).await?);
            copy.close()?;
        }
    }
    Ok(AtRest { marker_hits, files: files.len(), flips })
}

fn holds(file: &Path, patterns: &[Vec<u8>]) -> anyhow::Result<bool> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        // The node goes on compacting.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    Ok(patterns.iter().any(|pattern| bytes.windows(pattern.len()).any(|window| window == pattern.as_slice())))
}

/// Which file of a copy is damaged.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Wal,
    Table,
    OrderingLog,
    Vault,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Wal => "write-ahead log",
            Self::Table => "table",
            Self::OrderingLog => "ordering log",
            Self::Vault => "vault",
        }
    }

    fn is(self, below_data: &Path) -> bool {
        let extension = below_data.extension().and_then(|extension| extension.to_str());
        match self {
            Self::Wal => below_data.starts_with("ledger") && extension == Some("log"),
            Self::Table => below_data.starts_with("ledger") && extension == Some("sst"),
            Self::OrderingLog => below_data.starts_with("ordering"),
            Self::Vault => below_data.starts_with("vault"),
        }
    }

    /// Where a byte is flipped. In a log near the beginning, below later sync marks: damage to the very last frame cannot be told
    /// from a torn write, is dropped, and the ordering log brings the block back. In a table near the end, because a start reads
    /// only its index and footer.
    fn place(self, length: usize) -> usize {
        match self {
            Self::Wal | Self::OrderingLog => (length / 2).min(1024),
            Self::Table => length - length.min(64),
            _ => length / 2,
        }
    }
}

/// Damages the largest file of that kind and starts a node on it.
async fn flip(node: String, copy: &Path, kind: Kind, log: &Path) -> anyhow::Result<Flip> {
    let data = copy.join("data");
    let mut files = Vec::new();
    walk(&data, &mut files)?;
    let below = |file: &Path| file.strip_prefix(&data).unwrap_or(file).to_owned();
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    let largest = files.iter().filter(|file| kind.is(&below(file))).max_by_key(|file| size(file));
    let Some(target) = largest.filter(|file| size(file) > 0) else {
        let outcome = match kind {
            Kind::Table => Outcome::Skipped("the ledger writes its first table after some thousand transactions"),
            _ => bail!("the node has no {} to damage", kind.name()),
        };
        return Ok(Flip { node, kind: kind.name(), file: None, outcome });
    };
    let mut bytes = fs::read(target)?;
    let place = kind.place(bytes.len());
    bytes[place] ^= 1;
    fs::write(target, bytes)?;
    let outcome = match start(&copy.join("bixi.toml"), log)?.ready().await? {
        Started::Refused(words) if words.contains(&*target.to_string_lossy()) => {
            // The copy is gone when this is read.
            Outcome::Refused(words.replace(&format!("{}/", copy.display()), ""))
        }
        Started::Refused(words) => Outcome::Elsewhere(words),
        // Dropping it kills it.
        Started::Ready(_) => Outcome::Unnoticed,
    };
    Ok(Flip { node, kind: kind.name(), file: Some(below(target)), outcome })
}

/// Copies a node's directory, its node file changed: other ports, and nobody to meet. Files that vanish meanwhile are left out.
fn copy_node(from: &NodeDirectory, to: &NodeDirectory) -> anyhow::Result<()> {
    let mut files = Vec::new();
    walk(from.path(), &mut files)?;
    for file in files {
        let target = to.path().join(file.strip_prefix(from.path())?);
        let parent = target.parent().context("a file has a parent")?;
        fs::create_dir_all(parent)?;
        match fs::copy(&file, &target) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
    }
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = from.node_config()?;
    config.rpc.listen = anywhere;
    config.p2p.listen = config.p2p.listen.map(|_| anywhere);
    config.p2p.peers.clear();
    // The node's own broker holds its key: the copy has a token of its own, and nobody else to ask.
    config.hsm.broker = PathBuf::new();
    Ok(fs::write(to.config(), config.render())?)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_marker_raw_and_in_hexadecimal() {
        let directory = tempfile::tempdir().unwrap();
        let marker = fresh_marker().unwrap();
        let patterns = [marker.as_bytes().to_vec(), hex::encode(&marker).into_bytes()];
        for (name, content, expected) in [
            ("raw", format!("..{marker}.."), true),
            ("hex", hex::encode(&marker), true),
            ("none", "BixiMarker".into(), false),
        ] {
            let file = directory.path().join(name);
            fs::write(&file, content).unwrap();
            assert_eq!(holds(&file, &patterns).unwrap(), expected, "{name}");
        }
        assert!(!holds(&directory.path().join("gone"), &patterns).unwrap());
    }

    #[test]
    fn nothing_flipped_is_nothing_proven() {
        let none = AtRest { marker_hits: Vec::new(), files: 0, flips: Vec::new() };
        assert!(!none.flip_refused());
    }
}
