//! Proof of what a validator did wrong, kept for the operators as `data/evidence/<height>-<kind>-<of>.json`: one file for each height,
//! kind and validator. Everything in it was signed by somebody, or follows from what was, and is no secret.
//!
//! Of each kind and validator at most [`FILES_MAX`] are kept: who misbehaves at every height keeps no other proof out. Beside them stand this
//! node's own results that more than a third disputes, by header hash (`result`, as many together). Never bounded away is what happens once:
//! the certificate of the quorum that stopped this node (`certificate`), and what an operator had dropped (`dropped`, written before it is).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bixi_consensus::{CheckpointCertificate, Evidence, Message};
use bixi_types::consensus::CheckpointVote;
use bixi_types::{H256, NodeId};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use crate::fingerprint::Fingerprint;

/// Files of one kind and validator at most, and of results; what comes after is in the log only.
pub(crate) const FILES_MAX: usize = 16;
/// Kind of the files that hold results of ours.
const RESULT: &str = "result";
/// Kind of the files that hold what an operator had dropped.
const DROPPED: &str = "dropped";

/// Largest file of a result that is read back.
const RESULT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is kept.
pub(crate) enum Found {
    /// By consensus.
    Evidence(Evidence),
    /// A result of ours that somebody disputes.
    Disputed(Box<Fingerprint>),
    /// A quorum signed another result than ours: its certificate, and our header's hash.
    Diverged { ours: H256, theirs: Box<CheckpointCertificate> },
}

/// Where evidence is kept.
pub(crate) struct Keeper {
    dir: PathBuf,
    us: NodeId,
}

/// What a file is named after.
#[derive(Debug, Clone)]
struct Place {
    height: u64,
    kind: &'static str,
    /// A node or a header, in hexadecimal digits.
    of: String,
}

impl Keeper {
    pub(crate) fn new(dir: PathBuf, us: NodeId) -> Self {
        Self { dir, us }
    }

    /// Runs until the consensus thread is gone. Evidence that cannot be written stops nothing.
    pub(crate) fn run(&self, found: &Receiver<Found>) {
        while let Ok(found) = found.recv() {
            match found {
                Found::Evidence(evidence) => self.accuse(&evidence),
                Found::Disputed(result) => self.keep_result(&result),
                Found::Diverged { ours, theirs } => self.keep_certificate(&ours, &theirs),
            }
        }
    }

    fn accuse(&self, evidence: &Evidence) {
        let place = self.place(evidence);
        let (height, kind, node) = (place.height, place.kind, place.of.clone());
        match self.keep(&place, || content(evidence)) {
            Ok(Some(path)) => {
                tracing::error!(height, kind, node, file = %path.display(), "a validator contradicts itself or us");
            }
            Ok(None) => tracing::error!(height, kind, node, ?evidence, "a validator contradicts itself or us"),
            Err(error) => {
                tracing::error!(height, kind, node, ?evidence, %error, "evidence could not be written to a file");
            }
        }
    }

    fn keep_result(&self, result: &Fingerprint) {
        let (height, header) = (result.height, result.header_hash);
        let place = Place { height, kind: RESULT, of: header.to_hex() };
        let content = || {
            let bytes = borsh::to_vec(result).expect("borsh into memory cannot fail");
            json!({ "node": self.us.to_hex(), "header": hash(&header), "borsh": hex::encode(bytes) })
        };
        match self.keep(&place, content) {
            Ok(Some(path)) => {
                tracing::error!(height, %header, file = %path.display(), "kept the result that others dispute")
            }
            Ok(None) => {}
            Err(error) => tracing::error!(height, %header, %error, "a disputed result could not be written to a file"),
        }
    }

    /// The quorum's signatures, as peers send them: what shows an operator that this node, and not the others, is alone.
    fn keep_certificate(&self, ours: &H256, theirs: &CheckpointCertificate) {
        let (height, header) = (theirs.height, theirs.header_hash);
        let place = Place { height, kind: "certificate", of: header.to_hex() };
        let message = told(&Message::Certified(theirs.clone()));
        let content = json!({ "node": self.us.to_hex(), "messages": [message], "ours": hash(ours) });
        match self.write(&place, content) {
            Ok(path) => tracing::error!(height, %header, file = %path.display(), "kept the certificate of the others"),
            Err(error) => tracing::error!(height, ?theirs, %error, "a certificate could not be written to a file"),
        }
    }

