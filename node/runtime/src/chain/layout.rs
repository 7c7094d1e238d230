//! Where everything of a chain lies, and the files that need no token.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_config::NodeConfig;
use bixi_platform::random::OsRandom;
use bixi_types::consensus::Validator;
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::{CryptoSuite, EvmHash};
use zeroize::Zeroizing;

use crate::chain::{ChainError, NodeKeys, io_at};

/// Random bytes in a PIN; written as twice as many hexadecimal digits.
const PIN_BYTES: usize = 16;
const TX_GAS_LIMIT: u64 = 3_000_000_000;
const BLOCK_TRANSACTIONS_MAX: u32 = 2_000;
const BLOCK_LIMIT: u32 = 1_000;
const PIPELINE_DEPTH: u32 = 1;

/// The ordering engine tells every vote at the level of ours for every start.
const LOG_FILTER: &str = "info,arc_malachitebft_core_consensus=warn";

/// A directory that holds a token of the shipped module: its configuration, store and PINs.
#[derive(Debug, Clone)]
pub struct TokenHome(PathBuf);

impl TokenHome {
    /// The home at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What `BIXI_TOKEN_CONF` must name while this token is in use.
    pub fn token_config(&self) -> PathBuf {
        self.0.join("token.conf")
    }

    /// The token's store.
    pub fn store(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The security officer's PIN.
    pub fn so_pin(&self) -> PathBuf {
        self.0.join("secrets/so.pin")
    }

    /// The user PIN.
    pub fn user_pin(&self) -> PathBuf {
        self.0.join("secrets/user.pin")
    }

    fn create(&self) -> Result<(), ChainError> {
        for directory in ["token", "secrets", "conf", "data"] {
            make_directory(&self.0.join(directory))?;
        }
        write_new(&self.so_pin(), 0o400, fresh_pin(&self.so_pin())?.as_slice())?;
        write_new(&self.user_pin(), 0o400, fresh_pin(&self.user_pin())?.as_slice())?;
        let config = "# Settings of libbixi_token.so; relative paths are relative to this file.\ndirectory = token\n";
        write_new(&self.token_config(), 0o644, config.as_bytes())
    }
}

/// One node's directory.
#[derive(Debug, Clone)]
pub struct NodeDirectory(TokenHome);

impl NodeDirectory {
    /// The node at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(TokenHome::new(path))
    }

    /// Its token.
    pub fn token_home(&self) -> &TokenHome {
        &self.0
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The node file.
    pub fn config(&self) -> PathBuf {
        self.path().join("bixi.toml")
    }

    /// The chain's parameters.
    pub fn genesis(&self) -> PathBuf {
        self.path().join("genesis.toml")
    }

    /// The public parts of its keys.
    pub fn keys(&self) -> PathBuf {
        self.path().join("conf/keys.json")
    }

    /// Its TLS certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path().join("conf/node.crt")
    }

    /// The chain's CA certificate.
    pub fn ca_certificate(&self) -> PathBuf {
        self.path().join("conf/ca.crt")
    }

    /// Reads the node file; the genesis need not be there yet.
    pub fn node_config(&self) -> Result<NodeConfig, ChainError> {
        let path = self.config();
        let text = read(&path, "bixi chain new")?;
        Ok(NodeConfig::parse(&path, &text)?)
    }
}

/// The certificate authority of the chain in `chain`.
pub fn ca_home(chain: &Path) -> TokenHome {
    TokenHome::new(chain.join("ca"))
}

/// The nodes below `chain`: `node0`, `node1`, … up to the first gap.
pub fn node_directories(chain: &Path) -> Vec<NodeDirectory> {
    (0..)
        .map(|index| chain.join(format!("node{index}")))
        .take_while(|path| path.is_dir())
        .map(NodeDirectory::new)
        .collect()
}

/// What a new chain is to be.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// Where it goes; must be absent or empty.
    pub directory: PathBuf,
    /// Validators. This release makes one.
    pub nodes: u32,
    /// Algorithms. This release makes [`CryptoSuite::Sm`].
    pub suite: CryptoSuite,
    /// FISCO BCOS chain id.
    pub chain_id: String,
    /// FISCO BCOS group id.
    pub group_id: String,
    /// The hash contracts see.
    pub evm_hash: EvmHash,
    /// JSON-RPC of the first node; the following ones count up. 0 lets the system choose.
    pub rpc_listen: SocketAddr,
    /// The PKCS#11 module.
    pub module: PathBuf,
}

