//! Where everything of a chain lies.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bixi_config::NodeConfig;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use bixi_types::genesis::Genesis;
use zeroize::Zeroizing;

use crate::chain::{ChainError, io_at};

/// Random bytes in a PIN; written as twice as many hexadecimal digits.
const PIN_BYTES: usize = 16;

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

    /// Makes it, with this user PIN or a fresh one.
    pub(super) fn create(&self, user_pin: Option<&Secret>) -> Result<(), ChainError> {
        for directory in ["token", "secrets", "conf", "data"] {
            make_directory(&self.0.join(directory))?;
        }
        write_new(&self.so_pin(), 0o400, fresh_pin(&self.so_pin())?.as_slice())?;
        match user_pin {
            Some(pin) => write_new(&self.user_pin(), 0o400, pin.as_slice())?,
            None => write_new(&self.user_pin(), 0o400, fresh_pin(&self.user_pin())?.as_slice())?,
        }
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

    /// Says that a key encryption key was about to be made.
    pub(super) fn kek_note(&self) -> PathBuf {
        self.path().join("conf/kek.making")
    }

    /// Its TLS certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path().join("conf/node.crt")
    }

    /// The chain's CA certificate.
    pub fn ca_certificate(&self) -> PathBuf {
        self.path().join("conf/ca.crt")
    }

    /// Its name, that of the directory.
    pub fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Reads the node file; the genesis need not be there yet.
    pub fn node_config(&self) -> Result<NodeConfig, ChainError> {
        let path = self.config();
        let text = read(&path, "bixi chain new")?;
        Ok(NodeConfig::parse(&path, &text)?)
    }

    /// Reads the chain's parameters that its node file names.
    pub fn read_genesis(&self) -> Result<Genesis, ChainError> {
        let path = self.path().join(self.node_config()?.genesis);
        Ok(bixi_config::parse_genesis(&path, &read(&path, "bixi chain new")?)?)
    }
}

/// The certificate authority of the chain in `chain`.
pub fn ca_home(chain: &Path) -> TokenHome {
    TokenHome::new(chain.join("ca"))
}

/// The node of that number below `chain`.
pub(super) fn node_directory(chain: &Path, index: usize) -> NodeDirectory {
    NodeDirectory::new(chain.join(format!("node{index}")))
}

/// The nodes below `chain`: `node0`, `node1`, … up to the first gap.
pub fn node_directories(chain: &Path) -> Vec<NodeDirectory> {
    (0..).map(|index| node_directory(chain, index)).take_while(|node| node.path().is_dir()).collect()
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

pub(super) fn make_directory(path: &Path) -> Result<(), ChainError> {
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

/// One step at a time works in a chain's directory: the turn ends with what is returned.
pub(super) fn lock(chain: &Path) -> Result<File, ChainError> {
    let directory = File::open(chain).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ChainError::Missing { path: chain.to_owned(), before: "bixi chain new" },
        _ => ChainError::Io { path: chain.to_owned(), source },
    })?;
    directory.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => ChainError::Busy(chain.to_owned()),
        TryLockError::Error(source) => ChainError::Io { path: chain.to_owned(), source },
    })?;
    Ok(directory)
}

/// Puts bytes in the place of a file: a crash leaves the old file or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ChainError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_at(&new)(error)),
        _ => write_new(&new, 0o644, bytes)?,
    }
    std::fs::rename(&new, path).map_err(io_at(path))?;
    sync_parent(path)
}

/// Writes a file that must not exist and makes it and its directory entry durable.
pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), ChainError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io_at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_at(path))?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), ChainError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io_at(parent))
}
