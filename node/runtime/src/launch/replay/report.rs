//! What executing a height again came to.

use std::path::{Path, PathBuf};

use bixi_types::consensus::{CheckpointVote, ValidatorSet};
use bixi_types::header::BlockHeader;
use bixi_types::{CryptoSuite, H256};

use crate::evidence::Keeper;
use crate::fingerprint::Fingerprint;
use crate::pipeline::Executed;

/// How a result stands to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The header that this node has signed.
    Equal,
    /// This node has signed another header.
    Differs,
    /// This node has signed none.
    NotSigned,
    /// Two runs of this binary differ.
    Unstable,
}

/// A height executed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The height.
    pub height: u64,
    /// The header, without signatures: its roots are what to compare with another node's.
    pub header: BlockHeader,
    /// Its hash.
    pub header_hash: H256,
    /// The header hash that this node has signed for the height.
    pub signed: Option<H256>,
    /// Transactions executed and dropped by the order.
    pub transactions: (usize, usize),
    /// The first difference between two runs of this binary.
    pub unstable: Option<String>,
    /// The first difference from the signed result, if it was disputed while the node ran and is in the evidence.
    pub difference: Option<String>,
    /// Evidence kept of the height: what others say of it, and what this node came to.
    pub evidence: Vec<PathBuf>,
    /// What this node has signed.
    pub(super) vote: Option<CheckpointVote>,
    /// The validators of the height.
    pub(super) validators: ValidatorSet,
    result: Fingerprint,
}

impl Replayed {
    pub(super) fn new(
        suite: CryptoSuite,
        vote: Option<CheckpointVote>,
        validators: ValidatorSet,
        first: &Executed,
        second: Executed,
    ) -> Self {
        let result = Fingerprint::of(suite, &second);
        let unstable = Fingerprint::of(suite, first).first_difference(&result);
        let Executed { height, header, header_hash, transactions, dropped, .. } = second;
        Self {
            height,
            header,
            header_hash,
            signed: vote.as_ref().map(|vote| vote.header_hash),
            transactions: (transactions.len(), dropped.len()),
            unstable,
            difference: None,
            evidence: Vec::new(),
            vote,
            validators,
            result,
        }
    }

    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        match self.signed {
            _ if self.unstable.is_some() => Verdict::Unstable,
            None => Verdict::NotSigned,
            Some(signed) if signed == self.header_hash => Verdict::Equal,
            Some(_) => Verdict::Differs,
        }
    }

    /// Files of evidence are named after their height; the signed result may be among them. Where it cannot be read, or another version wrote
    /// it otherwise, no difference is shown: it is a help, and no part of the comparison.
    pub(super) fn find_evidence(&mut self, dir: &Path) {
        let prefix = format!("{:012}-", self.height);
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_of_height =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        self.evidence = files.filter(is_of_height).collect();
        self.evidence.sort();
        let Some(signed) = &self.signed else { return };
        match Keeper::disputed(dir, self.height, signed) {
            Ok(kept) => self.difference = kept.and_then(|kept| kept.first_difference(&self.result)),
            Err(error) => {
                let height = self.height;
                tracing::warn!(height, %error, "the result kept of this height cannot be read; its difference is not shown");
            }
        }
    }
}
