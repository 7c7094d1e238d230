//! `bixi.toml`: one node's settings.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bixi_types::NodeId;

use crate::diagnostic::ConfigErrors;
use crate::document::parse;

mod accelerator;
mod p2p;
mod read;
mod render;

pub use accelerator::Accelerator;
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
    /// Hardware for bulk SM3 and SM4.
    pub accelerator: Accelerator,
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
    /// What `module` is.
    pub backend: HsmBackend,
    /// PKCS#11 module, SDF library, or a TPM's device file or swtpm's socket.
    pub module: PathBuf,
    /// Vendor profile: a shipped name or a file; empty chooses by the module's own words.
    pub profile: String,
    /// Token label.
    pub token: String,
    /// Configuration file of Bixi's own token module; empty for other modules.
    pub token_config: PathBuf,
    /// Socket of the broker that holds the device for the node; empty when the node's own process does.
    pub broker: PathBuf,
    /// The user whose broker is believed besides root's and the node's own user's.
    pub broker_uid: u64,
    /// A production node may keep its keys in a software token.
    pub software_token_allowed: bool,
    /// Whether a running node may have older epochs of the data keys dropped; else that wants it stopped, and an officer at the device.
    pub drop_at_work_allowed: bool,
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
    /// Longest wait for the device to be found and opened, ms; its verdict on the PIN has twice as long.
    pub open_timeout_ms: u64,
    /// X ‖ Y of the officers' keys, two of whom may overrule a checkpoint.
    pub officers: Vec<NodeId>,
    /// Highest index at which an SDF device is looked at for keys.
    pub sdf_index_max: u64,
    /// How the device's random bit generator is tested before its keys are used.
    pub random_test: RandomTest,
}

/// How a device's random bit generator is tested at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomTest {
    /// As GM/T 0062-2018 has it, but a verdict that chance alone gives a sound device more often than once in a million starts is an
    /// alarm.
    PowerOn,
    /// By the letter of GM/T 0062-2018, which fails a sound device now and then.
    Strict,
    /// Not at all.
    Off,
}

const RANDOM_TESTS: [(&str, RandomTest); 3] =
    [("power-on", RandomTest::PowerOn), ("strict", RandomTest::Strict), ("off", RandomTest::Off)];

/// How the key device is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HsmBackend {
    /// PKCS#11.
    Pkcs11,
    /// GM/T 0018.
    Sdf,
    /// A TPM 2.0 with SM2.
    Tpm,
}

const HSM_BACKENDS: [(&str, HsmBackend); 3] =
    [("pkcs11", HsmBackend::Pkcs11), ("sdf", HsmBackend::Sdf), ("tpm", HsmBackend::Tpm)];

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
    /// Reads a source as node files and command lines write it: `file:PATH`, `fd:NUMBER`, `credential:NAME` or `prompt`.
    pub fn parse(text: &str) -> Option<Self> {
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
    /// Heights behind the chain above which a snapshot is fetched instead of executing every block; 0 never fetches one.
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
    /// How much of the disk's content a running node seals anew in a second when the data keys are exchanged, MiB.
    pub reseal_mb_per_second: u64,
    /// How fast a running node reads its own files through for damage, MiB a second; 0 for not at all.
    pub scrub_mb_per_second: u64,
    /// Days from the end of one such pass to the next.
    pub scrub_days: u64,
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
                backend: HsmBackend::Pkcs11,
                module: "/usr/lib/bixi/libbixi_token.so".into(),
                profile: String::new(),
                token: "bixi".into(),
                token_config: "token.conf".into(),
                broker: PathBuf::new(),
                broker_uid: 0,
                software_token_allowed: false,
                drop_at_work_allowed: false,
                pin: Pin::File("secrets/user.pin".into()),
                consensus_key: "consensus".into(),
                tls_key: "tls".into(),
                kek: "kek".into(),
                sessions_max: 8,
                timeout_ms: 5_000,
                open_timeout_ms: 300_000,
                officers: Vec::new(),
                sdf_index_max: 64,
                random_test: RandomTest::PowerOn,
            },
            accelerator: Accelerator::default(),
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
            storage: Storage {
                io: IoBackend::Auto,
                free_mb_min: 256,
                reseal_mb_per_second: 8,
                scrub_mb_per_second: 2,
                scrub_days: 7,
            },
            placement: PlacementMode::Auto,
            log: Log { filter: "info".into(), format: LogFormat::Text },
        }
    }
}

impl NodeConfig {
    /// Reads a node file. `file` names it in errors and is the base of relative paths, which stay relative in the result.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        parse(file, text, read::node)
    }

    /// The file with every key, its comment and its value; [`Self::parse`] reads it back unchanged.
    pub fn render(&self) -> String {
        render::node(self)
    }
}

#[cfg(test)]
mod tests;
