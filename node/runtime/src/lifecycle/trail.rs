//! The explicit check of a node's audit trail: every entry read, every link and every signed head verified.
//!
//! What the files alone cannot show is that the newest entries were cut off, or a whole older copy put in place. Two things show it: a
//! head that an officer wrote down (`expect`), and heads that the device signed, for whoever has one of them elsewhere. That whoever has
//! the data keys wrote all of it anew shows by the heads: only the node's present TLS key counts, and keys that the officer names.

#[cfg(test)]
mod tests;
mod vouching;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bixi_hsm::audit::{self, AuditError, Chain, Entry, Outcome};
use bixi_platform::io::Storage;
use bixi_platform::threads::Spawner;
use bixi_sealed::KeyRing;
use bixi_types::NodeId;
use serde_json::{Value, json};

use super::{key_fingerprint, utc};
use crate::chain::{NodeDirectory, NodeKeys};
use crate::doctor::custody::{Held, named};
use crate::launch::{Failure, LaunchError, step};
use crate::placement;
use crate::settings::Settings;
use vouching::{Expected, Vouching};

pub use bixi_hsm::audit::Head;
pub use vouching::{Foreign, Problem, UNSIGNED_ENTRIES_MAX};

/// What is asked of a check.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Count only what came after this head, which the trail must have stood at.
    pub from: Option<Head>,
    /// The trail must have stood at this head.
    pub expect: Option<Head>,
    /// TLS keys whose heads count besides those of the node's present one.
    pub tls_keys: Vec<NodeId>,
}

