//! `bixi db replay`: executes decided heights again, offline, and holds the results against what this node has signed.
//!
//! Only heights above the ledger's head can be executed again: the state before them is the head's, and the ordering log holds what was
//! decided. The state before a committed height is gone, and a quorum stands by its result. Of an uncertified result the node keeps one
//! thing, the header hash it signed; so that is what a result is compared with (if the result was disputed while the node ran, also what
//! evidence has of it), and each height is executed twice, because a binary that does not come to one result itself cannot judge. Nothing
//! is written before [`Replay::accept`].

mod accept;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_consensus::{Input, LogEntry};
use bixi_execution::{ExecutionParams, Executor, system};
use bixi_ledger::Ledger;
use bixi_platform::io::Storage;
use bixi_platform::threads::Spawner;
use bixi_sealed::KeyRing;
use bixi_types::H256;
use bixi_types::consensus::{CheckpointVote, CommitCertificate, Value};
use bixi_types::genesis::Genesis;
use bixi_types::ports::Signer as _;

use super::{Failure, LaunchError, chain_state, checks, params, step};
use crate::batches::BatchStore;
use crate::chain::write_new;
use crate::keys::{self, Holder};
use crate::ordering_log::{self, Record, Recovered};
use crate::pipeline::{ExecuteJob, Execution};
use crate::settings::Settings;
use crate::{doctor, placement};
use accept::Acceptance;
pub use accept::Accepted;
pub use report::{Replayed, Verdict};

/// What came out, and what it takes to act on it. Holds the node's guard: no node starts on the same files meanwhile.
pub struct Replay {
    /// The ledger's head.
    pub head: u64,
    /// The heights executed again, from the one asked for, or the lowest whose result is not what was signed, to the last decided one.
    pub heights: Vec<Replayed>,
    asked: u64,
    chain: H256,
    evidence_dir: PathBuf,
    log: LogFiles,
    holder: Holder,
}

/// Where the ordering log lies.
struct LogFiles {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    ring: KeyRing,
}

/// Executes `height` and every decided height above it again. The node must not run.
///
/// # Errors
/// Names the step and what to do: a running node, a PIN that is refused, a height whose state is gone or that is not decided here.
pub fn replay(settings: &Settings, height: u64) -> Result<Replay, LaunchError> {
    let genesis = &settings.genesis;
    step("self-tests", checks::self_test)?;
    step("stopped node", || doctor::expect_stopped(settings))?;
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    let storage = step("storage", || settings.storage(&spawner))?;
    let holder = step("unlock keys", || keys::hold_here(settings, &storage))?;
    let ring = holder.ring.clone();
    let log = LogFiles { storage: Arc::clone(&storage), dir: settings.data("ordering"), ring: ring.clone() };
    let ledger = step("ledger", || Ledger::open(params::ledger_params(settings, storage, ring)))?;
    let recovered = step("ordering log", || log.read())?;
    let mut heights = step("replay", || execute_again(genesis, &ledger, recovered.records, height))?;
    let evidence_dir = settings.data("evidence");
    heights.iter_mut().for_each(|replayed| replayed.find_evidence(&evidence_dir));
    Ok(Replay { head: ledger.height(), heights, asked: height, chain: genesis.hash(), evidence_dir, log, holder })
}

impl Replay {
    /// Heights whose signed result would be dropped: from the lowest that differs on, because each builds on the one below.
    pub fn divergent(&self) -> Vec<u64> {
        accept::divergent(&self.heights).map(|replayed| replayed.height).collect()
    }

    /// Writes a statement for officers to a new file: this binary's results of the divergent heights in the place of the signed ones.
    ///
    /// # Errors
    /// When nothing differs, when this binary gives no single result, or when the file cannot be written.
    pub fn propose(&self, reason: &str, out: &Path) -> Result<(), LaunchError> {
        step("propose", || {
            let statement = accept::propose(&self.heights, &self.holder.service, self.chain, reason)?;
            Ok::<_, Failure>(write_new(out, 0o644, &statement.encode())?)
        })
    }

