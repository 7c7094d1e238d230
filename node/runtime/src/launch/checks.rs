//! What must hold before a node may take part: kernels that compute right, a chain this release runs, a key that belongs to
//! it, and a disk that remembers everything the key has signed.

use std::path::PathBuf;

use bixi_accel::{cpu, selftest};
use bixi_consensus::LogEntry;
use bixi_hsm::guard::{Position, Step};
use bixi_ledger::Ledger;
use bixi_types::consensus::VoteKind;
use bixi_types::genesis::Genesis;
use bixi_types::{CryptoSuite, NodeId};

use super::Failure;
use crate::ordering_log::{Record, Recovered};

/// Chooses the kernels and runs their known answers before any key is touched (GM/T 0028's power-on self-test).
pub(super) fn self_test() -> Result<(), Failure> {
    cpu::configure_from_env()?;
    selftest::run()?;
    Ok(())
}

pub(super) fn check_chain(genesis: &Genesis) -> Result<(), Failure> {
    if genesis.suite != CryptoSuite::Sm {
        return Err("genesis names suite \"std\"; this release runs suite \"sm\" only".into());
    }
    if genesis.validators.len() != 1 {
        let count = genesis.validators.len();
        return Err(format!("genesis names {count} validators; this release runs one, having no network yet").into());
    }
    Ok(())
}

pub(super) fn check_membership(genesis: &Genesis, node: NodeId) -> Result<(), Failure> {
    if genesis.validators.iter().any(|validator| validator.id == node) {
        return Ok(());
    }
    let id = node.to_hex();
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

/// Holds ledger and ordering log against what the key has signed. The log is flushed before anything that follows from it is
/// signed, so less than a signature rests on is a disk that lost acknowledged bytes, or an old copy of one.
pub(super) fn check_memory(ledger: &Ledger, log: &Recovered, signed: &[Position]) -> Result<(), Failure> {
    let reached = highest_decided(&log.records).max(ledger.height());
    let needed = decided_at_least(signed);
    let lost = if reached < needed {
        format!("height {needed} was decided here, but ledger and ordering log reach only {reached}")
    } else {
        match signed.iter().find(|position| !rests_on_log(**position, reached, &log.records)) {
            Some(position) => format!("it signed at {position}, but the ordering log does not hold what that rests on"),
            None => return Ok(()),
        }
    };
    Err(format!(
        "by what this key has signed, {lost}: {}; restore the newer disk or resynchronise from peers",
        suspects(&log.torn)
    )
    .into())
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
