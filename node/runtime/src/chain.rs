//! The ceremony that makes a chain, in steps an officer can take one by one.
//!
//! ```text
//! prepare ─▶ keys (per node) ─▶ genesis ─▶ certify (one CA) ─▶ seal (per node) ─▶ `bixi run`
//! ```
//!
//! | step | touches | makes |
//! |---|---|---|
//! | [`prepare`], [`prepare_expansion`] | no token | directories, PIN files (0400), `token.conf`, `bixi.toml` |
//! | [`make_keys`] | the node's token | token, consensus and TLS key, KEK; `conf/keys.json`, public parts only |
//! | [`write_genesis`] | no token | one `genesis.toml`, the same for every node |
//! | [`certify`] | the CA's token | CA key and certificate if there are none, `conf/node.crt` of every node without one |
//! | [`seal`] | the node's token | vault and sign-once guard |
//!
//! A node that joins later takes the same steps, with the genesis that is there. [`revoke`] takes certificates back: it alone replaces a
//! file, the authority's revocation list, by one that says more.
//!
//! Invariants: nothing else that exists is replaced; every key is generated inside its token and stays there; a PIN exists only in
//! its file and in locked memory. The shipped token module reads its configuration once per process, so the caller gives
//! each step that touches a token a process of its own.

mod authority;
mod certify;
mod keys;
mod layout;
mod plan;
mod prepare;
mod revoke;
mod seal;

pub(crate) use authority::SUITE;
pub use certify::{certify, certify_request};
pub use keys::{KeyRecord, NodeKeys, make_keys};
pub(crate) use keys::{describe_key, foreign_kek, initialise_lost};
pub use layout::{NodeDirectory, TokenHome, ca_home, node_directories};
pub(crate) use layout::{replace as replace_file, write_new};
pub use plan::{Members, NODES_MAX, Places};
pub use prepare::{DeviceChoice, Expansion, Placed, Preparation, check, prepare, prepare_expansion, write_genesis};
pub use revoke::{Revoked, revoke};
pub use seal::seal;

use std::path::{Path, PathBuf};

/// What the operator named and something lies at.
fn kind_of_place(path: &Path) -> &'static str {
    if path.is_dir() { "directory" } else { "file" }
}

/// Why a step of the ceremony stopped. What it had made before stays; nothing was replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is already something where the chain should go.
    #[error("{} exists already and is left as it is; name another {}, or remove it yourself", .0.display(), kind_of_place(.0))]
    Exists(PathBuf),
    /// A directory cannot be made where there is none to hold it.
    #[error("{} cannot be made: make the directory that is to hold it first", .0.display())]
    NoParent(PathBuf),
    /// An earlier step is missing.
    #[error("{} is missing; run `{before}` first", path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// The step that makes it.
        before: &'static str,
    },
    /// A wish that this release cannot fulfil.
    #[error("{0}")]
    Unsupported(String),
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// A file says something that cannot be.
    #[error("{0}")]
    Config(#[from] bixi_config::ConfigErrors),
    /// A public record cannot be read.
    #[error("{}: {detail}; make the keys again in a new directory", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Another step is at work there.
    #[error("{}: another step of the ceremony is at work there; wait until it has ended", .0.display())]
    Busy(PathBuf),
    /// A node whose key may be in other hands wants a certificate.
    #[error(
        "{0}: the certificate of its TLS key was taken back. If nobody else has the key, say so with --key-is-safe; otherwise have \
         the node join anew with new keys: bixi chain new --expand"
    )]
    RevokedKey(String),
    /// A file holds something else than it should.
    #[error("{}: {detail}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The PIN file cannot be used.
    #[error("{0}")]
    Pin(#[from] bixi_platform::credentials::CredentialError),
    /// The token refused.
    #[error("{0}")]
    Device(#[from] bixi_hsm::DeviceError),
    /// A certificate could not be made.
    #[error("{0}")]
    Pki(#[from] bixi_network::pki::PkiError),
    /// The vault could not be made.
    #[error("{0}")]
    Vault(#[from] bixi_hsm_vault::VaultError),
    /// The guard could not be made.
    #[error("{0}")]
    Guard(#[from] bixi_hsm::GuardError),
}

fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> ChainError {
    let path = path.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ChainError::Exists(path),
        _ => ChainError::Io { path, source },
    }
}
