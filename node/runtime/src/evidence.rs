//! Proof of what a validator did wrong, kept for the operators as `data/evidence/<height>-<kind>-<node>.json`: one file for each height,
//! kind and validator, and a bounded number of them. Everything in it was signed by somebody and is no secret.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use bixi_consensus::{Evidence, Message};
use bixi_types::{H256, NodeId};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};

/// Files at most; what comes after is in the log only.
const FILES_MAX: usize = 256;

/// Where evidence is kept.
pub(crate) struct Keeper {
    dir: PathBuf,
    us: NodeId,
}

/// What a file is named after, and what it says.
struct Record {
    height: u64,
    kind: &'static str,
    node: NodeId,
    content: Value,
}

impl Keeper {
    pub(crate) fn new(dir: PathBuf, us: NodeId) -> Self {
        Self { dir, us }
    }

    /// Runs until the consensus thread is gone. Evidence that cannot be written stops nothing.
    pub(crate) fn run(&self, found: &Receiver<Evidence>) {
        while let Ok(evidence) = found.recv() {
            let record = self.record(&evidence);
            let (height, kind, node) = (record.height, record.kind, record.node);
            match self.keep(&record) {
                Ok(Some(path)) => {
                    tracing::error!(height, kind, %node, file = %path.display(), "a validator contradicts itself or us");
                }
                Ok(None) => tracing::error!(height, kind, %node, ?evidence, "a validator contradicts itself or us"),
                Err(error) => {
                    tracing::error!(height, kind, %node, ?evidence, %error, "evidence could not be written to a file");
                }
            }
        }
    }

    /// The file, or nothing when there is one already or there are too many.
    fn keep(&self, record: &Record) -> std::io::Result<Option<PathBuf>> {
        std::fs::create_dir_all(&self.dir)?;
        if std::fs::read_dir(&self.dir)?.count() >= FILES_MAX {
            return Ok(None);
        }
        let name = format!("{:012}-{}-{}.json", record.height, record.kind, &record.node.to_hex()[..16]);
        let path = self.dir.join(name);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            opened => opened?,
        };
        file.write_all(format!("{:#}\n", record.content).as_bytes())?;
        file.sync_all()?;
        Ok(Some(path))
    }

    fn record(&self, evidence: &Evidence) -> Record {
        match evidence {
            Evidence::Equivocation { node, messages } => {
                let height = messages.iter().find_map(Message::height).unwrap_or(0);
                record(
                    height,
                    "equivocation",
                    *node,
                    json!({ "messages": messages.iter().map(told).collect::<Vec<_>>() }),
                )
            }
            Evidence::CheckpointEquivocation { votes } => {
                let said = votes.iter().map(|vote| told(&Message::Checkpoint(vote.clone()))).collect::<Vec<_>>();
                record(votes[0].height, "checkpoint-equivocation", votes[0].validator, json!({ "messages": said }))
            }
            Evidence::Divergence { vote, ours } => {
                let content = json!({ "messages": [told(&Message::Checkpoint(vote.clone()))], "ours": hash(ours) });
                record(vote.height, "divergence", vote.validator, content)
            }
            Evidence::CheckpointRefused { height, header_hash, detail } => {
                let content = json!({ "executed": hash(header_hash), "signer": detail });
                record(*height, "checkpoint-refused", self.us, content)
            }
        }
    }
}

fn record(height: u64, kind: &'static str, node: NodeId, mut content: Value) -> Record {
    content["height"] = json!(height);
    content["kind"] = json!(kind);
    content["node"] = json!(node.to_hex());
    Record { height, kind, node, content }
}

/// A message as peers send it, signature included, and in words.
fn told(message: &Message) -> Value {
    let hex: String = message.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "borsh": hex, "text": format!("{message:?}") })
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
        let bytes: Vec<u8> =
            (0..proof.len()).step_by(2).map(|at| u8::from_str_radix(&proof[at..at + 2], 16).unwrap()).collect();
        assert_eq!(Message::decode(&bytes), Ok(Message::Checkpoint(vote(4))));
        assert_eq!(keeper.keep(&keeper.record(&twice)).unwrap(), None, "one file is enough");

        let refused = |height| Evidence::CheckpointRefused { height, header_hash: H256::ZERO, detail: "no".into() };
        let kept = (0..2 * FILES_MAX as u64)
            .filter(|height| keeper.keep(&keeper.record(&refused(*height))).unwrap().is_some());
        assert_eq!(kept.count(), FILES_MAX - 1);
    }
}
