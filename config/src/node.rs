//! `bixi.toml`: one node's settings.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::diagnostic::{ConfigErrors, nearest};
use crate::document::{Section, parse, word_of};

mod p2p;

pub use p2p::{P2p, is_peer_address};

/// Everything an operator may set on one node. Relative paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name in logs and RPC.
    pub name: String,
    /// Genesis file.
    pub genesis: PathBuf,
    /// Where ledger, consensus log, guard and vault live.
    pub data_dir: PathBuf,
    /// Refuses settings that are fit for development only.
    pub production: bool,
    /// Bound on caches and write buffers together, MiB.
    pub memory_mb_max: u64,
    /// JSON-RPC.
    pub rpc: Rpc,
    /// Sessions between nodes.
    pub p2p: P2p,
    /// Keys and their device.
    pub hsm: Hsm,
    /// Transaction pool.
    pub txpool: Txpool,
    /// Ordering.
    pub consensus: Consensus,
    /// Catching up.
    pub sync: Sync,
    /// Disk.
    pub storage: Storage,
    /// Threads.
    pub placement: PlacementMode,
    /// Logging.
    pub log: Log,
}

/// JSON-RPC server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// Address of JSON-RPC, `/healthz` and `/metrics`.
    pub listen: SocketAddr,
    /// Open connections at once.
    pub connections_max: u64,
    /// Bytes of one request body.
    pub body_bytes_max: u64,
    /// Calls in one JSON-RPC batch.
    pub batch_calls_max: u64,
    /// How long `sendTransaction` waits for its receipt, ms.
    pub receipt_timeout_ms: u64,
}

/// The key device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsm {
    /// PKCS#11 module.
    pub module: PathBuf,
    /// Vendor profile: a shipped name or a file; empty chooses by the module's own words.
    pub profile: String,
    /// Token label.
    pub token: String,
    /// Configuration file of Bixi's own token module; empty for other modules.
    pub token_config: PathBuf,
    /// Where the PIN comes from.
    pub pin: Pin,
    /// Label of the consensus key.
    pub consensus_key: String,
    /// Label of the TLS key.
    pub tls_key: String,
    /// Label of the key encryption key.
    pub kek: String,
    /// Sessions held open at once.
    pub sessions_max: u64,
    /// Deadline of one device operation, ms.
    pub timeout_ms: u64,
}

/// Where a PIN comes from. Never the configuration file itself, the command line or the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// A file of mode 0400.
    File(PathBuf),
    /// An inherited file descriptor.
    Fd(i32),
    /// The terminal.
    Prompt,
    /// A systemd credential.
    Credential(String),
}

impl Pin {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.into())),
            // 0, 1 and 2 are the standard streams.
            Some(("fd", number)) => number.parse().ok().filter(|fd| *fd > 2).map(Self::Fd),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => {
                Some(Self::Credential(name.to_owned()))
            }
            None if text == "prompt" => Some(Self::Prompt),
            _ => None,
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Fd(number) => write!(f, "fd:{number}"),
            Self::Prompt => f.write_str("prompt"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Transaction pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txpool {
    /// Transactions held at once.
    pub transactions_max: u64,
    /// Transactions of one account held at once.
    pub account_transactions_max: u64,
    /// Unverified transactions of one connection held at once.
    pub connection_pending_max: u64,
    /// Age at which a waiting transaction is dropped, ms.
    pub expiry_ms: u64,
    /// Signature-checking threads; 0 takes what placement gives.
    pub verifiers: u64,
}

/// Ordering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consensus {
    /// First-round wait for a proposal, ms.
    pub propose_timeout_ms: u64,
    /// First-round wait for votes, ms.
    pub vote_timeout_ms: u64,
    /// How far a proposal's timestamp may run ahead of the local clock, ms.
    pub clock_drift_ms_max: u64,
    /// How long a builder collects transactions for a block, ms.
    pub block_interval_ms: u64,
}

