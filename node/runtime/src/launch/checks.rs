//! What must hold before a node may take part: kernels that compute right, a chain this release runs, a key that belongs to
//! it, and a disk that remembers everything the key has signed.

use bixi_accel::{cpu, selftest};
use bixi_consensus::LogEntry;
use bixi_ledger::Ledger;
use bixi_types::genesis::Genesis;
use bixi_types::{CryptoSuite, NodeId};

use super::Failure;
use crate::ordering_log::Record;

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

/// What the key has signed says how far the decisions on this disk must reach. Less is a disk that lost acknowledged bytes,
/// or an old copy of one.
pub(super) fn check_head(ledger: &Ledger, highest_decided: u64, decided_at_least: u64) -> Result<(), Failure> {
    let reached = highest_decided.max(ledger.height());
    if reached >= decided_at_least {
        return Ok(());
    }
    Err(format!(
        "by what this key has signed, height {decided_at_least} was decided here, but ledger and ordering log reach only \
         {reached}: they are an old copy or lost their tail; restore the newer disk or resynchronise from peers"
    )
    .into())
}