    /// The result of `height` with this header, if it was disputed and kept.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub(crate) fn disputed(dir: &Path, height: u64, header_hash: &H256) -> std::io::Result<Option<Fingerprint>> {
        let path = dir.join(file_name(height, RESULT, &header_hash.to_hex()));
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        file.take(RESULT_BYTES_MAX).read_to_end(&mut text)?;
        let damaged = |detail: String| std::io::Error::other(format!("{}: {detail}", path.display()));
        let content: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let bytes = content["borsh"].as_str().and_then(|digits| hex::decode(digits).ok());
        let bytes = bytes.ok_or_else(|| damaged("no hexadecimal text under `borsh`".into()))?;
        let result: Fingerprint = borsh::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let is_asked_for = (result.height, result.header_hash) == (height, *header_hash);
        if is_asked_for { Ok(Some(result)) } else { Err(damaged("it is the result of another header".into())) }
    }

    /// Keeps what an operator wants dropped: each vote and the header this binary came to instead. It is on the disk when this returns.
    ///
    /// The votes are what is lost with a drop. If a drop of the same votes was kept before, by a binary that came to whatever headers, that
    /// file stands; one of other votes is left alone, and another is written beside it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep_dropped(&self, dropped: &[(CheckpointVote, H256)]) -> std::io::Result<PathBuf> {
        let (first, _) = dropped.first().expect("something is dropped");
        let said = |(vote, executed): &(CheckpointVote, H256)| json!({ "height": vote.height, "vote": told(&Message::Checkpoint(vote.clone())), "executed": hash(executed) });
        let said: Vec<Value> = dropped.iter().map(said).collect();
        let header = first.header_hash.to_hex();
        for number in 1_u32.. {
            let of = if number == 1 { header.clone() } else { format!("{}-{number}", &header[..OF_DIGITS]) };
            let place = Place { height: first.height, kind: DROPPED, of };
            let path = self.path(&place);
            let there = match std::fs::read(&path) {
                Ok(text) => serde_json::from_slice(&text).unwrap_or(Value::Null),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return self.write(&place, json!({ "node": self.us.to_hex(), "dropped": said }));
                }
                Err(error) => return Err(error),
            };
            if there["dropped"].as_array().is_some_and(|kept| votes(kept).eq(votes(&said))) {
                self.sync_dir()?;
                return Ok(path);
            }
        }
        unreachable!("a directory holds fewer files than there are numbers")
    }

    /// The file, or nothing when there is one already or there are too many.
    fn keep(&self, place: &Place, content: impl FnOnce() -> Value) -> std::io::Result<Option<PathBuf>> {
        if self.path(place).exists() || self.count(place)? >= FILES_MAX {
            return Ok(None);
        }
        self.write(place, content()).map(Some)
    }

    /// How many there are of its kind and node; of results, whatever their header.
    fn count(&self, place: &Place) -> std::io::Result<usize> {
        let end = if place.kind == RESULT { String::new() } else { end_of_name(&place.of) };
        let mark = format!("-{}-", place.kind);
        let is_alike =
            |name: &str| name.get(HEIGHT_DIGITS..).is_some_and(|rest| rest.starts_with(&mark)) && name.ends_with(&end);
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut count = 0;
        for entry in entries {
            count += usize::from(is_alike(&entry?.file_name().to_string_lossy()));
        }
        Ok(count)
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.dir.join(file_name(place.height, place.kind, &place.of))
    }

    /// The whole file or none: it gets its name when it is on the disk.
    fn write(&self, place: &Place, mut content: Value) -> std::io::Result<PathBuf> {
        content["height"] = json!(place.height);
        content["kind"] = json!(place.kind);
        if content["node"].is_null() {
            content["node"] = json!(place.of);
        }
        std::fs::create_dir_all(&self.dir)?;
        let unnamed = self.dir.join("unfinished");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&unnamed)?;
        file.write_all(format!("{content:#}\n").as_bytes())?;
        file.sync_all()?;
        let path = self.path(place);
        std::fs::rename(unnamed, &path)?;
        self.sync_dir()?;
        Ok(path)
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn place(&self, evidence: &Evidence) -> Place {
        let (height, kind, node) = match evidence {
            Evidence::Equivocation { node, messages } => {
                (messages.iter().find_map(Message::height).unwrap_or(0), "equivocation", node)
            }
            Evidence::CheckpointEquivocation { votes } => {
                (votes[0].height, "checkpoint-equivocation", &votes[0].validator)
            }
            Evidence::Divergence { vote, .. } => (vote.height, "divergence", &vote.validator),
            Evidence::CheckpointRefused { height, .. } => (*height, "checkpoint-refused", &self.us),
        };
        Place { height, kind, of: node.to_hex() }
    }
}

fn content(evidence: &Evidence) -> Value {
    let vote = |vote: &CheckpointVote| told(&Message::Checkpoint(vote.clone()));
    match evidence {
        Evidence::Equivocation { messages, .. } => json!({ "messages": messages.iter().map(told).collect::<Vec<_>>() }),
        Evidence::CheckpointEquivocation { votes } => json!({ "messages": votes.each_ref().map(vote) }),
        Evidence::Divergence { vote: theirs, ours, .. } => json!({ "messages": [vote(theirs)], "ours": hash(ours) }),
        Evidence::CheckpointRefused { header_hash, detail, .. } => {
            json!({ "executed": hash(header_hash), "signer": detail })
        }
    }
}

/// The votes among what was kept of a drop.
fn votes(dropped: &[Value]) -> impl Iterator<Item = &Value> {
    dropped.iter().map(|one| &one["vote"])
}

/// Digits of a height in the name of a file.
const HEIGHT_DIGITS: usize = 12;
/// Digits of a node or header in it.
const OF_DIGITS: usize = 16;

fn file_name(height: u64, kind: &str, of: &str) -> String {
    format!("{height:0HEIGHT_DIGITS$}-{kind}-{}", end_of_name(of))
}

fn end_of_name(of: &str) -> String {
    let (start, number) =
        of.split_once('-').map_or((of, String::new()), |(start, number)| (start, format!("-{number}")));
    format!("{}{number}.json", &start[..OF_DIGITS])
}

/// A message as peers send it, signature included, and in words.
fn told(message: &Message) -> Value {
    json!({ "borsh": hex::encode(message.encode()), "text": format!("{message:?}") })
}

fn hash(hash: &H256) -> Value {
    json!(hash.to_string())
}

#[cfg(test)]
mod tests;
