//! What must hold before a node may take part: kernels that compute right, a chain this release runs, a key that belongs to
//! it, and a disk that remembers everything the key has signed.

use std::path::PathBuf;

use bixi_accel::{cpu, selftest};
use bixi_consensus::{self as consensus, LogEntry, Mark};
use bixi_hsm::guard::{Position, Step};
use bixi_types::consensus::VoteKind;
use bixi_types::genesis::Genesis;
use bixi_types::{CryptoSuite, NodeId};

use super::Failure;
use crate::chain::NODES_MAX;
use crate::ordering_log::{Record, Recovered};

/// Chooses the kernels and runs their known answers before any key is touched (GM/T 0028's power-on self-test).
pub(crate) fn self_test() -> Result<(), Failure> {
    cpu::configure_from_env()?;
    selftest::run()?;
    Ok(())
}

pub(super) fn check_chain(genesis: &Genesis, has_network: bool) -> Result<(), Failure> {
    if genesis.suite != CryptoSuite::Sm {
        return Err("genesis names suite \"std\"; this release runs suite \"sm\" only".into());
    }
    let count = genesis.validators.len();
    if !(1..=NODES_MAX).contains(&count) {
        let range = format!("1 to {NODES_MAX}");
        return Err(format!("genesis names {count} validators; this release runs chains of {range}").into());
    }
    if count > 1 && !has_network {
        let advice = "set p2p.listen and p2p.peers in bixi.toml";
        return Err(
            format!("genesis names {count} validators, and this node has no network to reach them; {advice}").into()
        );
    }
    Ok(())
}

/// A node without a network must be the validator; with one it may follow as an observer.
pub(super) fn check_membership(genesis: &Genesis, node: NodeId, has_network: bool) -> Result<(), Failure> {
    if genesis.validators.iter().any(|validator| validator.id == node) {
        return Ok(());
    }
    let id = node.to_hex();
    if has_network {
        tracing::info!(node = id, "the consensus key is no validator of this genesis: the node follows");
        return Ok(());
    }
    Err(format!(
        "the consensus key {id} is not a validator of this genesis; check hsm.token, hsm.consensus_key and genesis"
    )
    .into())
}

/// The highest height whose decision the ordering log holds, 0 when there is none.
pub(super) fn highest_decided(records: &[Record]) -> u64 {
    let decided = records.iter().filter_map(|record| match record {
        Record::Entry(entry) if matches!(**entry, LogEntry::Decided { .. }) => Some(entry.height()),
        _ => None,
    });
    decided.max().unwrap_or(0)
}

/// What the key signed and the disk does not remember.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The highest place of which it is so.
    pub mark: Mark,
    /// What is missing, and why that may be.
    pub reason: String,
}

/// Holds ledger and ordering log against what the key has signed. The log is flushed before anything that follows from it is
/// signed, so less than a signature rests on is a disk that lost acknowledged bytes, or an old copy of one.
pub(crate) fn forgotten(ledger_height: u64, log: &Recovered, signed: &[Position]) -> Option<Forgotten> {
    let reached = highest_decided(&log.records).max(ledger_height);
    let needed = decided_at_least(signed);
    let lost = if reached < needed {
        format!("height {needed} was decided here, but ledger and ordering log reach only {reached}")
    } else {
        let position = signed.iter().find(|position| !rests_on_log(**position, reached, &log.records))?;
        format!("it signed at {position}, but the ordering log does not hold what that rests on")
    };
    let mark = signed.iter().map(mark_of).max()?;
    Some(Forgotten { mark, reason: format!("by what this key has signed, {lost}: {}", suspects(&log.torn)) })
}

/// Refuses, of a node alone, a ledger that ends below where the ordering log begins: nobody has what lies between.
pub(super) fn expect_no_gap(validators: usize, ledger_height: u64, records: &[Record]) -> Result<(), Failure> {
    let heights = records.iter().filter_map(|record| match record {
        Record::Entry(entry) => Some(entry.height()),
        _ => None,
    });
    match heights.min() {
        Some(lowest) if validators == 1 && lowest > ledger_height + 1 => Err(format!(
            "the ledger ends at height {ledger_height}, the ordering log begins at {lowest}, and no other node has what lies between: \
             restore the newest backup of the whole data directory"
        )
        .into()),
        _ => Ok(()),
    }
}

/// Alone a node cannot learn again what it forgot, and is not started. With others it follows them until the chain has passed what
/// the key signed.
pub(super) fn check_memory(validators: usize, forgotten: Option<Forgotten>) -> Result<Option<Mark>, Failure> {
    match forgotten {
        Some(Forgotten { reason, .. }) if validators == 1 => {
            Err(format!("{reason}; restore the newer disk or resynchronise from peers").into())
        }
        Some(Forgotten { mark, reason }) => {
            tracing::error!(
                until = mark.height,
                "{reason}; this validator follows until the chain has passed that height"
            );
            Ok(Some(mark))
        }
        None => Ok(None),
    }
}

/// A checkpoint has no round: all of its height is taken to be signed.
fn mark_of(position: &Position) -> Mark {
    match *position {
        Position::Ordering { height, round, step } => {
            let step = match step {
                Step::Proposal => consensus::Step::Propose,
                Step::Prevote => consensus::Step::Prevote,
                Step::Precommit => consensus::Step::Precommit,
            };
            Mark { height, round, step }
        }
        Position::Checkpoint { height } => Mark { height, round: u32::MAX, step: consensus::Step::Precommit },
    }
}

fn suspects(torn: &[PathBuf]) -> String {
    match torn.last() {
        Some(path) => {
            format!("the tail dropped from {} was durable and is damaged, or the disk is old", path.display())
        }
        None => "they are an old copy or lost their tail".to_owned(),
    }
}

/// The height whose decision was durable here when the guard granted its last claims: a header is signed after its own
/// decision is flushed, a proposal or vote of a height after the decision of the one below.
fn decided_at_least(signed: &[Position]) -> u64 {
    let heights = signed.iter().map(|position| match position {
        Position::Checkpoint { height } => *height,
        Position::Ordering { height, .. } => height.saturating_sub(1),
    });
    heights.max().unwrap_or(0)
}

/// Whether the log holds something that the statement at `position` may follow from: an entry of its own round, or, for a
/// proposal, an earlier prevote for a value, which is then proposed again.
fn rests_on_log(position: Position, reached: u64, records: &[Record]) -> bool {
    let Position::Ordering { height, round, step } = position else { return true };
    let of_height = records.iter().filter_map(|record| match record {
        Record::Entry(entry) if entry.height() == height => Some(&**entry),
        _ => None,
    });
    let supports = |entry: &LogEntry| match entry {
        LogEntry::Vote(signed) if step == Step::Proposal && signed.vote.round < round => {
            signed.vote.kind == VoteKind::Prevote && signed.vote.value.is_some()
        }
        entry => entry.round() == Some(round),
    };
    height <= reached || of_height.into_iter().any(supports)
}

#[cfg(test)]
mod tests;