    /// Drops what was signed of the divergent heights from the ordering log, so that the next start executes them and goes by the others'
    /// quorum. Before, it is kept as evidence, and the audit trail names both headers of each. The guard forgets nothing: this key signs
    /// no second header of these heights, unless officers have put this binary's result in the place of the signed one.
    ///
    /// # Errors
    /// When this binary gives no single result, when a height below the one asked for differs, when the others cannot certify, or when
    /// evidence, audit trail or log cannot be written.
    pub fn accept(self) -> Result<Accepted, LaunchError> {
        let Self { heights, asked, evidence_dir, log, holder, .. } = self;
        step("accept", || {
            holder.service.expect_newest()?;
            let ours = Acceptance {
                us: holder.service.node_id(),
                evidence_dir,
                audit: holder.audit.as_ref(),
                log: &log,
                stands_for: &|height, header| holder.service.stands_for(height, header),
            };
            ours.drop_results(&heights, asked)
        })
    }
}

impl LogFiles {
    fn read(&self) -> Result<Recovered, ordering_log::LogError> {
        ordering_log::read_all(self.storage.as_ref(), &self.dir, &self.ring)
    }
}

/// What the ordering log holds above the ledger's head.
#[derive(Default)]
struct Logged {
    decided: BTreeMap<u64, (Value, CommitCertificate)>,
    signed: BTreeMap<u64, CheckpointVote>,
}

impl Logged {
    fn of(entries: Vec<LogEntry>, head: u64) -> Self {
        let mut logged = Self::default();
        for entry in entries.into_iter().filter(|entry| entry.height() > head) {
            match entry {
                LogEntry::Decided { value, certificate } => {
                    logged.decided.insert(value.height, (value, certificate));
                }
                LogEntry::Checkpoint(vote) => {
                    logged.signed.insert(vote.height, vote);
                }
                _ => {}
            }
        }
        logged
    }

    /// The last height that can be executed: decisions are of use without a gap.
    fn last(&self, head: u64) -> u64 {
        (head + 1..).take_while(|height| self.decided.contains_key(height)).last().unwrap_or(head)
    }
}

/// Executes every decided height above the head, twice each, and reports from `height` on, or from a lower one that is not as signed.
fn execute_again(
    genesis: &Genesis,
    ledger: &Ledger,
    records: Vec<Record>,
    height: u64,
) -> Result<Vec<Replayed>, Failure> {
    let batches = BatchStore::default();
    let Input::Start(start) = chain_state::replay(genesis, ledger, &batches, records, None)? else {
        return Err("the ordering log does not begin with a start".into());
    };
    let (head, mut parent) = ledger.head().ok_or("the ledger has no head; the node has never run")?;
    let mut logged = Logged::of(start.log, head);
    let last = logged.last(head);
    check_range(ledger, height, head, last)?;
    let executor = Executor::new(ExecutionParams::from(genesis));
    let execution = Execution { genesis, executor: &executor, ledger, batches: &batches };
    let mut replayed = Vec::new();
    for at in head + 1..=last {
        let (value, certificate) = logged.decided.remove(&at).expect("decided up to the last");
        let job = || ExecuteJob { height: at, value: value.clone(), certificate: certificate.clone() };
        let validators = system::validators(ledger.view().as_ref(), at)?;
        let first = execution.run(job(), parent)?;
        ledger.discard_prepared(at);
        let second = execution.run(job(), parent)?;
        parent = second.header_hash;
        replayed.push(Replayed::new(genesis.suite, logged.signed.remove(&at), validators, &first, second));
    }
    let is_as_signed = |replayed: &&Replayed| matches!(replayed.verdict(), Verdict::Equal | Verdict::NotSigned);
    let shown = replayed.iter().take_while(is_as_signed).filter(|replayed| replayed.height < height).count();
    replayed.drain(..shown);
    Ok(replayed)
}

/// Whether `height` can be executed again, and if not, why.
fn check_range(ledger: &Ledger, height: u64, head: u64, last: u64) -> Result<(), Failure> {
    let possible = if last > head {
        format!("heights {} to {last} can be executed again", head + 1)
    } else {
        "no height above the head is decided here, so none can be executed again".to_owned()
    };
    if height <= head {
        let header = ledger.header(height)?.ok_or_else(|| format!("the ledger has no header of height {height}"))?;
        let (signed, of) = (header.signature_list.len(), header.sealer_list.len());
        return Err(format!(
            "height {height} is in the ledger (head {head}), certified by {signed} of {of} validators: it is not dropped, and it cannot \
             be executed again, because the state before it is gone; {possible}"
        )
        .into());
    }
    if height > last {
        return Err(format!(
            "height {height} is not decided here: the ledger ends at {head}, the ordering log at {last}; {possible}"
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
