//! Each room's parameters, out of the node file, the genesis and the placement.

use std::sync::Arc;
use std::time::Duration;

use bixi_consensus::Timeouts;
use bixi_ledger::engine::rocks::Memory;
use bixi_ledger::snapshot::{PieceDigest, Places};
use bixi_platform::io::Storage;
use bixi_platform::placement::{Plan, Role};
use bixi_rpc::{ChainInfo, NodeInfo};
use bixi_sealed::KeyRing;
use bixi_txpool::{AdmissionParams, PoolParams};
use bixi_types::transaction::ChainIdentity;
use bixi_types::{CryptoSuite, NodeId};

use super::parts::RoomParams;
use crate::accelerator::Bulk;
use crate::doctor;
use crate::settings::Settings;
use crate::snapshot::{JoinParams, Pace};

/// Unverified transactions waiting for a signature check.
const ADMISSION_QUEUE_MAX: usize = 16_384;
/// Signatures checked in one batch.
const VERIFY_BATCH_MAX: usize = 64;

/// Memory of a database that is only filled, or looked into once.
const STAGING_CACHE_MB: usize = 8;
const STAGING_WRITE_BUFFER_MB: usize = 16;
/// The same for RocksDB alone.
pub(crate) const STAGING_MEMORY: Memory =
    Memory { cache_bytes: STAGING_CACHE_MB << 20, write_buffer_bytes: STAGING_WRITE_BUFFER_MB << 20 };

/// Half of the node's memory: a quarter for decrypted blocks, an eighth each for memtables and state rows. RPC has a quarter, the
/// pool an eighth, the admission queue a sixteenth, tables of frequent signers a sixty-fourth.
pub(crate) fn ledger_params(settings: &Settings, storage: Arc<dyn Storage>, ring: KeyRing) -> bixi_ledger::Params {
    let share_mb = |part: usize| settings.config.memory_mb_max as usize / part;
    bixi_ledger::Params {
        dir: settings.data("ledger"),
        storage,
        keyring: ring,
        suite: settings.genesis.suite,
        genesis: Some(settings.genesis.hash()),
        block_cache_mb: share_mb(4),
        write_buffer_mb: share_mb(8),
        state_cache_mb: share_mb(8),
    }
}

/// The same for who looks into it once.
pub(super) fn reading_params(settings: &Settings, storage: Arc<dyn Storage>, ring: KeyRing) -> bixi_ledger::Params {
    with_little_memory(ledger_params(settings, storage, ring))
}

fn with_little_memory(params: bixi_ledger::Params) -> bixi_ledger::Params {
    bixi_ledger::Params {
        block_cache_mb: STAGING_CACHE_MB,
        write_buffer_mb: STAGING_WRITE_BUFFER_MB,
        state_cache_mb: 1,
        ..params
    }
}

/// What the rooms behind the threads are told.
pub(super) fn room_params(
    settings: &Settings,
    node: NodeId,
    ledger: &bixi_ledger::Params,
    accelerator: Option<Arc<Bulk>>,
) -> RoomParams {
    RoomParams {
        consensus: consensus_params(settings, node),
        pool: pool_params(settings),
        evidence_dir: settings.data("evidence"),
        block_interval_ms: settings.config.consensus.block_interval_ms,
        join: join_params(settings, ledger, accelerator),
    }
}

/// How a snapshot is fetched. It may take what the disk has above `storage.free_mb_min`.
fn join_params(settings: &Settings, ledger: &bixi_ledger::Params, accelerator: Option<Arc<Bulk>>) -> JoinParams {
    let places = Places::around(&ledger.dir);
    let staging = bixi_ledger::Params { dir: places.joining.clone(), ..with_little_memory(ledger.clone()) };
    let asked = settings.clone();
    let free_bytes = move || {
        // A disk that cannot be asked is not filled.
        let free_mib = doctor::free_mib(&asked).unwrap_or(0);
        free_mib.saturating_sub(asked.config.storage.free_mb_min) << 20
    };
    let digest = accelerator.map(|bulk| -> PieceDigest { Arc::new(move |parts| bulk.sm3(parts)) });
    JoinParams { staging, places, free_bytes: Box::new(free_bytes), digest, pace: Pace::default() }
}