/// Makes the directories, PIN files and node files.
///
/// # Errors
/// [`ChainError::Exists`] when there is anything in the directory; it is then left as it is.
pub fn prepare(wish: &Preparation) -> Result<(), ChainError> {
    check(wish)?;
    if !wish.directory.exists() {
        make_directory(&wish.directory)?;
    } else if std::fs::read_dir(&wish.directory).map_err(io_at(&wish.directory))?.next().is_some() {
        return Err(ChainError::Exists(wish.directory.clone()));
    }
    let ca = ca_home(&wish.directory);
    make_directory(ca.path())?;
    ca.create()?;
    for index in 0..wish.nodes {
        let node = NodeDirectory::new(wish.directory.join(format!("node{index}")));
        make_directory(node.path())?;
        node.token_home().create()?;
        write_new(&node.config(), 0o644, node_config(wish, index).render().as_bytes())?;
    }
    Ok(())
}

/// Refuses a wish that this release cannot fulfil, or that no node would take, before anything is made.
pub fn check(wish: &Preparation) -> Result<(), ChainError> {
    if wish.nodes != 1 {
        let text = format!(
            "a chain of {} nodes is not in this release, which runs one validator; leave --nodes at 1",
            wish.nodes
        );
        return Err(ChainError::Unsupported(text));
    }
    if wish.suite != CryptoSuite::Sm {
        return Err(ChainError::Unsupported("the suite \"std\" is not in this release; use --suite sm".into()));
    }
    for (name, id) in [("--chain-id", &wish.chain_id), ("--group-id", &wish.group_id)] {
        if !bixi_config::is_chain_name(id) {
            let text = format!("{name} {id:?}: an id has 1 to 64 letters, digits, '_' or '-'");
            return Err(ChainError::Unsupported(text));
        }
    }
    Ok(())
}

fn node_config(wish: &Preparation, index: u32) -> NodeConfig {
    let mut config = NodeConfig { name: format!("node{index}"), ..NodeConfig::default() };
    config.rpc.listen = wish.rpc_listen;
    if wish.rpc_listen.port() != 0 {
        config.rpc.listen.set_port(wish.rpc_listen.port() + index as u16);
    }
    config.hsm.module = wish.module.clone();
    config.log.filter = LOG_FILTER.to_owned();
    config
}

/// Writes the genesis of the nodes whose keys are made, the same bytes into every node's directory.
pub fn write_genesis(wish: &Preparation) -> Result<Genesis, ChainError> {
    let nodes = node_directories(&wish.directory);
    let mut validators = Vec::new();
    for node in &nodes {
        validators.push(Validator { id: NodeKeys::read(node)?.node_id()?, weight: 1 });
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let genesis = Genesis {
        chain_id: wish.chain_id.clone(),
        group_id: wish.group_id.clone(),
        suite: wish.suite,
        evm_hash: wish.evm_hash,
        evm_spec: EvmSpec::Cancun,
        evm_timestamp_unit: TimestampUnit::Ms,
        protocol_version: 1,
        timestamp_ms: since_epoch.as_millis() as u64,
        validators,
        tx_gas_limit: TX_GAS_LIMIT,
        block_tx_count_max: BLOCK_TRANSACTIONS_MAX,
        block_limit: BLOCK_LIMIT,
        pipeline_depth: PIPELINE_DEPTH,
        admin: None,
    };
    let text = bixi_config::render_genesis(&genesis);
    for node in &nodes {
        write_new(&node.genesis(), 0o644, text.as_bytes())?;
    }
    Ok(genesis)
}

fn fresh_pin(path: &Path) -> Result<Zeroizing<[u8; 2 * PIN_BYTES]>, ChainError> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = Zeroizing::new(OsRandom.array::<PIN_BYTES>().map_err(io_at(path))?);
    let mut pin = Zeroizing::new([0; 2 * PIN_BYTES]);
    for (pair, byte) in pin.chunks_exact_mut(2).zip(random.iter()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    Ok(pin)
}

fn make_directory(path: &Path) -> Result<(), ChainError> {
    DirBuilder::new().mode(0o700).recursive(false).create(path).map_err(|source| match source.kind() {
        // Made by nobody but the operator: who may enter it is not ours to say.
        std::io::ErrorKind::NotFound => ChainError::NoParent(path.to_owned()),
        _ => io_at(path)(source),
    })
}

pub(super) fn read(path: &Path, before: &'static str) -> Result<String, ChainError> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ChainError::Missing { path: path.to_owned(), before },
        _ => ChainError::Io { path: path.to_owned(), source },
    })
}

/// Writes a file that must not exist and makes it and its directory entry durable.
pub(super) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), ChainError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io_at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_at(path))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io_at(parent))
}
