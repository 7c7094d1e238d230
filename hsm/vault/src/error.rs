//! Why a vault did not open or change.

use std::path::PathBuf;

use bixi_hsm::{DeviceError, ErrorKind};
use bixi_hsm_escrow::EscrowError;

/// Every error names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no file.
    #[error("vault {path} is missing; without it nothing on this node's disk can be read: restore it from a backup")]
    Missing {
        /// The vault's file.
        path: PathBuf,
    },
    /// A file stands where a vault was to be made.
    #[error("vault {path} exists; it is never replaced, because it may hold the only keys of a ledger")]
    Exists {
        /// The vault's file.
        path: PathBuf,
    },
    /// The bytes are not a vault any more.
    #[error("vault {path} is damaged ({reason}); restore it from a backup of this node")]
    Damaged {
        /// The vault's file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The bytes are well-formed, the key is right, and the authentication fails.
    #[error("vault {path} was altered ({part}); restore it from a backup of this node and find out who had access")]
    Altered {
        /// The vault's file.
        path: PathBuf,
        /// The part that does not authenticate.
        part: &'static str,
    },
    /// A newer or foreign format.
    #[error(
        "vault {path} has format version {version}; this binary reads version {supported}: use the release that wrote it"
    )]
    Version {
        /// The vault's file.
        path: PathBuf,
        /// What it says.
        version: u16,
        /// What this binary reads.
        supported: u16,
    },
    /// The key encryption key fits none of the slots.
    #[error(
        "vault {path} is not sealed under {kek}; its slots are {slots}: configure the key it was sealed under, or insert that device"
    )]
    WrongKek {
        /// The vault's file.
        path: PathBuf,
        /// The key that was tried.
        kek: String,
        /// The vault's slots.
        slots: String,
    },
    /// Another process changed the file since it was opened.
    #[error("vault {path} was changed by another process; open it again and repeat")]
    Stale {
        /// The vault's file.
        path: PathBuf,
    },
    /// It can hold no more.
    #[error("vault {path} can hold no more {what}")]
    Full {
        /// The vault's file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
    },
    /// Another slot has the label.
    #[error("vault {path} has a slot labelled {label:?} already; choose another label, or remove that slot first")]
    LabelTaken {
        /// The vault's file.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// The key of a new slot opens another one.
    #[error(
        "vault {path}: {kek} opens it already, by its slot {label:?}: a second slot for one key helps nobody who loses it. Name another device, \
         or remove that slot first"
    )]
    OpensAlready {
        /// The vault's file.
        path: PathBuf,
        /// The key.
        kek: String,
        /// The slot that it opens.
        label: String,
    },
    /// No slot has the label.
    #[error("vault {path} has no slot labelled {label:?}; its slots are {slots}")]
    NoSlot {
        /// The vault's file.
        path: PathBuf,
        /// The label.
        label: String,
        /// The vault's slots.
        slots: String,
    },
    /// The node opens the vault with it.
    #[error(
        "vault {path}: slot {label:?} is the one this node opens it with; it ends when the vault is sealed under another key"
    )]
    PrimarySlot {
        /// The vault's file.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// The newest epoch seals every new file.
    #[error("vault {path}: epoch {epoch} is the current one; rotate before dropping it")]
    InUse {
        /// The vault's file.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
    },
    /// The disk failed.
    #[error("vault {path}: {action}: {error}")]
    Storage {
        /// The vault's file.
        path: PathBuf,
        /// What was done.
        action: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(std::io::Error),
    /// An escrow could not be made.
    #[error("{0}")]
    Escrow(#[from] EscrowError),
    /// The device failed.
    #[error("{0}")]
    Device(#[from] DeviceError),
}

impl VaultError {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Device(error) => error.kind(),
            Self::Stale { .. } => ErrorKind::Retry,
            Self::Exists { .. }
            | Self::Full { .. }
            | Self::InUse { .. }
            | Self::LabelTaken { .. }
            | Self::OpensAlready { .. }
            | Self::NoSlot { .. }
            | Self::PrimarySlot { .. }
            | Self::Escrow(_) => ErrorKind::Refuse,
            _ => ErrorKind::Halt,
        }
    }
}
