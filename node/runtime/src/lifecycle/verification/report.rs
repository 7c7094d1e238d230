//! What was found, and what to do about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bixi_ledger::verification::Subject;
use bixi_types::H256;
use serde_json::{Value, json};

use crate::launch::Failure;

/// Findings told; more are counted.
const FINDINGS_MAX: usize = 1_000;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A file: bytes that do not authenticate, or are not sealed.
    File,
    /// The ledger's database as a whole.
    Ledger,
    /// A height.
    Chain,
    /// The look-ups by hash and nonce.
    Index,
    /// The state.
    State,
    /// What was ordered and signed, against what the ledger holds.
    OrderingLog,
    /// What keeps the node from signing twice.
    Guard,
}

impl Part {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Ledger => "ledger",
            Self::Chain => "chain",
            Self::Index => "index",
            Self::State => "state",
            Self::OrderingLog => "ordering log",
            Self::Guard => "guard",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub part: Part,
    /// Which file and page, or which height.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub advice: &'static str,
}

pub(super) const LEDGER_ADVICE: &str = "keep a copy elsewhere; then restore the data directory from a backup, or move the directory `ledger` out of the \
                                        data directory and start: the node gets the chain from its peers anew, and signs when they have told it where it was";

pub(super) const MEMORY_ADVICE: &str = "with other validators it may start: it follows them, and signs when the chain has passed what it signed; alone it restores the \
                                        newest backup of the whole data directory";
pub(super) const GUARD_GONE_ADVICE: &str = "find out who removed it; put back this very file, never an older copy, or make the node a new consensus key: `bixi hsm rotate consensus`";
pub(super) const UNREAD_ADVICE: &str = "nothing is known of it: run this as the user whose file it is, or as root; else look at the disk and the system's log";
const RETRY_ADVICE: &str = "try again; if it is so again, look at the disk and the system's log";

impl Report {
    /// No node starts on this ledger before it is whole: where a start would mend what is found, another ledger has to.
    pub(super) fn expect_no_start(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.advice == MEMORY_ADVICE) {
            finding.advice = LEDGER_ADVICE;
        }
    }
}

impl Finding {
    pub(super) fn of_ledger(part: Part, place: String, reason: String) -> Self {
        Self { part, place, reason, advice: LEDGER_ADVICE }
    }

    fn to_json(&self) -> Value {
        json!({"part": self.part.word(), "place": self.place, "reason": self.reason, "do": self.advice})
    }
}

/// A log's end that was never known to be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The log.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A table that was never finished: damage, unless the database does not name it.
pub(super) struct Unfinished {
    pub path: PathBuf,
    /// Of the first of its damaged places.
    pub findings: Vec<Finding>,
    pub damaged: u64,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Sealed files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them their headers say to be of which cipher and epoch.
    pub ciphers: BTreeMap<(&'static str, u32), u64>,
    /// Logs with an end that a crash left. No damage.
    pub torn: Vec<Torn>,
    /// Files that a crash left and nobody reads. No damage.
    pub left: Vec<PathBuf>,
    /// Height and header hash of the ledger's head, where there is a ledger and it was looked into.
    pub head: Option<(u64, H256)>,
    /// A snapshot that the next start puts into the ledger's place, beside the ledger that was looked into.
    pub waiting: Option<PathBuf>,
    /// Whether the next start gets the heights before those of the ordering log from others. No damage.
    pub is_fetched_anew: bool,
    /// Whether the ledger was sealed from plaintext and no node starts on it before `bixi db seal` has found it to be whole. No damage.
    pub is_unverified: bool,
    /// Highest height that the ordering log holds a decision of: those above the head are executed by the next start.
    pub decided: Option<u64>,
    /// What is wrong, at most a thousand.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.found == 0
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.found += 1;
        tracing::debug!(part = finding.part.word(), place = finding.place, reason = finding.reason, "found");
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// What came of a part of the work; that it was not done to its end is told beside everything that was found.
    pub(super) fn expect_done<T>(&mut self, part: Part, done: Result<T, Failure>) -> Option<T> {
        done.map_err(|error| {
            let (place, reason) = (part.word().to_owned(), format!("it was not read to its end: {error}"));
            self.find(Finding { part, place, reason, advice: RETRY_ADVICE });
        })
        .ok()
    }

    pub(super) fn find_of_file(&mut self, findings: Vec<Finding>, damaged: u64) {
        self.found += damaged - findings.len() as u64;
        findings.into_iter().for_each(|finding| self.find(finding));
    }

    /// Tells tables that the database in `dir` does not name, which a crash left, from those that it does.
    pub(super) fn settle_unfinished(
        &mut self,
        unfinished: Vec<Unfinished>,
        dir: Option<&Path>,
        subject: Option<&Subject>,
    ) {
        let named = subject.and_then(|subject| subject.tables().ok());
        for Unfinished { path, findings, damaged } in unfinished {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match &named {
                Some(named) if path.parent() == dir && !named.contains(&name) => self.left.push(path),
                _ => self.find_of_file(findings, damaged),
            }
        }
    }

    /// As `--json` prints it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let cipher = |((cipher, epoch), files): (&(&str, u32), &u64)| json!({"cipher": cipher.to_lowercase(), "epoch": epoch, "files": files});
        let name = |path: &PathBuf| path.display().to_string();
        let torn = |torn: &Torn| json!({"file": name(&torn.file), "offset": torn.offset, "bytes": torn.bytes});
        json!({
            "whole": self.is_whole(),
            "files": self.files,
            "bytes": self.bytes,
            "ciphers": self.ciphers.iter().map(cipher).collect::<Vec<_>>(),
            "height": self.head.map(|(number, _)| number),
            "decided": self.decided,
            "hash": self.head.map(|(_, hash)| hash.to_hex()),
            "torn": self.torn.iter().map(torn).collect::<Vec<_>>(),
            "left": self.left.iter().map(name).collect::<Vec<_>>(),
            "waiting": self.waiting.as_ref().map(name),
            "fetched_anew": self.is_fetched_anew,
            "unverified": self.is_unverified,
            "found": self.found,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

/// What to do about a damaged file below the data directory.
pub(super) fn advice_for(below: &Path) -> &'static str {
    let first =
        below.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    match first.as_str() {
        "ledger" | "ledger.joined" => LEDGER_ADVICE,
        "ordering" => {
            "keep a copy elsewhere; a node with others moves the directory `ordering` out of the data directory and starts: it signs when they have told it what it signed; \
             a node alone restores the newest backup of the whole data directory"
        }
        "guard" => {
            "keep a copy elsewhere; never put an older guard in its place: it could sign twice; see `bixi hsm guard --help`"
        }
        "audit" => {
            "keep it as it is for the investigation; `bixi hsm verify-audit` says what the trail proves without it"
        }
        "vault" | "keys" | "token" | "sdf" | "tpm" => "keep a copy elsewhere; restore it from the newest backup",
        _ => "no node keeps such a file there: if you need it, keep it out of the data directory",
    }
}