/// Catching up with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// Heights behind the peers above which a snapshot is fetched instead of executing every block; 0 never fetches one.
    pub snapshot_after_blocks: u64,
}

/// Which system calls write files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoBackend {
    /// io_uring where the kernel has it, else pread/pwrite.
    Auto,
    /// pread and pwrite.
    Pread,
    /// io_uring; refused when the kernel lacks it.
    Uring,
    /// io_uring through the tokio-uring runtime.
    TokioUring,
}

const IO_BACKENDS: [(&str, IoBackend); 4] = [
    ("auto", IoBackend::Auto),
    ("pread", IoBackend::Pread),
    ("uring", IoBackend::Uring),
    ("tokio-uring", IoBackend::TokioUring),
];

/// Disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// System calls.
    pub io: IoBackend,
    /// Free space wanted on the disk of the data directory, MiB; the doctor warns below it.
    pub free_mb_min: u64,
}

/// How threads are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementMode {
    /// By topology.
    Auto,
    /// No pinning.
    Off,
}

const PLACEMENT_MODES: [(&str, PlacementMode); 2] = [("auto", PlacementMode::Auto), ("off", PlacementMode::Off)];

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Logging, to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Filter in tracing's directive syntax, e.g. `info,bixi_consensus=debug`.
    pub filter: String,
    /// Shape of lines.
    pub format: LogFormat,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "node0".into(),
            genesis: "genesis.toml".into(),
            data_dir: "data".into(),
            production: false,
            memory_mb_max: 384,
            rpc: Rpc {
                listen: SocketAddr::from(([127, 0, 0, 1], 20200)),
                connections_max: 1024,
                body_bytes_max: 10 * 1024 * 1024,
                batch_calls_max: 256,
                receipt_timeout_ms: 30_000,
            },
            p2p: P2p::default(),
            hsm: Hsm {
                module: "/usr/lib/bixi/libbixi_token.so".into(),
                profile: String::new(),
                token: "bixi".into(),
                token_config: "token.conf".into(),
                pin: Pin::File("secrets/user.pin".into()),
                consensus_key: "consensus".into(),
                tls_key: "tls".into(),
                kek: "kek".into(),
                sessions_max: 8,
                timeout_ms: 5_000,
            },
            txpool: Txpool {
                transactions_max: 50_000,
                account_transactions_max: 20_000,
                connection_pending_max: 4_096,
                expiry_ms: 600_000,
                verifiers: 0,
            },
            consensus: Consensus {
                propose_timeout_ms: 3_000,
                vote_timeout_ms: 1_000,
                clock_drift_ms_max: 10_000,
                block_interval_ms: 20,
            },
            sync: Sync { snapshot_after_blocks: 0 },
            storage: Storage { io: IoBackend::Auto, free_mb_min: 256 },
            placement: PlacementMode::Auto,
            log: Log { filter: "info".into(), format: LogFormat::Text },
        }
    }
}

impl NodeConfig {
    /// Reads a node file. `file` names it in errors and is the base of relative paths, which stay relative in the result.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        parse(file, text, read_node)
    }

    /// The file with every key, its comment and its value; [`Self::parse`] reads it back unchanged.
    pub fn render(&self) -> String {
        let mut out = String::from(HEADER);
        render_into(self, &mut out).expect("writing to a String cannot fail");
        out
    }
}

/// The level words of a log filter.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
const NAME_BYTES_MAX: usize = 64;
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