fn pool_params(settings: &Settings) -> PoolParams {
    let pool = &settings.config.txpool;
    PoolParams {
        transactions_max: pool.transactions_max as usize,
        bytes_max: share_of_memory(settings, 8),
        account_transactions_max: pool.account_transactions_max as usize,
        expiry: Duration::from_millis(pool.expiry_ms),
        block_limit: settings.genesis.block_limit.into(),
        signer_tables_bytes_max: signer_tables_bytes_max(settings),
    }
}

/// Nobody signs with SM2 in suite `std`.
fn signer_tables_bytes_max(settings: &Settings) -> usize {
    match settings.genesis.suite {
        CryptoSuite::Sm => share_of_memory(settings, 64),
        CryptoSuite::Std => 0,
    }
}

pub(super) fn admission_params(settings: &Settings, plan: &Plan) -> AdmissionParams {
    let pool = &settings.config.txpool;
    let verifiers = if pool.verifiers == 0 { plan.instances(Role::Verifier) } else { pool.verifiers as usize };
    AdmissionParams {
        suite: settings.genesis.suite,
        chain: ChainIdentity::from(&settings.genesis),
        verifiers: verifiers.max(1),
        queue_max: ADMISSION_QUEUE_MAX,
        queue_bytes_max: share_of_memory(settings, 16),
        connection_pending_max: pool.connection_pending_max as usize,
        verify_batch_max: VERIFY_BATCH_MAX,
    }
}

fn consensus_params(settings: &Settings, node: NodeId) -> bixi_consensus::Params {
    let config = &settings.config.consensus;
    let genesis = &settings.genesis;
    let mut params = bixi_consensus::Params::new(node, genesis.hash(), genesis.suite, genesis.pipeline_depth.into());
    params.clock_drift_ms = config.clock_drift_ms_max;
    params.sign_deadline_ms = settings.config.hsm.timeout_ms;
    let vote = (config.vote_timeout_ms, config.vote_timeout_ms / 2);
    params.timeouts = Timeouts {
        propose_ms: (config.propose_timeout_ms, config.propose_timeout_ms / 2),
        prevote_ms: vote,
        precommit_ms: vote,
        ..Timeouts::default()
    };
    params
}

pub(super) fn rpc_params(settings: &Settings) -> bixi_rpc::Params {
    let rpc = &settings.config.rpc;
    bixi_rpc::Params {
        listen: rpc.listen,
        connections_max: rpc.connections_max as usize,
        body_bytes_max: rpc.body_bytes_max as usize,
        batch_calls_max: rpc.batch_calls_max as usize,
        bounds: bixi_rpc::Bounds {
            held_bytes_max: share_of_memory(settings, 4).max(2 * rpc.body_bytes_max as usize),
            ..bixi_rpc::Bounds::default()
        },
    }
}

/// A part of what the node may take: what clients can fill is bounded in bytes, whatever the counts allow.
fn share_of_memory(settings: &Settings, divisor: u64) -> usize {
    (settings.config.memory_mb_max * 1024 * 1024 / divisor) as usize
}

pub(super) fn chain_info(settings: &Settings, node: NodeId) -> ChainInfo {
    let genesis = &settings.genesis;
    let sealers: Vec<_> = genesis
        .validators
        .iter()
        .map(|validator| serde_json::json!({"nodeID": validator.id.to_hex(), "weight": validator.weight}))
        .collect();
    ChainInfo {
        chain_id: genesis.chain_id.clone(),
        group_id: genesis.group_id.clone(),
        suite: genesis.suite,
        genesis_hash: genesis.hash(),
        genesis_json: serde_json::json!({
            "consensusType": "pbft",
            "blockTxCountLimit": genesis.block_tx_count_max,
            "txGasLimit": genesis.tx_gas_limit,
            "consensusLeaderPeriod": 1,
            "sealerList": sealers,
        }),
        node: NodeInfo {
            name: settings.config.name.clone(),
            id: node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            p2p_address: settings.config.p2p.listen.map(|address| address.to_string()).unwrap_or_default(),
        },
    }
}
