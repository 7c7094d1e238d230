//! From the disk to the state consensus starts with: the ledger, or the ledger of a new chain, and the replay of the ordering
//! log above its head.

use std::sync::Arc;

use bixi_consensus::{Head, Input, LogEntry, Mark, Start};
use bixi_execution::system::{self, Node};
use bixi_execution::{ExecutionError, genesis_writes};
use bixi_ledger::Ledger;
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::H256;
use bixi_types::consensus::Value;
use bixi_types::genesis::Genesis;
use bixi_types::header::BlockHeader;
use bixi_types::transaction::ChainIdentity;

use super::{Failure, params};
use crate::batches::{BatchStore, VerifiedBatch};
use crate::ordering_log::Record;
use crate::pipeline::{HEADER_VERSION, rules_of};
use crate::settings::Settings;

/// Opens the ledger, or makes it when the chain is new.
pub(super) fn open_ledger(genesis: &Genesis, params: bixi_ledger::Params) -> Result<Ledger, Failure> {
    let ledger = Ledger::open(params)?;
    if ledger.genesis().is_none() {
        let writes = genesis_writes(genesis);
        let header = genesis_header(genesis, ledger.genesis_state_root(&writes));
        ledger.initialise(genesis, &writes, &header)?;
        tracing::info!(genesis = %genesis.hash(), "made the ledger of a new chain");
    }
    Ok(ledger)
}

/// The first header of a chain.
pub(crate) fn genesis_header(genesis: &Genesis, state_root: H256) -> BlockHeader {
    let set = bixi_types::consensus::ValidatorSet::new(genesis.validators.clone());
    BlockHeader {
        version: HEADER_VERSION,
        state_root,
        gas_used: "0".into(),
        timestamp: i64::try_from(genesis.timestamp_ms).unwrap_or(i64::MAX),
        sealer_list: set.members().iter().map(|member| member.id).collect(),
        consensus_weights: set.members().iter().map(|member| member.weight as i64).collect(),
        extra_data: genesis.hash().0.to_vec(),
        ..BlockHeader::default()
    }
}

/// Who belongs to the chain, by a ledger.
pub(crate) struct NodeLists {
    /// The ledger's head.
    pub(crate) height: u64,
    /// The nodes of the next height.
    pub(crate) next: Vec<Node>,
    /// Those of the last list that is decided: changes of members hold some heights later.
    pub(crate) later: Vec<Node>,
}

impl NodeLists {
    pub(super) fn of(ledger: &Ledger) -> Result<Self, ExecutionError> {
        let (view, height) = (ledger.committed_view(), ledger.height());
        let at = |height| system::node_list(view.as_ref(), height);
        Ok(Self { height, next: at(height + 1)?, later: at(u64::MAX)? })
    }
}

/// Who belongs to the chain by a node's ledger, which is opened for reading alone; nothing where the ledger was never begun.
pub(crate) fn node_lists(
    settings: &Settings,
    storage: Arc<dyn Storage>,
    ring: KeyRing,
) -> Result<Option<NodeLists>, Failure> {
    let ledger = Ledger::open_read_only(params::reading_params(settings, storage, ring))?;
    match ledger.genesis() {
        Some(_) => Ok(Some(NodeLists::of(&ledger)?)),
        None => Ok(None),
    }
}

/// How many validators the height after the ledger's head has.
pub(super) fn validators(ledger: &Ledger) -> Result<usize, Failure> {
    Ok(system::validators(ledger.committed_view().as_ref(), ledger.height() + 1)?.members().len())
}

/// Gives the core what it must know: the ledger's head, the rules of the coming heights, its own log; refills the batches.
pub(super) fn replay(
    genesis: &Genesis,
    ledger: &Ledger,
    batches: &BatchStore,
    records: Vec<Record>,
    signed: Option<Mark>,
) -> Result<Input, Failure> {
    let committed = ledger.height();
    let mut log = Vec::new();
    let chain = ChainIdentity::from(genesis);
    for record in records {
        match record {
            Record::Entry(entry) => {
                check_signed(ledger, &entry)?;
                log.push(*entry);
            }
            Record::Batch { height, batch } if height > committed => {
                batches.restore(VerifiedBatch::check(genesis.suite, &chain, &batch)?, height);
            }
            Record::Batch { .. } => {}
        }
    }
    tracing::info!(committed, entries = log.len(), batches = batches.len(), "replaying");
    let state = ledger.view();
    let ruled = committed + 1..=committed + u64::from(genesis.pipeline_depth) + 1;
    let rules = ruled.map(|height| rules_of(genesis, state.as_ref(), height)).collect::<Result<_, _>>()?;
    Ok(Input::Start(Box::new(Start { committed: head(genesis, ledger)?, rules, log, signed })))
}

/// A header that this key signed and the chain did not certify is a result that differed: not to be passed over because a snapshot,
/// or the others, went on without it.
pub(super) fn check_signed(ledger: &Ledger, entry: &LogEntry) -> Result<(), Failure> {
    let LogEntry::Checkpoint(vote) = entry else { return Ok(()) };
    let (height, signed) = (vote.height, vote.header_hash);
    match ledger.hash_of(height)? {
        Some(certified) if certified != signed => Err(format!(
            "this node signed header {signed} at height {height}, and the chain certified {certified}: it executed that block \
             otherwise than the others; keep its data and find out why before it signs again"
        )
        .into()),
        _ => Ok(()),
    }
}

fn head(genesis: &Genesis, ledger: &Ledger) -> Result<Head, Failure> {
    let height = ledger.height();
    if height == 0 {
        return Ok(Head { height, id: genesis.hash(), timestamp_ms: genesis.timestamp_ms });
    }
    let block = ledger.block(height)?.ok_or("the ledger has no block at its head")?;
    let value: Value = borsh::from_slice(&block.value)?;
    Ok(Head { height, id: value.id(genesis.suite), timestamp_ms: value.timestamp_ms })
}
