//! Dropping results that this binary does not come to: judged, kept as evidence, announced in the audit trail, and only then dropped.

use std::path::PathBuf;

use bixi_consensus::LogEntry;
use bixi_hsm::SigningService;
use bixi_hsm::audit::{Audit, Durability, Event, Outcome};
use bixi_hsm::officer::{Change, Override};
use bixi_types::consensus::CheckpointVote;
use bixi_types::ports::Signer as _;
use bixi_types::{H256, NodeId};

use super::report::{Replayed, Verdict};
use super::{Failure, LogFiles};
use crate::evidence::Keeper;
use crate::lifecycle::now_ms;
use crate::ordering_log::{self, Record};

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The heights.
    pub heights: Vec<u64>,
    /// Where the dropped votes are kept; nowhere when none was to be dropped.
    pub evidence: Option<PathBuf>,
}

/// The heights whose signed result does not stand: from the lowest that differs on, because each builds on the one below.
pub(super) fn divergent(heights: &[Replayed]) -> impl Iterator<Item = &Replayed> {
    let from_lowest = heights.iter().skip_while(|replayed| replayed.verdict() != Verdict::Differs);
    from_lowest.filter(|replayed| replayed.vote.is_some())
}

/// What officers sign to have this binary's results signed in the place of others.
pub(super) fn propose(
    heights: &[Replayed],
    service: &SigningService,
    chain: H256,
    reason: &str,
) -> Result<Override, Failure> {
    if heights.iter().any(|replayed| replayed.verdict() == Verdict::Unstable) {
        return Err("this binary comes to different results from one run to the next: none is to be signed".into());
    }
    let change = |replayed: &Replayed| {
        Some(Change { height: replayed.height, old: replayed.signed?, new: replayed.header_hash })
    };
    let statement = Override {
        chain,
        node: service.node_id(),
        number: service.guard().overrulings() + 1,
        changes: divergent(heights).filter_map(change).collect(),
        reason: reason.to_owned(),
        at_ms: now_ms(),
    };
    if statement.changes.is_empty() {
        return Err("this binary comes to what was signed: there is nothing to overrule".into());
    }
    statement.check()?;
    Ok(statement)
}

/// Who drops, and where it is written.
pub(super) struct Acceptance<'a> {
    pub(super) us: NodeId,
    pub(super) evidence_dir: PathBuf,
    pub(super) audit: &'a dyn Audit,
    pub(super) log: &'a LogFiles,
    /// Whether the guard lets this key sign that header of that height: officers have overruled the one it signed.
    pub(super) stands_for: &'a dyn Fn(u64, &H256) -> bool,
}

impl Acceptance<'_> {
    /// Drops the votes of the divergent heights; `asked` is the height the operator named.
    pub(super) fn drop_results(self, heights: &[Replayed], asked: u64) -> Result<Accepted, Failure> {
        judge(heights, asked, &self.us, self.stands_for)?;
        let result = |replayed: &Replayed| Some((replayed.vote.clone()?, replayed.header_hash));
        let dropped: Vec<_> = divergent(heights).filter_map(result).collect();
        let Some((first, _)) = dropped.first() else {
            return Ok(Accepted { heights: Vec::new(), evidence: None });
        };
        let evidence = Keeper::new(self.evidence_dir.clone(), self.us).keep_dropped(&dropped)?;
        self.tell(&dropped, "about to be dropped")?;
        self.log.drop_results(first.height)?;
        self.tell(&dropped, "dropped")?;
        Ok(Accepted { heights: dropped.iter().map(|(vote, _)| vote.height).collect(), evidence: Some(evidence) })
    }

    /// The audit trail says what is to happen before it does, and that it has.
    fn tell(&self, dropped: &[(CheckpointVote, H256)], what: &str) -> Result<(), Failure> {
        for (vote, executed) in dropped {
            let (height, signed) = (vote.height, vote.header_hash);
            let subject = format!(
                "checkpoint vote of height {height} for header {signed} {what} from the ordering log by `bixi db replay --accept`; \
                 executed again it is {executed}"
            );
            let event =
                Event { request: "db-replay".into(), subject, digest: Some(signed.0), outcome: Outcome::Answered };
            self.audit.record(&event, Durability::AtOnce)?;
        }
        Ok(())
    }
}

/// Whether dropping helps, and drops what the operator has seen. `stands_for` as in [`Acceptance`].
fn judge(
    heights: &[Replayed],
    asked: u64,
    us: &NodeId,
    stands_for: &dyn Fn(u64, &H256) -> bool,
) -> Result<(), Failure> {
    let Some(lowest) = divergent(heights).next().map(|replayed| replayed.height) else { return Ok(()) };
    if heights.iter().any(|replayed| replayed.verdict() == Verdict::Unstable) {
        return Err("this binary comes to different results from one run to the next: dropping would not help".into());
    }
    if lowest < asked {
        return Err(format!(
            "height {lowest} differs already, and {asked} builds on it: name the lowest, `--height {lowest}`, to drop them"
        )
        .into());
    }
    let is_overruled = |replayed: &&Replayed| stands_for(replayed.height, &replayed.header_hash);
    divergent(heights)
        .filter(|replayed| !is_overruled(replayed))
        .try_for_each(|replayed| others_can_certify(replayed, us))
}

/// By the validators in force at the height, which need not be those of the genesis.
fn others_can_certify(Replayed { height, validators, .. }: &Replayed, us: &NodeId) -> Result<(), Failure> {
    let (others, quorum) = (validators.total_weight() - validators.weight_of(us), validators.quorum_weight());
    if others >= quorum {
        return Ok(());
    }
    Err(format!(
        "height {height}: without this node the validators weigh {others}, and {quorum} must sign; its key has signed the other result, \
         and its guard refuses a second header of one height: run the binary that executed it, or have two officers put this result in its \
         place (--propose)"
    )
    .into())
}

impl LogFiles {
    /// Writes the log again without our results of `first` and above.
    fn drop_results(&self, first: u64) -> Result<(), Failure> {
        let is_result = |record: &Record| match record {
            Record::Entry(entry) => {
                matches!(**entry, LogEntry::Checkpoint(CheckpointVote { height, .. }) if height >= first)
            }
            Record::Batch { .. } => false,
        };
        ordering_log::rewrite(&self.storage, &self.dir, &self.ring, |record| !is_result(record))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