/// A trail that holds.
#[derive(Debug, Clone, Default)]
pub struct Review {
    chain: Chain,
    /// Entries by request and outcome.
    counts: BTreeMap<(String, &'static str), u64>,
    times_ms: Option<(u64, u64)>,
    /// How often an entry is older than the one before it.
    clock_steps_back: u64,
    signed: u64,
    /// Signed heads by the key that signed.
    signers: BTreeMap<[u8; 64], u64>,
    vouching: Vouching,
}

/// Reads and verifies the whole trail of a node, running or not. `each` gets every line after `from`, as it is read.
///
/// # Errors
/// Names the step: a PIN that is refused, a file and the place in it where the trail does not hold, a head that it never stood at.
pub fn verify(settings: &Settings, wish: Wish, each: &mut dyn FnMut(&Line<'_>)) -> Result<Review, LaunchError> {
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    let storage = step("storage", || settings.storage(&spawner))?;
    let held = step("key device", || Held::open_wherever(settings))?;
    let ring = step("vault", || held.ring(settings, &storage))?;
    let expected = step("node's keys", || expected(settings, &held, &wish))?;
    step("audit trail", || read(&storage, &settings.data("audit"), &ring, &wish, expected, each))
}

/// The verdict on a trail that does not hold, as `--json` prints it: {"holds", "problems"}, the latter of the shape that [`Review::to_json`]
/// gives; nothing when a trail was not judged at all.
#[must_use]
pub fn verdict_against(error: &LaunchError) -> Option<Value> {
    let mut problem = json!({"text": error.to_string()});
    for error in error.errors() {
        if let Some(AuditError::Broken { path, sequence, .. }) = error.downcast_ref() {
            (problem["kind"], problem["file"]) = ("broken".into(), path.display().to_string().into());
            problem["sequence"] = (*sequence).into();
        } else if let Some(AuditError::Damaged { path, .. }) = error.downcast_ref() {
            (problem["kind"], problem["file"]) = ("damaged".into(), path.display().to_string().into());
        } else if let Some(HeadMissed { kind, head, .. }) = error.downcast_ref() {
            (problem["kind"], problem["head"]) = ((*kind).into(), head.to_string().into());
        }
    }
    problem.get("kind")?;
    Some(json!({"holds": false, "problems": [problem]}))
}

/// The trail never stood at a head that was written down.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct HeadMissed {
    kind: &'static str,
    head: Head,
    words: String,
}

/// Whose heads count. What the device tells counts, and a key that it holds no more is named by the officer: what lies on the disk beside
/// the trail can be exchanged with it.
fn expected(settings: &Settings, held: &Held, wish: &Wish) -> Result<Expected, Failure> {
    let [consensus, tls, _] = named(&settings.config.hsm);
    let told = |named| held.attest(named).ok().and_then(|attested| attested.public_key).map(NodeId);
    let node = NodeDirectory::new(&settings.base);
    let record = node.keys().exists().then(|| NodeKeys::read(&node)).transpose()?;
    let nodes = told(&consensus).into_iter().chain(record.iter().flat_map(NodeKeys::node_ids)).collect();
    Ok(Expected { chain: settings.genesis.hash(), nodes, own: told(&tls), named: wish.tls_keys.clone() })
}

fn read(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    ring: &KeyRing,
    wish: &Wish,
    expected: Expected,
    each: &mut dyn FnMut(&Line<'_>),
) -> Result<Review, Failure> {
    let mut review = Review { vouching: Vouching::new(expected), ..Review::default() };
    let mut wanted: Vec<Wanted> = [wish.from, wish.expect].into_iter().flatten().map(Wanted::new).collect();
    let after = wish.from.map_or(0, |head| head.entries);
    review.chain = audit::verify_chain(storage.as_ref(), dir, ring, |entry| {
        let head = Head::after(&entry);
        wanted.iter_mut().for_each(|wanted| wanted.pass(&entry, head));
        if let Outcome::HeadSigned(signed) = &entry.event.outcome {
            review.vouching.take(entry.sequence, signed);
        }
        if entry.sequence >= after {
            each(&Line { entry: &entry, head });
            review.take(entry);
        }
    })?;
    wanted.iter().try_for_each(|wanted| wanted.judge(&review.chain))?;
    Ok(review)
}

/// A head that the trail must have stood at.
struct Wanted {
    head: Head,
    is_met: bool,
    other: Option<[u8; 32]>,
}

impl Wanted {
    fn new(head: Head) -> Self {
        Self { is_met: head == Head::default(), head, other: None }
    }

    fn pass(&mut self, entry: &Entry, after: Head) {
        // The first entry here may follow the very head that was written down, in a file that was moved to an archive.
        let before = Head { entries: entry.sequence, hash: entry.previous };
        for stood in [before, after].into_iter().filter(|stood| stood.entries == self.head.entries) {
            match stood.hash == self.head.hash {
                true => self.is_met = true,
                false => self.other = Some(stood.hash),
            }
        }
    }

    fn judge(&self, chain: &Chain) -> Result<(), HeadMissed> {
        let (head, ends) = (self.head, chain.ends);
        if self.is_met {
            return Ok(());
        }
        let (kind, words) = if let Some(other) = self.other {
            let words = format!(
                "the head {head} was written down, and after {} entries this trail stood at {}: entries up to there were exchanged, or this \
                 is another trail",
                head.entries,
                Head { hash: other, ..head }
            );
            ("head-exchanged", words)
        } else if head.entries > ends.entries {
            let words = format!(
                "the head {head} was written down, and this trail ends at {ends}: its newest entries were cut off, or an older copy was put back"
            );
            ("newest-missing", words)
        } else {
            let words = format!(
                "the head {head} lies in a file that is not here; this trail begins at {}: bring the archive back to check it",
                chain.begins
            );
            ("head-archived", words)
        };
        Err(HeadMissed { kind, head, words })
    }
}

/// One entry, as `--all` prints it.
pub struct Line<'a> {
    entry: &'a Entry,
    head: Head,
}

impl Line<'_> {
    /// Sequence, time, request, outcome and subject.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Entry { sequence, at_ms, event, .. } = self.entry;
        let outcome = match &event.outcome {
            Outcome::Refused(reason) => format!("refused: {reason}"),
            outcome => outcome_word(outcome).to_owned(),
        };
        format!("{sequence}  {}  {}  {outcome}  {}", utc(*at_ms), event.request, event.subject)
    }

    /// One object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Entry { sequence, at_ms, event, .. } = self.entry;
        let reason = match &event.outcome {
            Outcome::Refused(reason) => Some(reason),
            _ => None,
        };
        json!({
            "sequence": sequence,
            "at_ms": at_ms,
            "request": event.request,
            "subject": event.subject,
            "digest": event.digest.map(hex::encode),
            "outcome": outcome_word(&event.outcome),
            "reason": reason,
            "head": self.head.to_string(),
        })
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Signed => "signed",
        Outcome::Stored => "stored",
        Outcome::Answered => "answered",
        Outcome::Refused(_) => "refused",
        Outcome::HeadSigned(_) => "head-signed",
    }
}

