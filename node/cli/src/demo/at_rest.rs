//! The at-rest check: what was sent is in no file in the clear, and a copy with one flipped byte does not start.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
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
    /// The file, below the data directory.
    pub(crate) file: PathBuf,
    /// The node's last words, or `None` when it became ready.
    pub(crate) refusal: Option<String>,
}

impl AtRest {
    /// Every flip was refused, and there was one.
    pub(crate) fn flip_refused(&self) -> bool {
        !self.flips.is_empty() && self.flips.iter().all(|flip| flip.refusal.is_some())
    }
}

/// A word that no file holds by chance.
pub(crate) fn fresh_marker() -> anyhow::Result<String> {
    let random: [u8; 8] = OsRandom.array()?;
    Ok(format!("BixiMarker{}", hex::encode(random)))
}

/// Searches the node's files and flips bytes in copies of them. The node keeps running; a copy of it never does: it has the
/// same keys, so one that became ready is killed at once and counts as a failure.
pub(crate) async fn check(node: &Path, work: &Path, marker: &str) -> anyhow::Result<AtRest> {
    let mut files = Vec::new();
    for directory in ["data", "token"] {
        walk(&node.join(directory), &mut files)?;
    }
    let hex_marker = hex::encode(marker);
    let patterns = [marker.as_bytes().to_vec(), hex_marker.to_uppercase().into_bytes(), hex_marker.into_bytes()];
    let mut marker_hits = Vec::new();
    for file in &files {
        if holds(file, &patterns)? {
            marker_hits.push(file.clone());
        }
    }
    let mut flips = Vec::new();
    for kind in [Kind::Wal, Kind::Table, Kind::OrderingLog, Kind::Vault] {
        let copy = work.join(format!("flip-{}", kind.name()));
        copy_node(node, &copy)?;
        if let Some(flip) = flip(&copy, kind, &copy.join("node.log")).await? {
            flips.push(flip);
        }
        fs::remove_dir_all(&copy)?;
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
            Self::Wal => "wal",
            Self::Table => "table",
            Self::OrderingLog => "ordering-log",
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

/// Damages the largest file of that kind and starts a node on it; `None` when the chain has no such file yet.
async fn flip(copy: &Path, kind: Kind, log: &Path) -> anyhow::Result<Option<Flip>> {
    let data = copy.join("data");
    let mut files = Vec::new();
    walk(&data, &mut files)?;
    let below = |file: &Path| file.strip_prefix(&data).unwrap_or(file).to_owned();
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    let largest = files.iter().filter(|file| kind.is(&below(file))).max_by_key(|file| size(file));
    let Some(target) = largest.filter(|file| size(file) > 0) else { return Ok(None) };
    let mut bytes = fs::read(target)?;
    let place = kind.place(bytes.len());
    bytes[place] ^= 1;
    fs::write(target, bytes)?;
    let refusal = match start(&copy.join("bixi.toml"), log).await? {
        Started::Refused(words) => Some(words),
        // Dropping it kills it.
        Started::Ready(_) => None,
    };
    Ok(Some(Flip { file: below(target), refusal }))
}

/// Copies a node's directory, its node file changed to another port. Files that vanish meanwhile are left out.
fn copy_node(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    walk(from, &mut files)?;
    for file in files {
        let target = to.join(file.strip_prefix(from)?);
        let parent = target.parent().context("a file has a parent")?;
        fs::create_dir_all(parent)?;
        match fs::copy(&file, &target) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
    }
    let config = to.join("bixi.toml");
    let text = fs::read_to_string(&config)?;
    let line = text.lines().find(|line| line.starts_with("listen = ")).context("the node file names no address")?;
    Ok(fs::write(&config, text.replace(line, "listen = \"127.0.0.1:0\""))?)
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
