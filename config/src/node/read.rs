//! A node file read: every key's bounds, and what contradicts what.

use super::{
    Consensus, HSM_BACKENDS, Hsm, IO_BACKENDS, LOG_FORMATS, Log, NodeConfig, PLACEMENT_MODES, Pin, RANDOM_TESTS, Rpc,
    Storage, Sync, Txpool, accelerator, p2p,
};
use crate::diagnostic::nearest;
use crate::document::Section;

/// The level words of a log filter.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
const NAME_BYTES_MAX: usize = 64;
const OFFICERS_MAX: usize = 64;
const OFFICER: &str = "the public key of an officer, 128 hexadecimal digits, as `bixi hsm officer new` prints it";
/// `CK_TOKEN_INFO.label` (PKCS#11 2.40, 3.2).
const TOKEN_LABEL_BYTES_MAX: usize = 32;

/// The filter's own parser takes a misspelt level for a module's name and then logs nothing else.
fn read_filter(section: &mut Section<'_, '_, '_>, default: &str) -> String {
    let filter = section.text("filter", default);
    for part in filter.split(',').map(str::trim) {
        let level = part.rsplit('=').next().unwrap_or(part).to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str())
            && let Some(meant) = nearest(&level, LEVELS)
        {
            section.contradiction("filter", format!("{part:?} names no level; did you mean `{meant}`?"));
        }
    }
    filter
}

pub(super) fn node(root: &mut Section<'_, '_, '_>) -> NodeConfig {
    let default = NodeConfig::default();
    NodeConfig {
        name: root.name("name", &default.name, NAME_BYTES_MAX),
        genesis: root.path_of("genesis", &default.genesis),
        data_dir: root.path_of("data_dir", &default.data_dir),
        production: root.flag("production", default.production),
        memory_mb_max: root.integer("memory_mb_max", default.memory_mb_max, 64..=1_048_576),
        rpc: root.section("rpc", |section| rpc(section, default.rpc)),
        p2p: root.section("p2p", |section| p2p::read(section, default.p2p)),
        hsm: root.section("hsm", |section| hsm(section, default.hsm)),
        accelerator: root.section("accelerator", |section| accelerator::read(section, default.accelerator)),
        txpool: root.section("txpool", |section| txpool(section, &default.txpool)),
        consensus: root.section("consensus", |section| consensus(section, &default.consensus)),
        sync: root.section("sync", |section| Sync {
            snapshot_after_blocks: section.integer(
                "snapshot_after_blocks",
                default.sync.snapshot_after_blocks,
                0..=1_000_000_000,
            ),
        }),
        storage: root.section("storage", |section| Storage {
            io: section.choice("io", default.storage.io, &IO_BACKENDS),
            free_mb_min: section.integer("free_mb_min", default.storage.free_mb_min, 16..=1_048_576),
            reseal_mb_per_second: section.integer(
                "reseal_mb_per_second",
                default.storage.reseal_mb_per_second,
                1..=1_048_576,
            ),
            scrub_mb_per_second: section.integer(
                "scrub_mb_per_second",
                default.storage.scrub_mb_per_second,
                0..=65_536,
            ),
            scrub_days: section.integer("scrub_days", default.storage.scrub_days, 1..=3_650),
        }),
        placement: root.section("placement", |section| section.choice("mode", default.placement, &PLACEMENT_MODES)),
        log: root.section("log", |section| Log {
            filter: read_filter(section, &default.log.filter),
            format: section.choice("format", default.log.format, &LOG_FORMATS),
        }),
    }
}

fn rpc(section: &mut Section<'_, '_, '_>, default: Rpc) -> Rpc {
    Rpc {
        listen: section.address("listen", default.listen),
        connections_max: section.integer("connections_max", default.connections_max, 1..=1_000_000),
        body_bytes_max: section.integer("body_bytes_max", default.body_bytes_max, 1_024..=1_073_741_824),
        batch_calls_max: section.integer("batch_calls_max", default.batch_calls_max, 1..=100_000),
        receipt_timeout_ms: section.integer("receipt_timeout_ms", default.receipt_timeout_ms, 100..=3_600_000),
    }
}

fn hsm(section: &mut Section<'_, '_, '_>, default: Hsm) -> Hsm {
    Hsm {
        backend: section.choice("backend", default.backend, &HSM_BACKENDS),
        module: section.path_of("module", &default.module),
        profile: section.text("profile", &default.profile),
        token: section.name("token", &default.token, TOKEN_LABEL_BYTES_MAX),
        token_config: section.text("token_config", &default.token_config.to_string_lossy()).into(),
        broker: section.text("broker", &default.broker.to_string_lossy()).into(),
        broker_uid: section.integer("broker_uid", default.broker_uid, 0..=4_294_967_294),
        software_token_allowed: section.flag("software_token_allowed", default.software_token_allowed),
        drop_at_work_allowed: section.flag("drop_at_work_allowed", default.drop_at_work_allowed),
        pin: section
            .maybe_unshown(
                "pin",
                "\"file:PATH\", \"fd:NUMBER\", \"credential:NAME\" or \"prompt\" (never the PIN itself)",
                |value| Pin::parse(value.as_str()?),
            )
            .unwrap_or(default.pin),
        consensus_key: section.name("consensus_key", &default.consensus_key, NAME_BYTES_MAX),
        tls_key: section.name("tls_key", &default.tls_key, NAME_BYTES_MAX),
        kek: section.name("kek", &default.kek, NAME_BYTES_MAX),
        sessions_max: section.integer("sessions_max", default.sessions_max, 1..=256),
        timeout_ms: section.integer("timeout_ms", default.timeout_ms, 10..=600_000),
        open_timeout_ms: section.integer("open_timeout_ms", default.open_timeout_ms, 1_000..=3_600_000),
        officers: section
            .list("officers", OFFICERS_MAX, OFFICER, default.officers, |value| value.as_str()?.parse().ok()),
        sdf_index_max: section.integer("sdf_index_max", default.sdf_index_max, 1..=4_096),
        random_test: section.choice("random_test", default.random_test, &RANDOM_TESTS),
    }
}

fn txpool(section: &mut Section<'_, '_, '_>, default: &Txpool) -> Txpool {
    Txpool {
        transactions_max: section.integer("transactions_max", default.transactions_max, 1..=10_000_000),
        account_transactions_max: section.integer(
            "account_transactions_max",
            default.account_transactions_max,
            1..=10_000_000,
        ),
        connection_pending_max: section.integer(
            "connection_pending_max",
            default.connection_pending_max,
            1..=1_000_000,
        ),
        expiry_ms: section.integer("expiry_ms", default.expiry_ms, 1_000..=86_400_000),
        verifiers: section.integer("verifiers", default.verifiers, 0..=1_024),
    }
}

fn consensus(section: &mut Section<'_, '_, '_>, default: &Consensus) -> Consensus {
    Consensus {
        propose_timeout_ms: section.integer("propose_timeout_ms", default.propose_timeout_ms, 50..=600_000),
        vote_timeout_ms: section.integer("vote_timeout_ms", default.vote_timeout_ms, 50..=600_000),
        clock_drift_ms_max: section.integer("clock_drift_ms_max", default.clock_drift_ms_max, 100..=600_000),
        block_interval_ms: section.integer("block_interval_ms", default.block_interval_ms, 0..=60_000),
    }
}