impl Review {
    fn take(&mut self, entry: Entry) {
        let at_ms = entry.at_ms;
        let (first, last) = self.times_ms.unwrap_or((at_ms, at_ms));
        self.clock_steps_back += u64::from(at_ms < last);
        self.times_ms = Some((first, at_ms));
        *self.counts.entry((entry.event.request, outcome_word(&entry.event.outcome))).or_default() += 1;
        if let Outcome::HeadSigned(signed) = entry.event.outcome {
            self.signed += 1;
            *self.signers.entry(signed.key).or_default() += 1;
        }
    }

    /// What stands against the trail, though every link of it holds.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.vouching.problems(&self.chain)
    }

    /// Name and text of each finding.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let Chain { begins, ends, files, torn_bytes } = self.chain;
        let mut rows = vec![
            ("begins".to_owned(), begins.to_string()),
            ("ends".to_owned(), format!("{ends}: write this down elsewhere")),
            ("files".to_owned(), files.to_string()),
        ];
        if let Some((first, last)) = self.times_ms {
            let back = match self.clock_steps_back {
                0 => String::new(),
                steps => format!("; the clock was put back {steps} times between"),
            };
            rows.push(("time".to_owned(), format!("{} to {}{back}", utc(first), utc(last))));
        }
        if torn_bytes > 0 {
            let words = format!("{torn_bytes} at the very end: a crash left them, or the log is being written now");
            rows.push(("torn bytes".to_owned(), words));
        }
        rows.push(("signed heads".to_owned(), self.signed_words()));
        rows.extend(self.vouching.words(&self.chain).into_iter().map(|words| ("vouched for".to_owned(), words)));
        rows.extend(self.problems().iter().map(|problem| ("PROBLEM".to_owned(), problem.to_string())));
        let counts =
            self.counts.iter().map(|((request, outcome), count)| (format!("  {request} {outcome}"), count.to_string()));
        rows.extend(counts);
        rows
    }

    fn signed_words(&self) -> String {
        let entries = self.vouching.unsigned(&self.chain);
        let Some(last) = self.vouching.last() else {
            return format!(
                "none that counts over {entries} entries: it is as whole as this host's data keys are safe, and no key of the device stands \
                 by it; a trail may be without for {UNSIGNED_ENTRIES_MAX} entries"
            );
        };
        format!(
            "{}, the last that counts over {} at {}; {entries} entries since",
            self.signed,
            last.statement.head,
            utc(last.statement.at_ms)
        )
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Chain { begins, ends, files, torn_bytes } = self.chain;
        let counts: Vec<Value> = self
            .counts
            .iter()
            .map(|((request, outcome), count)| json!({"request": request, "outcome": outcome, "count": count}))
            .collect();
        let signers = self.signers.iter().map(|(key, count)| {
            let (id, vouching) = (NodeId(*key), &self.vouching);
            json!({
                "public_key": id.to_hex(),
                "fingerprint": key_fingerprint(key),
                "heads": count,
                "is_tls_key": vouching.is_own(id),
                "accepted": vouching.accepts(id),
            })
        });
        let problems = self.problems();
        json!({
            "holds": problems.is_empty(),
            "begins": begins.to_string(),
            "ends": ends.to_string(),
            "files": files,
            "torn_bytes": torn_bytes,
            "first_at_ms": self.times_ms.map(|(first, _)| first),
            "last_at_ms": self.times_ms.map(|(_, last)| last),
            "clock_steps_back": self.clock_steps_back,
            "counts": counts,
            "signed_heads": self.signed,
            "last_signed": self.vouching.last().map(|signed| signed.statement.head.to_string()),
            "unsigned_entries": self.vouching.unsigned(&self.chain),
            "signers": signers.collect::<Vec<_>>(),
            "vouched": self.vouching.to_json(&self.chain),
            "problems": problems.iter().map(Problem::to_json).collect::<Vec<_>>(),
        })
    }
}