fn read_node(root: &mut Section<'_, '_, '_>) -> NodeConfig {
    let default = NodeConfig::default();
    NodeConfig {
        name: root.name("name", &default.name, NAME_BYTES_MAX),
        genesis: root.path_of("genesis", &default.genesis),
        data_dir: root.path_of("data_dir", &default.data_dir),
        production: root.flag("production", default.production),
        memory_mb_max: root.integer("memory_mb_max", default.memory_mb_max, 64..=1_048_576),
        rpc: root.section("rpc", |section| read_rpc(section, default.rpc)),
        p2p: root.section("p2p", |section| p2p::read(section, default.p2p)),
        hsm: root.section("hsm", |section| read_hsm(section, default.hsm)),
        txpool: root.section("txpool", |section| read_txpool(section, &default.txpool)),
        consensus: root.section("consensus", |section| read_consensus(section, &default.consensus)),
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
        }),
        placement: root.section("placement", |section| section.choice("mode", default.placement, &PLACEMENT_MODES)),
        log: root.section("log", |section| Log {
            filter: read_filter(section, &default.log.filter),
            format: section.choice("format", default.log.format, &LOG_FORMATS),
        }),
    }
}

fn read_rpc(section: &mut Section<'_, '_, '_>, default: Rpc) -> Rpc {
    Rpc {
        listen: section.address("listen", default.listen),
        connections_max: section.integer("connections_max", default.connections_max, 1..=1_000_000),
        body_bytes_max: section.integer("body_bytes_max", default.body_bytes_max, 1_024..=1_073_741_824),
        batch_calls_max: section.integer("batch_calls_max", default.batch_calls_max, 1..=100_000),
        receipt_timeout_ms: section.integer("receipt_timeout_ms", default.receipt_timeout_ms, 100..=3_600_000),
    }
}

fn read_hsm(section: &mut Section<'_, '_, '_>, default: Hsm) -> Hsm {
    Hsm {
        module: section.path_of("module", &default.module),
        profile: section.text("profile", &default.profile),
        token: section.name("token", &default.token, TOKEN_LABEL_BYTES_MAX),
        token_config: section.text("token_config", &default.token_config.to_string_lossy()).into(),
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
    }
}

