//! Proof of what a validator did wrong, kept for the operators as `data/evidence/<height>-<kind>-<of>.json`: one file for each height,
//! kind and validator, and a bounded number of them. Everything in it was signed by somebody, or follows from what was, and is no secret.
//!
//! Beside it stand this node's own results that somebody disputes, by header hash (`result`), and what an operator had dropped
//! (`dropped`, written before anything is dropped and never bounded away).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bixi_consensus::{Evidence, Message};
use bixi_types::consensus::CheckpointVote;
use bixi_types::{H256, NodeId};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use crate::fingerprint::Fingerprint;

/// Files at most; what comes after is in the log only.
const FILES_MAX: usize = 256;
/// Kind of the files that hold results of ours.
const RESULT: &str = "result";

/// Largest file of a result that is read back.
const RESULT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is kept.
pub(crate) enum Found {
    /// By consensus.
    Evidence(Evidence),
    /// A result of ours that somebody disputes.
    Disputed(Box<Fingerprint>),
}

/// Where evidence is kept.
pub(crate) struct Keeper {
    dir: PathBuf,
    us: NodeId,
}

/// What a file is named after, and what it says.
struct Record {
    height: u64,
    kind: &'static str,
    /// A node or a header, in hexadecimal digits.
    of: String,
    content: Value,
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
            }
        }
    }

    fn accuse(&self, evidence: &Evidence) {
        let record = self.record(evidence);
        let (height, kind, node) = (record.height, record.kind, &record.of);
        match self.keep(&record) {
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
        match self.keep(&self.result_record(result)) {
            Ok(Some(path)) => {
                tracing::error!(height, %header, file = %path.display(), "kept the result that others dispute")
            }
            Ok(None) => {}
            Err(error) => tracing::error!(height, %header, %error, "a disputed result could not be written to a file"),
        }
    }

    fn result_record(&self, result: &Fingerprint) -> Record {
        let bytes = borsh::to_vec(result).expect("borsh into memory cannot fail");
        let content =
            json!({ "node": self.us.to_hex(), "header": hash(&result.header_hash), "borsh": hex::encode(bytes) });
        record(result.height, RESULT, result.header_hash.to_hex(), content)
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

    /// Keeps what an operator wants dropped: each vote and the header this binary came to instead. Whatever is there already, it is on the
    /// disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written, or another drop of the same votes was kept with other content.
    pub(crate) fn keep_dropped(&self, dropped: &[(CheckpointVote, H256)]) -> std::io::Result<PathBuf> {
        let (first, _) = dropped.first().expect("something is dropped");
        let told = |(vote, executed): &(CheckpointVote, H256)| json!({ "height": vote.height, "vote": told(&Message::Checkpoint(vote.clone())), "executed": hash(executed) });
        let content = json!({ "node": self.us.to_hex(), "dropped": dropped.iter().map(told).collect::<Vec<_>>() });
        let record = record(first.height, "dropped", first.header_hash.to_hex(), content);
        std::fs::create_dir_all(&self.dir)?;
        let path = self.path(&record);
        match std::fs::read(&path) {
            Ok(there) if there == record.text().as_bytes() => self.sync_dir()?,
            Ok(_) => {
                let says = format!("{} says something else of the same votes; move it aside", path.display());
                return Err(std::io::Error::new(ErrorKind::AlreadyExists, says));
            }
            Err(_) => self.write(&record)?,
        }
        Ok(path)
    }

    /// The file, or nothing when there is one already or there are too many.
    fn keep(&self, record: &Record) -> std::io::Result<Option<PathBuf>> {
        std::fs::create_dir_all(&self.dir)?;
        if std::fs::read_dir(&self.dir)?.count() >= FILES_MAX {
            return Ok(None);
        }
        let path = self.path(record);
        if path.exists() {
            return Ok(None);
        }
        self.write(record)?;
        Ok(Some(path))
    }

    fn path(&self, record: &Record) -> PathBuf {
        self.dir.join(file_name(record.height, record.kind, &record.of))
    }

    /// The whole file or none: it gets its name when it is on the disk.
    fn write(&self, record: &Record) -> std::io::Result<()> {
        let unnamed = self.dir.join("unfinished");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&unnamed)?;
        file.write_all(record.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(unnamed, self.path(record))?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn record(&self, evidence: &Evidence) -> Record {
        match evidence {
            Evidence::Equivocation { node, messages } => {
                let height = messages.iter().find_map(Message::height).unwrap_or(0);
                record(
                    height,
                    "equivocation",
                    node.to_hex(),
                    json!({ "messages": messages.iter().map(told).collect::<Vec<_>>() }),
                )
            }
            Evidence::CheckpointEquivocation { votes } => {
                let said = votes.iter().map(|vote| told(&Message::Checkpoint(vote.clone()))).collect::<Vec<_>>();
                record(
                    votes[0].height,
                    "checkpoint-equivocation",
                    votes[0].validator.to_hex(),
                    json!({ "messages": said }),
                )
            }
            Evidence::Divergence { vote, ours } => {
                let content = json!({ "messages": [told(&Message::Checkpoint(vote.clone()))], "ours": hash(ours) });
                record(vote.height, "divergence", vote.validator.to_hex(), content)
            }
            Evidence::CheckpointRefused { height, header_hash, detail } => {
                let content = json!({ "executed": hash(header_hash), "signer": detail });
                record(*height, "checkpoint-refused", self.us.to_hex(), content)
            }
        }
    }
}

impl Record {
    fn text(&self) -> String {
        format!("{:#}\n", self.content)
    }
}

fn file_name(height: u64, kind: &str, of: &str) -> String {
    format!("{height:012}-{kind}-{}.json", &of[..16])
}

fn record(height: u64, kind: &'static str, of: String, mut content: Value) -> Record {
    content["height"] = json!(height);
    content["kind"] = json!(kind);
    if content["node"].is_null() {
        content["node"] = json!(of);
    }
    Record { height, kind, of, content }
}

/// A message as peers send it, signature included, and in words.
fn told(message: &Message) -> Value {
    json!({ "borsh": hex::encode(message.encode()), "text": format!("{message:?}") })
}

fn hash(hash: &H256) -> Value {
    json!(hash.to_string())
}

#[cfg(test)]
mod tests {
    use bixi_types::consensus::{CheckpointVote, SignatureBytes};

    use super::*;

    #[test]
    fn evidence_is_kept_once_with_the_messages_that_prove_it_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path().join("evidence"), NodeId([1; 64]));
        let vote = |byte| CheckpointVote {
            height: 7,
            header_hash: H256([byte; 32]),
            validator: NodeId([2; 64]),
            signature: SignatureBytes([byte; 64]),
        };
        let twice = Evidence::CheckpointEquivocation { votes: Box::new([vote(3), vote(4)]) };
        let path = keeper.keep(&keeper.record(&twice)).unwrap().expect("a file");
        let read: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&read["height"], &read["kind"]), (&json!(7), &json!("checkpoint-equivocation")));
        let proof = read["messages"][1]["borsh"].as_str().unwrap();
        assert_eq!(Message::decode(&hex::decode(proof).unwrap()), Ok(Message::Checkpoint(vote(4))));
        assert_eq!(keeper.keep(&keeper.record(&twice)).unwrap(), None, "one file is enough");

        let refused = |height| Evidence::CheckpointRefused { height, header_hash: H256::ZERO, detail: "no".into() };
        let kept = (0..2 * FILES_MAX as u64)
            .filter(|height| keeper.keep(&keeper.record(&refused(*height))).unwrap().is_some());
        assert_eq!(kept.count(), FILES_MAX - 1);
    }
}
