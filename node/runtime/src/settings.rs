//! A node's settings as its rooms want them: paths resolved, files read, keys' references made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_config::{IoBackend, NodeConfig, Pin};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::{self, Backend, Storage};
use bixi_platform::threads::Spawner;
use bixi_types::genesis::Genesis;

/// Why a node's files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// A file says something that cannot be.
    #[error("{0}")]
    Config(#[from] bixi_config::ConfigErrors),
    /// The configured system calls are not to be had.
    #[error("storage.io is not to be had here: {0}; use \"auto\" or \"pread\"")]
    Io(String),
}

/// One node's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node file, as read.
    pub config: NodeConfig,
    /// The chain.
    pub genesis: Genesis,
    /// Where relative paths start.
    pub base: PathBuf,
}

fn read(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })
}

impl Settings {
    /// Reads a node file and the genesis it names.
    pub fn load(file: &Path) -> Result<Self, SettingsError> {
        let config = NodeConfig::parse(file, &read(file)?)?;
        let base = file.parent().map(Path::to_owned).unwrap_or_default();
        let genesis_path = base.join(&config.genesis);
        let genesis = bixi_config::parse_genesis(&genesis_path, &read(&genesis_path)?)?;
        Ok(Self { config, genesis, base })
    }

    /// A path of the file, resolved.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// A path below the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path(&self.config.data_dir).join(name)
    }

    /// Where the PIN comes from.
    pub fn pin(&self) -> PinSource {
        match &self.config.hsm.pin {
            Pin::File(path) => PinSource::File(self.path(path)),
            Pin::Fd(number) => PinSource::Fd(*number),
            Pin::Prompt => PinSource::Prompt { text: format!("PIN of token {:?}", self.config.hsm.token) },
            Pin::Credential(name) => PinSource::SystemdCredential(name.clone()),
        }
    }

    /// The configured way to files.
    pub fn storage(&self, spawner: &Spawner) -> Result<Arc<dyn Storage>, SettingsError> {
        let backend = match self.config.storage.io {
            IoBackend::Auto => Backend::Auto,
            IoBackend::Pread => Backend::Pread,
            IoBackend::Uring => Backend::Uring,
            IoBackend::TokioUring => Backend::TokioUring,
        };
        let selection = io::select(backend, spawner);
        tracing::info!(backend = selection.storage.backend(), "storage");
        match selection.fell_back {
            // Asked for by name and not to be had: the operator must know, not find out from a benchmark.
            Some(reason) if backend != Backend::Auto => Err(SettingsError::Io(reason)),
            _ => Ok(selection.storage),
        }
    }
}