fn read_txpool(section: &mut Section<'_, '_, '_>, default: &Txpool) -> Txpool {
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

fn read_consensus(section: &mut Section<'_, '_, '_>, default: &Consensus) -> Consensus {
    Consensus {
        propose_timeout_ms: section.integer("propose_timeout_ms", default.propose_timeout_ms, 50..=600_000),
        vote_timeout_ms: section.integer("vote_timeout_ms", default.vote_timeout_ms, 50..=600_000),
        clock_drift_ms_max: section.integer("clock_drift_ms_max", default.clock_drift_ms_max, 100..=600_000),
        block_interval_ms: section.integer("block_interval_ms", default.block_interval_ms, 0..=60_000),
    }
}

const HEADER: &str = "\
# Bixi node settings. Relative paths are relative to this file.
# Every key may be left out; the value shown here then holds. Units stand at the end of each name.

";

fn quoted(text: impl fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn render_into(c: &NodeConfig, out: &mut String) -> fmt::Result {
    writeln!(out, "# Name in logs and RPC answers.\nname = {}", quoted(&c.name))?;
    writeln!(out, "# The chain's genesis; every node must hold the same.\ngenesis = {}", quoted(c.genesis.display()))?;
    writeln!(
        out,
        "# Ledger, consensus log, sign-once guard, key vault: all sealed.\ndata_dir = {}",
        quoted(c.data_dir.display())
    )?;
    writeln!(out, "# true refuses what is fit for development only.\nproduction = {}", c.production)?;
    writeln!(
        out,
        "# Bound on caches, write buffers, the pool and what clients make the node hold, MiB (64 to 1048576).\nmemory_mb_max = {}\n",
        c.memory_mb_max
    )?;

    writeln!(out, "[rpc]\n# JSON-RPC, /healthz and /metrics. Plain HTTP: keep it on loopback or behind TLS.")?;
    writeln!(out, "listen = {}", quoted(c.rpc.listen))?;
    writeln!(out, "connections_max = {}", c.rpc.connections_max)?;
    writeln!(out, "body_bytes_max = {}", c.rpc.body_bytes_max)?;
    writeln!(out, "batch_calls_max = {}", c.rpc.batch_calls_max)?;
    writeln!(
        out,
        "# How long sendTransaction waits for its receipt.\nreceipt_timeout_ms = {}\n",
        c.rpc.receipt_timeout_ms
    )?;

    p2p::render_into(&c.p2p, out)?;

    writeln!(
        out,
        "[hsm]\n# Any PKCS#11 module; the shipped one keeps keys in a sealed store, in process memory while in use."
    )?;
    writeln!(out, "module = {}", quoted(c.hsm.module.display()))?;
    writeln!(
        out,
        "# Vendor profile: a shipped name or a file. Empty: chosen by the module's own words.\nprofile = {}",
        quoted(&c.hsm.profile)
    )?;
    writeln!(out, "token = {}", quoted(&c.hsm.token))?;
    writeln!(
        out,
        "# Configuration of the shipped module; empty for other modules.\ntoken_config = {}",
        quoted(c.hsm.token_config.display())
    )?;
    writeln!(out, "# \"file:PATH\" (mode 0400), \"fd:NUMBER\", \"credential:NAME\" (systemd) or \"prompt\".")?;
    writeln!(out, "pin = {}", quoted(&c.hsm.pin))?;
    writeln!(out, "consensus_key = {}", quoted(&c.hsm.consensus_key))?;
    writeln!(out, "tls_key = {}", quoted(&c.hsm.tls_key))?;
    writeln!(out, "kek = {}", quoted(&c.hsm.kek))?;
    writeln!(out, "sessions_max = {}\ntimeout_ms = {}\n", c.hsm.sessions_max, c.hsm.timeout_ms)?;

    writeln!(out, "[txpool]\ntransactions_max = {}", c.txpool.transactions_max)?;
    writeln!(out, "account_transactions_max = {}", c.txpool.account_transactions_max)?;
    writeln!(out, "connection_pending_max = {}", c.txpool.connection_pending_max)?;
    writeln!(out, "expiry_ms = {}", c.txpool.expiry_ms)?;
    writeln!(out, "# Signature-checking threads; 0 takes what placement gives.\nverifiers = {}\n", c.txpool.verifiers)?;

    writeln!(out, "[consensus]\npropose_timeout_ms = {}", c.consensus.propose_timeout_ms)?;
    writeln!(out, "vote_timeout_ms = {}", c.consensus.vote_timeout_ms)?;
    writeln!(out, "clock_drift_ms_max = {}", c.consensus.clock_drift_ms_max)?;
    writeln!(
        out,
        "# How long a builder collects transactions for a block.\nblock_interval_ms = {}\n",
        c.consensus.block_interval_ms
    )?;

    writeln!(
        out,
        "[sync]\n# A node so many heights behind its peers fetches a certified snapshot instead of executing every block. It then\n# lacks older transactions and receipts, its own included; headers and state are whole. 0: never."
    )?;
    writeln!(out, "snapshot_after_blocks = {}\n", c.sync.snapshot_after_blocks)?;

    writeln!(
        out,
        "[storage]\n# \"auto\", \"pread\", \"uring\" or \"tokio-uring\".\nio = {}",
        quoted(word_of(&IO_BACKENDS, c.storage.io))
    )?;
    writeln!(
        out,
        "# Free space a node wants on the disk of data_dir, MiB; `bixi doctor` warns below it.\nfree_mb_min = {}\n",
        c.storage.free_mb_min
    )?;

    writeln!(
        out,
        "[placement]\n# \"auto\" pins threads by topology, \"off\" leaves them to the kernel.\nmode = {}\n",
        quoted(word_of(&PLACEMENT_MODES, c.placement))
    )?;

    writeln!(
        out,
        "[log]\n# A level, or directives such as \"info,bixi_consensus=debug\".\nfilter = {}",
        quoted(&c.log.filter)
    )?;
    writeln!(out, "# \"text\" or \"json\".\nformat = {}", quoted(word_of(&LOG_FORMATS, c.log.format)))
}

#[cfg(test)]
mod tests;
